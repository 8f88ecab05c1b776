// indicator.h
//
// A light for whoever stands in front of the device: steady while an update is
// checked and installed, three blinks where one was refused and the application
// starts, blinking twice a second while the loader waits. Choice of a file:
// indicator_pin.c drives the pin that the layout names, indicator_none.c
// nothing. While the ROM bootloader waits, the core is its own and the pin as
// after reset.

#ifndef SPLITFLASH_INDICATOR_H
#define SPLITFLASH_INDICATOR_H

#include "loader.h"

void indicator_busy(void);
// Takes a good second.
void indicator_refused(void);
// Light on, or off again: call it every quarter of a second.
void indicator_toggle(void);
// The pin's port as after reset.
void indicator_close(void);

#endif
