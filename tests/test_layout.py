"""Layouts: what is accepted, and how every broken rule is told."""

from __future__ import annotations

import contextlib
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.chip import KIB, Span
from packager.errors import LayoutError
from packager.layout import RULES, load_layout
from packager.layout_file import EXCERPT_WIDTH

LAYOUTS = Path(__file__).parent.parent / "layouts"
SHIPPED = sorted(LAYOUTS.glob("*.yaml"))
DEFAULT = (LAYOUTS / "h743zi_app_bank2.yaml").read_text()


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


def bad(old: str, new: str, *expected: str) -> object:
    return pytest.param(DEFAULT.replace(old, new, 1), list(expected), id=new[:40] or "removed")


BAD_LAYOUTS = [
    bad(
        "chip: stm32h743xi",
        "chip: stm32h743zi",
        "4:1: chip: unknown chip 'stm32h743zi', expected one of stm32h743xi, stm32h743xg,"
        " stm32h753xi; did you mean 'stm32h743xi'?",
    ),
    bad(
        "chip: stm32h743xi",
        "chip: stm32h750xb",
        "4:1: chip: 'stm32h750xb' cannot be used, it has one flash sector, so there is no room for"
        " loader, staging and app; use a larger part",
    ),
    bad("chip: stm32h743xi\n", "", "1:1: chip: missing; add 'chip:'"),
    bad(
        "id: demo-h743zi",
        "id: Demo board",
        "5:11: product.id: found 'Demo board', expected 1 to 16 of a-z 0-9 . _ -; change it",
    ),
    bad(
        "name: splitflash demo board",
        "name: ''",
        "5:28: product.name: found '', expected 1 to 32 printable ASCII characters; change it",
    ),
    bad(
        "staging: {start: 0x08020000, size: 896K}",
        "staging: {start: 0x08020000, size: 834K}",
        "8:3: areas.staging: ends at 0x080F0800 inside a sector, sectors are 128 KiB;"
        " use 0x080E0000 or 0x08100000",
    ),
    bad(
        "staging: {start: 0x08020000, size: 896K}",
        "staging: {start: 0x08020000, size: 1M}",
        "8:3: areas.staging: 0x08020000..0x0811FFFF crosses from bank 1 to bank 2,"
        " 0x08000000..0x080FFFFF and 0x08100000..0x081FFFFF; keep it in one bank",
        "9:3: areas.app: starts at 0x08100000, 'areas.staging' reaches up to 0x0811FFFF;"
        " let them not overlap",
    ),
    bad(
        "marks:   {start: 0x081E0000, size: 128K}",
        "marks:   {start: 0x08200000, size: 128K}",
        "10:3: areas.marks: 0x08200000..0x0821FFFF is outside the flash of stm32h743xi,"
        " 0x08000000..0x080FFFFF and 0x08100000..0x081FFFFF; move or shrink it",
    ),
    bad(
        "loader:  {start: 0x08000000, size: 128K}",
        "loader:  {start: 0x08020000, size: 128K}",
        "7:3: areas.loader: starts at 0x08020000, the chip boots from 0x08000000; start it there",
        "8:3: areas.staging: starts at 0x08020000, 'areas.loader' reaches up to 0x0803FFFF;"
        " let them not overlap",
    ),
    bad(
        "app:     {start: 0x08100000, size: 896K}",
        "app:     {start: 0x08100200, size: 896K}",
        "9:3: areas.app: starts at 0x08100200 inside a sector, sectors are 128 KiB;"
        " use 0x08100000 or 0x08120000",
        "9:3: areas.app: ends at 0x081E0200 inside a sector, sectors are 128 KiB;"
        " use 0x081E0000 or 0x08200000",
        "9:3: areas.app: a vector table at 0x08100200 is not aligned, it needs 1024 bytes;"
        " start it at a sector",
        "10:3: areas.marks: starts at 0x081E0000, 'areas.app' reaches up to 0x081E01FF;"
        " let them not overlap",
    ),
    bad(
        "marks:   {start: 0x081E0000, size: 128K}",
        "marks:   {start: 0x081E0000}",
        "10:3: areas.marks: found {start}, expected exactly start and size;"
        " write it like {start: 0x08020000, size: 128K}",
    ),
    bad(
        "marks:   {start: 0x081E0000, size: 128K}",
        "marks:   {start: 0x081E0000, size: 128kB}",
        "10:3: areas.marks: size '128kB', expected bytes or like 128K, 1M; change it",
    ),
    bad(
        "marks:   {start: 0x081E0000, size: 128K}",
        "marks:   {start: 0x081E0000, size: 0}",
        "10:3: areas.marks: size 0, more than 0; give the area whole sectors of 128K",
    ),
    bad(
        "recovery: rom\nrdp: 0",
        "recovery: rom\nrdp: 1",
        "13:1: rdp: level 1 together with 'recovery: rom', at level 1 and 2 the ROM bootloader"
        " neither reads nor writes flash; set rdp: 0, or recovery: none and let the application"
        " write staging",
    ),
    bad(
        "rdp: 0",
        "rdp: 3",
        "13:1: rdp: found 3, expected a read-out protection level: 0, 1 or 2; change it",
    ),
    bad(
        "boot_check: crc",
        "boot_check: no",
        "11:1: boot_check: found 'no', expected one of off, crc, digest; choose one",
    ),
    bad(
        "boot_check: crc",
        "boot_chek: crc",
        "11:1: boot_chek: unknown key, known are chip, product, areas, data, boot_check, recovery,"
        " rdp, supply_mv, result_record, security_counter; did you mean 'boot_check'?",
    ),
    bad(
        "supply_mv: 2700",
        "supply_mv: 2800",
        "14:1: supply_mv: found 2800, expected one of 1950, 2100, 2250, 2400, 2550, 2700, 2850;"
        " choose the next lower one",
    ),
    bad(
        "rdp: 0",
        "rdp: 0\nresult_record: 0x20000000",
        "14:1: result_record: found 0x20000000, expected 32-byte aligned in AXI SRAM (0x24000000)"
        " or SRAM4 (0x38000000); use for example 0x38000000",
    ),
    bad(
        "rdp: 0",
        "rdp: 0\ndata: {settings: {start: 0x080E0000, size: 128K}}",
        "14:8: data.settings: starts at 0x080E0000, 'areas.staging' reaches up to 0x080FFFFF;"
        " let them not overlap",
    ),
    bad(
        "rdp: 0",
        "rdp: 0\nsecurity_counter: true",
        "14:1: security_counter: found True, expected a number of 32 bits; change it",
    ),
]


@pytest.mark.parametrize(("text", "expected"), BAD_LAYOUTS)
def test_every_broken_rule_is_told_with_its_place(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    assert problems_of(tmp_path, text) == expected


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


def test_marks_of_two_sectors_are_refused(tmp_path: Path) -> None:
    text = DEFAULT.replace(
        "size: 896K}\n  marks:   {start: 0x081E0000, size: 128K}",
        "size: 768K}\n  marks:   {start: 0x081C0000, size: 256K}",
    )

    assert problems_of(tmp_path, text) == [
        "10:3: areas.marks: 256 KiB, expected one sector of 128 KiB; set size: 128K"
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


def test_the_layout_id_ignores_comments_and_host_side_settings(tmp_path: Path) -> None:
    same = tmp_path / "same.yaml"
    same.write_text(DEFAULT.replace("supply_mv: 2700", "supply_mv: 2100  # comment"))

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
