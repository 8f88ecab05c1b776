"""The floor never sinks, a refusal is never forgotten, and flash that fails costs no update.

Each is a story that can fail, like those of ``test_stories.py``: ``tests/mutants`` shows how.
What a customer reads is taken from the real ``splitflash status`` on the file of the board.
"""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import told
import workshop
from acceptance.test_stories import (
    Scene,
    app_operations,
    prepared,
    reconfigure,
    refused_for,
    seal,
    undisturbed,
)
from refusals import flip

from packager import rehearse, toolchain
from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.cli import run
from packager.errors import RefusedError
from packager.format import CARRY_SIZE, HEADER_SIZE, RECORD_SIZE
from packager.layout import BootCheck
from packager.reasons import EXPLANATIONS, Reason
from packager.records import Action, AppState, MarkRecord, RecordType, build_record
from packager.sim.board import Board, Outcome
from packager.sim.cells import Word
from packager.sim.faults import PlantedFaults
from packager.sim.operations import Cut, Flavour, OpKind

SMALL = 1100
FOR_EVER = 1_000_000
KEPT = 64
"""Refusals in a row that are written down."""
ATTEMPTS = 3
SLOTS = SECTOR_SIZE // RECORD_SIZE


@pytest.fixture(params=toolchain.NAMES)
def shop(build: workshop.Build, request: pytest.FixtureRequest) -> workshop.Workshop:
    """The default layout, with each toolchain's loader."""
    return build(workshop.DEFAULT, request.param)


