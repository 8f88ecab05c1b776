// unproven_dev.c
//
// A development loader, for the loop of editing and debugging: it starts
// whatever has plausible vectors, as it was put there by the debugger. Promises:
// even so, nothing is started while an install is in pieces.

#include "unproven.h"

#include "app.h"

uint32_t
unproven_app(const struct mark_record *record, uint32_t verdict)
{
    uint32_t vectors[2];
    if (!unproven_allows(record) ||
        app_read_vectors(vectors, info_block.app.size)) {
        return verdict;
    }
    return APP_VALID;
}

int
unproven_allows(const struct mark_record *record)
{
    return record->state != STATE_INSTALLING;
}
