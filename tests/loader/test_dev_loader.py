"""A development loader starts what the debugger put there; a production loader does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import workshop

from packager import toolchain
from packager.image import elf_segments
from packager.loader_build import build_loader
from packager.records import AppState
from packager.sim.board import Board, Outcome

pytestmark = pytest.mark.parametrize("tool", toolchain.NAMES)


@pytest.fixture
def shop(build: workshop.Build, tool: str) -> workshop.Workshop:
    return build(workshop.DEFAULT, tool)


@pytest.fixture
def dev(
    shop: workshop.Workshop, compiler: workshop.Compiler, tool: str, tmp_path: Path
) -> workshop.Workshop:
    built = build_loader(shop.layout, shop.keys, tmp_path, dev=True, toolchain=compiler(tool))
    return workshop.Workshop(shop.layout, shop.keys, built)


def debugged(shop: workshop.Workshop) -> Board:
    """Return a board on which loader and application were written by a debugger."""
    board = Board.new(shop.layout.chip)
    board.program(elf_segments(shop.loader.elf))
    board.program({shop.layout.app.start: shop.image(3000, 1)})
    return board


def rewrite(board: Board, shop: workshop.Workshop) -> bytes:
    """Put another application there, as a debugger does."""
    image = shop.image(5000, 3)
    board.program({shop.layout.app.start: image})
    return image


def test_an_app_without_any_record_is_started_by_a_development_loader_only(
    shop: workshop.Workshop, dev: workshop.Workshop
) -> None:
    assert workshop.runs(debugged(dev).boot())
    assert debugged(shop).boot().outcome is Outcome.STAYS_IN_ROM


def test_an_app_rewritten_after_an_install_is_started_by_a_development_loader_only(
    shop: workshop.Workshop, dev: workshop.Workshop
) -> None:
    for maker, outcome in ((dev, Outcome.APP_RUNS), (shop, Outcome.STAYS_IN_ROM)):
        board = debugged(maker)
        maker.stage(board, maker.update(maker.image(4000, 2)))
        assert workshop.runs(board.boot())
        written = rewrite(board, maker)
        assert board.boot().outcome is outcome
        assert maker.app_is(board, written)


def test_the_update_that_is_installed_repairs_a_rewritten_app_when_it_is_dropped_again(
    dev: workshop.Workshop,
) -> None:
    board, image = debugged(dev), dev.image(4000, 2)
    update = dev.update(image)
    dev.stage(board, update)
    assert workshop.runs(board.boot())
    rewrite(board, dev)
    dev.stage(board, update)
    assert workshop.runs(board.boot())
    assert dev.app_is(board, image)


def test_a_refused_update_is_cleared_and_the_rewritten_app_runs(dev: workshop.Workshop) -> None:
    board = debugged(dev)
    dev.stage(board, dev.update(dev.image(4000, 2), counter=5))
    assert workshop.runs(board.boot())
    written = rewrite(board, dev)
    dev.stage(board, dev.update(dev.image(4000, 4), counter=4))
    assert workshop.runs(board.boot())
    assert dev.app_is(board, written)
    assert dev.is_header_blank(board)


def test_not_even_a_development_loader_starts_an_app_that_is_being_installed(
    dev: workshop.Workshop,
) -> None:
    board = debugged(dev)
    dev.stage(board, dev.update(dev.image(4000, 2)))
    board.boot(cut="20-after", strict=False)
    assert dev.records(board)[-1].state is AppState.INSTALLING
    board.program({dev.layout.staging.start: b"\xff" * 0x20000})
    rewrite(board, dev)
    assert board.boot().outcome is Outcome.STAYS_IN_ROM


def test_an_app_without_plausible_vectors_is_never_started(dev: workshop.Workshop) -> None:
    board = debugged(dev)
    board.program({dev.layout.app.start: bytes(64)})
    assert board.boot().outcome is Outcome.STAYS_IN_ROM
