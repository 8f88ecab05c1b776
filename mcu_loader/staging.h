// staging.h
//
// The third seam: the staging area as the door sees it. Promises: only whole
// blank flash words of staging are programmed and only its sectors erased;
// nothing here waits, so USB is served while an operation runs.
// staging_h743.c is the chip; the host tests link another file.

#ifndef SPLITFLASH_STAGING_H
#define SPLITFLASH_STAGING_H

#include "flash.h"

enum staging_progress {
    STAGING_IDLE = 0,
    STAGING_BUSY = 1,    // an operation runs: nothing may be read
    STAGING_DONE = 2,    // said once: it ended well
    STAGING_FAILED = -1, // said once: the chip reported an error
};

// Call again and again; moves nothing but time.
NODISCARD enum staging_progress staging_poll(void);

// Begin, if nothing runs: the sector at this address, or one flash word there.
NODISCARD enum flash_result staging_erase(uint32_t address);
NODISCARD enum flash_result
staging_program(uint32_t address, const uint32_t *word);

// An option register, 0 for what is none; `address` a multiple of 4.
NODISCARD uint32_t staging_option(uint32_t address);

#endif
