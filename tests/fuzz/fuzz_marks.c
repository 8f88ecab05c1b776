// fuzz_marks.c
//
// Anything may lie in the marks sector and the carry area; then records are
// appended, refusals noted and the sector emptied, with failing operations and
// a power cut anywhere. The loader must find the record that counts, never
// lose its floor, never program a used word and never work without end.
//
// Input: what to do (see struct plan), then what lies there: runs of slots,
// each of a head of two bytes and, unless blank, a record.

#include <string.h>

#include "crc32.h"
#include "mark.h"
#include "port.h"

#define SLOTS (SECTOR_SIZE / RECORD_SIZE)
#define STEPS 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct plan {
    uint8_t steps[STEPS];
    uint8_t failing; // operation that fails, 0 none
    uint8_t flavour;
    uint8_t cut_at; // operation at which power is cut, 0 none
    uint8_t noise[3];
};

// How a run of slots is made.
enum kind { RAW, SEALED, BLANK_SLOTS, POISONED };

static const uint32_t types[] = { RECORD_INSTALLING, RECORD_DONE,
                                  RECORD_INSTALLED, RECORD_REFUSED };

static uint32_t last_sequence;

// Sequences mostly ascend, as those of a loader do, and never come near their
// end: no flash lives to see that.
static void
seal(struct mark_record *record, int carried)
{
    static const uint32_t steps[] = { 0, 1, 1, 1, 2, 100 };
    const uint32_t by = steps[record->sequence / 8 % 6];
    record->type = types[record->type % 4];
    if (record->sequence % 8) {
        record->sequence = carried ? last_sequence + 1 - by : last_sequence + by;
    }
    record->sequence &= 0x7fffffff;
    if (!carried) {
        last_sequence = record->sequence & 0x0fffffff;
    }
    record->crc =
        crc32_update(0, record, offsetof(struct mark_record, crc));
}

// Words of ones are never programmed, so nothing can have gone wrong with them.
static int
was_programmed(const uint8_t *word)
{
    for (uint32_t i = 0; i < FLASH_WORD; i++) {
        if (word[i] != 0xff) {
            return 1;
        }
    }
    return 0;
}

static void
put_slots(uint8_t *bytes, uint8_t *poison, uint32_t slots, enum kind kind,
          const struct mark_record *record)
{
    const uint32_t word = record->sequence % 4;
    for (uint32_t i = 0; i < slots; i++) {
        uint8_t *slot = bytes + i * RECORD_SIZE;
        memcpy(slot, record, RECORD_SIZE);
        poison[i * 4 + word] =
            kind == POISONED && was_programmed(slot + word * FLASH_WORD);
    }
}

static void
put_run(uint32_t *next, uint32_t *next_carry, uint16_t head,
        struct mark_record *record)
{
    const enum kind kind = (enum kind)(head & 3);
    uint32_t run = (uint32_t)(head >> 3) % SLOTS + 1;
    if (head >> 15) {
        run = run % 4 + 1; // mostly short runs
    }
    const int in_carry = head & 4;
    if (kind == SEALED || kind == POISONED) {
        seal(record, in_carry);
    }
    uint32_t *at = in_carry ? next_carry : next;
    const uint32_t room = (in_carry ? CARRY_SLOTS : SLOTS) - *at;
    run = run < room ? run : room;
    if (kind != BLANK_SLOTS) {
        put_slots((in_carry ? port.carry : port.marks) + *at * RECORD_SIZE,
                  (in_carry ? port.carry_poison : port.marks_poison) + *at * 4,
                  run, kind, record);
    }
    *at += run;
}

static void
lay_out(const uint8_t *data, size_t size)
{
    uint32_t next = 0;
    uint32_t next_carry = 0;
    last_sequence = 0;
    while (size >= 2) {
        const uint16_t head = (uint16_t)(data[0] | data[1] << 8);
        struct mark_record record;
        memset(&record, 0, sizeof record);
        data += 2;
        size -= 2;
        if ((head & 3) != BLANK_SLOTS) {
            const size_t take = size < sizeof record ? size : sizeof record;
            memcpy(&record, data, take);
            data += take;
            size -= take;
        }
        put_run(&next, &next_carry, head, &record);
    }
}

