// door.h
//
// How an update gets in when no application brings it. Which door a loader has
// is the choice of a file: door_rom.c is the chip's bootloader, entry.c with
// door_dfu.c the loader's own USB device, door_none.c nothing.

#ifndef SPLITFLASH_DOOR_H
#define SPLITFLASH_DOOR_H

#include "loader.h"

// YES: somebody asks for the door, whatever could be started.
NODISCARD uint32_t door_wanted(void);

// Right before the application gets the core.
void door_before_app(void);

// Nothing to start: wait where an update can come from.
NORETURN void door_stay(void);

#endif
