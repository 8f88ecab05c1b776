"""The part of the C header by which an application works with the loader's own DFU."""

from __future__ import annotations

from packager.format import MAILBOX_ENTER_DFU, Recovery
from packager.layout import Layout


def c_door(layout: Layout) -> str:
    """Return constants and functions; nothing where the loader has no DFU of its own."""
    return _constants(layout) + _FUNCTIONS if layout.recovery is Recovery.DFU else ""


def _constants(layout: Layout) -> str:
    first, at = layout.mailbox, layout.mailbox_address
    return f"""\
// What the application tells the loader, in two backup registers of the RTC:
// they keep it through a reset, not without power.
#define SPLITFLASH_MAILBOX 0x{at:08X}u // RTC_BKP{first}R
#define SPLITFLASH_HEALTH 0x{at + 4:08X}u  // RTC_BKP{first + 1}R
#define SPLITFLASH_MAILBOX_ENTER_DFU 0x{MAILBOX_ENTER_DFU:08X}u

"""


_FUNCTIONS = """\
static inline void
splitflash_tell_loader(uint32_t backup_register, uint32_t value)
{
    volatile uint32_t *const clocks = (volatile uint32_t *)0x580244F4u; // APB4ENR
    volatile uint32_t *const power = (volatile uint32_t *)0x58024800u;  // CR1
    volatile uint32_t *const backup = (volatile uint32_t *)backup_register;
    const uint32_t before = *power;
    *clocks |= 1u << 16; // RTCAPBEN
    *power = before | 1u << 8; // DBP
    while (!(*power & 1u << 8)) {
    }
    *backup = value;
    (void)*backup; // it has arrived before the door is closed
    *power = before;
}

// This version works. Call it when the application has shown what counts: it
// runs, and can be asked for the next update. Until then a double reset or
// resets by the watchdog, as the layout says, open the loader's DFU.
static inline void
splitflash_alive(void)
{
    splitflash_tell_loader(SPLITFLASH_HEALTH, 0);
}

// Restart into the loader's DFU, which takes the next update over USB. Does not
// return: bring everything into a state in which a reset does no harm.
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
