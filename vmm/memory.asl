/* SPDX-License-Identifier: MIT */
/*
 * memory.asl - memory hotplug: begins the table that a machine with memory slots has.
 * acpi_tables.c sets the name that is marked so, and adds the slots' devices (memory_slot.asl)
 * and the method TELL.
 */
DefinitionBlock ("", "SSDT", 2, "MEMBUS", "MEMBUSPC", 1)
{
    External (\_SB.MEMH.TELL, MethodObj) /* (slot, what to notify its device of) */

    Scope (\_SB)
    {
        /* The ports of acpi.c. A slot is selected first, so all of it goes by one at a time. */
        Device (MEMH)
        {
            Name (_HID, EisaId ("PNP0A06"))
            Name (_UID, "memory slots")
            Name (SLTS, 0x2222) /* set: how many */
            Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0A00, 0x0A00, 1, 0x18) })

            OperationRegion (REGS, SystemIO, 0x0A00, 0x18)
            Field (REGS, DWordAcc, NoLock, Preserve)
            {
                ADLO, 32, ADHI, 32, SZLO, 32, SZHI, 32, PROX, 32
            }
            Field (REGS, DWordAcc, NoLock, Preserve) /* to be written */
            {
                SLCT, 32, OEVT, 32, OSTS, 32
            }
            Field (REGS, ByteAcc, NoLock, WriteAsZeros)
            {
                Offset (0x14), USED, 1, CAME, 1, GOES, 1, EJCT, 1
            }
            Mutex (MUTX, 0)

            Method (STAT, 1, Serialized)
            {
                Acquire (MUTX, 0xFFFF)
                SLCT = Arg0
                Local0 = USED
                Release (MUTX)
                If (Local0) { Return (0x0F) }
                Return (0)
            }
            Method (RSRC, 1, Serialized)
            {
                Name (RNGE, ResourceTemplate ()
                {
                    QWordMemory (ResourceConsumer, PosDecode, MinFixed, MaxFixed, Cacheable,
                        ReadWrite, 0, 0, 0xFFFF, 0, 0x10000, , , DIMM)
                })
                CreateQWordField (RNGE, DIMM._MIN, FRST)
                CreateQWordField (RNGE, DIMM._MAX, LAST)
                CreateQWordField (RNGE, DIMM._LEN, LENG)
                Acquire (MUTX, 0xFFFF)
                SLCT = Arg0
                FRST = (ADHI << 32) | ADLO
                LENG = (SZHI << 32) | SZLO
                Release (MUTX)
                LAST = FRST + LENG - 1
                Return (RNGE)
            }
            Method (NODE, 1, Serialized)
            {
                Acquire (MUTX, 0xFFFF)
                SLCT = Arg0
                Local0 = PROX
                Release (MUTX)
                Return (Local0)
            }
            Method (EJEC, 1, Serialized)
            {
                Acquire (MUTX, 0xFFFF)
                SLCT = Arg0
                EJCT = 1
                Release (MUTX)
            }
            Method (SAID, 3, Serialized)
            {
                Acquire (MUTX, 0xFFFF)
                SLCT = Arg0
                OEVT = Arg1
                OSTS = Arg2
                Release (MUTX)
            }

            /* Tell the devices of slots where something has happened. */
            Method (SCAN, 0, Serialized)
            {
                Acquire (MUTX, 0xFFFF)
                Local0 = 0
                While (Local0 < SLTS)
                {
                    SLCT = Local0
                    If (CAME == 1)
                    {
                        CAME = 1
                        TELL (Local0, 1) /* device check */
                    }
                    If (GOES == 1)
                    {
                        GOES = 1
                        TELL (Local0, 3) /* eject request */
                    }
                    Local0++
                }
                Release (MUTX)
            }
        }
    }

    Method (\_GPE._E03) { \_SB.MEMH.SCAN () }
}
