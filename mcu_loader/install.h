// install.h
//
// Puts an authentic update into the app area; the only writer of it. Promises:
// staging is only read; the app counts as installed only after the whole image
// was read back from flash; a cut anywhere is resumed by running it again; a
// sector is left as it is only if it can be trusted and is equal already.

#ifndef SPLITFLASH_INSTALL_H
#define SPLITFLASH_INSTALL_H

#include "mark.h"
#include "update.h"

// REASON_NONE: installed, and marks->newest says so.
NODISCARD enum reason install_update(const struct update *update,
                                     struct marks *marks);

// Erases the header's sector of staging, so that nothing is repeated.
void install_clear_staging(void);

#endif
