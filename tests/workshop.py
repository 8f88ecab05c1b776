"""Makes what the tests need: keys, loaders, images, updates and boards of one product.

Keys are fresh in every session, because a loader refuses the published test keys.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest
from elftools.elf.elffile import ELFFile

from packager import toolchain
from packager.errors import FormatError
from packager.factory import build_factory
from packager.format import HEADER_SIZE, RECORD_SIZE, pack_version
from packager.keys import keygen, load_recipients, load_signing_key
from packager.layout import Layout, load_layout
from packager.loader_build import BuiltLoader, build_loader
from packager.loader_file import read_loader
from packager.records import MarkRecord, parse_record
from packager.resources import layouts
from packager.sim.board import Board, BootReport, Outcome
from packager.toolchain import Toolchain, find_toolchain
from packager.update import build_update

DEFAULT = "h743zi_app_bank2"
MIRROR = "h743zi_app_bank1"
SMALL_CHIP = "h743vg_1mb"
CACHED = Path(__file__).parent / "cached_compiler.py"
CODE_OFFSET = 0x400
CUTS_HEALED = "power cuts on the shipped loader binary, healed at the next boot"
"""Property of a test; the run prints the sum."""
IDLE = bytes.fromhex("30bffde7")
"""wfi; b back to it."""


def needs(name: str) -> str:
    """Return the toolchain, or skip; where every tool must be there, fail instead of skipping."""
    if name not in toolchain.installed():
        missing(f"toolchain {name} is not installed")
    return name


def needs_programs(*names: str) -> None:
    """Skip if one of these is not on the path; where every tool must be there, fail instead."""
    for name in names:
        if shutil.which(name) is None:
            missing(f"{name} is not installed")


def missing(text: str) -> NoReturn:
    """Skip; where every tool must be there, fail instead of skipping."""
    if os.environ.get("SPLITFLASH_TEST_ALL_TOOLS"):
        pytest.fail(text)
    pytest.skip(text)


def image_for(layout: Layout, size: int, seed: int = 1) -> bytes:
    """Return an image of ``size`` bytes: a vector table, a handler that sleeps, random bytes."""
    noise = random.Random(seed).randbytes(size)
    stack_top = 0x2408_0000
    handler = layout.app.start + CODE_OFFSET | 1
    vectors = b"".join(word.to_bytes(4, "little") for word in (stack_top, *[handler] * 15))
    head = vectors + noise[len(vectors) : CODE_OFFSET] + IDLE
    return (head + noise[len(head) :])[:size]


@dataclass
class Workshop:
    """One product: a layout, its keys and the loader built for both."""

    layout: Layout
    keys: Path
    loader: BuiltLoader

    def image(self, size: int, seed: int = 1) -> bytes:
        """Return a bootable image."""
        return image_for(self.layout, size, seed)

    def update(
        self,
        image: bytes,
        version: str = "2.0.0",
        counter: int = 1,
        *,
        signing_key: str | None = None,
        allow_downgrade: bool = False,
    ) -> bytes:
        """Return an update as it lies in staging."""
        return build_update(
            image,
            self.layout,
            load_signing_key(self.keys, signing_key),
            load_recipients(self.keys),
            pack_version(version),
            counter,
            allow_downgrade,
        )

    def board(
        self, image: bytes, version: str = "1.0.0", counter: int = 1, *, rom_id: int = 0x90
    ) -> Board:
        """Return a board fresh from the factory with ``image`` as its application."""
        factory = build_factory(
            image,
            read_loader(self.loader.elf),
            self.layout,
            pack_version(version),
            counter,
        )
        board = Board.new(self.layout.chip, rom_id=rom_id)
        board.program(factory)
        return board

    def stage(self, board: Board, update: bytes) -> None:
        """Put an update into staging as a debugger would, which is quicker than a drop."""
        board.program({self.layout.staging.start: update})

    def app_is(self, board: Board, image: bytes) -> bool:
        """Tell whether the app area begins with ``image``."""
        return board.read(self.layout.app.start, len(image)) == image

    def is_header_blank(self, board: Board) -> bool:
        """Tell whether staging begins with erased words."""
        return board.read(self.layout.staging.start, HEADER_SIZE) == b"\xff" * HEADER_SIZE

    def address_of(self, name: str) -> int:
        """Return where a function or constant of the loader lies."""
        with self.loader.elf.open("rb") as stream:
            table = ELFFile(stream).get_section_by_name(".symtab")
            (symbol,) = table.get_symbol_by_name(name)
            return int(symbol["st_value"])

    def records(self, board: Board) -> list[MarkRecord]:
        """Return every valid mark record, oldest first."""
        marks = board.read(self.layout.marks.start, self.layout.marks.size)
        found = []
        for at in range(0, len(marks), RECORD_SIZE):
            slot = marks[at : at + RECORD_SIZE]
            if slot != b"\xff" * RECORD_SIZE:
                try:
                    found.append(parse_record(slot))
                except FormatError:
                    continue
        return found


def runs(report: BootReport) -> bool:
    """Tell whether a boot ended in the application."""
    return report.outcome is Outcome.APP_RUNS


Build = Callable[..., Workshop]
Compiler = Callable[..., Toolchain]


@cache
def layout_named(name: str) -> Layout:
    """Return a shipped layout."""
    return load_layout(layouts() / f"{name}.yaml")


def cached_toolchain(name: str | None, kept: Path) -> Toolchain:
    """Return a toolchain that takes from ``kept`` what was compiled before; it links as ever."""
    kept.mkdir(exist_ok=True)
    plain = find_toolchain(name)
    command = (sys.executable, "-IS", str(CACHED), str(kept), *plain.command)
    return replace(plain, command=command)


def make_workshop(
    folder: Path, layout: Layout, tool: Toolchain | str, sources: Path | None = None
) -> Workshop:
    """Generate keys and build a loader in ``folder``."""
    keys = folder / "keys"
    if not keys.exists():
        keygen(keys)
    name = tool if isinstance(tool, str) else tool.name
    out = folder / f"loader-{name}-{layout.path.stem}"
    built = build_loader(layout, keys, out, toolchain=tool, sources=sources)
    return Workshop(layout, keys, built)
