"""The everyday loop: build, flash with a debugger, run; and what production makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import workshop
from workshop import Workshop

from packager.cli import run
from packager.examples import build_example
from packager.image import elf_segments, load_image
from packager.loader_build import build_loader
from packager.records import AppState
from packager.sim.board import Board, Outcome

PROTECTED = "h743_protected"
NEXT_BUILD = "example application 2.0.0"


@dataclass
class Bench:
    """A product, and two builds of its application as ELF files."""

    shop: Workshop
    first: Path
    next: Path
    folder: Path

    def new_board(self) -> Board:
        """Return a board with nothing but the loader on it, flashed by a debugger."""
        board = Board.new(self.shop.layout.chip)
        flash(board, self.shop.loader.elf)
        return board

    def updated_board(self) -> Board:
        """Return a board on which an update with the first build was installed."""
        board = self.new_board()
        image = load_image(self.first, self.shop.layout).data
        self.shop.stage(board, self.shop.update(image, "1.4.2"))
        assert "example application 1.0.0" in board.boot(app_seconds=0.1).uart
        return board

    def rewritten_board(self) -> Board:
        """Return such a board after a debugger wrote the next build over it."""
        board = self.updated_board()
        flash(board, self.next)
        return board

    def status(self, board: Board, capsys: pytest.CaptureFixture[str], *options: str) -> str:
        """Return what ``splitflash status`` says of a board."""
        return self.told(board, capsys, *options).out

    def told(
        self, board: Board, capsys: pytest.CaptureFixture[str], *options: str
    ) -> pytest.CaptureResult[str]:
        """Return that, and what it writes to stderr meanwhile."""
        kept = self.folder / "board.sim"
        board.power_off()
        board.save(kept)
        capsys.readouterr()
        assert run(["status", "--device", f"sim:{kept}", *options]) == 0
        return capsys.readouterr()


def flash(board: Board, elf: Path) -> None:
    """Write an ELF as a debugger does: its sectors are erased, nothing else is touched."""
    with board.debugger() as debugger:
        for address, data in elf_segments(elf).items():
            debugger.write(address, data)


def bench_of(shop: Workshop, folder: Path) -> Bench:
    first, after = (build_example(version, shop.layout, folder) for version in ("1.0.0", "2.0.0"))
    return Bench(shop, first, after, folder)


@pytest.fixture
def production(shop: Workshop, tmp_path: Path) -> Bench:
    return bench_of(shop, tmp_path)


@pytest.fixture(params=[workshop.DEFAULT, workshop.MIRROR])
def development(
    build: workshop.Build,
    compiler: workshop.Compiler,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Bench:
    shop = build(request.param)
    loader = build_loader(
        shop.layout, shop.keys, tmp_path / "loader", dev=True, toolchain=compiler()
    )
    return bench_of(replace(shop, loader=loader), tmp_path)


def test_a_development_loader_starts_what_a_debugger_wrote_on_a_new_board(
    development: Bench,
) -> None:
    board = development.new_board()
    flash(board, development.first)
    assert "example application 1.0.0" in board.boot(app_seconds=0.1).uart

    flash(board, development.next)

    report = board.boot(app_seconds=0.1)
    assert report.outcome is Outcome.APP_RUNS
    assert NEXT_BUILD in report.uart


def test_and_after_an_update_was_installed_too(development: Bench) -> None:
    board = development.rewritten_board()

    report = board.boot(app_seconds=0.1)
    assert report.outcome is Outcome.APP_RUNS
    assert NEXT_BUILD in report.uart


def test_but_not_while_an_installation_is_unfinished(development: Bench) -> None:
    """The app area is in pieces then, whatever a debugger has put into the first of them."""
    board = development.updated_board()
    image = load_image(development.next, development.shop.layout).data
    development.shop.stage(board, development.shop.update(image, "1.5.0"))
    assert board.boot(cut="8-torn").outcome is Outcome.POWER_CUT
    board.program({development.shop.layout.staging.start: b"gone"})
    assert development.shop.records(board)[-1].state is AppState.INSTALLING

    flash(board, development.next)

    assert board.boot().outcome is not Outcome.APP_RUNS


def test_status_says_that_a_development_loader_starts_it(
    development: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    board = development.rewritten_board()

    said = development.status(board, capsys, "--boot0")

    assert "loader.development: yes" in said
    assert "app.found: changed" in said
    assert "app.do: this loader starts it all the same" in said


def test_a_production_loader_does_not_start_it_and_status_says_why(
    production: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    board = production.updated_board()
    assert "app.found: as_installed" in production.status(board, capsys)

    flash(board, production.next)

    assert board.boot().outcome is not Outcome.APP_RUNS
    said = production.status(board, capsys)
    assert (
        "app.meaning: the application in flash is not the one that was installed (record says"
        " 1.4.2): a debugger or programmer changed it, or the flash decayed\n"
        "app.do: drop the update again, or use a development loader\n"
    ) in said


def test_what_status_advises_brings_it_back(production: Bench) -> None:
    board = production.rewritten_board()
    image = load_image(production.first, production.shop.layout).data

    production.shop.stage(board, production.shop.update(image, "1.4.2"))

    assert "example application 1.0.0" in board.boot(app_seconds=0.1).uart


def test_on_a_new_board_no_record_speaks_for_it(
    production: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    board = production.new_board()
    assert "app.found: nothing" in production.status(board, capsys)

    flash(board, production.first)

    assert board.boot().outcome is not Outcome.APP_RUNS
    said = production.status(board, capsys)
    assert "app.found: no_record" in said
    assert "no record speaks for it" in said


def test_the_loaders_own_dfu_cannot_tell_and_says_so(
    build: workshop.Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = bench_of(build(PROTECTED), tmp_path)
    board = bench.rewritten_board()

    over_loader = bench.status(board, capsys)
    over_rom = bench.status(board, capsys, "--boot0")

    assert "bootloader: splitflash loader" in over_loader
    assert "app.found: not_shown" in over_loader
    assert "app.meaning: the loader's own DFU does not show the application" in over_loader
    assert "app.found: changed" in over_rom


def test_reading_the_application_shows_its_progress_on_stderr(
    production: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    said = production.told(production.updated_board(), capsys)

    assert "read app: 100 %" in said.err
    assert "read app" not in said.out
