// door_host.c
//
// The door without a chip: dfuse.c, usb_device.c and descriptors.c over a flash
// that is an array. In place of the USB controller one call per control
// transfer. Notes every rule that is broken instead of stopping at it.

#include "door_host.h"

#include <string.h>

#include "dfuse.h"
#include "staging.h"
#include "usb_device.h"

#define FLASH_START 0x08000000u
#define FLASH_SPAN 0x00200000u
#define WORDS (FLASH_SPAN / FLASH_WORD)

// What info_block is on the chip, which only the driver of staging reads.
static struct info_block info;

static uint8_t flash[FLASH_SPAN];
static uint8_t sick[WORDS]; // 1: reads repaired, 2: not at all
static struct host_door door;

static enum staging_progress result;
static uint32_t busy_turns;

// --- the seam staging.h ----------------------------------------------------

static int
is_in_flash(uint32_t address, uint32_t size)
{
    const struct area all = { FLASH_START, FLASH_SPAN };
    return area_holds(&all, address, size);
}

enum flash_result
flash_read(void *out, uint32_t address, uint32_t size)
{
    if (busy_turns) {
        door.broken |= HOST_READ_WHILE_BUSY;
    }
    if (address % 4 || !is_in_flash(address, size)) {
        door.broken |= HOST_BAD_ADDRESS;
        return FLASH_RANGE;
    }
    const struct area info_area = { info.loader.start + INFO_OFFSET,
                                    INFO_SIZE };
    if (!area_holds(&info.staging, address, size) &&
        !area_holds(&info.marks, address, size) &&
        !area_holds(&info_area, address, size)) {
        door.broken |= HOST_READ_OF_A_SECRET;
    }
    uint8_t worst = 0;
    for (uint32_t at = 0; at < size; at += 4) {
        worst |= sick[(address + at - FLASH_START) / FLASH_WORD];
    }
    if (worst & 2) {
        memset(out, 0, size);
        return FLASH_UNREADABLE;
    }
    memcpy(out, flash + (address - FLASH_START), size);
    return worst ? FLASH_CORRECTED : FLASH_OK;
}

enum flash_result
flash_blank(uint32_t address, uint32_t size)
{
    static uint8_t block[SECTOR_SIZE];
    const enum flash_result found = flash_read(block, address, size);
    if (found != FLASH_OK) {
        return found;
    }
    for (uint32_t i = 0; i < size; i++) {
        if (block[i] != 0xff) {
            return FLASH_FAILED;
        }
    }
    return FLASH_OK;
}

enum staging_progress
staging_poll(void)
{
    if (busy_turns) {
        busy_turns--;
        return STAGING_BUSY;
    }
    const enum staging_progress said = result;
    result = STAGING_IDLE;
    return said;
}

// The host must have been told before anything begins.
static enum flash_result
begin(uint32_t address, uint32_t size)
{
    if (busy_turns || result != STAGING_IDLE) {
        door.broken |= HOST_TWO_OPERATIONS;
    }
    if (!area_holds(&info.staging, address, size)) {
        door.broken |= HOST_OUTSIDE_STAGING;
        return FLASH_RANGE;
    }
    if (!door.busy_was_told) {
        door.broken |= HOST_NOT_TOLD;
    }
    if (door.supply_is_low) {
        return FLASH_SUPPLY;
    }
    busy_turns = door.turns_of_an_operation;
    result = door.operations_fail ? STAGING_FAILED : STAGING_DONE;
    return FLASH_OK;
}

enum flash_result
staging_erase(uint32_t address)
{
    const enum flash_result begun = begin(address, SECTOR_SIZE);
    if (address % SECTOR_SIZE) {
        door.broken |= HOST_BAD_ADDRESS;
    }
    if (begun == FLASH_OK && !door.operations_fail) {
        memset(flash + (address - FLASH_START), 0xff, SECTOR_SIZE);
        memset(sick + (address - FLASH_START) / FLASH_WORD, 0,
               SECTOR_SIZE / FLASH_WORD);
    }
    if (begun == FLASH_OK) {
        door.erases++;
        door.last_erased = address;
    }
    return begun;
}

