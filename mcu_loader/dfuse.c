// dfuse.c
//
// See dfuse.h. The order of things, because hosts count on it: a DNLOAD is
// only noted; the first GETSTATUS answers dfuDNBUSY; when the host has that
// answer the work begins; a GETSTATUS after its end tells how it went.

#include "dfuse.h"

#include "mem.h"
#include "staging.h"

#define OPTION_BYTES 0x5200201cu
#define OPTION_BYTES_SIZE 308u // what STM32CubeProgrammer asks for
#define PROTECTION_SIZE 4u     // without them, only the word with the RDP byte
#define FLASH_START 0x08000000u
#define FLASH_SPAN 0x00200000u

// DS12110, 64-bit parallelism: an erase takes 1.0 s, at most 2.0 s, a flash
// word 0.1 ms, at most 0.2 ms. A host that comes earlier is told to come again.
#define ERASE_MS 1000u
#define ERASE_MORE_MS 50u
#define WORDS_PER_MS 8u

#define FIRST_DATA_BLOCK 2u
#define WORDS_PER_FLASH_WORD (FLASH_WORD / 4u)

enum request {
    DFU_DNLOAD = 1,
    DFU_UPLOAD = 2,
    DFU_GETSTATUS = 3,
    DFU_CLRSTATUS = 4,
    DFU_GETSTATE = 5,
    DFU_ABORT = 6,
};

enum command {
    COMMAND_GET = 0x00,
    COMMAND_SET_ADDRESS = 0x21,
    COMMAND_ERASE = 0x41,
    COMMAND_READ_UNPROTECT = 0x92,
};

enum state {
    DFU_IDLE = 2,
    DFU_DNLOAD_SYNC = 3,
    DFU_DNBUSY = 4,
    DFU_DNLOAD_IDLE = 5,
    DFU_MANIFEST_SYNC = 6,
    DFU_MANIFEST = 7,
    DFU_UPLOAD_IDLE = 9,
    DFU_ERROR = 10,
};

enum status {
    STATUS_OK = 0,
    STATUS_TARGET = 1,
    STATUS_WRITE = 3,
    STATUS_ERASE = 4,
    STATUS_CHECK_ERASED = 5,
    STATUS_PROG = 6,
    STATUS_VERIFY = 7,
    STATUS_ADDRESS = 8,
    STATUS_NOT_DONE = 9,
    STATUS_VENDOR = 11,
    STATUS_STALLED = 15,
};

enum work {
    WORK_NONE = 0,
    WORK_POINT,
    WORK_ERASE,
    WORK_WRITE,
    WORK_REFUSE, // with `outcome`
};

// What the last DNLOAD asks for.
struct job {
    enum work work;
    enum status outcome;
    uint32_t begin;
    uint32_t at;
    uint32_t end;
    uint32_t has_begun;    // the host knows that it is going on
    uint32_t is_under_way; // an operation of this job runs
};

struct window {
    struct area area;
    uint32_t is_flash;
};

enum { STAGING_WINDOW, INFO_WINDOW, MARKS_WINDOW, OPTIONS_WINDOW, WINDOWS };

static struct {
    struct window windows[WINDOWS];
    enum state state;
    enum status status;
    uint32_t pointer;
    uint32_t leaving; // YES: the host was told
    struct job job;
    uint32_t transfer[DFUSE_TRANSFER_SIZE / 4];
    uint8_t answer[8];
} dfuse;

static const struct area *
staging(void)
{
    return &dfuse.windows[STAGING_WINDOW].area;
}

void
dfuse_open(const struct info_block *info)
{
    struct window *windows = dfuse.windows;
    windows[STAGING_WINDOW].area.start = info->staging.start;
    windows[STAGING_WINDOW].area.size = info->staging.size;
    windows[INFO_WINDOW].area.start = info->loader.start + INFO_OFFSET;
    windows[INFO_WINDOW].area.size = INFO_SIZE;
    windows[MARKS_WINDOW].area.start = info->marks.start;
    windows[MARKS_WINDOW].area.size = info->marks.size;
    windows[OPTIONS_WINDOW].area.start = OPTION_BYTES;
    windows[OPTIONS_WINDOW].area.size =
        info->option_bytes_alt ? OPTION_BYTES_SIZE : PROTECTION_SIZE;
    for (uint32_t i = 0; i < WINDOWS; i++) {
        windows[i].is_flash = i == OPTIONS_WINDOW ? NO : YES;
    }
    dfuse.leaving = NO;
    dfuse_reset();
}

