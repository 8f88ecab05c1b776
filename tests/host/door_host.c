// door_host.c
//
// The door of a board on the host: nobody asks for it, and whoever stays goes
// where the machine can tell it.

#include "door.h"
#include "machine.h"

uint32_t
door_wanted(void)
{
    return NO;
}

void
door_before_app(void)
{
}

void
door_stay(void)
{
    if (info_block.recovery == RECOVERY_ROM && machine_is_unprotected()) {
        machine_enter_rom();
    }
    machine_park();
}
