"""The decision table: walked row by row, and the same in C and in DESIGN.md."""

from __future__ import annotations

import ctypes
import itertools
import re
from pathlib import Path

import pytest

from packager.records import AppState

from .host import MCU_LOADER, build_library

YES, NO = 0x6C93A35C, 0x935C5CA3


def enum_of(header: str, name: str) -> dict[str, int]:
    text = (MCU_LOADER / header).read_text()
    match = re.search(rf"enum {name} \{{(.*?)\}};", text, re.DOTALL)
    assert match
    return {key: int(value, 16) for key, value in re.findall(r"(\w+) = (0x\w+)", match[1])}


VALUES = {
    **enum_of("decide.h", "staged"),
    **enum_of("decide.h", "app"),
    **{f"STATE_{state.name}": state.value for state in AppState},
    "YES": YES,
    "NO": NO,
}
VERDICTS = enum_of("decide.h", "verdict")
COLUMNS = (
    ("STAGED_NONE", "STAGED_REFUSED", "STAGED_AUTHENTIC"),
    ("STATE_NONE", "STATE_INSTALLING", "STATE_INSTALLED"),
    ("YES", "NO"),
    ("APP_VALID", "APP_INVALID"),
)
Row = tuple[str, ...]


def rows_in_c() -> list[Row]:
    text = (MCU_LOADER / "decide.c").read_text()
    table = text[text.index("rules[] = {") : text.index("};", text.index("rules[] = {"))]
    return [tuple(re.findall(r"\w+", line)) for line in re.findall(r"\{(\s.*?)\}", table)]


def rows_in_design() -> list[Row]:
    text = (MCU_LOADER / "DESIGN.md").read_text()
    section = text[text.index("## Decision table") :]
    section = section[: section.index("\n## ", 1)]
    rows = []
    for line in section.splitlines():
        cells = [cell.strip(" `") for cell in line.strip("|").split("|")]
        if len(cells) >= 5 and cells[4] in VERDICTS:
            rows.append(tuple(cells[:5]))
    return rows


ROWS = rows_in_c()


class Facts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("staged", "state", "same", "app")]


@pytest.fixture(scope="module")
def lib(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return build_library(tmp_path_factory.mktemp("host"), ("decide.c",))


def decide(lib: ctypes.CDLL, *found: int) -> str:
    answer = lib.decide(ctypes.byref(Facts(*found))) & 0xFFFF_FFFF
    return {value: name for name, value in VERDICTS.items()}[answer]


def first_fitting(found: Row) -> int:
    for number, row in enumerate(ROWS):
        if all(want in ("ANY", have) for want, have in zip(row, found, strict=False)):
            return number
    raise AssertionError(found)


def test_design_md_prints_the_table_of_the_code() -> None:
    assert rows_in_design() == ROWS


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda n: "-".join(ROWS[n]))
def test_every_row_gives_its_verdict_where_it_is_the_first_that_fits(
    lib: ctypes.CDLL, number: int
) -> None:
    fitting = [f for f in itertools.product(*COLUMNS) if first_fitting(f) == number]
    assert fitting, "a row that nothing reaches"
    for found in fitting:
        assert decide(lib, *(VALUES[name] for name in found)) == ROWS[number][4]


def test_an_app_starts_only_when_it_is_valid_and_nothing_is_being_installed(
    lib: ctypes.CDLL,
) -> None:
    for found in itertools.product(*COLUMNS):
        verdict = decide(lib, *(VALUES[name] for name in found))
        if verdict in ("BOOT_APP", "CLEAR"):
            assert found[3] == "APP_VALID"
            assert found[1] != "STATE_INSTALLING" or found[0] == "STAGED_AUTHENTIC"
        if verdict == "INSTALL":
            assert found[0] == "STAGED_AUTHENTIC"


@pytest.mark.parametrize("junk", [0, 1, 0xFFFF_FFFF, 0x5A5A_5A5A])
def test_values_that_mean_nothing_stay(lib: ctypes.CDLL, junk: int) -> None:
    assert decide(lib, junk, junk, junk, junk) == "STAY"
    assert decide(lib, junk, VALUES["STATE_INSTALLED"], NO, VALUES["APP_VALID"]) == "STAY"
    assert decide(lib, VALUES["STAGED_NONE"], VALUES["STATE_INSTALLED"], NO, junk) == "STAY"


def test_answers_differ_in_many_bits() -> None:
    words = [*VALUES.values(), *VERDICTS.values()]
    for a, b in itertools.combinations(set(words), 2):
        assert (a ^ b).bit_count() >= 8


def test_only_the_chip_files_know_registers(tmp_path: Path) -> None:
    users = {p.name for p in MCU_LOADER.rglob("*.[ch]") if '"h743.h"' in p.read_text()}
    of_the_door = {"door_dfu.c", "otg_fs.c", "staging_h743.c"}
    for_a_few = {"pin.h", "mailbox.h"}
    assert users == {"flash_h743.c", "machine_h743.c", "startup.c"} | of_the_door | for_a_few
    inline = {
        p.name
        for p in MCU_LOADER.rglob("*.[ch]")
        if any(f'"{name}"' in p.read_text() for name in for_a_few)
    }
    assert inline == {"door_dfu.c", "door_rom.c", "entry.c", "indicator_pin.c"}
