// install.c

#include "install.h"

#include "app.h"
#include "flash.h"
#include "machine.h"
#include "mem.h"

#define ATTEMPTS 3u

struct job {
    const struct update *update;
    struct marks *marks;
    uint32_t trusted; // bitmap of sectors whose content is known to be sound
};

static uint32_t
image_size(const struct job *job)
{
    return job->update->message.header.image_size;
}

static uint32_t
sector_address(uint32_t sector)
{
    return info_block.app.start + sector * SECTOR_SIZE;
}

static uint32_t
round_up(uint32_t size)
{
    return (size + FLASH_WORD - 1) & ~(FLASH_WORD - 1);
}

NOINLINE static enum flash_result
erase_patiently(uint32_t address)
{
    enum flash_result result = FLASH_FAILED;
    for (uint32_t i = 0; i < ATTEMPTS && result != FLASH_OK; i++) {
        // cut here: as the callers say
        result = flash_erase_sector(address);
    }
    return result;
}

// Bytes of the image in this sector.
static uint32_t
image_in_sector(const struct job *job, uint32_t sector)
{
    const uint32_t offset = sector * SECTOR_SIZE;
    return offset >= image_size(job)
               ? 0
               : min_u32(SECTOR_SIZE, image_size(job) - offset);
}

typedef enum flash_result (*visit)(uint32_t address, uint32_t size);

static enum flash_result
compare_chunk(uint32_t address, uint32_t size)
{
    return flash_compare(address, update_chunk.data, size);
}

static enum flash_result
program_chunk(uint32_t address, uint32_t size)
{
    const uint32_t padded = round_up(size);
    memset(update_chunk.data + size, 0xff, padded - size);
    // cut here: the sector is not marked done, the next boot erases it again
    const enum flash_result result =
        flash_program(address, update_chunk.data, padded);
    // read back once in flash_program and once more here
    return result == FLASH_OK
               ? flash_compare(address, update_chunk.data, padded)
               : result;
}

// Opens the chunks of a sector one after the other and shows each to `act`.
NODISCARD static enum reason
for_each_chunk(const struct job *job, uint32_t sector, visit act)
{
    const uint32_t chunk_size = job->update->message.header.chunk_size;
    const uint32_t end = image_in_sector(job, sector);
    uint32_t index = sector * (SECTOR_SIZE / chunk_size);
    for (uint32_t at = 0; at < end; at += chunk_size, index++) {
        const enum reason reason =
            update_open_chunk(job->update, index, &update_chunk);
        if (reason != REASON_NONE) {
            return reason; // nothing of it reached flash
        }
        if (act(sector_address(sector) + at, update_chunk.size) != FLASH_OK) {
            return REASON_FLASH_FAILED;
        }
    }
    return REASON_NONE;
}

NODISCARD static enum reason
rest_is_blank(const struct job *job, uint32_t sector)
{
    const uint32_t used = round_up(image_in_sector(job, sector));
    return flash_blank(sector_address(sector) + used, SECTOR_SIZE - used) ==
                   FLASH_OK
               ? REASON_NONE
               : REASON_FLASH_FAILED;
}

static int
sector_is_right(const struct job *job, uint32_t sector)
{
    return (job->trusted >> sector & 1u) &&
           for_each_chunk(job, sector, compare_chunk) == REASON_NONE &&
           rest_is_blank(job, sector) == REASON_NONE;
}

NODISCARD static enum reason
rewrite_sector(const struct job *job, uint32_t sector)
{
    // cut here: not marked done, so the next boot erases it again
    if (flash_erase_sector(sector_address(sector)) != FLASH_OK) {
        return REASON_FLASH_FAILED;
    }
    const enum reason reason = for_each_chunk(job, sector, program_chunk);
    return reason == REASON_NONE ? rest_is_blank(job, sector) : reason;
}

NODISCARD static enum reason
rewrite_patiently(const struct job *job, uint32_t sector)
{
    enum reason reason = REASON_FLASH_FAILED;
    for (uint32_t attempt = 0;
         attempt < ATTEMPTS && reason == REASON_FLASH_FAILED; attempt++) {
        reason = rewrite_sector(job, sector);
    }
    return reason;
}

static void
forget_refusal(struct mark_record *record)
{
    memset(&record->reason, 0,
           offsetof(struct mark_record, crc) -
               offsetof(struct mark_record, reason));
}

static void
describe(struct mark_record *record, const struct job *job, uint32_t type,
         uint32_t state)
{
    const struct update_header *header = &job->update->message.header;
    record->type = type;
    record->state = state;
    record->version = header->version;
    record->security_counter = header->security_counter;
    record->image_size = header->image_size;
    record->image_crc = 0;
    memcpy(record->update_id, job->update->update_id, DIGEST_SIZE);
    memcpy(record->image_digest, header->image_digest, DIGEST_SIZE);
    record->done_sectors = 0;
    forget_refusal(record);
}

// Notes that the app area changes, and which of its sectors count already.
NODISCARD static enum reason
append_progress(const struct job *job, uint32_t type, uint32_t done_sectors)
{
    struct mark_record record;
    memcpy(&record, &job->marks->newest, sizeof record);
    describe(&record, job, type, STATE_INSTALLING);
    record.done_sectors = done_sectors;
    // cut here: either still the old state with the old app, or installing;
    // a sector whose end was not noted is written again
    return marks_append_twice(job->marks, &record) ? REASON_MARKS_FULL
                                                   : REASON_NONE;
}

