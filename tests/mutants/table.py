"""Loaders that are broken on purpose, each with the story that notices.

A mutant is a few textual changes of a copy of ``mcu_loader/``; each pattern must occur exactly once
there. Where the loader asks a question twice, a mutant takes both answers away. All but one still
install a good update and start it: what they lack shows only in the story named beside them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from acceptance import test_anti_rollback as rollback
from acceptance import test_driver_rules as driver
from acceptance import test_failing_marks as failing
from acceptance import test_stories as stories
from workshop import Workshop

Story = Callable[[Workshop], None]


class Edit(NamedTuple):
    """One change: this text of this file becomes that."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A broken loader and the story that it fails."""

    name: str
    killed_by: Story
    edits: tuple[Edit, ...]
    installs: bool = True
    """It still installs a good update and starts it."""


class SourceMovedOnError(Exception):
    """The loader no longer reads as a mutant expects it to: adjust the mutant."""


def broken_copy(mutant: Mutant, sources: Path, folder: Path) -> Path:
    """Copy the sources to ``folder`` and break the copy; return it.

    Raises:
        SourceMovedOnError: a pattern does not occur exactly once.
    """
    shutil.copytree(sources, folder, ignore=shutil.ignore_patterns("examples", "*.md"))
    for file, old, new in mutant.edits:
        path = folder / file
        text = path.read_text()
        if text.count(old) != 1:
            raise SourceMovedOnError(
                f"mutant '{mutant.name}' expects once in mcu_loader/{file}, found"
                f" {text.count(old)} times:\n{old}\nmove tests/mutants/table.py along"
            )
        path.write_text(text.replace(old, new))
    return folder


def mutant(name: str, killed_by: Story, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, killed_by, tuple(Edit(*edit) for edit in edits))


_READ_BACK = "    return flash_compare(address, data, size);\n}"
_CONFIRMED = """\
    if (app_check(&record, BOOT_CHECK_DIGEST) != APP_VALID ||
        app_check(&record, BOOT_CHECK_CRC) != APP_VALID) {"""
_CONFIRM = "    record.image_crc = app_crc(record.image_size);\n"
_PROGRESS = (
    "    return marks_append_twice(job->marks, &record) ? REASON_MARKS_FULL\n                 "
)
_CARRIED = "    if (marks_are_carried() != NO) {"
_ANNOUNCED = "    return append_progress(job, RECORD_INSTALLING, done_sectors);"
_CHUNK_REFUSED = """\
                  update->cek, nonce, aad, sizeof aad)) {
        return REASON_CHUNK_TAG;"""
_SIZES_USED = """\
    return header->payload_size <= info_block.staging.size - HEADER_SIZE &&
           header->payload_size >= image &&
           header->payload_size - image == tags;"""
_FLASH_WAIT = """\
NOINLINE static uint32_t
flash_wait(uint32_t bank)
{
    if (bank == FLASH_BANK1_REGISTERS) {
        return ram_wait(bank);
    }
    while (REG(bank + FLASH_SR) & (SR_QW | SR_BSY)) {
        IWDG_KR = IWDG_FEED;
    }
    return REG(bank + FLASH_SR);
}

RAMFUNC static uint32_t
"""
_WRITTEN = """\
        word[i] = data[i];
    }
    barrier();
"""
_BEGUN = """\
    const uint32_t bank = registers_of(address);
    begin(bank);
    return end(
"""[:-1]
_UNLOCKED = """\
    const uint32_t bank = registers_of(address);
    REG(bank + FLASH_KEYR) = FLASH_KEY1;
    REG(bank + FLASH_KEYR) = FLASH_KEY2;
    REG(bank + FLASH_CCR) = CCR_ALL;
    return end(
"""[:-1]
_WAITING = """\
    while (PWR_CSR1 & PWR_CSR1_PVDO) {
        machine_feed_watchdog();
    }
"""
_TAIL = "(const volatile uint32_t *)((uintptr_t)in - 4 + size)"
_RUN = """\
    const uint32_t run = marks->newest.type == RECORD_REFUSED
                             ? marks->newest.refused_run
                             : 0;
"""
_COMPARED = "    return flash_compare(address, update_chunk.data, size);"
_CLOSED = "    flash_close();\n    open_memory();\n"
_OPENED = "    stop_interrupts();\n    open_memory();\n"
_CAN_BE_READ_AHEAD = "XN | READ_WRITE | NON_CACHEABLE | POWER_OF_TWO(21)"
_CHANGED = "    if (run >= REFUSALS_KEPT && !changed) {"
_READS_AS_RECORD = "        if (read_record(&written, address) == 0) {"
_ONLY_CLEAN_COUNTS = (
    "mark.c",
    _READS_AS_RECORD,
    _READS_AS_RECORD.replace("if (", "if (result == 0 && "),
)
_READ_THEN_OK = """\
            if (result == FLASH_OK) {
                break;
            }
        }
"""
_NOTED = "    if (facts.staged == STAGED_REFUSED) {\n        marks_refuse("

