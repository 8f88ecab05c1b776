// decide.h
//
// What to do, from what was found: a pure table. DESIGN.md prints the same.

#ifndef SPLITFLASH_DECIDE_H
#define SPLITFLASH_DECIDE_H

#include "loader.h"

enum staged {
    STAGED_NONE = 0x2d4b78e1,
    STAGED_REFUSED = 0x4be12d87,
    STAGED_AUTHENTIC = 0x78d24e1b,
};

enum app {
    APP_VALID = 0x1e78b4d2,
    APP_INVALID = 0x61874b2d,
};

enum verdict {
    INSTALL = 0x35c6a953,
    CLEAR = 0x5a3c9665,
    BOOT_APP = 0x66a5c33a,
    STAY = 0x0f96695c,
};

struct facts {
    uint32_t staged; // enum staged
    uint32_t state;  // enum app_state: what the newest record says
    uint32_t same;   // YES: the newest record names the staged update
    uint32_t app;    // enum app: may it run, as far as it was checked
};

enum verdict decide(const struct facts *facts);

#endif
