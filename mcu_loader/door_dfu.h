// door_dfu.h
//
// The door's own program, which runs from ITCM.

#ifndef SPLITFLASH_DOOR_DFU_H
#define SPLITFLASH_DOOR_DFU_H

#include "loader.h"

// Wipes all RAM the loader used, and begins. Its code must lie in ITCM.
NORETURN void door_enter(void);

#endif
