/* SPDX-License-Identifier: MIT */
/*
 * memory_slot.asl - one memory slot. acpi_tables.c repeats what is in this table for each slot, the
 * name S000 and the number NUMB being the slot's.
 */
DefinitionBlock ("", "SSDT", 2, "MEMBUS", "MEMBUSPC", 1)
{
    External (\_SB.MEMH, DeviceObj)
    External (\_SB.MEMH.STAT, MethodObj)
    External (\_SB.MEMH.RSRC, MethodObj)
    External (\_SB.MEMH.NODE, MethodObj)
    External (\_SB.MEMH.EJEC, MethodObj)
    External (\_SB.MEMH.SAID, MethodObj)

    Device (\_SB.MEMH.S000)
    {
        Name (NUMB, 0x3333)
        Name (_HID, EisaId ("PNP0C80"))
        Method (_UID) { Return (NUMB) }
        Method (_STA) { Return (STAT (NUMB)) }
        Method (_CRS) { Return (RSRC (NUMB)) }
        Method (_PXM) { Return (NODE (NUMB)) }
        Method (_EJ0, 1) { EJEC (NUMB) }
        Method (_OST, 3) { SAID (NUMB, Arg0, Arg1) }
    }
}
