// main.c
//
// Look, decide, act. Promises: an app runs only if the table says so and its
// record allows it; nothing secret is in RAM when anything else runs; whatever
// goes wrong ends in staying reachable, never in a loop of resets.

#include "app.h"
#include "crc32.h"
#include "decide.h"
#include "door.h"
#include "flash.h"
#include "indicator.h"
#include "install.h"
#include "machine.h"
#include "mark.h"
#include "mem.h"
#include "unproven.h"
#include "update.h"

#define LOOKS_WHILE_INSTALLING 3u

static struct marks marks;
NOINIT static struct update update; // update_look() clears it

NORETURN void loader_main(void);

NORETURN static void
boot(enum action action, enum reason reason, uint32_t app)
{
    static const uint8_t magic[RESULT_MAGIC_SIZE] = RESULT_MAGIC;
    struct result_record result;
    memset(&result, 0, sizeof result);
    memcpy(result.magic, magic, sizeof magic);
    result.loader_version = info_block.loader_version;
    result.action = action;
    result.reason = reason;
    result.version = marks.newest.version;
    result.security_counter = marks.newest.security_counter;
    result.reset_cause = machine_reset_cause();
    result.crc = crc32_update(0, &result, offsetof(struct result_record, crc));
    machine_hand_over(&result);
    door_before_app();
    app_start(&marks.newest, app);
}

static uint32_t
same_update(void)
{
    const int mismatch = marks.newest.state != STATE_INSTALLED ||
                         mem_differs(marks.newest.update_id, update.update_id,
                                     DIGEST_SIZE) != 0;
    return mismatch ? NO : YES;
}

// While the app area is in pieces, the staged update is all there is: a bad
// read does not settle its fate.
static uint32_t
look_at_staging(enum reason *reason)
{
    uint32_t looks_left = LOOKS_WHILE_INSTALLING;
    uint32_t staged;
    do {
        staged = update_look(&update, &marks.newest, reason);
        looks_left--;
    } while (staged != STAGED_AUTHENTIC && looks_left &&
             marks.newest.state == STATE_INSTALLING);
    return staged;
}

// An app that an install will replace is not worth checking, unless it is the
// very one that is staged: then only its bytes in flash tell.
static uint32_t
look_at_app(const struct facts *facts)
{
    if (facts->staged == STAGED_AUTHENTIC) {
        return facts->same == YES
                   ? app_check(&marks.newest, BOOT_CHECK_DIGEST)
                   : APP_INVALID;
    }
    const uint32_t verdict =
        app_check(&marks.newest, (enum boot_check)info_block.boot_check);
    return unproven_app(&marks.newest, verdict);
}

static void
look_around(struct facts *facts, enum reason *reason)
{
    facts->staged = look_at_staging(reason);
    facts->state = marks.newest.state;
    facts->same = facts->staged == STAGED_AUTHENTIC ? same_update() : NO;
    facts->app = look_at_app(facts);
}

static uint32_t
decide_twice(const struct facts *facts)
{
    const uint32_t verdict = decide(facts);
    ASK_AGAIN();
    if (verdict != decide(facts)) {
        machine_panic();
    }
    return verdict;
}

static void
install(struct facts *facts, enum reason *reason)
{
    if (facts->staged != STAGED_AUTHENTIC) {
        machine_panic();
    }
    *reason = install_update(&update, &marks);
    facts->staged = *reason == REASON_NONE ? STAGED_NONE : STAGED_REFUSED;
    facts->state = marks.newest.state;
    facts->same = NO;
    facts->app = app_check(&marks.newest, *reason == REASON_NONE
                                              ? BOOT_CHECK_CRC
                                              : BOOT_CHECK_DIGEST);
}

void
loader_main(void)
{
    struct facts facts;
    enum reason reason = REASON_NONE;
    enum action action = ACTION_BOOTED;

    flash_open();
    if (machine_flash_kib() != info_block.chip >> 16) {
        door_stay(); // built for another chip
    }
    if (door_wanted() == YES) {
        door_stay();
    }
    marks_open(&marks);
    look_around(&facts, &reason);
    uint32_t verdict = decide_twice(&facts);
    if (verdict == INSTALL) {
        install(&facts, &reason);
        action = ACTION_INSTALLED;
        verdict = decide_twice(&facts);
        if (verdict == BOOT_APP) {
            install_clear_staging();
        }
    }
    if (verdict == CLEAR) {
        if (facts.staged == STAGED_AUTHENTIC) {
            action = ACTION_ALREADY_INSTALLED;
            reason = REASON_ALREADY_INSTALLED;
        } else {
            action = ACTION_REFUSED;
            indicator_refused();
        }
        marks_refuse(&marks, reason, &update.message.header);
        install_clear_staging();
        verdict = BOOT_APP;
    }
    if (verdict == BOOT_APP) {
        boot(action, reason, facts.app);
    }
    if (facts.staged == STAGED_REFUSED) {
        marks_refuse(&marks, reason, &update.message.header);
    }
    door_stay();
}
