"""How long a device is silent: never longer than the kit says, on a board with real times."""

from __future__ import annotations

from dataclasses import replace

import pytest
import workshop

from packager.chip import SECTOR_SIZE
from packager.format import RECORD_SIZE
from packager.kit import silence as figures
from packager.kit.silence import silence
from packager.records import build_record
from packager.sim.board import Board
from packager.sim.operations import Timing

SIZES = (3_000, 150_000)


def installed(
    shop: workshop.Workshop, size: int, timing: Timing, *, worst: bool = False, count: bool = False
) -> tuple[float, int]:
    """Install an image; return the seconds of the device's time, and its instructions."""
    layout = shop.layout
    old = shop.image(layout.largest_image if worst else 2_000, seed=1)
    fresh = shop.board(old)
    board = Board.new(layout.chip, timing=timing)
    board.restore(fresh.snapshot())
    if worst:
        use_up_marks(shop, board)
    shop.stage(board, shop.update(shop.image(size, seed=2)))
    report = board.boot(app_seconds=0.0, count=count, strict=count)
    assert workshop.runs(report), report
    return sum(report.seconds.values()), report.instructions or 0


def use_up_marks(shop: workshop.Workshop, board: Board) -> None:
    """Leave so few record slots that the marks are erased and begun anew."""
    record = shop.records(board)[0]
    start = shop.layout.marks.start
    board.program(
        {
            start + slot * RECORD_SIZE: build_record(replace(record, sequence=slot + 1))
            for slot in range(shop.layout.marks.size // RECORD_SIZE - 100)
        }
    )


@pytest.mark.parametrize("size", SIZES)
def test_usual_is_never_shorter_than_an_install_at_typical_times(
    shop: workshop.Workshop, size: int
) -> None:
    seconds, _ = installed(shop, size, Timing.TYPICAL)

    usual = silence(size, shop.layout.app.size).usual
    assert seconds <= usual <= seconds + 2


@pytest.mark.parametrize("size", SIZES)
def test_longest_is_never_shorter_than_the_worst_install_at_maximum_times(
    shop: workshop.Workshop, size: int
) -> None:
    """The old image fills the app area, and the marks are full."""
    seconds, _ = installed(shop, size, Timing.MAXIMUM, worst=True)

    longest = silence(size, shop.layout.app.size).longest
    assert seconds <= longest <= seconds + 10


def test_the_core_is_given_more_cycles_than_an_install_has_instructions(
    shop: workshop.Workshop,
) -> None:
    size = 4_000
    _, instructions = installed(shop, size, Timing.TYPICAL, count=True)

    assert instructions < figures.CYCLES_PER_INSTALL / 2 + figures.CYCLES_PER_BYTE * size


def test_the_times_are_the_ones_of_the_virtual_board() -> None:
    """Typed twice on purpose: neither room knows of the other, so a misreading shows here."""
    parallelism = 3  # 64 bits, as the loader sets it
    for own, board in ((figures.TYPICAL, Timing.TYPICAL), (figures.MAXIMUM, Timing.MAXIMUM)):
        assert own.erase == board.erase(parallelism)
        assert own.program == board.program(parallelism)


def test_the_figures_grow_with_the_image_and_the_app_area() -> None:
    areas = [count * SECTOR_SIZE for count in (1, 3, 7, 15)]
    sizes = [1_000, 100_000, 500_000, 900_000]

    assert [silence(size, areas[2]).usual for size in sizes] == [3, 4, 10, 17]
    assert [silence(size, areas[2]).longest for size in sizes] == [20, 25, 30, 35]
    assert [silence(1_000, area).longest for area in areas] == [10, 15, 20, 35]
