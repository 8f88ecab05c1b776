"""The picture of a layout: well-formed, to scale, and saying what the layout says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import material
import pytest
from browser import Browser

from packager.chip import CHIPS, SECTOR_SIZE, Span
from packager.cli import run
from packager.flash_map import rows
from packager.flash_svg import FILL_COLOUR, MARGIN, SECTOR_WIDTH, draw_svg
from packager.layout import Layout, load_layout
from packager.update_file import write_update

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


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda path: path.stem)
def test_the_fill_is_drawn_to_scale_from_the_start_of_its_area(path: Path) -> None:
    layout = load_layout(path)
    filled = {"app": layout.app.size // 3, "staging": layout.staging.size}
    root = ElementTree.fromstring(draw_svg(layout, filled))
    found = [rect for rect in root.iter(f"{SVG}rect") if rect.get("fill") == FILL_COLOUR]

    for name, used in filled.items():
        span = layout.areas[name]
        bank = layout.chip.banks[(layout.chip.bank_of(span.start) or 1) - 1]
        width = pytest.approx(used / SECTOR_SIZE * SECTOR_WIDTH, rel=1e-4)
        left = MARGIN + (span.start - bank.start) / SECTOR_SIZE * SECTOR_WIDTH
        places = [(box_of(rect)[0], float(rect.get("width", 0))) for rect in found]
        assert (left, width) in places


def test_the_hole_between_the_banks_of_a_small_chip_is_told() -> None:
    small = draw_svg(next(load_layout(path) for path in LAYOUTS if path.stem == "h743vg_1mb"))

    assert "bank 2, 0x08100000..0x0817FFFF; no flash from 0x08080000 to here" in texts(small)
    assert "no flash" not in draw_svg(load_layout(DEFAULT))


def test_an_app_and_an_update_fill_their_areas(tmp_path: Path) -> None:
    layout = material.layout()
    update, picture = tmp_path / "u.hex", tmp_path / "map.svg"
    write_update(update, material.update())
    used = len(material.update())
    command = ["layout", "show", str(layout.path), "--update", str(update), "--svg", str(picture)]

    assert run(command) == 0
    said = texts(picture.read_text())
    assert f"{used} bytes, {100 * used / layout.staging.size:.0f} %" in said


def crowded() -> Layout:
    """Return the layout with the least room for the longest words."""
    small = CHIPS["stm32h743xg"]
    sectors = [Span(at, SECTOR_SIZE) for bank in small.banks for at in range(*bank_range(bank))]
    return replace(
        load_layout(DEFAULT),
        chip=small,
        product_id="m" * 16,
        product_name="W" * 32,
        loader=sectors[0],
        staging=sectors[1],
        app=sectors[4],
        marks=sectors[5],
        data=(
            ("m" * 32, sectors[2]),
            ("mmmmmmm_mmmmmmmm_mmmmmmmm_mmmmmm", sectors[3]),
            ("calibration_of_the_left_motor", sectors[6]),
            ("log", sectors[7]),
        ),
    )


def bank_range(bank: Span) -> tuple[int, int, int]:
    return bank.start, bank.end, SECTOR_SIZE


BOXES = """JSON.stringify([...document.querySelectorAll('svg text')].map(text => {
    const box = text.getBBox();
    return [text.textContent, box.x, box.y, box.x + box.width, box.y + box.height];
}))"""
"""What a browser measures: each text and its box."""


@pytest.mark.parametrize("name", ["crowded", *(path.stem for path in LAYOUTS)])
def test_a_browser_draws_every_text_inside_its_area_and_over_no_other(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    shipped = {path.stem: path for path in LAYOUTS}
    layout = crowded() if name == "crowded" else load_layout(shipped[name])
    filled = {"app": layout.app.size, "staging": layout.staging.size}
    page = tmp_path / "page.html"
    page.write_text(f"<body>{draw_svg(layout, filled)}</body>", encoding="utf-8")
    boxes = [tuple(box) for box in json.loads(browser.run_script(page, BOXES))]
    root = ElementTree.fromstring(draw_svg(layout, filled))
    size = 0, 0, float(root.get("width", 0)), float(root.get("height", 0))
    areas = [box_of(rect) for rect in root.iter(f"{SVG}rect")][1:]

    assert len(boxes) == len(texts(draw_svg(layout, filled)))
    for text, *box in boxes:
        assert holds(size, box), text
        touched = [area for area in areas if touches(area, box)]
        assert any(holds(area, box) for area in touched) or not touched, text
    for at, (text, *box) in enumerate(boxes):
        assert not any(touches(box, other) for _, *other in boxes[at + 1 :]), text


def box_of(rect: ElementTree.Element) -> list[float]:
    x, y, width, height = (float(rect.get(name, 0)) for name in ("x", "y", "width", "height"))
    return [x, y, x + width, y + height]


def holds(outer: Sequence[float], box: Sequence[float]) -> bool:
    return outer[0] <= box[0] and outer[1] <= box[1] and box[2] <= outer[2] and box[3] <= outer[3]


def touches(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


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
