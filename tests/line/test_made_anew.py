"""A device that comes back and is flashed with a factory image again."""

from __future__ import annotations

import pytest
import workshop
from acceptance.test_anti_rollback import SLOTS, SMALL, fill_marks
from acceptance.test_stories import prepared, undisturbed

from packager import toolchain
from packager.chip import FLASH_WORD
from packager.factory import build_factory
from packager.loader_file import read_loader
from packager.sim.operations import Cut, Flavour


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_a_device_that_is_made_anew_forgets_what_its_carry_area_held(
    build: workshop.Build, tool: str
) -> None:
    """Its programmer erases the sectors of the factory image and no others."""
    shop = build(workshop.DEFAULT, tool)
    board, layout = prepared(shop, SMALL).board, shop.layout
    fill_marks(shop, board, SLOTS - 100)
    emptied = next(op for op in undisturbed(board) if op.address == layout.marks.start)
    board.boot(cut=Cut(emptied.index, Flavour.AFTER), strict=False)
    image = shop.image(SMALL, seed=9)
    loader = read_loader(shop.loader.elf)
    shop.stage(board, b"\xff" * FLASH_WORD)

    board.program(build_factory(image, loader, layout, 0x0100_0000, 7))

    report = board.boot(strict=False)
    assert workshop.runs(report)
    assert not report.operations
    assert shop.app_is(board, image)
    assert shop.records(board)[-1].floor_counter == 7
