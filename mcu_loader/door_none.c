// door_none.c
//
// No way in but the application's own: nobody can ask for the loader, and one
// that has nothing to start sleeps.

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
    machine_park();
}
