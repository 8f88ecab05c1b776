"""The machine code of a loader: its functions, their sources, and lengths of instructions."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from elftools.elf.elffile import ELFFile

_WIDE = (0x1D, 0x1E, 0x1F)


class Function(NamedTuple):
    """A function of the loader; ``source`` is the name of its C file."""

    name: str
    source: str
    start: int
    end: int


class Code:
    """Code of one loader, by address."""

    def __init__(self, elf: Path) -> None:
        self._memory = _memory(elf)
        found = [function for function in _functions(elf) if self.halfword(function.start)]
        self.functions = {function.name: function for function in found}
        self._by_address: dict[int, Function] = {
            address: function
            for function in found
            for address in range(function.start, function.end, 2)
        }

    @cached_property
    def block_ends(self) -> dict[int, int]:
        """End of each IT block by its address."""
        ends = {}
        for function in self.functions.values():
            address = function.start
            while address < function.end:
                if end := self.block_end(address):
                    ends[address] = end
                address = self.after(address, 1)
        return ends

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last address of each piece of memory the loader runs from."""
        return [(start, start + len(data) - 1) for start, data in self._memory.items()]

    def function_at(self, address: int) -> Function | None:
        """Return the function that holds ``address``."""
        return self._by_address.get(address)

    def source_of(self, address: int) -> str:
        """Return the name of the C file that ``address`` comes from, nothing if there is none."""
        function = self.function_at(address)
        return function.source if function else ""

    def place_of(self, address: int) -> str:
        """Return function and offset of ``address``, for people."""
        function = self.function_at(address)
        return f"{function.name}+{address - function.start}" if function else "?"

    def halfword(self, address: int) -> int:
        """Return the halfword at ``address``, 0 outside."""
        for start, data in self._memory.items():
            if start <= address < start + len(data):
                return int.from_bytes(data[address - start : address - start + 2], "little")
        return 0

    def after(self, address: int, count: int) -> int:
        """Return the address behind ``count`` instructions, as they lie in memory."""
        for _ in range(count):
            address += 4 if self.halfword(address) >> 11 in _WIDE else 2
        return address

    def block_end(self, address: int) -> int:
        """Return the end of the IT block that begins at ``address``, 0 if none does."""
        opcode = self.halfword(address)
        if opcode >> 8 != 0xBF or not opcode & 0xF:
            return 0
        lowest = (opcode & 0xF) & -(opcode & 0xF)
        return self.after(address + 2, 4 - lowest.bit_length() + 1)

    def is_branch(self, address: int) -> bool:
        """Tell whether a conditional branch or an IT is there."""
        first, second = self.halfword(address), self.halfword(address + 2)
        short = first >> 12 == 0xD and first >> 8 & 0xF < 0xE
        compared = first & 0xF500 == 0xB100
        wide = first >> 11 == 0x1E and second & 0xD000 == 0x8000 and first >> 6 & 0xF < 0xE
        return short or compared or wide or bool(self.block_end(address))

    def compared_register(self, address: int) -> int | None:
        """Return the register of a compare-and-branch."""
        opcode = self.halfword(address)
        return opcode & 7 if opcode & 0xF500 == 0xB100 else None


def _memory(elf: Path) -> dict[int, bytes]:
    """Return what the core runs, by the address it runs at."""
    memory = {}
    with elf.open("rb") as stream:
        for segment in ELFFile(stream).iter_segments("PT_LOAD"):
            if segment["p_filesz"] and segment["p_flags"] & 1:
                memory[int(segment["p_vaddr"])] = bytes(segment.data())
    return memory


def _functions(elf: Path) -> list[Function]:
    found = []
    with elf.open("rb") as stream:
        dwarf = ELFFile(stream).get_dwarf_info()
        for unit in dwarf.iter_CUs():
            source = Path(_text(unit.get_top_DIE().attributes["DW_AT_name"].value)).name
            for entry in unit.iter_DIEs():
                low = entry.attributes.get("DW_AT_low_pc")
                if entry.tag != "DW_TAG_subprogram" or low is None:
                    continue
                high = entry.attributes["DW_AT_high_pc"].value
                name = entry.get_full_path() or "?"
                found.append(Function(name, source, low.value, low.value + high))
    return found


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