enum flash_result
staging_program(uint32_t address, const uint32_t *word)
{
    uint8_t *cell = flash + (address - FLASH_START);
    const enum flash_result begun = begin(address, FLASH_WORD);
    if (address % FLASH_WORD) {
        door.broken |= HOST_BAD_ADDRESS;
    }
    if (begun != FLASH_OK || door.operations_fail) {
        return begun;
    }
    door.programs++;
    for (uint32_t i = 0; i < FLASH_WORD; i++) {
        if (cell[i] != 0xff) {
            door.broken |= HOST_WRITTEN_TWICE;
        }
    }
    memcpy(cell, word, FLASH_WORD);
    if (door.programs_go_wrong) {
        cell[0] ^= 1;
    }
    return begun;
}

uint32_t
staging_option(uint32_t address)
{
    if (address % 4 || address < 0x5200201cu || address > 0x5200214cu) {
        door.broken |= HOST_BAD_ADDRESS;
    }
    return address == 0x5200201cu ? 0x1406aad0u : address;
}

// --- the seam usb.h --------------------------------------------------------

void
usb_set_address(uint32_t address)
{
    door.usb_address = address;
}

// --- called by Python and by the fuzzer ------------------------------------

uint8_t *
host_flash(void)
{
    return flash;
}

uint8_t *
host_sick(void)
{
    return sick;
}

struct host_door *
host_state(void)
{
    return &door;
}

void
host_open(const uint8_t *info_bytes)
{
    static const uint32_t uid[3] = { 0x00320041, 0x30385111, 0x38323934 };
    memcpy(&info, info_bytes, sizeof info);
    memset(&door, 0, sizeof door);
    memset(flash, 0xff, sizeof flash);
    memset(sick, 0, sizeof sick);
    busy_turns = 0;
    result = STAGING_IDLE;
    device_open(&info, uid);
}

void
host_work(uint32_t turns)
{
    while (turns--) {
        dfuse_work();
    }
}

uint32_t
host_is_leaving(void)
{
    return dfuse_is_leaving() == YES;
}

void
host_bus_reset(void)
{
    door.busy_was_told = 0;
    device_reset();
}

static int
in(const struct usb_setup *setup, uint8_t *data)
{
    const uint8_t *answer = 0;
    const int size = device_in(setup, &answer);
    if (size < 0) {
        return size;
    }
    const uint32_t sent = min_u32((uint32_t)size, setup->length);
    memcpy(data, answer, sent);
    return (int)sent;
}

static int
out(const struct usb_setup *setup, const uint8_t *data, uint32_t arrived)
{
    if (setup->length) {
        uint8_t *to = device_out(setup);
        if (!to) {
            return USB_REFUSED;
        }
        if (arrived < setup->length) {
            memcpy(to, data, arrived); // unplugged, or a new SETUP came
            return USB_REFUSED;
        }
        memcpy(to, data, setup->length);
    }
    return device_take(setup);
}

int
host_control(uint32_t request, uint32_t value_index, uint32_t length,
             uint8_t *data, uint32_t arrived, uint32_t is_finished)
{
    const struct usb_setup setup = {
        .type = (uint8_t)request,
        .request = (uint8_t)(request >> 8),
        .value = (uint16_t)value_index,
        .index = (uint16_t)(value_index >> 16),
        .length = (uint16_t)length,
    };
    const int size = setup.type & USB_IN && length
                         ? in(&setup, data)
                         : out(&setup, data, arrived);
    if (size >= 0 && is_finished) {
        if (setup.type == 0xa1 && setup.request == 3 && size >= 5) {
            door.busy_was_told = data[4] == 4;
        }
        device_done(&setup);
    }
    return size;
}
