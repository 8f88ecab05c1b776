// port.h
//
// The flash of the fuzzers: three areas in memory behind the loader's own seam
// (flash.h). Promises: a read or write that the driver of the chip would not
// do, a program of a word that is not blank, a write where only reading was
// expected, and work without end are findings, not answers.

#ifndef FUZZ_PORT_H
#define FUZZ_PORT_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include "flash.h"
#include "loader.h"

// Prints what was found in one line and ends the process.
__attribute__((noreturn)) void finding(const char *kind, const char *what);

#define REQUIRE(condition, what) \
    do {                         \
        if (!(condition)) {      \
            finding("BROKEN PROMISE", what); \
        }                        \
    } while (0)

struct port {
    // staging: the fuzzer's bytes, blank behind them; never written
    const uint8_t *staging;
    size_t staging_size;
    uint32_t poisoned_word; // of staging, counted from its start
    // marks and the carry area: may be written
    uint8_t marks[SECTOR_SIZE];
    uint8_t marks_poison[SECTOR_SIZE / FLASH_WORD];
    uint8_t carry[CARRY_SIZE];
    uint8_t carry_poison[CARRY_SIZE / FLASH_WORD];
    int may_write;
    uint32_t reads;      // calls since port_begin()
    uint32_t operations; // programs and erases since port_begin()
    // power: at operation `cut_at` (from 1; 0 never) it fails
    uint32_t cut_at;
    uint32_t cut_flavour; // 0 before, 1 torn, 2 after
    uint32_t noise;       // what a torn operation leaves
    jmp_buf *on_cut;
    int may_panic; // starting over is legal: then it goes on at on_cut too
    uint32_t failing_operation; // reports an error and leaves a torn word
};

extern struct port port;

// Blank everywhere, no faults, staging empty.
void port_reset(void);
// Counts from here; `may_write` says whether operations are legal.
void port_begin(int may_write);
// The next pseudo-random number of port.noise.
uint32_t port_noise(void);

#endif
