// unproven.h
//
// What becomes of an application that no record speaks for: none was ever
// written, or the debugger has put another application there since. Which
// answer a loader gives is the choice of a file: unproven_refused.c in
// production; unproven_dev.c in a development loader, which is never shipped.

#ifndef SPLITFLASH_UNPROVEN_H
#define SPLITFLASH_UNPROVEN_H

#include "loader.h"

// `verdict` is what app_check() said. APP_VALID or anything else.
uint32_t unproven_app(const struct mark_record *record, uint32_t verdict);

// Whether an application may be started while this is the newest record.
int unproven_allows(const struct mark_record *record);

#endif
