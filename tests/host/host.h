// host.h
//
// The loader on the machine the tests run on. Its two seams, flash.h and
// machine.h, end here: healthy flash words are read where the simulator keeps
// them, everything else asks the simulator. One boot is one call of host_boot()
// in a freshly loaded library; every way out of the loader, a power cut in the
// middle of a flash operation too, comes back from it.

#ifndef SPLITFLASH_HOST_H
#define SPLITFLASH_HOST_H

#include "loader.h"

// How a boot ended; host/board.py has the same numbers.
enum host_end {
    HOST_APP = 1,
    HOST_ROM,
    HOST_PARKED,
    HOST_RESET,    // machine_panic()
    HOST_CUT,      // the simulator says: the power is gone
    HOST_HANG,     // more steps than any boot may take
    HOST_BAD_READ, // an address where no flash is
    HOST_STALE,    // the library was not loaded afresh
};

// What the simulator answers.
enum host_answer {
    ANSWER_OK = 0,
    ANSWER_CORRECTED = 1,
    ANSWER_POISONED = 2,
    ANSWER_FAILED = 3,
    ANSWER_POWER_CUT = 4,
};

struct host_bank {
    const uint8_t *content;
    const uint8_t *states; // one byte for each flash word
    uint32_t start;
    uint32_t size;
};

struct host {
    struct host_bank banks[2];
    int (*sense)(uint32_t address); // one load of four bytes from a sick word
    int (*program)(uint32_t address, const uint8_t *data);
    int (*erase)(uint32_t address);
    uint64_t steps_left;
    uint32_t flash_kib;
    uint32_t is_unprotected;
    uint32_t entry;
    struct result_record result;
};

extern struct host *host;

// Counts towards HOST_HANG: whatever the loader repeats comes by here.
void host_step(void);
NORETURN void host_leave(enum host_end end);

// Called by Python.
int host_boot(struct host *simulator);

#endif
