"""``splitflash sim``: boards kept in files, by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import workshop

from packager.cli import run
from packager.examples import build_example
from packager.factory import make_factory, write_factory
from packager.format import pack_version
from packager.resources import layouts
from packager.sim.board import Board

LAYOUT = str(layouts() / f"{workshop.DEFAULT}.yaml")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, shop: workshop.Workshop) -> Path:
    """A folder with a factory image of the first example application."""
    folder = tmp_path_factory.mktemp("files")
    app = build_example("1.0.0", shop.layout, folder)
    pieces = make_factory(
        app, shop.loader.elf, shop.layout, shop.keys, pack_version("1.0.0"), counter=1
    )
    write_factory(folder / "factory_SECRET.hex", pieces)
    return folder


@pytest.fixture
def board(files: Path, tmp_path: Path) -> str:
    """A board file, flashed with the factory image."""
    path = str(tmp_path / "board.sim")
    factory = str(files / "factory_SECRET.hex")
    assert run(["sim", "new", path, "--layout", LAYOUT, "--factory", factory]) == 0
    return path


def test_a_board_boots_and_says_how_it_ended(
    board: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sim", "boot", board]) == 0

    out = capsys.readouterr().out
    assert "uart: example application 1.0.0\n" in out
    assert "outcome: app-runs\n" in out


@pytest.mark.parametrize("who", ["software", "hardware"])
def test_the_watchdog_of_a_new_board_runs_from_power_on_if_the_layout_says_so(
    files: Path, tmp_path: Path, who: str
) -> None:
    product, path = tmp_path / "product.yaml", tmp_path / "board.sim"
    product.write_text(Path(LAYOUT).read_text() + f"watchdog: {who}\n")
    factory = str(files / "factory_SECRET.hex")

    assert run(["sim", "new", str(path), "--layout", str(product), "--factory", factory]) == 0
    assert Board.load(path).flash.options.watchdog_from_power_on == (who == "hardware")


def test_with_boot0_the_rom_bootloader_starts(
    board: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sim", "boot", board, "--boot0"]) == 0
    assert "outcome: stays-in-rom\n" in capsys.readouterr().out


def test_info_names_chip_rom_and_protection(board: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "info", board]) == 0
    assert "chip: stm32h743xi\nROM: 0x90\nRDP level: 0\n" in capsys.readouterr().out


def test_read_copies_flash_into_a_file(board: str, tmp_path: Path, shop: workshop.Workshop) -> None:
    out = tmp_path / "vectors.bin"

    assert run(["sim", "read", board, "0x08100000", "8", "-o", str(out)]) == 0
    assert out.read_bytes()[:4] == (0x2408_0000).to_bytes(4, "little")


def test_a_board_is_not_overwritten(board: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(board).read_bytes()

    assert run(["sim", "new", board, "--layout", LAYOUT, "--factory", board]) == 1
    assert "exists already" in capsys.readouterr().err
    assert Path(board).read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["boot", "{board}", "--cut", "7-sideways"], "NUMBER-before, NUMBER-torn or NUMBER-after"),
        (["boot", "{none}"], "none.sim"),
        (["read", "{board}", "0x70000000", "4", "-o", "{out}"], "0x70000000"),
        (["read", "{board}", "top", "4", "-o", "{out}"], "'top' is no number"),
        (["read", "{board}", "0x08000000", "-4", "-o", "{out}"], "-4"),
        (["read", "{board}", "-o", "{out}", "--", "0x08000000", "-5"], "at least 1"),
        (["read", "{board}", "0x08000000", "0", "-o", "{out}"], "at least 1"),
        (["serve", "{board}", "--usbip", "--host", "..a", "--port", "0"], "..a:0: cannot listen"),
        (["new", "{none}", "--layout", LAYOUT], "give --factory or --loader"),
        (["new", "{none}", "--layout", LAYOUT, "--factory", "{garbage}"], "garbage.hex"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_what_is_wrong_is_told_without_a_traceback_or_a_file(
    board: str,
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {
        name: tmp_path / f"{name}.{end}"
        for name, end in (("none", "sim"), ("out", "bin"), ("garbage", "hex"))
    }
    names["garbage"].write_bytes(b"\x00garbage")
    places = {"board": board, **{name: str(path) for name, path in names.items()}}

    code = run(["sim", *(argument.format(**places) for argument in arguments)])

    assert code != 0
    assert said in capsys.readouterr().err
    assert not names["none"].exists()
    assert not names["out"].exists()


def test_the_option_bytes_of_production_are_set_but_for_the_protection(board: str) -> None:
    assert run(["sim", "options", board, "--layout", LAYOUT]) == 0

    options = Board.load(board).flash.options
    assert options.optsr >> 2 & 3 == 3
    assert (options.boot, options.wpsn, options.rdp_level) == (0x1FF0_0800, (0xFE, 0xFF), 0)


def test_a_protected_board_keeps_its_option_bytes(board: str) -> None:
    run(["sim", "protect", board, "1"])
    before = Board.load(board).flash.options

    assert run(["sim", "options", board, "--layout", LAYOUT]) == 14
    assert Board.load(board).flash.options == before
