"""What an application gets from a layout, and the flash map."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import workshop

from packager.chip import KIB
from packager.cli import run
from packager.examples import build_example
from packager.export import FILES, export_layout
from packager.export.c_header import c_header
from packager.export.memory import memory_fragment
from packager.flash_map import draw, rows
from packager.format import Recovery
from packager.image import load_image
from packager.layout import load_layout
from packager.vectors import initial_sp

LAYOUTS = sorted((Path(__file__).parent.parent / "layouts").glob("*.yaml"))
DEFAULT = Path(__file__).parent.parent / "layouts" / "h743zi_app_bank2.yaml"


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_the_linker_fragment_has_the_app_area_and_the_updatable_maximum(path: Path) -> None:
    layout = load_layout(path)

    line = f"ORIGIN = 0x{layout.app.start:08X}, LENGTH = {layout.largest_image}"
    assert line in memory_fragment(layout)


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_the_c_header_names_every_area(path: Path) -> None:
    layout = load_layout(path)
    text = c_header(layout)

    for name, span in layout.areas.items():
        assert f"#define SPLITFLASH_{name.upper()}_START 0x{span.start:08X}u" in text


def test_export_says_which_layout_made_it(tmp_path: Path) -> None:
    layout = load_layout(LAYOUTS[0])

    for path in export_layout(layout, tmp_path / "new"):
        assert layout.layout_id.hex() in path.read_text()


def test_check_is_content_with_what_was_just_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_layout(load_layout(DEFAULT), tmp_path)

    assert run(["layout", "export", str(DEFAULT), "-o", str(tmp_path), "--check"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: current\n"


@pytest.mark.parametrize("name", FILES)
def test_check_names_a_file_that_is_missing_or_of_another_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    command = ["layout", "export", str(DEFAULT), "-o", str(tmp_path), "--check"]
    export_layout(load_layout(DEFAULT), tmp_path)
    (tmp_path / name).write_text(FILES[name](load_layout(LAYOUTS[0])))

    assert run(command) == 4
    assert f"{name}: differs from {DEFAULT.name}" in capsys.readouterr().err
    (tmp_path / name).unlink()
    assert run(command) == 4
    assert f"{name}: is missing for {DEFAULT.name}" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def product(tmp_path: Path, more: str) -> Path:
    path = tmp_path / "product.yaml"
    path.write_text(DEFAULT.read_text() + more)
    return path


@pytest.mark.parametrize(
    ("app_ram", "regions"),
    [
        (
            "AXI SRAM",
            {
                "RAM": (0x2400_0000, 512 * KIB),
                "ITCM": (0, 64 * KIB),
                "DTCM": (0x2000_0000, 128 * KIB),
                "SRAM4": (0x3800_0000, 64 * KIB),
            },
        ),
        (
            "DTCM",
            {
                "RAM": (0x2000_0000, 128 * KIB),
                "ITCM": (0, 64 * KIB),
                "AXISRAM": (0x2400_0000, 512 * KIB),
                "SRAM4": (0x3800_0000, 64 * KIB),
            },
        ),
        (
            "{start: 0x24020000, size: 128K}",
            {
                "RAM": (0x2402_0000, 128 * KIB),
                "ITCM": (0, 64 * KIB),
                "DTCM": (0x2000_0000, 128 * KIB),
                "SRAM4": (0x3800_0000, 64 * KIB),
            },
        ),
    ],
)
def test_the_linker_fragment_has_the_applications_ram_and_no_byte_twice(
    tmp_path: Path, app_ram: str, regions: dict[str, tuple[int, int]]
) -> None:
    text = memory_fragment(load_layout(product(tmp_path, f"app_ram: {app_ram}\n")))
    found = re.findall(r"(\w+) +\(rwx\) : ORIGIN = (\w+), LENGTH = (\d+)", text)

    assert {name: (int(at, 16), int(size)) for name, at, size in found} == regions


@pytest.mark.parametrize("app_ram", ["DTCM", "SRAM1-3", "{start: 0x24020000, size: 64K}"])
def test_an_application_with_its_stack_in_any_ram_of_the_layout_runs(
    tmp_path: Path, build: workshop.Build, compiler: workshop.Compiler, app_ram: str
) -> None:
    path = product(tmp_path, f"app_ram: {app_ram}\n")
    layout = load_layout(path)
    image = load_image(build_example("1.0.0", layout, tmp_path, compiler()), layout).data
    report = build().board(image).boot()

    assert initial_sp(image) == layout.app_ram.end
    assert workshop.runs(report), report
    assert "example application 1.0.0" in report.uart


def test_the_notes_say_how_an_application_finds_the_watchdog(tmp_path: Path) -> None:
    notes = FILES["CUBEIDE.md"]
    protected = next(path for path in LAYOUTS if path.stem == "h743_protected")

    assert "independent watchdog off (`watchdog: software`)" in notes(load_layout(DEFAULT))
    hardware = load_layout(product(tmp_path, "watchdog: hardware\n"))
    assert "independent watchdog running since power-on" in notes(hardware)
    assert "independent watchdog running, started by the loader" in notes(load_layout(protected))


def test_the_notes_carry_both_numbers_of_the_linker_script_and_the_vector_offset() -> None:
    layout = load_layout(DEFAULT)
    notes = FILES["CUBEIDE.md"](layout)

    assert "ORIGIN = 0x08100000, LENGTH = 915968" in notes
    assert "`VECT_TAB_OFFSET` 0x00100000" in notes


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_the_flash_map_covers_every_sector_once(path: Path) -> None:
    layout = load_layout(path)

    assert sum(row.size for row in rows(layout)) == layout.chip.flash_kib * 1024
    assert {row.name for row in rows(layout)} >= set(layout.areas)


def test_the_flash_map_shows_what_is_free_and_how_full_an_area_is(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(DEFAULT.read_text().replace("size: 896K}\n  marks", "size: 256K}\n  marks"))
    text = draw(load_layout(path), {"app": 131_072})

    assert "free       5 x 128 KiB =  640 KiB   31.2 %" in text
    assert "[################................] 131072 bytes, 50 %" in text


@pytest.mark.parametrize("recovery", Recovery)
def test_the_header_compiles_whatever_the_next_update_comes_by(
    tmp_path: Path, recovery: Recovery
) -> None:
    layout = replace(load_layout(DEFAULT), recovery=recovery)

    assert load_image(build_example("2.0.0", layout, tmp_path), layout).data


@pytest.mark.parametrize("recovery", Recovery)
def test_the_notes_say_how_the_application_asks_for_the_next_update(recovery: Recovery) -> None:
    notes = FILES["CUBEIDE.md"](replace(load_layout(DEFAULT), recovery=recovery))

    assert ("`splitflash_enter_dfu()`" in notes) is (recovery is not Recovery.NONE)
    assert ("into the ROM bootloader" in notes) is (recovery is Recovery.ROM)
    assert ("with this layout it does nothing" in notes) is (recovery is not Recovery.DFU)