// -- the oracle: a slow look at everything ----------------------------------

static int
is_valid(const uint8_t *bytes, const uint8_t *poison)
{
    struct mark_record record;
    int known = 0;
    memcpy(&record, bytes, sizeof record);
    for (int i = 0; i < 4; i++) {
        known |= record.type == types[i];
    }
    return known && !poison[0] && !poison[1] && !poison[2] && !poison[3] &&
           record.crc ==
               crc32_update(0, &record, offsetof(struct mark_record, crc));
}

static int
is_blank(const uint8_t *bytes, const uint8_t *poison)
{
    static const uint8_t healthy[4];
    static uint8_t blank[RECORD_SIZE];
    if (!blank[0]) {
        memset(blank, 0xff, sizeof blank);
    }
    return !memcmp(bytes, blank, sizeof blank) &&
           !memcmp(poison, healthy, sizeof healthy);
}

static int
looks_begun(const uint8_t *bytes, const uint8_t *poison)
{
    return *poison || bytes[0] != 0xff || bytes[1] != 0xff ||
           bytes[2] != 0xff || bytes[3] != 0xff;
}

struct truth {
    int well_formed; // used slots first, then blank ones; sequences ascend
    int any;
    struct mark_record newest;
};

static void
take_carried(struct truth *truth)
{
    struct mark_record best;
    int found = 0;
    for (uint32_t i = 0; i < CARRY_SLOTS; i++) {
        struct mark_record record;
        memcpy(&record, port.carry + i * RECORD_SIZE, sizeof record);
        if (is_valid(port.carry + i * RECORD_SIZE, port.carry_poison + i * 4) &&
            (!found || record.sequence > best.sequence)) {
            best = record;
            found = 1;
        }
    }
    if (found && (!truth->any || best.sequence >= truth->newest.sequence)) {
        truth->newest = best;
        truth->any = 1;
    }
}

static struct truth
find_truth(void)
{
    struct truth truth;
    uint32_t used = 0;
    memset(&truth, 0, sizeof truth);
    truth.newest.state = STATE_NONE;
    while (used < SLOTS && looks_begun(port.marks + used * RECORD_SIZE,
                                       port.marks_poison + used * 4)) {
        used++;
    }
    truth.well_formed = 1;
    for (uint32_t i = used; i < SLOTS && truth.well_formed; i++) {
        truth.well_formed = is_blank(port.marks + i * RECORD_SIZE,
                                     port.marks_poison + i * 4);
    }
    for (uint32_t i = 0; i < used; i++) {
        struct mark_record record;
        memcpy(&record, port.marks + i * RECORD_SIZE, sizeof record);
        if (truth.any && !memcmp(&record, &truth.newest, sizeof record)) {
            continue; // in a run of copies
        }
        if (is_valid(port.marks + i * RECORD_SIZE, port.marks_poison + i * 4)) {
            truth.well_formed &=
                !truth.any || record.sequence >= truth.newest.sequence;
            truth.newest = record;
            truth.any = 1;
        }
    }
    take_carried(&truth);
    return truth;
}

static int
same_state(const struct mark_record *a, const struct mark_record *b)
{
    struct mark_record left = *a;
    struct mark_record right = *b;
    left.sequence = right.sequence = 0; // emptying the sector counts on
    left.crc = right.crc = 0;
    return !memcmp(&left, &right, sizeof left);
}

// Is this record, but for its sequence, in flash and valid?
static int
is_in_flash(const struct mark_record *record)
{
    for (uint32_t i = 0; i < SLOTS + CARRY_SLOTS; i++) {
        const int carried = i >= SLOTS;
        const uint32_t at = carried ? i - SLOTS : i;
        const uint8_t *bytes =
            (carried ? port.carry : port.marks) + at * RECORD_SIZE;
        struct mark_record found;
        memcpy(&found, bytes, sizeof found);
        if (found.type == record->type && same_state(&found, record) &&
            is_valid(bytes,
                     (carried ? port.carry_poison : port.marks_poison) +
                         at * 4)) {
            return 1;
        }
    }
    return 0;
}