static int
is_resumed(const struct job *job)
{
    const struct mark_record *newest = &job->marks->newest;
    return newest->state == STATE_INSTALLING &&
           !mem_differs(newest->update_id, job->update->update_id, DIGEST_SIZE);
}

// Says that the app area is about to change, and settles what may be trusted.
NODISCARD static enum reason
announce(struct job *job)
{
    const struct mark_record *newest = &job->marks->newest;
    uint32_t done_sectors = 0;
    job->trusted = newest->state == STATE_INSTALLED ? 0xffffffffu : 0;
    if (is_resumed(job)) {
        done_sectors = newest->done_sectors;
        job->trusted = done_sectors;
        // The cut may have come while the last word of this very record was
        // written, and such a word can fade. Until a second one stands behind
        // it, the app area must not be touched on its word alone.
        if (job->marks->fresh == YES) {
            return REASON_NONE;
        }
    }
    return append_progress(job, RECORD_INSTALLING, done_sectors);
}

NODISCARD static enum reason
install_sector(const struct job *job, uint32_t sector)
{
    const uint32_t bit = 1u << sector;
    const uint32_t done = job->marks->newest.done_sectors;
    enum reason reason = REASON_NONE;
    if (sector_is_right(job, sector)) {
        if (done & bit) {
            return REASON_NONE;
        }
    } else {
        if (done & bit) {
            // or a cut would leave a sector that is called done and is not
            reason = append_progress(job, RECORD_INSTALLING, done ^ bit);
        }
        if (reason == REASON_NONE) {
            reason = rewrite_patiently(job, sector);
        }
        if (reason != REASON_NONE) {
            return reason;
        }
    }
    return append_progress(job, RECORD_DONE, done | bit);
}

// From here on the app counts: only what flash itself reads decides.
NODISCARD static enum reason
confirm(const struct job *job)
{
    struct mark_record record;
    memcpy(&record, &job->marks->newest, sizeof record);
    describe(&record, job, RECORD_INSTALLED, STATE_INSTALLED);
    record.image_crc = app_crc(record.image_size);
    record.floor_version = record.version;
    if (record.security_counter > record.floor_counter) {
        record.floor_counter = record.security_counter;
    }
    if (app_check(&record, BOOT_CHECK_DIGEST) != APP_VALID ||
        app_check(&record, BOOT_CHECK_CRC) != APP_VALID) {
        return REASON_IMAGE_DIGEST;
    }
    // cut here: everything is in place, the next boot finds all sectors done
    return marks_append_twice(job->marks, &record) ? REASON_MARKS_FULL : REASON_NONE;
}

NOINLINE static enum reason
install_and_confirm(const struct job *job)
{
    const uint32_t sectors = info_block.app.size / SECTOR_SIZE;
    for (uint32_t sector = 0; sector < sectors; sector++) {
        const enum reason reason = install_sector(job, sector);
        if (reason != REASON_NONE) {
            return reason;
        }
    }
    return confirm(job);
}

static uint32_t
last_sector(void)
{
    return info_block.app.size / SECTOR_SIZE - 1;
}

// Before the app area changes, while the carry area has a blank slot.
static void
make_room_early(struct marks *marks)
{
    if (!marks_have_room(marks) && marks->newest.state != STATE_INSTALLING) {
        (void)!marks_compact(marks); // if not, make_room_late() will
    }
}

// Cuts may use up every slot, and then there is none to say in that the app area
// counts for nothing. Its last sector can go all the same if no app reaches into
// it, or if the boot check would tell.
static int
last_sector_may_go(const struct mark_record *newest)
{
    return info_block.boot_check != BOOT_CHECK_OFF ||
           newest->image_size <= last_sector() * SECTOR_SIZE;
}

// With the app area's last sector, the carry area is erased.
NODISCARD static enum reason
make_room_late(const struct job *job)
{
    // cut here: no room, the next boot comes here again
    if (erase_patiently(sector_address(last_sector())) != FLASH_OK) {
        return REASON_FLASH_FAILED;
    }
    return marks_compact(job->marks) ? REASON_MARKS_FULL : REASON_NONE;
}

// With room for the whole install.
NODISCARD static enum reason
begin(struct job *job)
{
    struct marks *marks = job->marks;
    make_room_early(marks);
    if (marks_are_carried() != NO) {
        return REASON_MARKS_FULL; // the carry area must not be erased
    }
    const int were_full = marks_are_full(marks);
    enum reason reason = announce(job);
    if (!marks_have_room(marks) &&
        (marks->newest.state == STATE_INSTALLING ||
         (were_full && last_sector_may_go(&marks->newest)))) {
        reason = make_room_late(job);
        if (reason == REASON_NONE) {
            reason = announce(job);
        }
    }
    return reason;
}

enum reason
install_update(const struct update *update, struct marks *marks)
{
    struct job job = { update, marks, 0 };
    machine_long_work();
    // Whatever led here: floor and header are read and judged once more.
    if (marks_differ(marks) ||
        update_recheck(update, &marks->newest) != STAGED_AUTHENTIC) {
        machine_panic();
    }
    enum reason reason = begin(&job);
    if (reason == REASON_NONE) {
        reason = install_and_confirm(&job);
    }
    if (reason == REASON_IMAGE_DIGEST) {
        job.trusted = 0; // something faded: once more, and nothing is skipped
        reason = install_and_confirm(&job);
    }
    return reason == REASON_IMAGE_DIGEST ? REASON_FLASH_FAILED : reason;
}

void
install_clear_staging(void)
{
    // cut here: the update is gone, or refused or known at the next boot
    (void)erase_patiently(info_block.staging.start);
}
