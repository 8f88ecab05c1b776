"""The part of the C header by which an application works with what takes its next update."""

from __future__ import annotations

from packager.format import MAILBOX_ENTER_DFU, Recovery
from packager.layout import Layout


def c_door(layout: Layout) -> str:
    """Return constants and functions; ``splitflash_alive()`` is there in every layout."""
    if layout.recovery is Recovery.NONE:
        return _NO_DFU + _NOTHING_TO_TELL
    if layout.recovery is Recovery.ROM:
        return _constants(layout) + _TELL + _NOTHING_TO_TELL + _ROM + _ENTER
    return _constants(layout) + _TELL + _ALIVE + _OWN_DFU + _ENTER


def _constants(layout: Layout) -> str:
    first, at = layout.mailbox, layout.mailbox_address
    return f"""\
// splitflash_enter_dfu() is there.
#define SPLITFLASH_HAS_DFU 1

// What the application tells the loader, in two backup registers of the RTC:
// they keep it through a reset, not without power.
#define SPLITFLASH_MAILBOX 0x{at:08X}u // RTC_BKP{first}R
#define SPLITFLASH_HEALTH 0x{at + 4:08X}u  // RTC_BKP{first + 1}R
#define SPLITFLASH_MAILBOX_ENTER_DFU 0x{MAILBOX_ENTER_DFU:08X}u

"""


_NO_DFU = """\
// This loader takes no update over USB.
#define SPLITFLASH_HAS_DFU 0

"""

_NOTHING_TO_TELL = """\
// This version works. This loader counts no failed starts, so it does nothing.
static inline void
splitflash_alive(void)
{
}

"""

_TELL = """\
static inline void
splitflash_tell_loader(uint32_t backup_register, uint32_t value)
{
    volatile uint32_t *const clocks = (volatile uint32_t *)0x580244F4u; // APB4ENR
    volatile uint32_t *const power = (volatile uint32_t *)0x58024800u;  // CR1
    volatile uint32_t *const backup = (volatile uint32_t *)(uintptr_t)backup_register;
    const uint32_t before = *power;
    *clocks |= 1u << 16; // RTCAPBEN
    *power = before | 1u << 8; // DBP
    while (!(*power & 1u << 8)) {
    }
    *backup = value;
    (void)*backup; // it has arrived before the door is closed
    *power = before;
}

"""

_ALIVE = """\
// This version works. Call it when the application has shown what counts: it
// runs, and can be asked for the next update. Until then a double reset or
// resets by the watchdog, as the layout says, open the loader's DFU.
static inline void
splitflash_alive(void)
{
    splitflash_tell_loader(SPLITFLASH_HEALTH, 0);
}

"""

_OWN_DFU = """\
// Restart into the loader's DFU, which takes the next update over USB. Does not
// return: bring everything into a state in which a reset does no harm.
"""

_ROM = """\
// Restart into the ROM bootloader, which takes the next update over USB, without
// BOOT0; on a read-protected chip it is a restart and no more. Does not return:
// bring everything into a state in which a reset does no harm.
"""

_ENTER = """\
static inline void
splitflash_enter_dfu(void)
{
    splitflash_tell_loader(SPLITFLASH_MAILBOX, SPLITFLASH_MAILBOX_ENTER_DFU);
    *(volatile uint32_t *)0xE000ED0Cu = 0x05FA0004u; // AIRCR.SYSRESETREQ
    __asm__ volatile("dsb" ::: "memory");
    for (;;) {
    }
}
"""
