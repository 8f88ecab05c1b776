"""An existing CubeMX project: as it was, changed as the notes say, built by CMake, updated."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import cmake
import cube_project
import pytest
import workshop
from elftools.elf.elffile import ELFFile
from workshop import Workshop

from packager.export import NOTES_FILE, export_layout
from packager.image import elf_segments, load_image
from packager.layout import load_layout
from packager.resources import layouts
from packager.sim.board import Board, Outcome

EVERY = sorted(path.stem for path in layouts().glob("*.yaml"))
PROTECTED = "h743_protected"
MARK = 0x3800_0100
CONSTRUCTOR = f"""
__attribute__((constructor, used)) static void
early(void)
{{
    *(volatile uint32_t *)0x{MARK:08X}u = 0x11223344u;
}}
"""
VECTORS = 16 + 150
"""Entries of core and chip, RM0433 table 149."""


@pytest.fixture(scope="module")
def path() -> str:
    """A search path with CMake, Ninja, git, both compilers and this Python, which has Zig."""
    workshop.needs_programs("cmake", "ninja", "git")
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def compiled(path: str, app: Path, tool: str, version: str = "1.0.0") -> Path:
    """Build a project with its preset of that name; return the ELF."""
    workshop.needs(tool)
    done = cmake.run(path, "-S", app, "--preset", tool, f"-DAPP_VERSION={version}")
    assert done.returncode == 0, done.stderr
    done = cmake.run(path, "--build", app / "build" / tool)
    assert done.returncode == 0, done.stdout + done.stderr
    return app / "build" / tool / "app.elf"


@pytest.mark.parametrize("tool", ["gcc", "zig"])
def test_before_it_knows_of_a_loader_it_has_the_flash_to_itself(
    path: str, tmp_path: Path, tool: str
) -> None:
    board = Board.new(workshop.layout_named(workshop.DEFAULT).chip)
    board.program(elf_segments(compiled(path, cube_project.stock(tmp_path), tool)))
    board.send_serial(b"?")

    report = board.boot(limit_seconds=0.1)

    assert report.uart == "application 1.0.0\nticking\napplication 1.0.0\n"


@pytest.mark.parametrize("tool", ["gcc", "zig"])
def test_its_start_up_calls_constructors_before_main(path: str, tmp_path: Path, tool: str) -> None:
    app = cube_project.stock(tmp_path)
    with (app / "Core" / "Src" / "stm32h7xx_it.c").open("a") as source:
        source.write(CONSTRUCTOR)
    board = Board.new(workshop.layout_named(workshop.DEFAULT).chip)
    board.program(elf_segments(compiled(path, app, tool)))

    report = board.boot(limit_seconds=0.1)

    assert "ticking" in report.uart
    assert board.read(MARK, 4) == bytes.fromhex("44332211")


@pytest.mark.parametrize("tool", ["gcc", "zig"])
@pytest.mark.parametrize("name", [workshop.DEFAULT, PROTECTED])
def test_with_the_change_of_the_readme_it_lives_from_factory_to_update(
    build: workshop.Build, path: str, tmp_path: Path, name: str, tool: str
) -> None:
    shop = build(name, tool)
    app = cube_project.integrated(tmp_path, shop.layout)
    old = load_image(compiled(path, app, tool, "1.0.0"), shop.layout).data
    new = load_image(compiled(path, app, tool, "1.4.2"), shop.layout).data
    board = shop.board(old, "1.0.0")
    assert board.boot().uart == "application 1.0.0\nticking\n"

    shop.stage(board, shop.update(new, "1.4.2"))

    assert board.boot().uart == "application 1.4.2\nfirst start after an update\nticking\n"
    assert board.boot().uart == "application 1.4.2\nticking\n"


@pytest.mark.parametrize("name", EVERY)
def test_the_same_source_starts_under_the_loader_of_every_layout(
    build: workshop.Build, path: str, tmp_path: Path, name: str
) -> None:
    shop = build(name, "gcc")
    app = cube_project.integrated(tmp_path, shop.layout)
    board = shop.board(load_image(compiled(path, app, "gcc"), shop.layout).data)

    assert board.boot().uart == "application 1.0.0\nticking\n"


@pytest.mark.parametrize("tool", ["gcc", "zig"])
@pytest.mark.parametrize(
    ("name", "level", "outcome"),
    [
        (PROTECTED, 1, Outcome.STAYS_IN_DFU),
        (workshop.DEFAULT, 0, Outcome.STAYS_IN_ROM),
    ],
)
def test_a_letter_on_its_serial_line_brings_it_where_updates_come_in(
    build: workshop.Build,
    path: str,
    tmp_path: Path,
    tool: str,
    name: str,
    level: int,
    outcome: Outcome,
) -> None:
    board = running(build(name, tool), path, tmp_path, tool)
    board.protect(level)
    board.send_serial(b"U")

    report = board.boot()

    assert report.outcome is outcome
    assert report.uart == "application 1.0.0\nticking\n"


def running(shop: Workshop, path: str, folder: Path, tool: str) -> Board:
    """Return a board from the factory with the integrated project on it."""
    app = cube_project.integrated(folder, shop.layout)
    return shop.board(load_image(compiled(path, app, tool), shop.layout).data)


def test_it_says_that_it_is_alive_so_that_two_resets_are_no_call_for_help(
    build: workshop.Build, path: str, tmp_path: Path
) -> None:
    board = running(build(PROTECTED, "gcc"), path, tmp_path, "gcc")

    assert board.boot().outcome is Outcome.APP_RUNS
    assert [board.press_reset().outcome for _ in range(2)] == [Outcome.APP_RUNS] * 2


@pytest.mark.parametrize("name", EVERY)
def test_a_vector_table_set_as_the_notes_say_takes_the_interrupts(
    build: workshop.Build, path: str, tmp_path: Path, name: str
) -> None:
    shop = build(name, "gcc")
    app = cube_project.integrated(tmp_path, shop.layout)
    notes = (app / "splitflash" / NOTES_FILE).read_text()
    (offset,) = re.findall(r"`VECT_TAB_OFFSET` (0x[0-9A-F]{8})", notes)
    cube_project.writes_vtor(app, offset)
    board = shop.board(load_image(compiled(path, app, "gcc"), shop.layout).data)

    assert board.boot().uart == "application 1.0.0\nticking\n"


def test_a_vector_table_left_at_the_loader_shows_at_the_first_interrupt(
    build: workshop.Build, path: str, tmp_path: Path
) -> None:
    shop = build(workshop.DEFAULT, "gcc")
    app = cube_project.integrated(tmp_path, shop.layout)
    cube_project.writes_vtor(app, "0x00000000")
    board = shop.board(load_image(compiled(path, app, "gcc"), shop.layout).data)

    assert "ticking" not in board.boot().uart


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("ORIGIN = 0x08000000, LENGTH = 915968", "FLASH ORIGIN in the linker script is not"),
        ("ORIGIN = 0x08100000, LENGTH = 1024K", "FLASH LENGTH in the linker script is more than"),
    ],
)
def test_the_linker_refuses_numbers_that_are_not_the_layouts(
    path: str, tmp_path: Path, wrong: str, said: str
) -> None:
    workshop.needs("gcc")
    app = cube_project.integrated(tmp_path, workshop.layout_named(workshop.DEFAULT))
    script = app / cube_project.SCRIPT
    script.write_text(script.read_text().replace(cube_project.numbers(app), wrong))
    cmake.run(path, "-S", app, "--preset", "gcc")

    done = cmake.run(path, "--build", app / "build" / "gcc")

    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_a_changed_layout_is_noticed_at_the_next_build(path: str, tmp_path: Path) -> None:
    """The numbers were typed once; the export is what follows the layout."""
    workshop.needs("gcc")
    app = cube_project.integrated(tmp_path, workshop.layout_named(workshop.DEFAULT))
    compiled(path, app, "gcc")
    export_layout(load_layout(layouts() / f"{workshop.MIRROR}.yaml"), app / "splitflash")

    done = cmake.run(path, "--build", app / "build" / "gcc")

    assert done.returncode != 0
    assert "FLASH ORIGIN in the linker script is not 0x08020000" in done.stdout + done.stderr


@pytest.mark.parametrize("tool", ["gcc", "zig"])
def test_its_vector_table_has_every_entry_and_no_hole_but_the_reserved_ones(
    path: str, tmp_path: Path, tool: str
) -> None:
    elf = compiled(path, cube_project.stock(tmp_path), tool)
    with elf.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".isr_vector")
        assert section is not None
        table = section.data()
    words = [int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), 4)]

    assert len(words) == VECTORS
    assert all(word & 1 for word in words[1:] if word)
    holes = {number for number, word in enumerate(words) if not word}
    assert {7, 8, 9, 10, 13} == {number for number in holes if number < 16}
    reserved = {42, *range(64, 68), 79, 123, 126, 143, 147, 148}
    assert {number - 16 for number in holes if number >= 16} == reserved
