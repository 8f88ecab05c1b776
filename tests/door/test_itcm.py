"""What the door runs while a bank is busy lies in ITCM, and so does all it refers to there."""

from __future__ import annotations

from pathlib import Path

import pytest
import workshop
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from packager import toolchain
from packager.loader_parts import ITCM_DOOR
from packager.resources import loader_sources
from packager.toolchain import find_toolchain

ITCM_END = 0x1_0000
WHILE_NOTHING_RUNS = {"flash_read", "flash_blank", "mem_differs", "mem_differs_from"}
"""In flash; dfuse.c calls them when no operation is under way."""
AT_THE_END = {"machine_panic", "machine_reset"}
AT_THE_BEGINNING = {"info_block", "loader_keys", "stack_top", "ram_start", "ram_end"}


def undefined_and_defined(path: Path) -> tuple[set[str], set[str]]:
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        names: dict[bool, set[str]] = {True: set(), False: set()}
        for symbol in table.iter_symbols():
            if symbol["st_info"]["bind"] == "STB_GLOBAL":
                names[symbol["st_shndx"] == "SHN_UNDEF"].add(symbol.name)
    return names[True], names[False]


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_the_door_refers_to_nothing_in_flash_but_what_is_named_here(
    tool: str, tmp_path: Path
) -> None:
    workshop.needs(tool)
    chain = find_toolchain(tool)
    wanted: set[str] = set()
    own: set[str] = set()
    for name in ITCM_DOOR:
        source = toolchain.Source(loader_sources() / name, flags=("-fno-builtin",))
        made = toolchain._compile(chain, source, 0, [loader_sources()], tmp_path)
        undefined, defined = undefined_and_defined(made)
        wanted |= undefined
        own |= defined
    allowed = WHILE_NOTHING_RUNS | AT_THE_END | AT_THE_BEGINNING
    # what clang names for C++ is no code that runs
    assert wanted - own - {"", "__aeabi_unwind_cpp_pr0"} <= allowed


@pytest.mark.parametrize("tool", toolchain.NAMES)
def test_all_of_the_door_is_linked_into_itcm(build: workshop.Build, tool: str) -> None:
    made = build("h743_protected", tool)
    with made.loader.elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        at = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    start, end = at["door_start"], at["door_end"]
    assert 0 < start < end <= ITCM_END
    names = "door_main door_fault door_failed usb_poll device_in dfuse_work descriptor staging_poll"
    for name in names.split():
        assert start <= at[name] & ~1 < end, name
    assert at["door_vectors"] % 128 == 0
