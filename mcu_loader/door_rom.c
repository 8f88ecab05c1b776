// door_rom.c
//
// The ROM bootloader, where the chip is not protected; otherwise sleep.
// Promises: only the application can ask for it, and its request counts once.

#include "door.h"
#include "machine.h"
#include "mailbox.h"

uint32_t
door_wanted(void)
{
    uint32_t wanted = NO;
    if (machine_is_unprotected()) {
        mailbox_open();
        wanted = mailbox_take_request();
        mailbox_close();
    }
    return wanted;
}

void
door_before_app(void)
{
}

void
door_stay(void)
{
    if (machine_is_unprotected()) {
        machine_enter_rom();
    }
    machine_park();
}
