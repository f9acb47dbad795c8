/* SPDX-License-Identifier: MIT */
/*
 * dsdt.asl - the board as an ACPI operating system sees it. The same for every machine, but for the
 * name marked "set", whose value acpi_tables.c puts in.
 */
DefinitionBlock ("", "DSDT", 2, "MEMBUS", "MEMBUSPC", 1)
{
    /* Soft off: suspend type 0 of the PIIX4. */
    Name (\_S5, Package () { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)
            Name (PCIB, 0x11111111) /* set: where RAM below 4 GiB ends */
            Method (_CRS, 0, Serialized)
            {
                Name (WNDS, ResourceTemplate ()
                {
                    WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                        0, 0x00, 0xFF, 0, 0x100)
                    IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                    WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                        0, 0x0000, 0x0CF7, 0, 0x0CF8)
                    WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                        0, 0x0D00, 0xFFFF, 0, 0xF300)
                    DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable,
                        ReadWrite, 0, 0x000A0000, 0x000BFFFF, 0, 0x00020000)
                    DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                        ReadWrite, 0, 0x80000000, 0xFEBFFFFF, 0, 0x7EC00000, , , HOLE)
                })
                CreateDWordField (WNDS, HOLE._MIN, FRST)
                CreateDWordField (WNDS, HOLE._MAX, LAST)
                CreateDWordField (WNDS, HOLE._LEN, LENG)
                FRST = PCIB
                LENG = LAST - FRST + 1
                Return (WNDS)
            }

            /* Pin INTA of slot 1 is the PIIX3's first, of slot 2 its second, and so on around. */
            Method (_PRT, 0, Serialized)
            {
                Local0 = Package (128) {}
                Local1 = 0
                While (Local1 < 128)
                {
                    Local2 = Local1 >> 2 /* slot */
                    Local3 = Local1 & 3  /* pin */
                    Local4 = (Local2 + Local3 + 3) & 3
                    If (Local1 == 4)
                    {
                        Local5 = Package () { 0, 0, 0, 9 } /* the PIIX4: wired to the SCI */
                    }
                    ElseIf (Local4 == 0)
                    {
                        Local5 = Package () { 0, 0, ^ISA.LNKA, 0 }
                    }
                    ElseIf (Local4 == 1)
                    {
                        Local5 = Package () { 0, 0, ^ISA.LNKB, 0 }
                    }
                    ElseIf (Local4 == 2)
                    {
                        Local5 = Package () { 0, 0, ^ISA.LNKC, 0 }
                    }
                    Else
                    {
                        Local5 = Package () { 0, 0, ^ISA.LNKD, 0 }
                    }
                    Local5[0] = (Local2 << 16) | 0xFFFF
                    Local5[1] = Local3
                    Local0[Local1] = Local5
                    Local1++
                }
                Return (Local0)
            }

            /* The PIIX3: PIRQ routing, and what is on the ISA bus behind it. */
            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (ROUT, PCI_Config, 0x60, 4)
                Field (ROUT, ByteAcc, NoLock, Preserve)
                {
                    RTA, 8, RTB, 8, RTC, 8, RTD, 8 /* bit 7: not routed; bits 0 to 3: IRQ */
                }
                Name (IRQS, ResourceTemplate ()
                {
                    Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 }
                })
                Method (STAT, 1)
                {
                    If (Arg0 & 0x80) { Return (0x09) }
                    Return (0x0B)
                }
                Method (CURR, 1, Serialized)
                {
                    Name (IRQ1, ResourceTemplate ()
                    {
                        Interrupt (ResourceConsumer, Level, ActiveHigh, Shared, , , NOW) { 0 }
                    })
                    CreateDWordField (IRQ1, NOW._INT, IRQN)
                    IRQN = Arg0 & 0x0F
                    If (Arg0 & 0x80) { IRQN = 0 }
                    Return (IRQ1)
                }
                Method (WANT, 1, Serialized)
                {
                    CreateDWordField (Arg0, 5, IRQN) /* the first number of an Interrupt() */
                    Return (IRQN & 0x0F)
                }
                Device (LNKA)
                {
                    Name (_HID, EisaId ("PNP0C0F"))
                    Name (_UID, 0)
                    Method (_PRS) { Return (IRQS) }
                    Method (_STA) { Return (STAT (RTA)) }
                    Method (_CRS) { Return (CURR (RTA)) }
                    Method (_SRS, 1) { RTA = WANT (Arg0) }
                    Method (_DIS) { RTA |= 0x80 }
                }
                Device (LNKB)
                {
                    Name (_HID, EisaId ("PNP0C0F"))
                    Name (_UID, 1)
                    Method (_PRS) { Return (IRQS) }
                    Method (_STA) { Return (STAT (RTB)) }
                    Method (_CRS) { Return (CURR (RTB)) }
                    Method (_SRS, 1) { RTB = WANT (Arg0) }
                    Method (_DIS) { RTB |= 0x80 }
                }
                Device (LNKC)
                {
                    Name (_HID, EisaId ("PNP0C0F"))
                    Name (_UID, 2)
                    Method (_PRS) { Return (IRQS) }
                    Method (_STA) { Return (STAT (RTC)) }
                    Method (_CRS) { Return (CURR (RTC)) }
                    Method (_SRS, 1) { RTC = WANT (Arg0) }
                    Method (_DIS) { RTC |= 0x80 }
                }
                Device (LNKD)
                {
                    Name (_HID, EisaId ("PNP0C0F"))
                    Name (_UID, 3)
                    Method (_PRS) { Return (IRQS) }
                    Method (_STA) { Return (STAT (RTD)) }
                    Method (_CRS) { Return (CURR (RTD)) }
                    Method (_SRS, 1) { RTD = WANT (Arg0) }
                    Method (_DIS) { RTD |= 0x80 }
                }

                Device (CLCK)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 1, 2)
                        IRQNoFlags () { 8 }
                    })
                }
                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, 1)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                        IRQNoFlags () { 4 }
                    })
                }
            }
        }

        Device (FWCF)
        {
            Name (_HID, "QEMU0002")
            Name (_STA, 0x0B)
            Name (_CRS, ResourceTemplate () { IO (Decode16, 0x0510, 0x0510, 1, 12) })
        }
    }
}