// -- the run -----------------------------------------------------------------

static struct marks marks;
static struct mark_record before; // what counted before the step that runs
static struct mark_record wanted; // what that step wants to count

static void
check_open(const struct truth *truth)
{
    if (truth->well_formed) {
        REQUIRE(same_state(&marks.newest, &truth->newest),
                "another record is taken for the newest");
    } else if (marks.newest.state != STATE_NONE || marks.newest.type) {
        REQUIRE(is_in_flash(&marks.newest), "a record out of nothing");
    }
}

static void
step(uint8_t what)
{
    struct update_header header;
    before = marks.newest;
    wanted = marks.newest;
    memset(&header, what, sizeof header);
    switch (marks.newest.type ? what % 4 : 2) { // first there is a record
    case 0:
        if (!marks_compact(&marks)) {
            REQUIRE(marks.next_slot <= 3, "not emptied");
        }
        REQUIRE(same_state(&marks.newest, &before), "emptying changed it");
        break;
    case 1:
        marks_refuse(&marks, (enum reason)(what / 4 % 25), &header);
        wanted = marks.newest;
        REQUIRE(marks.newest.floor_counter == before.floor_counter &&
                    marks.newest.floor_version == before.floor_version &&
                    marks.newest.state == before.state,
                "a refusal changed more than the note");
        REQUIRE(before.type != RECORD_REFUSED ||
                    before.refused_run < REFUSALS_KEPT ||
                    same_state(&marks.newest, &before),
                "refusals without end");
        break;
    default:
        wanted.type = types[what / 4 % 4];
        wanted.floor_counter += what & 1; // only ever grows
        wanted.state = STATE_INSTALLED;
        if (marks_append(&marks, &wanted)) {
            wanted = before;
        }
        REQUIRE(!memcmp(&marks.newest, &wanted, sizeof wanted),
                "appended something else");
    }
}

// After anything at all, the newest record is the old one or the wanted one.
static void
check_reopened(int was_cut)
{
    struct mark_record old = before;
    struct mark_record then = marks.newest;
    port.cut_at = 0;
    port.failing_operation = 0;
    port.on_cut = 0;
    port_begin(1);
    marks_open(&marks);
    if (was_cut) {
        // the steps work on copies, so a cut one has not told its wish: of a
        // refusal only that it keeps the floor is known
        REQUIRE(marks.newest.floor_counter == old.floor_counter ||
                    marks.newest.floor_counter == old.floor_counter + 1,
                "the floor was lost in a power cut");
        REQUIRE(marks.newest.floor_version == old.floor_version,
                "the version was lost in a power cut");
    } else {
        REQUIRE(same_state(&marks.newest, &then),
                "forgotten at the next start");
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan plan;
    jmp_buf on_cut;
    if (size < sizeof plan) {
        return 0;
    }
    memcpy(&plan, data, sizeof plan);
    port_reset();
    lay_out(data + sizeof plan, size - sizeof plan);
    const struct truth truth = find_truth();
    port.noise = (uint32_t)(plan.noise[0] | plan.noise[1] << 8 |
                            plan.noise[2] << 16);
    port.failing_operation = plan.failing;
    port.cut_at = plan.cut_at;
    port.cut_flavour = plan.flavour;
    port.on_cut = &on_cut;
    port.may_panic = !truth.well_formed; // no loader leaves marks like that
    port_begin(1);
    before = truth.newest;
    if (setjmp(on_cut)) {
        if (truth.well_formed) {
            check_reopened(1);
        }
        return 0;
    }
    marks_open(&marks);
    check_open(&truth);
    REQUIRE(!truth.well_formed || plan.failing || !marks_differ(&marks),
            "read again it is different");
    for (int i = 0; i < STEPS && plan.steps[i]; i++) {
        step(plan.steps[i]);
    }
    if (truth.well_formed) {
        check_reopened(0);
    }
    return 0;
}
