"""What the marks of a device say, read without any code of the loader or the packager's readers."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from packager.chip import FLASH_WORD
from packager.format import CARRY_SIZE, RECORD_SIZE
from packager.layout import Layout
from packager.records import AppState, RecordType
from packager.sim.board import Board
from packager.sim.cells import Word

_TYPES = {int(kind) for kind in RecordType}
_ENOUGH_BLANK = 16
_BLANK = b"\xff" * RECORD_SIZE


class Note(NamedTuple):
    """One valid record."""

    kind: int
    sequence: int
    floor_counter: int
    floor_version: int
    version: int
    counter: int
    image_size: int
    update_id: bytes
    digest: bytes
    state: int
    reason: int
    refused_run: int
    kept: bytes = b""
    """What a refusal repeats, byte by byte: floor, what is installed, how far an install is."""

    @property
    def floor(self) -> tuple[int, int]:
        """What a later update must not be below."""
        return self.floor_counter, self.floor_version


NOTHING = Note(0, 0, 0, 0, 0, 0, 0, b"", b"", int(AppState.NONE), 0, 0)._replace(
    kept=bytes(92) + AppState.NONE.to_bytes(4, "little")
)


def parse(raw: bytes) -> Note | None:
    """Return the record in 128 bytes, if there is one."""
    if int.from_bytes(raw[:4], "little") not in _TYPES:
        return None
    if zlib.crc32(raw[:124]) != int.from_bytes(raw[124:], "little"):
        return None
    head, tail = struct.unpack_from("<7I", raw), struct.unpack_from("<3I", raw, 100)
    return Note._make((*head, raw[32:64], raw[64:96], *tail, raw[8:104]))


def newest(board: Board, layout: Layout, *, lasting: bool = False) -> Note:
    """Return the record with the highest sequence in marks and carry area.

    Every word as it reads now; or only records without a word that will fade.
    """
    best = NOTHING
    for address, raw in _slots(board, layout):
        note = parse(raw)
        if note is None or note.sequence < best.sequence:
            continue
        if not (lasting and _will_fade(board, address)):
            best = note
    return best


def _slots(board: Board, layout: Layout) -> Iterator[tuple[int, bytes]]:
    """Yield address and content of the slots of marks, to their end, and of the carry area."""
    blank = 0
    for address, raw in _cut_up(board, layout.marks.start, layout.marks.size):
        blank = blank + 1 if raw == _BLANK else 0
        if blank > _ENOUGH_BLANK:
            break
        yield address, raw
    yield from _cut_up(board, layout.app.end - CARRY_SIZE, CARRY_SIZE)


def _cut_up(board: Board, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    content = board.flash.peek(start, size)
    for at in range(0, size, RECORD_SIZE):
        yield start + at, content[at : at + RECORD_SIZE]


def _will_fade(board: Board, address: int) -> bool:
    words = range(address, address + RECORD_SIZE, FLASH_WORD)
    return any(board.flash.word_state(word) is Word.WEAK for word in words)