MUTANTS = (
    mutant(
        "clears the header before it has verified",
        stories.test_a_cut_near_the_end_of_an_install_never_loses_the_update,
        ("install.c", _CONFIRM, "    install_clear_staging();\n" + _CONFIRM),
    ),
    mutant(
        "does not read back what it appends to the marks",
        stories.test_marks_that_take_no_record_right_never_cost_the_app,
        ("flash_h743.c", _READ_BACK, "    return FLASH_OK;\n}"),
        ("mark.c", _READS_AS_RECORD, _READS_AS_RECORD.replace("== 0", "<= 0")),
    ),
    mutant(
        "does not read back the app area at all",
        stories.test_a_sector_that_reads_back_wrong_is_never_called_installed,
        ("flash_h743.c", _READ_BACK, "    return FLASH_OK;\n}"),
        (
            "install.c",
            "? flash_compare(address, update_chunk.data, padded)\n",
            "? FLASH_OK\n",
        ),
        ("install.c", _CONFIRMED, "    if (0) {"),
    ),
    mutant(
        "says installed before it has verified",
        stories.test_the_marks_never_say_installed_before_all_of_the_app_reads_right,
        (
            "install.c",
            _CONFIRMED,
            "    if (marks_append(job->marks, &record)) {\n"
            "        return REASON_MARKS_FULL;\n    }\n" + _CONFIRMED,
        ),
    ),
    mutant(
        "writes no installing record",
        stories.test_a_cut_install_whose_update_is_lost_never_runs_a_mixed_app,
        ("install.c", _ANNOUNCED, "    (void)done_sectors;\n    return REASON_NONE;"),
    ),
    mutant(
        "uses up the carry area in one go",
        rollback.test_a_carry_area_that_fails_for_a_while_does_not_keep_updates_out_for_good,
        ("mark.c", "        attempts++;\n        // cut here", "        // cut here"),
    ),
    mutant(
        "starts what no record speaks for, as a development loader does",
        stories.test_an_app_that_changed_in_flash_is_not_started,
        (
            "unproven_refused.c",
            "    return verdict;",
            "    (void)verdict;\n    return APP_VALID;",
        ),
        ("unproven_refused.c", '#include "unproven.h"', '#include "app.h"\n#include "unproven.h"'),
    ),
    mutant(
        "starts an app that is being installed",
        stories.test_a_cut_install_whose_update_is_lost_never_runs_a_mixed_app,
        (
            "decide.c",
            "{ STAGED_NONE,      STATE_INSTALLING, ANY, ANY,       STAY     },",
            "{ STAGED_NONE,      STATE_INSTALLING, ANY, ANY,       BOOT_APP },",
        ),
        (
            "app.c",
            "    if (record->state != STATE_INSTALLED ||\n",
            "    if (record->state == STATE_NONE ||\n",
        ),
        (
            "unproven_refused.c",
            "    return record->state == STATE_INSTALLED;",
            "    return record->state != STATE_NONE;",
        ),
    ),
    mutant(
        "erases on the word of an installing record it merely found",
        stories.test_a_record_that_fades_after_a_cut_never_lets_a_mixed_app_run,
        (
            "install.c",
            "if (job->marks->fresh == YES) {",
            "if (newest->state == STATE_INSTALLING) {",
        ),
    ),
    mutant(
        "takes the note of a refusal for a second installing record",
        stories.test_a_note_of_a_refusal_is_not_the_only_record_that_says_installing,
        (
            "install.c",
            "if (job->marks->fresh == YES) {",
            "if (newest->type == RECORD_REFUSED || job->marks->fresh == YES) {",
        ),
    ),
    mutant(
        "takes the end of a sector for a second installing record",
        rollback.test_a_single_copy_in_emptied_marks_is_not_what_the_carried_one_is_erased_on,
        (
            "install.c",
            "if (job->marks->fresh == YES) {",
            "if (newest->type == RECORD_DONE || job->marks->fresh == YES) {",
        ),
    ),
    mutant(
        "notes once only",
        stories.test_a_header_is_not_erased_on_the_word_of_a_single_note,
        (
            "mark.c",
            "    if (marks_append_twice(marks, &record) && marks_are",
            "    if (marks_append(marks, &record) && marks_are",
        ),
    ),
    mutant(
        "says installing once only",
        stories.test_a_record_in_a_slot_that_was_not_quite_blank_never_lets_a_mixed_app_run,
        ("install.c", _PROGRESS, _PROGRESS.replace("_twice", "")),
    ),
    mutant(
        "leaves a sector done while it writes it again",
        stories.test_a_sector_that_is_written_again_is_not_called_done_meanwhile,
        (
            "install.c",
            "        if (done & bit) {\n            // or",
            "        if (0) {\n            // or",
        ),
    ),
    mutant(
        "gives up when every slot is used up",
        rollback.test_brown_outs_in_the_same_erase_never_use_up_the_room_for_the_update,
        (
            "install.c",
            "    if (!marks_have_room(marks) &&\n",
            "    if (reason == REASON_NONE && !marks_have_room(marks) &&\n",
        ),
    ),
    mutant(
        "begins although the marks cannot be emptied",
        rollback.test_marks_that_cannot_be_emptied_cost_the_update_and_not_the_app,
        ("install.c", _CARRIED, _CARRIED.replace(") {", " && job->trusted == 1) {")),
        ("mark.c", "    marks->next_slot = SLOTS; // worn out", "    // worn out"),
    ),
    mutant(
        "tells nobody that the marks cannot be emptied",
        rollback.test_marks_that_cannot_be_emptied_cost_the_update_and_not_the_app,
        (
            "mark.c",
            "    if (marks_append_twice(marks, &record) && marks_are_carried() == YES) {",
            "    if (marks_append_twice(marks, &record) && SLOTS == 0) {",
        ),
    ),
    mutant(
        "erases the only copy while it is installing",
        rollback.test_the_only_copy_of_the_newest_record_is_never_erased,
        (
            "install.c",
            _CARRIED,
            _CARRIED.replace(") {", " &&\n        job->marks->newest.state != STATE_INSTALLING) {"),
        ),
    ),
    mutant(
        "carries one copy only",
        rollback.test_a_copy_in_a_slot_that_was_not_quite_blank_is_not_the_only_one,
        ("mark.c", "#define CARRY_COPIES 2u", "#define CARRY_COPIES 1u"),
    ),
    mutant(
        "skips a sector that reads equal without trusting it",
        stories.test_a_last_word_that_fades_later_never_ends_in_a_dead_app,
        ("install.c", "    return (job->trusted >> sector & 1u) &&\n", "    return\n"),
    ),
    mutant(
        "clears a refused update away while it is installing",
        stories.test_a_refused_update_is_kept_while_the_app_area_is_in_pieces,
        (
            "decide.c",
            "{ STAGED_REFUSED,   STATE_INSTALLING, ANY, ANY,       STAY     },",
            "{ STAGED_REFUSED,   STATE_INSTALLING, ANY, ANY,       CLEAR    },",
        ),
    ),
    mutant(
        "empties the marks without a carried copy",
        stories.test_a_cut_while_the_marks_are_emptied_never_loses_the_floor,
        (
            "mark.c",
            "write_carry(const struct mark_record *record)\n{\n",
            "write_carry(const struct mark_record *record)\n{\n"
            "    if (record->type) {\n        return 0;\n    }\n",
        ),
    ),
    mutant(
        "appends to a slot that is in use",
        stories.test_no_flash_word_is_programmed_twice_whatever_lies_in_the_marks,
        (
            "mark.c",
            "    return flash_blank(slot_address(slot), RECORD_SIZE) != FLASH_OK;",
            "    return looks_used(slot_address(slot));",
        ),
    ),
    mutant(
        "notes refusals for ever",
        stories.test_a_bad_update_that_is_dropped_for_ever_does_not_fill_the_marks,
        ("mark.c", "    if (run >= REFUSALS_KEPT &&", "    if (run >= 1000000u &&"),
    ),
    mutant(
        "gives a failing flash operation one chance",
        stories.test_one_operation_that_fails_is_tried_again,
        ("install.c", "#define ATTEMPTS 3u", "#define ATTEMPTS 1u"),
    ),
    mutant(
        "reads staging with plain loads",
        stories.test_a_torn_header_costs_nothing,
        ("flash_h743.c", '    __asm__ volatile("cpsid f" ::: "memory");\n', ""),
        ("flash_h743.c", "    SCB_CCR = ccr | CCR_BFHFNMIGN;\n", ""),
    ),
    mutant(
        "trusts the size fields",
        stories.test_an_update_that_claims_more_than_the_areas_hold_is_refused_for_its_sizes,
        (
            "update.c",
            "if (image == 0 || image > info_block.app.size - CARRY_SIZE) {",
            "if (image == 0) {",
        ),
        ("update.c", _SIZES_USED, "    return header->payload_size - image == tags;"),
    ),
    mutant(
        "takes a header without a good signature",
        stories.test_a_forged_update_is_refused,
        (
            "update.c",
            "return answer == ED25519_GOOD ? REASON_NONE",
            "return answer != 1 ? REASON_NONE",
        ),
    ),
    mutant(
        "ignores the flag of the last chunk",
        stories.test_an_update_without_its_last_chunk_is_refused,
        (
            "update.c",
            _CHUNK_REFUSED,
            """\
                  update->cek, nonce, aad, sizeof aad)) {
        aad[4] ^= 1;
        if (aead_open(chunk->data, chunk->size, chunk->data + chunk->size,
                      update->cek, nonce, aad, sizeof aad) == 0) {
            return REASON_NONE;
        }
        return REASON_CHUNK_TAG;""",
        ),
    ),
    mutant(
        "opens no chunk before the app area is erased",
        stories.test_a_wrong_chunk_is_refused_before_the_app_area_is_touched,
        (
            "update.c",
            "        reason = check_image(update);\n",
            "        (void)check_image;\n",
        ),
    ),
    mutant(
        "does not ask for zeros in reserved bytes",
        stories.test_an_update_that_uses_what_is_reserved_is_refused,
        (
            "update.c",
            "mem_differs_from(header->reserved, 0, sizeof header->reserved) ||",
            "",
        ),
    ),
    mutant(
        "knows every flag",
        stories.test_an_update_that_uses_what_is_reserved_is_refused,
        (
            "update.c",
            "(header->flags & ~FLAG_ALLOW_DOWNGRADE)) {",
            "0) {",
        ),
    ),
    mutant(
        "takes gaps in the recipients",
        stories.test_an_update_that_uses_what_is_reserved_is_refused,
        (
            "update.c",
            "if (!recipients_are_in_order(header)) {",
            "if (header->flags > 1 && !recipients_are_in_order(header)) {",
        ),
    ),
    mutant(
        "takes any compression",
        stories.test_an_update_that_uses_what_is_reserved_is_refused,
        (
            "update.c",
            "if (header->compression_id) {",
            "if (0) {",
        ),
    ),
    mutant(
        "takes any product",
        stories.test_an_update_for_another_device_is_refused,
        (
            "update.c",
            "if (mem_differs(header->product_id, info_block.product_id, 16)) {",
            "if (0) {",
        ),
    ),
    mutant(
        "takes any chip",
        stories.test_an_update_for_another_device_is_refused,
        (
            "update.c",
            "if (header->chip != info_block.chip) {",
            "if (0) {",
        ),
    ),
    mutant(
        "takes any layout",
        stories.test_an_update_for_another_device_is_refused,
        (
            "update.c",
            "if (mem_differs(header->layout_id, info_block.layout_id, 16)) {",
            "if (0) {",
        ),
    ),
    mutant(
        "takes any app address",
        stories.test_an_update_for_another_device_is_refused,
        (
            "update.c",
            "if (header->app_address != info_block.app.start ||\n        ",
            "if (",
        ),
    ),
    mutant(
        "accepts the installed counter with a lower version",
        stories.test_what_was_installed_raises_the_floor,
        (
            "update.c",
            "        header->version < newest->floor_version &&\n",
            "        header->version == 0xffffffffu &&\n",
        ),
    ),
    mutant(
        "does not raise the counter of the floor",
        stories.test_what_was_installed_raises_the_floor,
        (
            "install.c",
            "        record.floor_counter = record.security_counter;\n",
            "        (void)0;\n",
        ),
    ),
    mutant(
        "compares counters as signed numbers",
        stories.test_counters_are_compared_as_they_are_around_2_to_the_31,
        (
            "update.c",
            "if (header->security_counter < newest->floor_counter) {",
            "if ((int32_t)header->security_counter < (int32_t)newest->floor_counter) {",
        ),
    ),
    mutant(
        "trusts the published keys",
        stories.test_a_loader_with_a_published_key_installs_nothing,
        ("update.c", "i < published_key_count; i++", "i < published_key_count / 1000; i++"),
    ),
    mutant(
        "starts the app whatever its checksum",
        stories.test_an_app_that_changed_in_flash_is_not_started,
        ("app.c", "    return crc ^ record->image_crc;", "    return crc & 0u;"),
    ),
    mutant(
        "takes the installed app for sound when its update comes again",
        stories.test_a_broken_app_is_repaired_by_dropping_its_own_update_again,
        (
            "main.c",
            "? app_check(&marks.newest, BOOT_CHECK_DIGEST)\n                   : APP_INVALID",
            "? APP_VALID\n                   : APP_INVALID",
        ),
    ),
    mutant(
        "starts the app without clearing what it refused",
        stories.test_a_refused_update_is_cleared_away_and_noted_once,
        (
            "main.c",
            "        install_clear_staging();\n        verdict = BOOT_APP;",
            "        verdict = BOOT_APP;",
        ),
    ),
    mutant(
        "feeds no watchdog while it waits for the flash",
        stories.test_a_running_watchdog_is_fed_while_flash_is_erased,
        ("flash_h743.c", "IWDG_KR = IWDG_FEED;", "(void)IWDG_KR;"),
    ),
    mutant(
        "feeds no watchdog while it computes",
        stories.test_a_running_watchdog_is_fed_while_a_large_update_is_judged,
        ("machine_h743.c", "    IWDG_KR = IWDG_FEED;", "    (void)IWDG_KR;"),
    ),
    mutant(
        "writes flash whatever the supply",
        stories.test_no_flash_operation_begins_before_the_supply_is_good,
        ("flash_h743.c", _WAITING, "    (void)PWR_CSR1;\n"),
    ),
    mutant(
        "waits for the flash in flash",
        stories.test_nothing_runs_from_a_bank_that_is_being_written,
        (
            "flash_h743.c",
            '#define RAMFUNC __attribute__((section(".ramfunc"), noinline))',
            "#define RAMFUNC __attribute__((noinline))",
        ),
    )._replace(installs=False),
    mutant(
        "leaves the MPU on for the app",
        stories.test_an_app_finds_the_core_as_after_reset,
        ("machine_h743.c", _CLOSED, _CLOSED.replace("    open_memory();\n", "")),
        # or the app could not even run
        ("machine_h743.c", "{ 0x08000000, XN | READ_WRITE", "{ 0x08000000, READ_WRITE"),
    ),
    mutant(
        "leaves the instruction cache on for the app",
        stories.test_an_app_finds_the_core_as_after_reset,
        ("machine_h743.c", "SCB_CCR = CCR_RESET;", "SCB_CCR &= CCR_RESET | CCR_IC;"),
    ),
    mutant(
        "leaves its keys in RAM",
        stories.test_no_secret_is_left_in_ram_when_the_app_is_entered,
        ("machine_h743.c", '"ldr r3, =ram_end\\n\\t"', '"ldr r3, =ram_start\\n\\t"'),
    ),
    mutant(
        "tells the app nothing of a refusal",
        stories.test_the_application_is_told_what_happened_before_it_started,
        ("main.c", "        action = ACTION_REFUSED;\n", ""),
    ),
    mutant(
        "tells the app no reason",
        stories.test_the_application_is_told_what_happened_before_it_started,
        ("main.c", "    result.reason = reason;\n", "    (void)reason;\n"),
    ),
    mutant(
        "waits for bank 2 in bank 1",
        driver.test_nothing_runs_outside_ram_while_a_bank_is_busy,
        ("flash_h743.c", "RAMFUNC static uint32_t\nram_program(", _FLASH_WAIT + "ram_program("),
        (
            "flash_h743.c",
            _WRITTEN + "    return ram_wait(bank);",
            _WRITTEN
            + "    uint32_t (*volatile wait)(uint32_t) = flash_wait;\n    return wait(bank);",
        ),
    ),
    mutant(
        "gives up an erase that is slow",
        driver.test_the_watchdog_is_fed_well_within_its_shortest_period_however_slow_an_erase,
        ("flash_h743.c", "#define WAIT_POLLS 0x04000000u", "#define WAIT_POLLS 0x00000064u"),
    ),
    mutant(
        "begins an operation over old error flags",
        driver.test_error_flags_are_cleared_before_each_operation,
        (
            "flash_h743.c",
            "FLASH_KEY2;\n    }\n    REG(bank + FLASH_CCR) = CCR_ALL;\n",
            "FLASH_KEY2;\n    }\n",
        ),
    ),
    mutant(
        "looks at the supply before it erases only",
        driver.test_each_operation_follows_a_look_at_a_good_supply,
        ("flash_h743.c", _BEGUN, _UNLOCKED),
    ),
    mutant(
        "feeds no watchdog while it waits for the supply",
        driver.test_below_the_supply_threshold_the_loader_waits_feeds_the_watchdog_and_goes_on,
        ("flash_h743.c", _WAITING, _WAITING.replace("        machine_feed_watchdog();\n", "")),
    ),
    mutant(
        "leaves the flags of faults it masked",
        driver.test_an_application_finds_no_fault_flags_after_a_torn_word_was_read,
        (
            "machine_h743.c",
            "    SCB_CFSR = 0xffffffffu; // reading a torn word leaves its flags\n",
            "",
        ),
    ),
    mutant(
        "gives up when the supply stays low",
        driver.test_below_the_supply_threshold_the_loader_waits_feeds_the_watchdog_and_goes_on,
        (
            "flash_h743.c",
            _WAITING,
            "    for (uint32_t i = 0; i < 256 && PWR_CSR1 & PWR_CSR1_PVDO; i++) {\n"
            "        machine_feed_watchdog();\n    }\n",
        ),
    ),
    mutant(
        "takes the lowest supply threshold there is",
        driver.test_below_the_supply_threshold_the_loader_waits_feeds_the_watchdog_and_goes_on,
        ("flash_h743.c", "info_block.supply_level << PWR_CR1_PLS_SHIFT", "0"),
    ),
    mutant(
        "reads the last bytes of an image unaligned",
        driver.test_no_access_to_flash_is_unaligned_whatever_the_size_of_the_image,
        (
            "flash_h743.c",
            "        uint32_t word = *in;\n",
            f"        uint32_t word = *{_TAIL};\n        word >>= 8 * (4 - size);\n",
        ),
    ),
    mutant(
        "lets the app area be executed",
        driver.test_caches_and_mpu_are_as_designed_at_every_flash_operation,
        ("machine_h743.c", "{ 0x08000000, XN | READ_WRITE", "{ 0x08000000, READ_WRITE"),
    ),
    mutant(
        "leaves its regions to whoever switches the MPU on",
        driver.test_an_application_finds_the_chip_as_after_reset_whatever_ran_before,
        ("machine_h743.c", _CLOSED, _CLOSED.replace("open_memory()", "MPU_CTRL = 0")),
    ),
    mutant(
        "lives with the regions of whoever ran before",
        driver.test_caches_and_mpu_are_as_designed_at_every_flash_operation,
        ("machine_h743.c", _OPENED, _OPENED.replace("open_memory()", "MPU_CTRL = 0")),
    ),
    mutant(
        "lets the core read ahead in flash",
        driver.test_what_stands_behind_a_sector_does_not_spoil_it,
        ("machine_h743.c", "XN | READ_WRITE | DEVICE | POWER_OF_TWO(21)", _CAN_BE_READ_AHEAD),
    ),
    mutant(
        "sleeps in the handler of a fault",
        driver.test_a_loader_that_sleeps_after_faults_feeds_the_watchdog,
        ("h743.h", '"cbz r2, 1f', '"b 1f'),
    ),
    mutant(
        "leaves kernel clocks as they were",
        driver.test_an_application_finds_the_chip_as_after_reset_whatever_ran_before,
        ("machine_h743.c", "0x4c, 0x50,", "0xf0, 0xf0,"),
    ),
    mutant(
        "has no MPU while it reads flash with faults masked",
        driver.test_caches_and_mpu_are_as_designed_at_every_flash_operation,
        ("h743.h", "#define MPU_ON 3u", "#define MPU_ON 1u"),
    ),
    mutant(
        "leaves system memory open to speculation",
        driver.test_caches_and_mpu_are_as_designed_at_every_flash_operation,
        ("machine_h743.c", "XN | NO_ACCESS | POWER_OF_TWO(19)", "READ_ONLY | POWER_OF_TWO(19)"),
    ),
    mutant(
        "switches the data cache on",
        driver.test_caches_and_mpu_are_as_designed_at_every_flash_operation,
        ("machine_h743.c", "    SCB_CCR |= CCR_IC;", "    SCB_CCR |= CCR_IC | 1u << 16;"),
    ),
    mutant(
        "leaves USB running",
        driver.test_an_application_finds_the_chip_as_after_reset_whatever_ran_before,
        ("machine_h743.c", "    0x0a008023, // AHB1", "    0x00008023, // AHB1"),
    ),
    mutant(
        "leaves clocks running",
        driver.test_an_application_finds_the_chip_as_after_reset_whatever_ran_before,
        ("machine_h743.c", "    RCC_CR = RCC_CR_HSION; //", "    RCC_CR |= RCC_CR_HSION; //"),
    ),
    mutant(
        "leaves interrupts pending",
        driver.test_an_application_finds_the_chip_as_after_reset_whatever_ran_before,
        ("machine_h743.c", "        NVIC_ICPR(i) = 0xffffffffu;\n", ""),
    ),
    mutant(
        "leaves SysTick running for the ROM",
        driver.test_the_rom_is_entered_as_after_reset_whatever_ran_before,
        ("machine_h743.c", "    SYST_CSR = 0;\n", ""),
    ),
    mutant(
        "leaves the supply supervisor on",
        driver.test_an_application_finds_the_chip_as_after_reset_whatever_ran_before,
        ("flash_h743.c", "    PWR_CR1 &= ~(PWR_CR1_PLS | PWR_CR1_PVDE);\n", ""),
    ),
    mutant(
        "waits for a watchdog register that a leave leaves busy",
        driver.test_an_update_dropped_over_any_rom_installs_when_that_rom_leaves,
        (
            "machine_h743.c",
            "    FLASH_ACR = FLASH_ACR_RESET; //",
            "    while (REG(0x5800480cu) & 1u) {\n    }\n    FLASH_ACR = FLASH_ACR_RESET; //",
        ),
    ),
    mutant(
        "says installed once only",
        rollback.test_no_poisoned_word_of_the_marks_takes_the_floor_back,
        (
            "install.c",
            "finds all sectors done\n    return marks_append_twice(",
            "finds all sectors done\n    return marks_append(",
        ),
    ),
    mutant(
        "believes a record whose checksum is wrong",
        rollback.test_no_record_torn_by_a_cut_takes_the_floor_back,
        (
            "mark.c",
            "if (!type_is_known(record->type) || record->crc != record_crc(record)) {",
            "if (!type_is_known(record->type)) {",
        ),
    ),
    mutant(
        "takes full marks for empty ones",
        rollback.test_full_marks_keep_the_floor_and_tell_the_application,
        (
            "mark.c",
            "(uint32_t slot = marks->next_slot;",
            "(uint32_t slot = marks->next_slot % SLOTS;",
        ),
    ),
    mutant(
        "forgets the floor when it empties full marks",
        rollback.test_no_cut_while_the_marks_are_emptied_takes_the_floor_back,
        (
            "mark.c",
            "            marks->next_slot = 0;\n",
            "            marks->next_slot = 0;\n            record.floor_counter = 0;\n",
        ),
    ),
    mutant(
        "notes one refusal too many in a row",
        rollback.test_the_65th_refusal_in_a_row_changes_no_mark_and_status_shows_the_64th,
        ("mark.c", "    if (run >= REFUSALS_KEPT &&", "    if (run > REFUSALS_KEPT &&"),
    ),
    mutant(
        "counts refusals across an install",
        rollback.test_an_install_ends_the_run_of_refusals,
        ("mark.c", _RUN, "    const uint32_t run = marks->newest.refused_run;\n"),
        (
            "install.c",
            "offsetof(struct mark_record, crc) -\n",
            "offsetof(struct mark_record, refused_run) -\n",
        ),
    ),
    mutant(
        "tries a failing sector for a long time",
        rollback.test_a_sector_that_fails_for_good_ends_in_stay_after_a_few_attempts_and_status_says_why,
        ("install.c", "#define ATTEMPTS 3u", "#define ATTEMPTS 9u"),
    ),
    mutant(
        "gives a record one chance",
        rollback.test_no_fault_of_the_marks_costs_the_app_or_hangs,
        ("mark.c", "#define APPEND_ATTEMPTS 3u", "#define APPEND_ATTEMPTS 1u"),
    ),
    mutant(
        "takes a corrected bit for a broken word",
        rollback.test_a_single_wrong_bit_is_corrected_wherever_it_is,
        ("flash_h743.c", "SR_SNECCERR ? FLASH_CORRECTED", "SR_SNECCERR ? FLASH_UNREADABLE"),
    ),
    mutant(
        "takes what it cannot read for equal",
        rollback.test_poison_in_the_app_keeps_it_from_starting_and_its_update_repairs_it,
        ("install.c", _COMPARED, f"{_COMPARED[:-1]} == FLASH_FAILED ? FLASH_FAILED : FLASH_OK;"),
        ("install.c", "        job.trusted = 0; //", "        //"),
    ),
    mutant(
        "takes a few blank slots for the end of the marks",
        failing.test_slots_left_blank_by_programs_that_failed_hide_no_record_behind_them,
        ("mark.c", "#define DOUBTFUL_SLOTS 12u", "#define DOUBTFUL_SLOTS 4u"),
    ),
    mutant(
        "clears an update that a record says is being installed",
        failing.test_an_update_is_not_cleared_once_a_record_says_that_its_install_began,
        ("mark.c", _CHANGED, _CHANGED.replace(" && !changed", "")),
        _ONLY_CLEAN_COUNTS,
    ),
    mutant(
        "counts no record that reads with a repaired bit",
        failing.test_marks_that_read_with_a_repaired_bit_count,
        _ONLY_CLEAN_COUNTS,
    ),
    mutant(
        "takes no further slot for a record that faded at once",
        failing.test_a_record_that_fades_while_it_is_read_back_is_written_again,
        (
            "mark.c",
            _READ_THEN_OK,
            "        }\n        if (result == FLASH_OK) {\n            break;\n        }\n",
        ),
    ),
    mutant(
        "needs a free slot to make room",
        failing.test_an_update_installs_though_marks_and_carry_area_are_used_up_to_the_last_slot,
        ("install.c", "(were_full && last", "(were_full == 2 && last"),
    ),
    mutant(
        "erases the end of an app though there is a slot to announce it in",
        failing.test_last_slots_that_cannot_be_written_cost_the_update_and_not_the_app,
        ("install.c", "(were_full && last", "(were_full < 2 && last"),
    ),
    mutant(
        "erases the end of an app that nobody checks",
        failing.test_nobody_erases_the_end_of_an_app_unannounced_that_starts_unchecked,
        ("install.c", "info_block.boot_check != BOOT_CHECK_OFF", "info_block.boot_check + 1"),
    ),
    mutant(
        "notes no refusal while it is installing",
        rollback.test_poison_in_staging_while_installing_never_costs_the_update,
        ("main.c", _NOTED, _NOTED.replace("facts.staged", "facts.state")),
    ),
)
