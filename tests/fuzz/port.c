// port.c

#include "port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

#define NOWHERE 0xffffffffu
#define MOST_READS 200000u
#define MOST_OPERATIONS 20000u

struct port port;

struct place {
    uint8_t *bytes;
    uint8_t *poison;
};

void
finding(const char *kind, const char *what)
{
    fprintf(stderr, "%s: %s\n", kind, what);
    abort();
}

void
port_reset(void)
{
    port.staging = 0;
    port.staging_size = 0;
    port.poisoned_word = NOWHERE;
    memset(port.marks, 0xff, sizeof port.marks);
    memset(port.marks_poison, 0, sizeof port.marks_poison);
    memset(port.carry, 0xff, sizeof port.carry);
    memset(port.carry_poison, 0, sizeof port.carry_poison);
    port.cut_at = 0;
    port.cut_flavour = 0;
    port.on_cut = 0;
    port.may_panic = 0;
    port.failing_operation = 0;
    port_begin(0);
}

void
port_begin(int may_write)
{
    port.may_write = may_write;
    port.reads = 0;
    port.operations = 0;
}

uint32_t
port_noise(void)
{
    port.noise = port.noise * 1664525u + 1013904223u;
    return port.noise >> 8;
}

static int
lies_in(uint64_t start, uint64_t length, uint64_t address, uint64_t size)
{
    return address >= start && address + size <= start + length;
}

// Where marks or the carry area keep this range; bytes is 0 if neither does.
static struct place
writable_place(uint32_t address, uint32_t size)
{
    const uint32_t carry =
        info_block.app.start + info_block.app.size - CARRY_SIZE;
    struct place found = { 0, 0 };
    if (lies_in(info_block.marks.start, SECTOR_SIZE, address, size)) {
        const uint32_t at = address - info_block.marks.start;
        found.bytes = port.marks + at;
        found.poison = port.marks_poison + at / FLASH_WORD;
    } else if (lies_in(carry, CARRY_SIZE, address, size)) {
        found.bytes = port.carry + (address - carry);
        found.poison = port.carry_poison + (address - carry) / FLASH_WORD;
    }
    return found;
}

static enum flash_result
read_staging(uint8_t *out, uint32_t offset, uint32_t size)
{
    const uint32_t first = offset / FLASH_WORD;
    const uint32_t last = (offset + size - 1) / FLASH_WORD;
    const size_t have =
        offset < port.staging_size ? port.staging_size - offset : 0;
    const size_t take = have < size ? have : size;
    if (port.poisoned_word >= first && port.poisoned_word <= last) {
        memset(out, 0, size);
        return FLASH_UNREADABLE;
    }
    memset(out, 0xff, size);
    if (take) {
        memcpy(out, port.staging + offset, take);
    }
    return FLASH_OK;
}

enum flash_result
flash_read(void *out, uint32_t address, uint32_t size)
{
    REQUIRE(++port.reads < MOST_READS, "reads flash without end");
    REQUIRE(address % 4 == 0, "reads flash unaligned");
    REQUIRE(size > 0, "reads nothing");
    if (lies_in(info_block.staging.start, info_block.staging.size, address,
                size)) {
        return read_staging(out, address - info_block.staging.start, size);
    }
    const struct place place = writable_place(address, size);
    REQUIRE(place.bytes, "reads outside of its areas");
    const uint32_t words =
        (address % FLASH_WORD + size + FLASH_WORD - 1) / FLASH_WORD;
    for (uint32_t i = 0; i < words; i++) {
        if (place.poison[i]) {
            memset(out, 0, size);
            return FLASH_UNREADABLE;
        }
    }
    memcpy(out, place.bytes, size);
    return FLASH_OK;
}

enum flash_result
flash_compare(uint32_t address, const void *data, uint32_t size)
{
    uint8_t found[RECORD_SIZE];
    REQUIRE(size <= sizeof found, "compares more than a record");
    const enum flash_result result = flash_read(found, address, size);
    if (result != FLASH_OK) {
        return result;
    }
    return memcmp(found, data, size) ? FLASH_FAILED : FLASH_OK;
}

