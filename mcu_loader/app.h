// app.h
//
// Is there an application that may run, and starting it. Promises: the app
// area is only read; an app runs only after its record, its vectors and what
// the layout asks for were checked, and the record twice.

#ifndef SPLITFLASH_APP_H
#define SPLITFLASH_APP_H

#include "decide.h"

// Initial stack pointer in RAM (its end is legal), reset handler in the image,
// Thumb. Vectors as they lie at the start of an image.
int app_vectors_plausible(const uint32_t vectors[2], uint32_t image_size);

// The two words an image begins with, from flash: 0 if they are plausible.
NODISCARD int app_read_vectors(uint32_t vectors[2], uint32_t image_size);

// APP_VALID, if the record says that it was installed and the image in flash
// is the one it names; or anything else.
uint32_t app_check(const struct mark_record *record, enum boot_check how);

// CRC-32 of the image in flash, 0 if it cannot be read.
uint32_t app_crc(uint32_t image_size);

// Starts it, if `record` still says so.
NORETURN void app_start(const struct mark_record *record, uint32_t verdict);

#endif
