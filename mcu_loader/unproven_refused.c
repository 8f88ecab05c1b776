// unproven_refused.c
//
// Production. Promises: only an application that the newest record names, and
// that was checked against it, is ever started. No code here could say more.

#include "unproven.h"

uint32_t
unproven_app(const struct mark_record *record, uint32_t verdict)
{
    (void)record;
    return verdict;
}

int
unproven_allows(const struct mark_record *record)
{
    return record->state == STATE_INSTALLED;
}