enum flash_result
flash_blank(uint32_t address, uint32_t size)
{
    static uint8_t blank[RECORD_SIZE];
    memset(blank, 0xff, sizeof blank);
    return flash_compare(address, blank, size);
}

// Counts an operation; what becomes of it: 0 before, 1 torn, 2 done.
static int
fate_of_operation(void)
{
    REQUIRE(port.may_write, "writes while it should only look");
    REQUIRE(++port.operations < MOST_OPERATIONS, "writes without end");
    if (port.cut_at && port.operations == port.cut_at) {
        return (int)(port.cut_flavour % 3);
    }
    return port.operations == port.failing_operation ? 1 : 2;
}

static void
cut_here(void)
{
    if (port.on_cut && port.cut_at && port.operations == port.cut_at) {
        longjmp(*port.on_cut, 1);
    }
}

// Any subset of the bits is cleared; the ECC may or may not fit.
static void
tear_word(uint8_t *bytes, uint8_t *poison, const uint8_t *data)
{
    for (uint32_t i = 0; i < FLASH_WORD; i++) {
        bytes[i] &= (uint8_t)(data[i] | port_noise());
    }
    *poison |= (uint8_t)(port_noise() & 1);
}

static enum flash_result
program_word(struct place place, const uint8_t *data)
{
    static const uint8_t ones[FLASH_WORD] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    };
    if (!memcmp(data, ones, sizeof ones)) {
        return FLASH_OK; // left blank, as the driver does
    }
    const int fate = fate_of_operation();
    for (uint32_t i = 0; i < FLASH_WORD; i++) {
        REQUIRE(place.bytes[i] == 0xff && !*place.poison,
                "programs a word that is not blank");
    }
    if (fate == 2) {
        memcpy(place.bytes, data, FLASH_WORD);
    } else if (fate == 1) {
        tear_word(place.bytes, place.poison, data);
    }
    cut_here();
    return fate == 2 ? FLASH_OK : FLASH_FAILED;
}

enum flash_result
flash_program(uint32_t address, const void *data, uint32_t size)
{
    const uint8_t *from = data;
    REQUIRE(address % FLASH_WORD == 0 && size % FLASH_WORD == 0,
            "programs parts of flash words");
    for (uint32_t at = 0; at < size; at += FLASH_WORD) {
        const struct place place = writable_place(address + at, FLASH_WORD);
        REQUIRE(place.bytes, "programs outside of its areas");
        const enum flash_result result = program_word(place, from + at);
        if (result != FLASH_OK) {
            return result;
        }
    }
    return flash_compare(address, data, size);
}

// A word after a cut erase: as it was, blank, between the two, or unreadable.
static void
half_erase(void)
{
    for (uint32_t word = 0; word < SECTOR_SIZE / FLASH_WORD; word++) {
        uint8_t *bytes = port.marks + word * FLASH_WORD;
        const uint32_t kind = port_noise() % 8;
        if (kind == 0) {
            port.marks_poison[word] = 1;
        } else if (kind == 3 || kind == 4) {
            port.marks_poison[word] = 0;
        }
        for (uint32_t i = 0; i < FLASH_WORD && kind < 5; i++) {
            bytes[i] |= kind > 2 ? 0xff : (uint8_t)port_noise();
        }
    }
}

enum flash_result
flash_erase_sector(uint32_t address)
{
    REQUIRE(address == info_block.marks.start, "erases outside of marks");
    const int fate = fate_of_operation();
    if (fate == 2) {
        memset(port.marks, 0xff, sizeof port.marks);
        memset(port.marks_poison, 0, sizeof port.marks_poison);
    } else if (fate == 1) {
        half_erase();
    }
    cut_here();
    return fate == 2 ? FLASH_OK : FLASH_FAILED;
}

void
machine_long_work(void)
{
}

void
machine_feed_watchdog(void)
{
}

void
machine_panic(void)
{
    if (port.may_panic && port.on_cut) {
        longjmp(*port.on_cut, 2);
    }
    finding("BROKEN PROMISE", "panics");
}

void
machine_start(uint32_t vectors, uint32_t sp, uint32_t pc)
{
    (void)vectors;
    (void)sp;
    (void)pc;
    finding("BROKEN PROMISE", "starts the app");
}
