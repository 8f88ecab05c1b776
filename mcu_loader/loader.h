// loader.h
//
// What every file of the loader agrees on: its configuration (generated at
// build time), attributes, and the two habits that make a skipped instruction
// harmless: wide constants for every answer, and asking twice.

#ifndef SPLITFLASH_LOADER_H
#define SPLITFLASH_LOADER_H

#include "format.h"

#define NODISCARD __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define NOINLINE __attribute__((noinline))

// RAM that is not cleared at start (it is wiped before every jump).
#define NOINIT __attribute__((section(".noinit")))
#define KEPT __attribute__((section(".kept"))) // not wiped either

// Forget everything held in registers, so that the same question asked again
// is really asked again and not answered by the compiler.
#define ASK_AGAIN() __asm__ volatile("" ::: "memory")

// Forget where a value came from, so that a check of it is made again.
#define FORGET(value) __asm__ volatile("" : "+r"(value) : : "memory")

// Answers far apart, so that no skipped instruction leaves a "yes" behind.
#define YES 0x6c93a35cu
#define NO 0x935c5ca3u

struct device_key {
    uint8_t secret[32];
    uint8_t public_key[32];
};

struct loader_keys {
    uint8_t verify[VERIFY_KEY_SLOTS][32];
    struct device_key device[DEVICE_KEY_SLOTS];
};

// All of it in config.c, which the packager generates from the layout and the
// keys folder. The key ids are in the info block, for everyone to read.
extern const struct info_block info_block;
extern const struct loader_keys loader_keys;
extern const uint8_t published_keys[][32]; // keys that anyone can derive
extern const uint32_t published_key_count;

static inline uint32_t
min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

// True if [address, address + size) lies in the area; never overflows.
static inline int
area_holds(const struct area *area, uint32_t address, uint32_t size)
{
    const uint32_t offset = address - area->start;
    return address >= area->start && offset <= area->size &&
           size <= area->size - offset;
}

#endif
