"""The picture of a layout: well-formed, to scale, and saying what the layout says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from packager.chip import SECTOR_SIZE
from packager.cli import run
from packager.flash_map import rows
from packager.flash_svg import SECTOR_WIDTH, draw_svg
from packager.layout import load_layout

LAYOUTS = sorted((Path(__file__).parent.parent / "layouts").glob("*.yaml"))
DEFAULT = next(path for path in LAYOUTS if path.stem == "h743zi_app_bank2")
SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_every_area_is_drawn_to_scale_with_name_size_and_address(path: Path) -> None:
    layout = load_layout(path)
    root = ElementTree.fromstring(draw_svg(layout))
    drawn = [float(rect.get("width", 0)) for rect in root.iter(f"{SVG}rect")][1:]
    said = texts(draw_svg(layout))

    assert drawn == [row.size / SECTOR_SIZE * SECTOR_WIDTH for row in rows(layout)]
    for name, span in layout.areas.items():
        assert name in said
        assert f"0x{span.start:08X}" in said
        assert f"{span.size // 1024} KiB" in said


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_nothing_is_drawn_outside_the_picture(path: Path) -> None:
    root = ElementTree.fromstring(draw_svg(load_layout(path)))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))

    for rect in root.iter(f"{SVG}rect"):
        right = float(rect.get("x", 0)) + float(rect.get("width", 0))
        bottom = float(rect.get("y", 0)) + float(rect.get("height", 0))
        assert right <= width
        assert bottom <= height
    assert all(float(text.get("y", 0)) <= height for text in root.iter(f"{SVG}text"))


def test_a_name_with_markup_in_it_stays_a_name() -> None:
    layout = replace(load_layout(DEFAULT), product_name="<b>&amp;")

    assert "<b>&amp;" in texts(draw_svg(layout))


def test_the_fill_of_an_area_is_drawn_and_said(tmp_path: Path) -> None:
    app = tmp_path / "app.bin"
    shutil.copy(DEFAULT, tmp_path / "product.yaml")
    layout = load_layout(DEFAULT)
    stack, entry = 0x2400_4000, layout.app.start + 0x401
    app.write_bytes(stack.to_bytes(4, "little") + entry.to_bytes(4, "little") + bytes(250_000))
    picture = tmp_path / "map.svg"
    command = ["layout", "show", str(tmp_path / "product.yaml"), "--app", str(app)]

    assert run([*command, "--svg", str(picture)]) == 0
    assert "250008 bytes, 27 %" in texts(picture.read_text())
