// indicator_pin.c
//
// Promises: only the pin that the layout names is driven, and its port is left
// as after reset; waiting feeds the watchdog.

#include "indicator.h"

#include "machine.h"
#include "pin.h"

#define BLINKS 3u
#define BLINK 12799999u // 0.2 s at 64 MHz

static void
pause(void)
{
    SYST_RVR = BLINK;
    SYST_CVR = 0;
    SYST_CSR = SYST_CORE_CLOCK;
    while (!(SYST_CSR & SYST_PASSED)) {
        machine_feed_watchdog();
    }
    SYST_CSR = 0;
}

void
indicator_busy(void)
{
    const struct pin pin = pin_of(info_block.indicator_pin);
    pin_drive(pin, pin.active);
}

void
indicator_refused(void)
{
    const struct pin pin = pin_of(info_block.indicator_pin);
    for (uint32_t i = 0; i < BLINKS; i++) {
        pin_drive(pin, pin.active);
        pause();
        pin_drive(pin, !pin.active);
        pause();
    }
}

void
indicator_toggle(void)
{
    pin_toggle(pin_of(info_block.indicator_pin));
}

void
indicator_close(void)
{
    pin_close(pin_of(info_block.indicator_pin));
}
