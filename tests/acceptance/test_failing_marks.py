"""Marks that take records badly, or none at all: nothing is forgotten, and there is a way on.

Each is a story that can fail, like those of ``test_stories.py``: ``tests/mutants`` shows how.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import workshop
from acceptance.test_anti_rollback import FOR_EVER, KEPT, SLOTS, SMALL, fill_marks
from acceptance.test_stories import prepared, reconfigure, refused_for, seal, undisturbed

from packager import toolchain
from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.format import CARRY_SIZE, RECORD_SIZE
from packager.layout import BootCheck
from packager.reasons import Reason
from packager.records import RecordType, build_record
from packager.sim.board import Board
from packager.sim.cells import Word
from packager.sim.faults import PlantedFaults
from packager.sim.operations import Cut, FlashOp, Flavour, OpKind


@pytest.fixture(params=toolchain.NAMES)
def shop(build: workshop.Build, request: pytest.FixtureRequest) -> workshop.Workshop:
    """The default layout, with each toolchain's loader."""
    return build(workshop.DEFAULT, request.param)


def slot(shop: workshop.Workshop, number: int) -> int:
    """Return the address of a slot of the marks."""
    return shop.layout.marks.start + number * RECORD_SIZE


def use_up_carry(shop: workshop.Workshop, board: Board) -> None:
    """Let every slot of the carry area be torn."""
    for at in range(shop.layout.app.end - CARRY_SIZE, shop.layout.app.end, RECORD_SIZE):
        board.flash.plant(at, Word.POISONED)


def test_slots_left_blank_by_programs_that_failed_hide_no_record_behind_them(
    shop: workshop.Workshop,
) -> None:
    """The second copy of the last DONE fails three times, the first of INSTALLED twice."""
    board, old, new, _ = prepared(shop, SMALL)
    used = len(shop.records(board)) + 2 + 2 * (shop.layout.app.size // SECTOR_SIZE) - 1
    failing = {slot(shop, number): 1 for number in range(used, used + 5)}
    board.flash.faults = PlantedFaults(program_errors=failing)

    assert workshop.runs(board.boot(strict=False))

    assert not any(failing.values()), "these programs were to fail"
    assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, new)
    shop.stage(board, seal(shop, old, 0x0900_0000, 1))
    assert refused_for(shop, board) is Reason.COUNTER_TOO_OLD


def test_an_update_is_not_cleared_once_a_record_says_that_its_install_began(
    shop: workshop.Workshop,
) -> None:
    """Though its program reported an error, and so many refusals stand that no note is written."""
    board, _, new, _ = prepared(shop, SMALL)
    first = shop.records(board)[-1]
    refused = replace(first, type=RecordType.REFUSED, reason=Reason.SIGNATURE)
    notes = [
        replace(refused, sequence=2 + number, refused_run=1 + number // 2)
        for number in range(2 * KEPT)
    ]
    board.program({shop.layout.marks.start: b"".join(map(build_record, [first, *notes]))})
    announced = slot(shop, 1 + len(notes))
    board.flash.faults.program_errors = {announced + n * RECORD_SIZE: 1 for n in (1, 2)}

    def repaired(op: FlashOp, board: Board) -> None:
        if op.address == announced:
            board.flash.plant(announced, Word.CORRECTED)

    board.boot(on_operation=repaired)
    board.boot(strict=False)

    assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, new)


def test_marks_that_read_with_a_repaired_bit_count(shop: workshop.Workshop) -> None:
    """However often: the update installs, the application starts."""
    board, _, new, _ = prepared(shop, SMALL)

    def repaired(op: FlashOp, board: Board) -> None:
        if op.kind is OpKind.PROGRAM and shop.layout.marks.contains(op.address):
            board.flash.plant(op.address, Word.CORRECTED)

    for _ in range(2):
        report = board.boot(on_operation=repaired)
        assert workshop.runs(report)
        assert not report.resets
    assert shop.app_is(board, new)


def test_a_record_that_fades_while_it_is_read_back_is_written_again(
    shop: workshop.Workshop,
) -> None:
    """After however many reads: the update installs at once."""
    board, _, new, _ = prepared(shop, SMALL)
    next_slot = slot(shop, len(shop.records(board)))
    before = board.snapshot()
    for reads in range(10):
        board.restore(before)
        board.flash.plant(next_slot + FLASH_WORD, Word.WEAK_BLANK, reads=reads)

        assert workshop.runs(board.boot()), reads

        assert shop.app_is(board, new), reads


def test_an_update_installs_though_marks_and_carry_area_are_used_up_to_the_last_slot(
    shop: workshop.Workshop,
) -> None:
    """As a supply leaves them that collapses in the first program of each start."""
    board, old, new, _ = prepared(shop, SMALL)
    fill_marks(shop, board, SLOTS)
    use_up_carry(shop, board)
    before = board.snapshot()
    last = shop.layout.app.end - SECTOR_SIZE
    assert (undisturbed(board)[0].kind, undisturbed(board)[0].address) == (OpKind.ERASE, last)

    for cut in (None, *(Cut(n, flavour) for n in range(1, 12) for flavour in Flavour)):
        board.restore(before)
        if cut is not None:
            board.boot(cut=cut, strict=False)
            assert shop.app_is(board, old), cut

        assert workshop.runs(board.boot(strict=False)), cut

        assert shop.app_is(board, new), cut


def test_last_slots_that_cannot_be_written_cost_the_update_and_not_the_app(
    shop: workshop.Workshop,
) -> None:
    """Nothing is erased unannounced while there is a slot to announce it in."""
    image = shop.image(shop.layout.largest_image, seed=1)
    board = shop.board(image)
    fill_marks(shop, board, SLOTS - 2)
    use_up_carry(shop, board)
    board.flash.faults.program_errors = {slot(shop, SLOTS - n): FOR_EVER for n in (1, 2)}
    shop.stage(board, seal(shop, shop.image(SMALL, seed=2)))

    report = board.boot(strict=False)

    assert workshop.runs(report)
    assert shop.app_is(board, image)
    assert refused_for(shop, board) is Reason.NONE, "it is gone"


def test_nobody_erases_the_end_of_an_app_unannounced_that_starts_unchecked(
    shop: workshop.Workshop,
) -> None:
    """With ``boot_check: off`` only records tell that an app is whole: the update is refused."""
    image = shop.image(shop.layout.largest_image, seed=1)
    board = shop.board(image)
    reconfigure(shop, board, boot_check=BootCheck.OFF)
    fill_marks(shop, board, SLOTS)
    use_up_carry(shop, board)
    shop.stage(board, seal(shop, shop.image(SMALL, seed=2)))

    assert refused_for(shop, board) is Reason.MARKS_FULL

    assert shop.app_is(board, image)
