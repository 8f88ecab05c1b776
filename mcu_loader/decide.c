// decide.c
//
// First row that fits; the last one fits everything, so whatever was not
// thought of stays.

#include "decide.h"

#define ANY 0u

struct rule {
    uint32_t staged;
    uint32_t state;
    uint32_t same;
    uint32_t app;
    enum verdict verdict;
};

static const struct rule rules[] = {
    // staged          state             same  app        verdict
    { STAGED_AUTHENTIC, STATE_INSTALLED,  YES, APP_VALID, CLEAR    },
    { STAGED_AUTHENTIC, ANY,              ANY, ANY,       INSTALL  },
    { STAGED_REFUSED,   STATE_INSTALLING, ANY, ANY,       STAY     },
    { STAGED_NONE,      STATE_INSTALLING, ANY, ANY,       STAY     },
    { STAGED_REFUSED,   ANY,              ANY, APP_VALID, CLEAR    },
    { STAGED_NONE,      ANY,              ANY, APP_VALID, BOOT_APP },
    { ANY,              ANY,              ANY, ANY,       STAY     },
};

static int
fits(uint32_t wanted, uint32_t found)
{
    return wanted == ANY || wanted == found;
}

enum verdict
decide(const struct facts *facts)
{
    for (unsigned i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *rule = &rules[i];
        if (fits(rule->staged, facts->staged) &&
            fits(rule->state, facts->state) &&
            fits(rule->same, facts->same) && fits(rule->app, facts->app)) {
            return rule->verdict;
        }
    }
    return STAY;
}
