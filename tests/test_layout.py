"""Layouts: what is accepted, and how every broken rule is told."""

from __future__ import annotations

import contextlib
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from bad_layouts import BAD_LAYOUTS
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.chip import CHIPS, KIB, Span
from packager.errors import LayoutError
from packager.format import Recovery
from packager.layout import RULES, load_layout
from packager.layout_file import EXCERPT_WIDTH

LAYOUTS = Path(__file__).parent.parent / "layouts"
SHIPPED = sorted(LAYOUTS.glob("*.yaml"))
_FIRST, _, DEFAULT = (LAYOUTS / "h743zi_app_bank2.yaml").read_text().partition("\n")
"""The default layout, without the line for editors."""


EXCERPT = re.compile(r" +\d* \| ")


def problems_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "l.yaml"
    path.write_text(text)
    with pytest.raises(LayoutError) as caught:
        load_layout(path)
    told = [line for line in str(caught.value).splitlines() if not EXCERPT.match(line)]
    return [line.removeprefix(f"{path}:") for line in told]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_layout_is_good(path: Path) -> None:
    layout = load_layout(path)

    assert layout.largest_image > 0


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_layout_takes_the_protection_of_the_protected_one(
    tmp_path: Path, path: Path
) -> None:
    keys = ("recovery", "entry", "usb", "rdp")

    def lines(source: Path, *, of_these: bool) -> list[str]:
        found = source.read_text().splitlines()
        return [line for line in found if line.startswith(keys) == of_these]

    protected = lines(LAYOUTS / "h743_protected.yaml", of_these=True)
    mixed = tmp_path / "product.yaml"
    mixed.write_text("\n".join([*lines(path, of_these=False), *protected]))
    layout = load_layout(mixed)

    assert len(protected) == len(keys)
    assert (layout.rdp, layout.recovery) == (1, Recovery.DFU)
    assert layout.layout_id == load_layout(path).layout_id


def test_the_default_layout_stages_in_bank_1_and_runs_the_app_from_bank_2() -> None:
    layout = load_layout(LAYOUTS / "h743zi_app_bank2.yaml")

    assert layout.loader == Span(0x0800_0000, 128 * KIB)
    assert layout.staging == Span(0x0802_0000, 896 * KIB)
    assert layout.app == Span(0x0810_0000, 896 * KIB)
    assert layout.marks == Span(0x081E_0000, 128 * KIB)


def test_the_largest_image_fills_staging_to_the_last_byte_it_can_use() -> None:
    layout = load_layout(LAYOUTS / "h743zi_app_bank2.yaml")

    # 640 bytes of header, and 56 chunks each with a tag of 16 bytes
    assert layout.largest_image == 896 * KIB - 640 - 56 * 16 == 915_968


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [row[1:] for row in BAD_LAYOUTS],
    ids=[row[0] for row in BAD_LAYOUTS],
)
def test_every_broken_rule_is_told_with_its_place(
    tmp_path: Path, old: str, new: str, expected: list[str]
) -> None:
    assert DEFAULT.count(old) == 1

    assert problems_of(tmp_path, DEFAULT.replace(old, new)) == expected


def test_the_line_is_shown_under_the_problem_with_carets_below_the_key(tmp_path: Path) -> None:
    path = tmp_path / "l.yaml"
    path.write_text(DEFAULT.replace("size: 896K}", "size: 834K}", 1))
    with pytest.raises(LayoutError) as caught:
        load_layout(path)

    assert str(caught.value).splitlines()[1:] == [
        "    8 |   staging: {start: 0x08020000, size: 834K}",
        "      |   ^^^^^^^",
    ]


def test_odd_characters_and_long_lines_stay_harmless_in_an_excerpt(tmp_path: Path) -> None:
    path = tmp_path / "l.yaml"
    path.write_text(DEFAULT.replace("rdp: 0", "rdp: 'a\tb\x85" + "x" * 500 + "'"))
    with pytest.raises(LayoutError) as caught:
        load_layout(path)

    assert all(line.isprintable() for line in str(caught.value).splitlines())
    assert max(map(len, str(caught.value).splitlines()[1:])) <= 8 + EXCERPT_WIDTH