// An operation that runs is left alone: the next job waits for its end.
void
dfuse_reset(void)
{
    dfuse.state = DFU_IDLE;
    dfuse.status = STATUS_OK;
    dfuse.pointer = staging()->start;
    dfuse.job.work = WORK_NONE;
    dfuse.job.has_begun = NO;
    dfuse.job.is_under_way = NO;
}

// A host that lost its place: STALL, and why, unless work would be lost.
static int
refuse(enum status why)
{
    if (dfuse.state != DFU_DNBUSY && dfuse.state != DFU_MANIFEST) {
        dfuse.state = DFU_ERROR;
        dfuse.status = why;
    }
    return USB_REFUSED;
}

static uint32_t
little_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 |
           (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint32_t
address_of_block(uint32_t number)
{
    return dfuse.pointer + (number - FIRST_DATA_BLOCK) * DFUSE_TRANSFER_SIZE;
}

// --- reading ---------------------------------------------------------------

static const struct window *
window_of(uint32_t address)
{
    for (uint32_t i = 0; i < WINDOWS; i++) {
        if (area_holds(&dfuse.windows[i].area, address, 1)) {
            return &dfuse.windows[i];
        }
    }
    return 0;
}

// From here on `address` is looked at once more, because what lies beside the
// windows are the keys.
static int
read_window(const struct window *window, uint32_t address, uint32_t size)
{
    if (staging_poll() == STAGING_BUSY) {
        return refuse(STATUS_NOT_DONE);
    }
    FORGET(address);
    FORGET(size);
    if (!area_holds(&window->area, address, size)) {
        return refuse(STATUS_ADDRESS);
    }
    if (window->is_flash == YES) {
        return flash_read(dfuse.transfer, address, size) < 0
                   ? refuse(STATUS_VERIFY) // torn: it has to be erased
                   : (int)size;
    }
    for (uint32_t at = 0; at < size; at += 4) {
        dfuse.transfer[at / 4] = staging_option(address + at);
    }
    return (int)size;
}

static int
upload(const struct usb_setup *setup, const uint8_t **data)
{
    static const uint8_t commands[] = { COMMAND_GET, COMMAND_SET_ADDRESS,
                                        COMMAND_ERASE };
    if ((dfuse.state != DFU_IDLE && dfuse.state != DFU_UPLOAD_IDLE) ||
        setup->length > DFUSE_TRANSFER_SIZE) {
        return refuse(STATUS_STALLED);
    }
    if (setup->value == 0) {
        dfuse.state = DFU_UPLOAD_IDLE;
        *data = commands;
        return sizeof commands;
    }
    if (setup->value < FIRST_DATA_BLOCK) {
        return refuse(STATUS_STALLED);
    }
    const uint32_t address = address_of_block(setup->value);
    const struct window *window = window_of(address);
    if (!window || address % 4) {
        return refuse(STATUS_ADDRESS);
    }
    const uint32_t left =
        window->area.size - (address - window->area.start);
    const int size =
        read_window(window, address, min_u32(setup->length, left));
    if (size != USB_REFUSED) {
        dfuse.state = DFU_UPLOAD_IDLE;
        *data = (const uint8_t *)dfuse.transfer;
    }
    return size;
}

// --- status ----------------------------------------------------------------

static uint32_t
milliseconds_left(void)
{
    const struct job *job = &dfuse.job;
    if (job->work == WORK_ERASE) {
        return job->has_begun == YES
                   ? ERASE_MORE_MS
                   : (job->end - job->at) / SECTOR_SIZE * ERASE_MS;
    }
    if (job->work == WORK_WRITE) {
        return 1 + (job->end - job->at) / FLASH_WORD / WORDS_PER_MS;
    }
    return 0;
}

static int
get_status(const uint8_t **data)
{
    uint32_t poll = 0;
    if (dfuse.state == DFU_DNLOAD_SYNC) {
        dfuse.state = DFU_DNBUSY;
        poll = milliseconds_left();
    } else if (dfuse.state == DFU_DNBUSY) {
        if (dfuse.job.work != WORK_NONE) {
            poll = milliseconds_left();
        } else {
            dfuse.status = dfuse.job.outcome;
            dfuse.state =
                dfuse.status == STATUS_OK ? DFU_DNLOAD_IDLE : DFU_ERROR;
        }
    } else if (dfuse.state == DFU_MANIFEST_SYNC) {
        dfuse.state = DFU_MANIFEST;
    }
    dfuse.answer[0] = (uint8_t)dfuse.status;
    dfuse.answer[1] = (uint8_t)poll;
    dfuse.answer[2] = (uint8_t)(poll >> 8);
    dfuse.answer[3] = (uint8_t)(poll >> 16);
    dfuse.answer[4] = (uint8_t)dfuse.state;
    dfuse.answer[5] = 0;
    *data = dfuse.answer;
    return 6;
}

static int
get_state(const uint8_t **data)
{
    dfuse.answer[0] = (uint8_t)dfuse.state;
    *data = dfuse.answer;
    return 1;
}

static int
clear_status(void)
{
    if (dfuse.state == DFU_DNBUSY || dfuse.state == DFU_MANIFEST) {
        return USB_REFUSED;
    }
    dfuse.state = DFU_IDLE;
    dfuse.status = STATUS_OK;
    dfuse.job.work = WORK_NONE;
    return 0;
}

static int
go_idle(void)
{
    if (dfuse.state == DFU_ERROR) {
        return USB_REFUSED; // CLRSTATUS leads out of it
    }
    return clear_status();
}

// --- commands and data -----------------------------------------------------

static void
note(enum work work, uint32_t begin, uint32_t end)
{
    dfuse.job.work = work;
    dfuse.job.outcome = STATUS_OK;
    dfuse.job.begin = begin;
    dfuse.job.at = begin;
    dfuse.job.end = end;
    dfuse.job.has_begun = NO;
    dfuse.job.is_under_way = NO;
    dfuse.state = DFU_DNLOAD_SYNC;
}

static void
note_refusal(enum status why)
{
    note(WORK_REFUSE, 0, 0);
    dfuse.job.outcome = why;
}

static void
note_erase(uint32_t address)
{
    const uint32_t sector = address & ~(SECTOR_SIZE - 1);
    if (area_holds(staging(), sector, SECTOR_SIZE)) {
        note(WORK_ERASE, sector, sector + SECTOR_SIZE);
    } else {
        note_refusal(STATUS_ADDRESS);
    }
}

static int
take_command(const uint8_t *bytes, uint32_t length)
{
    const uint32_t address = length == 5 ? little_endian(bytes + 1) : 0;
    if (bytes[0] == COMMAND_SET_ADDRESS && length == 5) {
        note(WORK_POINT, address, address);
    } else if (bytes[0] == COMMAND_ERASE && length == 5) {
        note_erase(address);
    } else if (bytes[0] == COMMAND_ERASE && length == 1) {
        // "everything" is everything there is for the host to write
        note(WORK_ERASE, staging()->start, staging()->start + staging()->size);
    } else if (bytes[0] == COMMAND_READ_UNPROTECT && length == 1) {
        note_refusal(STATUS_VENDOR); // does not exist here: nothing happens
    } else {
        return refuse(STATUS_STALLED);
    }
    return 0;
}

static int
take_data(uint32_t block, uint32_t length)
{
    const uint32_t address = address_of_block(block);
    uint8_t *bytes = (uint8_t *)dfuse.transfer;
    while (length % FLASH_WORD) {
        bytes[length++] = 0xff;
    }
    if (address % FLASH_WORD || !area_holds(staging(), address, length)) {
        note_refusal(STATUS_ADDRESS);
    } else {
        note(WORK_WRITE, address, address + length);
    }
    return 0;
}

static int
take_download(const struct usb_setup *setup)
{
    if (dfuse.state != DFU_IDLE && dfuse.state != DFU_DNLOAD_IDLE) {
        return refuse(STATUS_STALLED);
    }
    if (setup->length == 0) {
        dfuse.state = DFU_MANIFEST_SYNC;
        return 0;
    }
    if (setup->value == 0) {
        return take_command((const uint8_t *)dfuse.transfer, setup->length);
    }
    if (setup->value < FIRST_DATA_BLOCK) {
        return refuse(STATUS_STALLED);
    }
    return take_data(setup->value, setup->length);
}

// --- requests --------------------------------------------------------------

int
dfuse_in(const struct usb_setup *setup, const uint8_t **data)
{
    switch (setup->request) {
    case DFU_UPLOAD:
        return upload(setup, data);
    case DFU_GETSTATUS:
        return get_status(data);
    case DFU_GETSTATE:
        return get_state(data);
    default:
        return refuse(STATUS_STALLED);
    }
}

uint8_t *
dfuse_out(const struct usb_setup *setup)
{
    if (setup->request != DFU_DNLOAD || setup->length > DFUSE_TRANSFER_SIZE ||
        (dfuse.state != DFU_IDLE && dfuse.state != DFU_DNLOAD_IDLE)) {
        (void)refuse(STATUS_STALLED);
        return 0;
    }
    return (uint8_t *)dfuse.transfer;
}

int
dfuse_take(const struct usb_setup *setup)
{
    switch (setup->request) {
    case DFU_DNLOAD:
        return take_download(setup);
    case DFU_CLRSTATUS:
        return clear_status();
    case DFU_ABORT:
        return go_idle();
    default:
        return refuse(STATUS_STALLED);
    }
}

void
dfuse_done(const struct usb_setup *setup)
{
    if (setup->request != DFU_GETSTATUS) {
        return;
    }
    if (dfuse.state == DFU_DNBUSY) {
        dfuse.job.has_begun = YES;
    } else if (dfuse.state == DFU_MANIFEST) {
        dfuse.leaving = YES;
    }
}

uint32_t
dfuse_is_leaving(void)
{
    return dfuse.leaving;
}

// --- work ------------------------------------------------------------------

static void
finish(enum status outcome)
{
    dfuse.job.outcome = outcome;
    dfuse.job.work = WORK_NONE;
}

static void
under_way(enum flash_result begun)
{
    if (begun == FLASH_OK) {
        dfuse.job.is_under_way = YES;
    } else {
        finish(begun == FLASH_SUPPLY ? STATUS_WRITE : STATUS_NOT_DONE);
    }
}

// Anywhere in the chip's flash, because hosts point at its start to leave.
static void
point(void)
{
    const struct area flash = { FLASH_START, FLASH_SPAN };
    const uint32_t address = dfuse.job.at;
    if (!area_holds(&flash, address, 1) && !window_of(address)) {
        finish(STATUS_TARGET);
        return;
    }
    dfuse.pointer = address;
    finish(STATUS_OK);
}

static void
erase(int has_ended)
{
    struct job *job = &dfuse.job;
    if (has_ended) {
        if (flash_blank(job->at, SECTOR_SIZE) != FLASH_OK) {
            finish(STATUS_CHECK_ERASED);
            return;
        }
        job->at += SECTOR_SIZE;
    }
    if (job->at == job->end) {
        finish(STATUS_OK);
    } else {
        under_way(staging_erase(job->at));
    }
}

// One flash word. What stands there already is as good as written; over
// anything else than blank it is refused, because a word takes one writing.
static void
write(int has_ended)
{
    struct job *job = &dfuse.job;
    const uint32_t *word = dfuse.transfer + (job->at - job->begin) / 4;
    uint32_t found[WORDS_PER_FLASH_WORD];
    const enum flash_result result = flash_read(found, job->at, FLASH_WORD);
    if (result == FLASH_OK && !mem_differs(found, word, FLASH_WORD)) {
        job->at += FLASH_WORD;
        if (job->at == job->end) {
            finish(STATUS_OK);
        }
    } else if (has_ended) {
        finish(STATUS_VERIFY);
    } else if (result != FLASH_OK ||
               mem_differs_from(found, 0xff, FLASH_WORD)) {
        finish(STATUS_CHECK_ERASED);
    } else {
        under_way(staging_program(job->at, word));
    }
}

void
dfuse_work(void)
{
    struct job *job = &dfuse.job;
    const enum staging_progress progress = staging_poll();
    if (progress == STAGING_BUSY || job->has_begun != YES) {
        return;
    }
    const int has_ended = job->is_under_way == YES;
    job->is_under_way = NO;
    if (has_ended && progress != STAGING_DONE) {
        finish(job->work == WORK_ERASE ? STATUS_ERASE : STATUS_PROG);
        return;
    }
    switch (job->work) {
    case WORK_NONE:
        return;
    case WORK_POINT:
        point();
        return;
    case WORK_ERASE:
        erase(has_ended);
        return;
    case WORK_WRITE:
        write(has_ended);
        return;
    case WORK_REFUSE:
        finish(job->outcome);
        return;
    }
}
