// door_rom.c
//
// No door of our own: the ROM bootloader, where the layout asks for it and the
// chip is not protected; otherwise sleep. Promises: nobody can ask for it, and
// the application is started as it always was.

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
