"""Whatever faults again at every start ends in sleep, never in a loop of resets."""

from __future__ import annotations

import pytest
import workshop

from packager import toolchain
from packager.format import INFO_OFFSET, INFO_SIZE
from packager.sim.board import Board, Outcome
from packager.sim.cells import Word

PROTECTED = "h743_protected"
RESETS = ["reset"] * 3


def installed(shop: workshop.Workshop) -> Board:
    board = shop.board(shop.image(2000))
    assert workshop.runs(board.boot(strict=False))
    return board


@pytest.mark.parametrize("tool", toolchain.NAMES)
@pytest.mark.parametrize("name", [workshop.DEFAULT, PROTECTED])
def test_a_fault_before_anything_is_decided_resets_three_times_and_sleeps(
    build: workshop.Build, name: str, tool: str
) -> None:
    shop = build(name, tool)
    board = installed(shop)
    board.flash.plant(shop.address_of("rules"), Word.POISONED)

    report = board.boot(strict=False)

    assert (report.outcome, report.resets) == (Outcome.STAYS_PARKED, RESETS)


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_a_fault_in_the_door_resets_three_times_and_sleeps(
    build: workshop.Build, tool: str
) -> None:
    """Nobody but the door reads what is reserved in the info block."""
    shop = build(PROTECTED, tool)
    board = shop.board(shop.image(2000))
    board.program({shop.layout.app.start: b"\xff" * 64})
    board.flash.plant(shop.layout.loader.start + INFO_OFFSET + INFO_SIZE - 96, Word.POISONED)

    report = board.boot(strict=False)

    assert (report.outcome, report.resets) == (Outcome.STAYS_PARKED, RESETS)
