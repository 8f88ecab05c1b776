// mark.c

#include "mark.h"

#include "crc32.h"
#include "flash.h"
#include "machine.h"
#include "mem.h"

#define SLOTS (info_block.marks.size / RECORD_SIZE)
#define BLANK 0xffffffffu
// So many in a row are blank, or it is not the end: a torn word may read blank,
// and attempts that fail in one start leave up to eight slots as they were.
#define DOUBTFUL_SLOTS 12u
#define APPEND_ATTEMPTS 3u
#define ERASE_ATTEMPTS 3u
#define CARRY_COPIES 2u // in one go: some slots are left for a better day

static uint32_t
slot_address(uint32_t slot)
{
    return info_block.marks.start + slot * RECORD_SIZE;
}

static uint32_t
carry_address(uint32_t slot)
{
    return info_block.app.start + info_block.app.size - CARRY_SIZE +
           slot * RECORD_SIZE;
}

static int
type_is_known(uint32_t type)
{
    return type == RECORD_INSTALLING || type == RECORD_DONE ||
           type == RECORD_INSTALLED || type == RECORD_REFUSED;
}

static uint32_t
record_crc(const struct mark_record *record)
{
    return crc32_update(0, record, offsetof(struct mark_record, crc));
}

// 0 if a whole record could be read there; a repaired bit does not spoil it.
NODISCARD static int
read_record(struct mark_record *record, uint32_t address)
{
    if (flash_read(record, address, sizeof *record) < 0) {
        return -1;
    }
    if (!type_is_known(record->type) || record->crc != record_crc(record)) {
        return -1;
    }
    return 0;
}

// The type is in the word that is written first, and reading it meets the ECC
// of all of that word. A slot that only seems blank is found out when it is
// its turn to be written.
static int
looks_used(uint32_t address)
{
    uint32_t type;
    return flash_read(&type, address, sizeof type) != FLASH_OK || type != BLANK;
}

static int
is_used(uint32_t slot)
{
    return flash_blank(slot_address(slot), RECORD_SIZE) != FLASH_OK;
}

static uint32_t
find_first_blank(void)
{
    uint32_t used = 0;
    uint32_t blank = SLOTS;
    while (used < blank) {
        const uint32_t middle = used + (blank - used) / 2;
        if (looks_used(slot_address(middle))) {
            used = middle + 1;
        } else {
            blank = middle;
        }
    }
    for (uint32_t at = blank + 1; at < SLOTS && at < blank + DOUBTFUL_SLOTS;
         at++) {
        if (looks_used(slot_address(at))) {
            blank = at + 1;
        }
    }
    // where the next record will go, and be looked for
    while (blank < SLOTS && is_used(blank)) {
        blank++;
    }
    return blank;
}

// The newest by sequence in the carry area; 0 if there is one.
NODISCARD static int
find_carried(struct mark_record *newest)
{
    int found = -1;
    for (uint32_t slot = 0; slot < CARRY_SLOTS; slot++) {
        struct mark_record record;
        const uint32_t address = carry_address(slot);
        if (!looks_used(address) || read_record(&record, address)) {
            continue;
        }
        if (found || record.sequence > newest->sequence) {
            memcpy(newest, &record, sizeof record);
            found = 0;
        }
    }
    return found;
}

NODISCARD static int
find_newest(struct marks *marks)
{
    for (uint32_t slot = marks->next_slot; slot > 0; slot--) {
        if (read_record(&marks->newest, slot_address(slot - 1)) == 0) {
            return 0;
        }
    }
    return -1;
}

// Only reads. YES if emptying the sector was interrupted.
static uint32_t
look(struct marks *marks)
{
    struct mark_record carried;
    marks->fresh = NO;
    marks->next_slot = find_first_blank();
    if (find_newest(marks)) {
        memset(&marks->newest, 0, sizeof marks->newest);
        marks->newest.state = STATE_NONE;
    }
    if (find_carried(&carried) || carried.sequence < marks->newest.sequence) {
        return NO;
    }
    memcpy(&marks->newest, &carried, sizeof carried);
    return YES;
}

// Copies outside the sector that is about to be erased: two, because a slot
// that a cut left may read blank and what is written there may fade. Not 0:
// there is none.
NODISCARD static int
write_carry(const struct mark_record *record)
{
    int missing = -1;
    uint32_t attempts = 0;
    for (uint32_t slot = 0; slot < CARRY_SLOTS && attempts < CARRY_COPIES;
         slot++) {
        const uint32_t address = carry_address(slot);
        if (flash_blank(address, RECORD_SIZE) != FLASH_OK) {
            continue;
        }
        attempts++;
        // cut here: marks are untouched, this slot is torn and skipped
        if (flash_program(address, record, sizeof *record) == FLASH_OK) {
            missing = 0;
        }
    }
    return missing;
}

