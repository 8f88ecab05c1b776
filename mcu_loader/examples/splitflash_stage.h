// splitflash_stage.h: a second door for updates, for the running application.
//
// Takes the bytes of an update file (.update.bin) from wherever the application
// has them (UART, Ethernet, SD card) and puts them into staging; the loader
// checks, decrypts and installs at the next reset. All of it is ciphertext: no
// key is needed here, and nothing that is written here is trusted.
//
// Promises: staging alone is changed, each flash word written once behind an
// erase; the word with the update's mark is written last, so a transfer that
// stops anywhere, by reset, power cut or splitflash_stage_abort(), leaves no
// update behind, and the next splitflash_stage_begin() starts clean; flash is
// waited for in RAM (section .RamFunc of the exported linker script), with the
// watchdog fed. One transfer at a time, from one context, interrupts stay on;
// if application and staging share a bank, interrupts wait for each erase (1
// to 2 s) unless their handlers and vectors are in RAM.

#ifndef SPLITFLASH_STAGE_H
#define SPLITFLASH_STAGE_H

#include <stdint.h>

enum splitflash_stage_result {
    SPLITFLASH_STAGE_OK = 0,
    // not begun, or more or fewer bytes than announced
    SPLITFLASH_STAGE_ORDER = -1,
    // smaller than a header, or larger than staging
    SPLITFLASH_STAGE_SIZE = -2,
    // the flash reported an error or reads back wrong: begin again
    SPLITFLASH_STAGE_FLASH = -3,
    // the bytes do not begin as an update does
    SPLITFLASH_STAGE_NO_UPDATE = -4,
};

// Erases the first sector: what was staged before is gone. `size` is that of
// the whole file.
enum splitflash_stage_result splitflash_stage_begin(uint32_t size);

// The next bytes, any number of them. May erase a sector on the way.
enum splitflash_stage_result
splitflash_stage_write(const void *data, uint32_t size);

// All bytes are there: the update is complete for the loader. Reset to install.
enum splitflash_stage_result splitflash_stage_finish(void);

// Forget what came so far.
void splitflash_stage_abort(void);

#endif
