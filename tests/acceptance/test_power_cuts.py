"""A power cut at every flash operation of an install, on the shipped binary; then power on.

A failure prints the cut as an id like ``137-torn``; ``splitflash sim boot --cut`` takes it. The
sweeps boot without a look at every single load; the undisturbed boots of the other tests look.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import workshop

from packager import rehearse
from packager.errors import DeviceError
from packager.records import AppState, RecordType
from packager.resources import loader_sources
from packager.sim.board import Board, Outcome
from packager.sim.cells import Word
from packager.sim.flash import FlashSnapshot
from packager.sim.operations import Cut, Flavour

IMAGE_SIZE = 8 * 1024
SWEPT = workshop.SMALL_CHIP
"""The 1 MB part has the smallest app area, and a sweep boots it well over a thousand times."""
FLAVOURS = list(Flavour)
SHARES = 8
"""The sweep in so many tests, for as many workers."""
FAULTMASK = '__asm__ volatile("cpsid f" ::: "memory");'
IGNORE_FAULTS = " | CCR_BFHFNMIGN"
"""What makes a read of a torn word survivable, in flash_h743.c."""


def prepared(shop: workshop.Workshop) -> tuple[Board, bytes, bytes]:
    """Return a board that runs the old image, with an update of the new one staged."""
    old, new = shop.image(IMAGE_SIZE, seed=1), shop.image(IMAGE_SIZE, seed=2)
    board = shop.board(old)
    shop.stage(board, shop.update(new))
    return board, old, new


def operations_of(board: Board) -> int:
    """Count the flash operations of an undisturbed install; leaves the board as it was."""
    before = board.snapshot()
    count = len(board.boot().operations)
    board.restore(before)
    return count


@pytest.mark.parametrize("share", range(SHARES))
def test_a_cut_at_every_operation_of_the_install_is_healed_at_the_next_boot(
    build: workshop.Build, share: int, record_property: Callable[[str, object], None]
) -> None:
    shop = build(SWEPT)
    board, _, new = prepared(shop)
    count = operations_of(board)
    before = board.snapshot()
    indexes = range(1 + share * count // SHARES, 1 + (share + 1) * count // SHARES)
    cuts = [Cut(index, flavour) for index in indexes for flavour in FLAVOURS]
    healed: FlashSnapshot | None = None
    for cut in cuts:
        board.restore(before)
        first = board.boot(cut=cut, strict=False)
        assert first.outcome is Outcome.POWER_CUT, cut
        left = board.snapshot()
        if left == healed:
            continue  # before an operation is after the one before it, to the last bit
        healed = left
        second = board.boot(strict=False)
        assert workshop.runs(second), cut
        assert shop.app_is(board, new), cut
        assert board.boot().outcome is Outcome.APP_RUNS, cut
        # a torn erase of the header itself leaves garbage that is no update, and is left alone
        garbage = cut == Cut(count, Flavour.TORN)
        assert shop.is_header_blank(board) or garbage, cut
    record_property(workshop.CUTS_HEALED, len(cuts))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_sampled_cuts_are_healed_by_the_other_toolchains_loader_too(
    build: workshop.Build, flavour: Flavour
) -> None:
    shop = build(SWEPT, "zig")
    board, _, new = prepared(shop)
    count = operations_of(board)
    before = board.snapshot()
    for index in [*range(1, 12), *range(12, count - 12, 23), *range(count - 12, count + 1)]:
        board.restore(before)
        first = board.boot(cut=Cut(index, flavour), strict=False)
        assert first.outcome is Outcome.POWER_CUT
        assert workshop.runs(board.boot(strict=False)), Cut(index, flavour)
        assert shop.app_is(board, new), Cut(index, flavour)


@pytest.mark.parametrize("unplug_at", [60, 110])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_cut_install_then_a_second_drop_that_is_cut_too_never_runs_a_mixed_app(
    build: workshop.Build, flavour: Flavour, unplug_at: int
) -> None:
    shop = build(SWEPT)
    board, old, new = prepared(shop)
    third = shop.image(IMAGE_SIZE * 2, seed=3)
    update = shop.update(third, "3.0.0")
    count = operations_of(board)
    before = board.snapshot()
    for index in range(2, count, count // 6):
        board.restore(before)
        first = board.boot(cut=Cut(index, flavour), strict=False)
        assert first.outcome is Outcome.POWER_CUT
        drop_unplugged(board, update, unplug_at)

        report = board.boot(strict=False)

        if workshop.runs(report):
            assert shop.app_is(board, old) or shop.app_is(board, new), (index, flavour)
        else:
            assert report.outcome is Outcome.STAYS_IN_ROM, (index, flavour, report)
        rehearse.drop(board, update)
        assert workshop.runs(board.boot(strict=False)), (index, flavour)
        assert shop.app_is(board, third), (index, flavour)


def drop_unplugged(board: Board, update: bytes, transfers: int) -> None:
    """Drop an update and pull the plug at the given control transfer."""
    with rehearse.in_rom(board) as device:
        assert board.rom is not None
        board.rom.unplug_at = transfers
        with pytest.raises(DeviceError):
            rehearse.drop_over(device, update)


def test_a_corrupted_app_is_repaired_by_dropping_its_own_update_again(
    shop: workshop.Workshop,
) -> None:
    board, _, new = prepared(shop)
    update = board.read(shop.layout.staging.start, shop.layout.staging.size)
    assert workshop.runs(board.boot())
    board.flash.plant(shop.layout.app.start + 4096, Word.POISONED)
    assert board.boot().outcome is Outcome.STAYS_IN_ROM
    shop.stage(board, update)

    report = board.boot()

    assert workshop.runs(report)
    assert shop.app_is(board, new)
    states = [record.type for record in shop.records(board)]
    assert states.count(RecordType.INSTALLING) == 2 * 2, "of two installs, each says it twice"


def test_the_same_update_again_is_cleared_and_the_app_not_touched(shop: workshop.Workshop) -> None:
    board, _, _ = prepared(shop)
    update = board.read(shop.layout.staging.start, shop.layout.staging.size)
    assert workshop.runs(board.boot())
    shop.stage(board, update)

    report = board.boot()

    assert workshop.runs(report)
    assert shop.is_header_blank(board)
    assert not any(shop.layout.app.contains(op.address) for op in report.operations)
    assert shop.records(board)[-1].state is AppState.INSTALLED


def test_negative_control_a_loader_that_reads_the_header_with_plain_loads_is_caught(
    shop: workshop.Workshop, compiler: workshop.Compiler, tmp_path: Path
) -> None:
    """A sweep that cannot fail proves nothing: this loader faults on a torn header."""
    sources = tmp_path / "mcu_loader"
    shutil.copytree(loader_sources(), sources)
    driver = sources / "flash_h743.c"
    text = driver.read_text()
    for masking in (FAULTMASK, IGNORE_FAULTS):
        assert text.count(masking) == 1
        text = text.replace(masking, "")
    driver.write_text(text)
    tool = compiler(shop.loader.toolchain)
    careless = workshop.make_workshop(tmp_path, shop.layout, tool, sources)
    board, old, _ = prepared(careless)
    board.flash.plant(shop.layout.staging.start, Word.POISONED)

    report = board.boot()

    assert not workshop.runs(report)
    assert report.faults
    careful, old, _ = prepared(shop)
    careful.flash.plant(shop.layout.staging.start, Word.POISONED)
    assert workshop.runs(careful.boot())
    assert shop.app_is(careful, old)