def test_a_missing_key_shows_the_section_it_belongs_in(tmp_path: Path) -> None:
    path = tmp_path / "l.yaml"
    path.write_text(DEFAULT.replace("id: demo-h743zi, ", ""))
    with pytest.raises(LayoutError) as caught:
        load_layout(path)

    assert str(caught.value).splitlines() == [
        f"{path}:5:1: product.id: missing; add 'id:'",
        "    5 | product: {name: splitflash demo board}",
        "      | ^^^^^^^",
    ]


def test_a_duplicate_key_is_refused_with_its_line(tmp_path: Path) -> None:
    (line,) = problems_of(tmp_path, DEFAULT + "rdp: 0\n")

    assert line.startswith("15:1: duplicate key")


def test_all_problems_are_told_in_one_go(tmp_path: Path) -> None:
    text = DEFAULT.replace("rdp: 0", "rdp: 7").replace("boot_check: crc", "boot_check: sha1")

    assert len(problems_of(tmp_path, text)) == 2


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "chip: [", "\t", "\0", "a: &a [*a, *b]"])
def test_what_is_no_layout_is_one_line(tmp_path: Path, text: str) -> None:
    assert len(problems_of(tmp_path, text)) == 1


def test_a_file_that_is_not_there_is_an_os_error_told_as_a_layout_error(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="No such file"):
        load_layout(tmp_path / "none.yaml")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    assert problems_of(tmp_path, "#" * 70_000) == [
        " larger than 64 KiB, a layout file; check the path"
    ]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(DEFAULT) - 1), st.text(max_size=4)), min_size=1, max_size=6
    )
)
def test_a_mutated_layout_loads_or_is_a_layout_error(edits: list[tuple[int, str]]) -> None:
    text = DEFAULT
    for at, new in edits:
        text = text[:at] + new + text[at + 1 :]
    _loads_or_is_a_layout_error(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_are_a_layout_error(data: bytes) -> None:
    _loads_or_is_a_layout_error(data)


def _loads_or_is_a_layout_error(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "l.yaml"
        path.write_bytes(data)
        with contextlib.suppress(LayoutError):
            load_layout(path)


@pytest.mark.parametrize(
    ("chip", "app_ram", "expected"),
    [
        ("stm32h743xi", "AXI SRAM", Span(0x2400_0000, 512 * KIB)),
        ("stm32h742xi", "AXI SRAM", Span(0x2400_0000, 384 * KIB)),
        ("stm32h743xi", "DTCM", Span(0x2000_0000, 128 * KIB)),
        ("stm32h742xi", "SRAM1", Span(0x3000_0000, 32 * KIB)),
        ("stm32h743xi", "{start: 0x24010000, size: 64K}", Span(0x2401_0000, 64 * KIB)),
    ],
)
def test_the_applications_ram_is_a_region_of_the_chip_or_a_part_of_one(
    tmp_path: Path, chip: str, app_ram: str, expected: Span
) -> None:
    path = tmp_path / "product.yaml"
    path.write_text(DEFAULT.replace("stm32h743xi", chip) + f"app_ram: {app_ram}\n")

    assert load_layout(path).app_ram == expected
    path.write_text(DEFAULT.replace("stm32h743xi", chip))
    assert load_layout(path).app_ram == CHIPS[chip].ram_of(0x2400_0000).span  # type: ignore[union-attr]


def test_the_layout_id_ignores_comments_and_host_side_settings(tmp_path: Path) -> None:
    same = tmp_path / "same.yaml"
    host_side = "app_ram: DTCM\nwatchdog: hardware\nsecurity_counter: 7\n"
    same.write_text(host_side + DEFAULT.replace("supply_mv: 2700", "supply_mv: 2100  # comment"))

    assert load_layout(same).layout_id == load_layout(LAYOUTS / "h743zi_app_bank2.yaml").layout_id


@pytest.mark.parametrize(
    "change",
    [
        {"product_id": "other"},
        {"app": Span(0x0810_0000, 768 * KIB)},
        {"data": (("x", Span(0, 1)),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_layout_id_differs_when_the_device_would(change: dict[str, object]) -> None:
    layout = load_layout(LAYOUTS / "h743zi_app_bank2.yaml")

    assert replace(layout, **change).layout_id != layout.layout_id  # type: ignore[arg-type]


def test_every_rule_is_a_sentence_with_a_reason() -> None:
    for rule in RULES:
        assert rule.__doc__
        assert "_" in rule.__name__
