// flash.h
//
// The seam between the loader and the flash of the chip. Nobody else touches a
// flash address: reading is an operation that can fail (a torn word answers
// every read with a bus fault), and writing obeys rules that only the driver
// knows. flash_h743.c is the chip; the host tests link another file.

#ifndef SPLITFLASH_FLASH_H
#define SPLITFLASH_FLASH_H

#include "loader.h"

enum flash_result {
    FLASH_OK = 0,
    FLASH_CORRECTED = 1,   // read: right data, but a bit was repaired
    FLASH_UNREADABLE = -1, // read: a torn word; the data are all zero
    FLASH_RANGE = -2,      // not an address the loader may do this to
    FLASH_SUPPLY = -3,     // supply too low: not begun (own DFU; others wait)
    FLASH_FAILED = -4,     // the chip reported an error or reads back wrong
};

void flash_open(void);
void flash_close(void);

// Any size and a 4-byte aligned address, within one bank.
NODISCARD enum flash_result
flash_read(void *out, uint32_t address, uint32_t size);

// OK only if the flash reads exactly this, without any repaired bit.
NODISCARD enum flash_result
flash_compare(uint32_t address, const void *data, uint32_t size);

// OK only if every byte reads 0xff, without any repaired bit.
NODISCARD enum flash_result flash_blank(uint32_t address, uint32_t size);

// The whole sector at this address.
NODISCARD enum flash_result flash_erase_sector(uint32_t address);

// Whole blank flash words. Words of ones are left blank. Reads back.
NODISCARD enum flash_result
flash_program(uint32_t address, const void *data, uint32_t size);

#endif