def status_of(board: Board) -> dict[str, Any]:
    """Return what the command says of the board, which it finds in a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "board"
        board.save(path)
        with redirect_stdout(io.StringIO()) as out:
            assert run(["status", "--json", "--device", f"sim:{path}"]) == 0
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    shown: dict[str, Any] = next(
        line["data"]["status"] for line in lines if "status" in line["data"]
    )
    return shown


def says(board: Board, reason: Reason, times: int = 1) -> bool:
    """Tell whether ``status`` names this reason, so often in a row, and what to do, in words."""
    refused = status_of(board)["refused"]
    if refused is None:
        return False
    known = EXPLANATIONS[reason]
    told_in_words = (refused["meaning"], refused["do"]) == (known.meaning, known.do)
    return told_in_words and (refused["reason"], refused["times"]) == (reason.name.lower(), times)


def at_floor(shop: workshop.Workshop, counter: int = 5) -> Scene:
    """A board that has installed 2.0.0 with this counter; in staging what is too old for it."""
    scene = prepared(shop, SMALL, counter)
    assert workshop.runs(scene.board.boot(strict=False))
    past = seal(shop, scene.old, 0x0900_0000, counter - 1)
    shop.stage(scene.board, past)
    return scene._replace(update=past)


def records_of(shop: workshop.Workshop, board: Board) -> int:
    """Return the bytes of marks in use."""
    marks = board.read(shop.layout.marks.start, shop.layout.marks.size)
    return -(-len(marks.rstrip(b"\xff")) // RECORD_SIZE) * RECORD_SIZE


def fill_marks(shop: workshop.Workshop, board: Board, used: int) -> None:
    """Let the newest record stand in every one of the first ``used`` slots."""
    newest = shop.records(board)[-1]
    records = [replace(newest, sequence=number) for number in range(1, used + 1)]
    board.program({shop.layout.marks.start: b"".join(map(build_record, records))})


# -- the floor -------------------------------------------------------------------------------------


def test_no_poisoned_word_of_the_marks_takes_the_floor_back(shop: workshop.Workshop) -> None:
    scene = at_floor(shop)
    board, marks = scene.board, shop.layout.marks.start
    before, used = board.snapshot(), records_of(shop, board)
    for at in range(used - 3 * RECORD_SIZE, used + RECORD_SIZE, FLASH_WORD):
        board.restore(before)
        board.flash.plant(marks + at, Word.POISONED)

        assert refused_for(shop, board) is Reason.COUNTER_TOO_OLD, at
        assert shop.app_is(board, scene.new), at


def test_no_record_torn_by_a_cut_takes_the_floor_back(shop: workshop.Workshop) -> None:
    """Neither that of a refusal, nor that which ends an install."""
    scene = at_floor(shop)
    board, update = scene.board, seal(shop, scene.old, 0x0300_0000, 6)
    before = board.snapshot()
    for staged, cuts in ((scene.update, 4), (update, len(install_of(shop, board, update)))):
        for number in range(max(1, cuts - 8), cuts + 1):
            board.restore(before)
            shop.stage(board, staged)
            board.boot(cut=Cut(number, Flavour.TORN), strict=False)
            shop.stage(board, scene.update)
            report = board.boot(strict=False)

            newest = shop.records(board)[-1]
            if staged is scene.update:
                assert workshop.runs(report), number
                assert shop.app_is(board, scene.new), number
            assert newest.floor_counter >= 5, number
            assert newest.reason is Reason.COUNTER_TOO_OLD, number


def install_of(shop: workshop.Workshop, board: Board, update: bytes) -> list[Any]:
    shop.stage(board, update)
    return undisturbed(board)


def test_full_marks_keep_the_floor_and_tell_the_application(shop: workshop.Workshop) -> None:
    scene = at_floor(shop)
    board = scene.board
    fill_marks(shop, board, SLOTS)

    seen = told.boot(board, shop.layout, strict=False)

    assert seen.result is not None
    assert (seen.result.action, seen.result.reason) == (Action.REFUSED, Reason.COUNTER_TOO_OLD)
    assert [op.kind for op in seen.report.operations] == [OpKind.ERASE], "no room for a note"
    shop.stage(board, seal(shop, scene.old, 0x0200_0001, 5))
    assert refused_for(shop, board) is Reason.NONE
    assert shop.app_is(board, scene.old)
    assert len(shop.records(board)) < SLOTS // 2, "emptied on the way"
    shop.stage(board, scene.update)
    assert refused_for(shop, board) is Reason.COUNTER_TOO_OLD
    assert says(board, Reason.COUNTER_TOO_OLD)


def test_no_cut_while_the_marks_are_emptied_takes_the_floor_back(shop: workshop.Workshop) -> None:
    """At each operation from the copy in the carry area to the first record after the erase."""
    scene = at_floor(shop)
    board = scene.board
    fill_marks(shop, board, 900)
    shop.stage(board, seal(shop, scene.old, 0x0200_0001, 5))
    before, operations = board.snapshot(), undisturbed(board)
    carry = range(shop.layout.app.end - CARRY_SIZE, shop.layout.app.end)
    assert [op.address in carry for op in operations[:9]] == [True] * 8 + [False]
    assert (operations[8].kind, operations[8].address) == (OpKind.ERASE, shop.layout.marks.start)
    cuts = [Cut(number, Flavour.TORN) for number in range(1, 19)]
    cuts += [Cut(number, Flavour.AFTER) for number in (4, 8, 9, 13)]
    for cut in cuts:
        board.restore(before)
        assert board.boot(cut=cut, strict=False).outcome is Outcome.POWER_CUT
        shop.stage(board, scene.update)
        report = board.boot(strict=False)

        newest = shop.records(board)[-1]
        assert (newest.floor_counter, newest.reason) == (5, Reason.COUNTER_TOO_OLD), cut
        assert shop.app_is(board, scene.new) or not workshop.runs(report), cut


def test_a_copy_in_a_slot_that_was_not_quite_blank_is_not_the_only_one(
    shop: workshop.Workshop,
) -> None:
    """A cut left the first carry slot so early that it read blank; the copy written there fades."""
    scene = at_floor(shop)
    board = scene.board
    fill_marks(shop, board, 900)
    shop.stage(board, seal(shop, scene.old, 0x0200_0001, 5))
    erase = next(op for op in undisturbed(board) if op.kind is OpKind.ERASE)
    assert erase.address == shop.layout.marks.start
    board.boot(cut=Cut(erase.index, Flavour.AFTER), strict=False)
    board.flash.plant(shop.layout.app.end - CARRY_SIZE, Word.POISONED)
    shop.stage(board, scene.update)

    assert refused_for(shop, board) is Reason.COUNTER_TOO_OLD
    assert shop.app_is(board, scene.new)


# -- refusals --------------------------------------------------------------------------------------


def refusals(after: MarkRecord, number: int) -> bytes:
    """Return so many refusals in a row, as the loader writes them behind a record."""
    made = replace(after, type=RecordType.REFUSED, reason=Reason.SIGNATURE)
    return b"".join(
        build_record(replace(made, sequence=after.sequence + run, refused_run=run))
        for run in range(1, number + 1)
    )


def test_the_65th_refusal_in_a_row_changes_no_mark_and_status_shows_the_64th(
    shop: workshop.Workshop,
) -> None:
    board, old, _, update = prepared(shop, SMALL)
    layout = shop.layout
    factory = board.read(layout.marks.start, 2 * RECORD_SIZE)
    newest = shop.records(board)[-1]
    board.program({layout.marks.start: factory + refusals(newest, KEPT - 2)})
    wrong = flip(100)(update)
    for number, is_noted in ((63, True), (64, True), (65, False), (66, False)):
        shop.stage(board, wrong)
        before = board.read(layout.marks.start, layout.marks.size)

        seen = told.boot(board, layout, strict=False)

        assert workshop.runs(seen.report)
        assert seen.result is not None
        assert (seen.result.action, seen.result.reason) == (Action.REFUSED, Reason.SIGNATURE)
        changed = board.read(layout.marks.start, layout.marks.size) != before
        assert changed is is_noted, number
        assert len(seen.report.operations) == (9 if is_noted else 1), number
    assert says(board, Reason.SIGNATURE, KEPT)
    assert shop.app_is(board, old)


def test_an_install_ends_the_run_of_refusals(shop: workshop.Workshop) -> None:
    board, _, new, update = prepared(shop, SMALL)
    wrong = flip(100)(update)
    for times in (1, 2):
        shop.stage(board, wrong)
        assert refused_for(shop, board) is Reason.SIGNATURE
        assert shop.records(board)[-1].refused_run == times
    shop.stage(board, update)
    assert refused_for(shop, board) is Reason.NONE
    assert status_of(board)["refused"] is None
    assert shop.app_is(board, new)
    shop.stage(board, wrong)
    assert refused_for(shop, board) is Reason.SIGNATURE
    assert says(board, Reason.SIGNATURE)


# -- flash that fails ------------------------------------------------------------------------------


def test_a_sector_that_fails_for_good_ends_in_stay_after_a_few_attempts_and_status_says_why(
    shop: workshop.Workshop,
) -> None:
    board, _, new, update = prepared(shop, SMALL)
    app = shop.layout.app.start
    usual = len(undisturbed(board))
    before = board.snapshot()
    broken = {
        "erase": PlantedFaults(erase_errors={app: FOR_EVER}),
        "program": PlantedFaults(program_errors={app + FLASH_WORD: FOR_EVER}),
        "verify": PlantedFaults(never_verifies={app}),
    }
    for what, faults in broken.items():
        board.restore(before)
        board.flash.faults = faults

        report = board.boot(strict=False)

        left = [*faults.erase_errors.values(), *faults.program_errors.values()]
        assert all(FOR_EVER - many <= ATTEMPTS for many in left), what
        assert len(report.operations) <= ATTEMPTS * usual, what
        assert report.outcome is Outcome.STAYS_IN_ROM, what
        assert board.read(shop.layout.staging.start, len(update)) == update, what
        assert says(board, Reason.FLASH_FAILED), what
        board.flash.faults = PlantedFaults()
        assert workshop.runs(board.boot(strict=False)), "once the flash works again"
        assert shop.app_is(board, new), what


def resumed_without_room(shop: workshop.Workshop, spare: int = 0) -> Scene:
    """A board at 2.0.0 with counter 5, cut while it installs 3.0.0, whose marks are full but for
    ``spare`` slots."""
    scene = at_floor(shop)
    board, newer = scene.board, shop.image(SMALL, seed=7)
    update = seal(shop, newer, 0x0300_0000, 5)
    shop.stage(board, update)
    middle = app_operations(shop, undisturbed(board))[5]
    board.boot(cut=Cut(middle.index, Flavour.AFTER), strict=False)
    fill_marks(shop, board, SLOTS - spare)
    return Scene(board, scene.new, newer, update)


def test_brown_outs_in_the_same_erase_never_use_up_the_room_for_the_update(
    shop: workshop.Workshop,
) -> None:
    """A weak supply bears everything but an erase, and comes back for as long as nothing runs."""
    board, _, new, _ = resumed_without_room(shop, spare=5)
    for _ in range(6):
        erases = [op.index for op in undisturbed(board) if op.kind is OpKind.ERASE]
        assert erases
        assert board.boot(cut=Cut(erases[0], Flavour.TORN), strict=False)

    assert workshop.runs(board.boot(strict=False))

    assert shop.app_is(board, new)


def test_marks_that_cannot_be_emptied_cost_the_update_and_not_the_app(
    shop: workshop.Workshop,
) -> None:
    """With fewer slots than an install begins with, and only for as long as they fail."""
    board, old, new, update = prepared(shop, SMALL)
    fill_marks(shop, board, SLOTS - 100)
    board.flash.faults.erase_errors[shop.layout.marks.start] = FOR_EVER
    for _ in range(2):
        assert refused_for(shop, board) is Reason.MARKS_FULL
        assert says(board, Reason.MARKS_FULL)
        assert shop.app_is(board, old)
        shop.stage(board, update)
    board.flash.faults.erase_errors.clear()

    assert refused_for(shop, board) is Reason.NONE
    assert shop.app_is(board, new)


def test_the_only_copy_of_the_newest_record_is_never_erased(shop: workshop.Workshop) -> None:
    """Emptying the marks is cut, then fails for a while; what they show by then may be old."""
    scene = resumed_without_room(shop)
    board = scene.board
    marks = shop.layout.marks.start
    erase = next(op for op in undisturbed(board) if op.address == marks)
    assert erase.kind is OpKind.ERASE
    assert board.boot(cut=Cut(erase.index, Flavour.AFTER), strict=False)
    board.flash.faults.erase_errors[marks] = FOR_EVER

    report = board.boot(strict=False)

    assert report.outcome is Outcome.STAYS_IN_ROM
    assert not any(op.kind is OpKind.ERASE and op.address != marks for op in report.operations)
    board.flash.faults.erase_errors.clear()
    assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, scene.new)
    shop.stage(board, seal(shop, scene.old, 0x0900_0000, 4))
    assert refused_for(shop, board) is Reason.COUNTER_TOO_OLD


def test_a_single_copy_in_emptied_marks_is_not_what_the_carried_one_is_erased_on(
    shop: workshop.Workshop,
) -> None:
    """All but the last sector is done; the cuts tear the copy in the marks, then that sector."""
    scene = at_floor(shop)
    board, layout = scene.board, shop.layout
    shop.stage(board, seal(shop, shop.image(SMALL, seed=7), 0x0300_0000, 5))
    copy = RECORD_SIZE // FLASH_WORD
    last_done = undisturbed(board)[-1 - 4 * copy]
    board.boot(cut=Cut(last_done.index, Flavour.BEFORE), strict=False)
    newest = shop.records(board)[-1]
    assert newest.type is RecordType.DONE
    assert newest.done_sectors == (1 << layout.app.size // SECTOR_SIZE - 1) - 1
    fill_marks(shop, board, SLOTS - 100)
    emptied = next(op for op in undisturbed(board) if op.address == layout.marks.start)
    assert emptied.kind is OpKind.ERASE
    board.boot(cut=Cut(emptied.index + copy, Flavour.AFTER), strict=False)
    erased = next(op for op in undisturbed(board) if op.kind is OpKind.ERASE)
    assert erased.address == layout.app.end - SECTOR_SIZE
    board.boot(cut=Cut(erased.index, Flavour.AFTER), strict=False)
    board.flash.plant(layout.marks.start + RECORD_SIZE - FLASH_WORD, Word.POISONED)
    shop.stage(board, scene.update)

    board.boot(strict=False)

    assert shop.records(board)[-1].floor_counter == 5


def test_a_carry_area_that_fails_for_a_while_does_not_keep_updates_out_for_good(
    shop: workshop.Workshop,
) -> None:
    """With full marks, and an app up to the end that starts unchecked, it is the only way."""
    old, new = shop.image(shop.layout.largest_image, seed=1), shop.image(SMALL, seed=2)
    board, update = shop.board(old), seal(shop, new)
    shop.stage(board, update)
    reconfigure(shop, board, boot_check=BootCheck.OFF)
    fill_marks(shop, board, SLOTS)
    for _ in range(3):
        board.flash.faults = PlantedFaults(never_verifies={shop.layout.app.end - SECTOR_SIZE})
        assert workshop.runs(board.boot(strict=False))
        assert shop.app_is(board, old)
        shop.stage(board, update)
    board.flash.faults = PlantedFaults()

    assert workshop.runs(board.boot(strict=False))

    assert shop.app_is(board, new)


def test_no_fault_of_the_marks_costs_the_app_or_hangs(shop: workshop.Workshop) -> None:
    board, old, new, update = prepared(shop, SMALL)
    marks = shop.layout.marks.start
    slot = marks + records_of(shop, board)
    before = board.snapshot()
    for faults, installs in (
        (PlantedFaults(program_errors={slot: FOR_EVER}), True),
        (PlantedFaults(program_errors={slot + n * RECORD_SIZE: 1 for n in range(2)}), True),
        (PlantedFaults(program_errors={slot + n * FLASH_WORD: FOR_EVER for n in range(64)}), False),
        (PlantedFaults(never_verifies={marks}), False),
    ):
        board.restore(before)
        board.flash.faults = faults
        report = board.boot(strict=False)
        board.flash.faults = PlantedFaults()

        assert workshop.runs(report)
        assert shop.app_is(board, new if installs else old)
        shop.stage(board, update)
        assert workshop.runs(board.boot(strict=False))
        assert shop.app_is(board, new)


def test_a_single_wrong_bit_is_corrected_wherever_it_is(shop: workshop.Workshop) -> None:
    """In header, payload, app and marks: the update installs, the app starts."""
    board, _, new, _ = prepared(shop, SMALL)
    layout = shop.layout
    used = records_of(shop, board)
    for address in (
        *(layout.staging.start + at for at in (0, 160, HEADER_SIZE, HEADER_SIZE + 512)),
        *(layout.marks.start + at for at in range(used - RECORD_SIZE, used, FLASH_WORD)),
        *(layout.app.start + at for at in (0, 512)),
    ):
        board.flash.plant(address, Word.CORRECTED)

    assert refused_for(shop, board) is Reason.NONE
    assert shop.app_is(board, new)
    for at in range(0, SMALL, FLASH_WORD):
        board.flash.plant(layout.app.start + at, Word.CORRECTED)
    assert workshop.runs(board.boot(strict=False))


def test_poison_in_the_app_keeps_it_from_starting_and_its_update_repairs_it(
    shop: workshop.Workshop,
) -> None:
    board, _, new, update = prepared(shop, SMALL)
    assert workshop.runs(board.boot(strict=False))
    for at in (0, 1024, SMALL // FLASH_WORD * FLASH_WORD):
        board.flash.plant(shop.layout.app.start + at, Word.POISONED)

        report = board.boot(strict=False)

        assert report.outcome is Outcome.STAYS_IN_ROM, at
        assert not report.faults, at
        shop.stage(board, update)
        assert workshop.runs(board.boot(strict=False)), at
        assert shop.app_is(board, new), at


def test_poison_in_staging_while_installing_never_costs_the_update(
    shop: workshop.Workshop,
) -> None:
    """It is kept, the reason can be read, and once it is written again it installs."""
    board, _, new, update = prepared(shop, SMALL)
    middle = app_operations(shop, undisturbed(board))[5]
    board.boot(cut=Cut(middle.index, Flavour.AFTER), strict=False)
    before = board.snapshot()
    for word in (1, HEADER_SIZE // FLASH_WORD + 3):
        board.restore(before)
        board.flash.plant(shop.layout.staging.start + word * FLASH_WORD, Word.POISONED)

        report = board.boot(strict=False)

        assert report.outcome is Outcome.STAYS_IN_ROM
        assert all(shop.layout.marks.contains(op.address) for op in report.operations)
        assert shop.records(board)[-1].state is AppState.INSTALLING
        assert says(board, Reason.STAGING_UNREADABLE)
        shop.stage(board, update)
        assert workshop.runs(board.boot(strict=False))
        assert shop.app_is(board, new)


# -- before the drop -------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "counter"), [("9.0.0", 4), ("1.9.9", 5)])
def test_a_drop_refuses_what_the_loader_would_and_changes_nothing(
    shop: workshop.Workshop, version: str, counter: int
) -> None:
    scene = at_floor(shop)
    old = shop.update(scene.old, version, counter)
    shop.stage(scene.board, old)
    reason = refused_for(shop, scene.board)
    before = scene.board.snapshot()

    with pytest.raises(RefusedError, match=EXPLANATIONS[reason].meaning.partition("(")[0]):
        rehearse.drop(scene.board, old)

    assert reason in (Reason.COUNTER_TOO_OLD, Reason.VERSION_TOO_OLD)
    assert scene.board.snapshot() == before
