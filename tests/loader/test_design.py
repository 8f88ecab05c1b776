"""DESIGN.md stays true: its byte tables are those of format.py, its numbers those of the code."""

from __future__ import annotations

import re

import pytest

from packager.reasons import Reason
from packager.records import STRUCTS

from .host import MCU_LOADER

DESIGN = (MCU_LOADER / "DESIGN.md").read_text()


def table(title: str) -> list[tuple[int, int, str]]:
    section = DESIGN[DESIGN.index(f"### `{title}`") :]
    section = section[: section.index("\n#", 1)]
    rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    return [(int(offset), int(size), name) for offset, size, name, _ in rows]


@pytest.mark.parametrize("name", STRUCTS)
def test_each_byte_table_is_that_of_the_format(name: str) -> None:
    expected = []
    offset = 0
    for field in STRUCTS[name].subcons:
        expected.append((offset, field.sizeof(), field.name))
        offset += field.sizeof()
    assert table(name) == expected


def test_every_reason_is_explained() -> None:
    for reason in Reason:
        if reason is not Reason.NONE:
            assert f"`{reason.name}`" in DESIGN, reason.name


def test_every_source_file_is_placed() -> None:
    for path in sorted([*MCU_LOADER.glob("*.c"), *MCU_LOADER.glob("crypto/*.c")]):
        assert f"`{path.relative_to(MCU_LOADER).as_posix()}`" in DESIGN, path.name


def test_every_change_of_flash_says_what_a_cut_there_leaves() -> None:
    for path in (MCU_LOADER / "mark.c", MCU_LOADER / "install.c"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.search(r"\bflash_(program|erase_sector)\(", line):
                before = "\n".join(lines[max(0, number - 4) : number])
                assert "// cut here:" in before, f"{path.name}:{number + 1}"