// With a carried copy in place: empty the sector and start it anew with it.
NODISCARD static int
start_anew(struct marks *marks)
{
    for (uint32_t attempt = 0; attempt < ERASE_ATTEMPTS; attempt++) {
        // cut here: marks read anything; the carried record is at least as
        // new as what they hold, so the next boot comes here again
        if (flash_erase_sector(info_block.marks.start) == FLASH_OK) {
            struct mark_record record;
            memcpy(&record, &marks->newest, sizeof record);
            marks->next_slot = 0;
            if (!record.type || !marks_append_twice(marks, &record)) {
                return 0;
            }
            break;
        }
    }
    marks->next_slot = SLOTS; // worn out: what is carried still counts
    return -1;
}

void
marks_open(struct marks *marks)
{
    const uint32_t interrupted = look(marks);
    uint32_t inverse = ~interrupted; // compared with another constant
    FORGET(inverse);
    if (interrupted != YES) {
        return;
    }
    struct marks again;
    if (inverse != ~YES || look(&again) != YES ||
        mem_differs(&again.newest, &marks->newest, sizeof again.newest)) {
        machine_panic(); // nothing is erased on one look
    }
    // The sector was perhaps half erased: what it holds may be old or fade.
    // A fresh copy first, because the one just read may have been cut; with
    // every slot used up it has to do.
    (void)!write_carry(&marks->newest);
    (void)!start_anew(marks);
}

uint32_t
marks_differ(const struct marks *marks)
{
    struct marks again;
    look(&again);
    return mem_differs(&again.newest, &marks->newest, sizeof again.newest);
}

int
marks_append(struct marks *marks, struct mark_record *record)
{
    int missing = -1;
    record->sequence = marks->newest.sequence + 1;
    record->crc = record_crc(record);
    for (uint32_t attempt = 0; attempt < APPEND_ATTEMPTS; attempt++) {
        while (marks->next_slot < SLOTS && is_used(marks->next_slot)) {
            marks->next_slot++;
        }
        if (marks->next_slot >= SLOTS) {
            break;
        }
        const uint32_t address = slot_address(marks->next_slot++);
        // cut here: the slot is torn and skipped, the record before it counts
        const enum flash_result result =
            flash_program(address, record, sizeof *record);
        // whatever was reported: what reads as a record counts as one
        struct mark_record written;
        if (read_record(&written, address) == 0) {
            memcpy(&marks->newest, record, sizeof *record);
            marks->fresh = YES;
            missing = 0;
            if (result == FLASH_OK) {
                break;
            }
        }
    }
    return missing;
}

int
marks_append_twice(struct marks *marks, struct mark_record *record)
{
    if (marks_append(marks, record)) {
        return -1;
    }
    // cut here: one record says it, as long as none of its words goes bad
    (void)!marks_append(marks, record);
    return 0;
}

int
marks_are_full(const struct marks *marks)
{
    return marks->next_slot >= SLOTS;
}

int
marks_have_room(const struct marks *marks)
{
    return SLOTS - marks->next_slot >= MARKS_SPARE;
}

uint32_t
marks_are_carried(void)
{
    struct marks again;
    return look(&again);
}

int
marks_compact(struct marks *marks)
{
    if (!marks->newest.type) {
        return start_anew(marks); // there is nothing to carry
    }
    return write_carry(&marks->newest) ? -1 : start_anew(marks);
}

void
marks_refuse(struct marks *marks, enum reason reason,
             const struct update_header *header)
{
    const uint32_t run = marks->newest.type == RECORD_REFUSED
                             ? marks->newest.refused_run
                             : 0;
    // A note repeats state and floor for good, and the header goes after it:
    // they are read once more.
    const uint32_t changed = marks_differ(marks);
    if (run >= REFUSALS_KEPT && !changed) {
        return;
    }
    struct mark_record record;
    memcpy(&record, &marks->newest, sizeof record);
    record.type = RECORD_REFUSED;
    record.reason = reason;
    record.refused_run = run + 1;
    record.refused_version = header->version;
    memcpy(record.refused_key_id, header->signing_key_id, KEY_ID_SIZE);
    if (changed ||
        mem_differs(&record.floor_counter, &marks->newest.floor_counter,
                    offsetof(struct mark_record, reason) -
                        offsetof(struct mark_record, floor_counter))) {
        machine_panic();
    }
    // a full sector costs the note, never the decision; of one that cannot be
    // emptied the carry area tells
    if (marks_append_twice(marks, &record) && marks_are_carried() == YES) {
        (void)!write_carry(&record);
    }
}
