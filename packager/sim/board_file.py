"""The file a virtual board lives in: a zip of JSON, flash content and word states.

board.json      format, chip, rom_id, seed, timing, uid, option words, weak words per bank
bank1.bin ...   content of the bank
bank1.words     health of its flash words, one byte each
"""

from __future__ import annotations

import io
import json
import stat
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packager.chip import CHIPS, FLASH_WORD, KIB, Chip
from packager.errors import FormatError
from packager.files import SECRET_MODE, unreadable, write_atomic
from packager.sim.cells import CellsSnapshot, Word
from packager.sim.flash import FlashSnapshot
from packager.sim.operations import Timing
from packager.sim.options import OptionBytes
from packager.sim.rom_descriptors import ROM_VERSIONS

FORMAT = "splitflash virtual board 1"
LARGEST_FILE = 8192 * KIB
"""Bytes: both banks, the health of their words, and every word named as weak, none of it packed."""
LARGEST_ABOUT = 4096 * KIB
"""Bytes of ``board.json``: 65536 weak words with 14 characters each, and the rest."""


@dataclass(frozen=True)
class KeptBoard:
    """All of a board that survives without power."""

    chip: Chip
    rom_id: int
    seed: int
    timing: Timing
    uid: bytes
    flash: FlashSnapshot


def write(path: Path, board: KeptBoard) -> None:
    """Write the file, which holds what a real board would keep secret: whole or not at all.

    Raises:
        PackagerError: it cannot be written; an older one of that name is untouched.
    """
    about = {
        "format": FORMAT,
        "chip": board.chip.name,
        "rom_id": board.rom_id,
        "seed": board.seed,
        "timing": board.timing.name,
        "uid": board.uid.hex(),
        "options": asdict(board.flash.options),
        "weak": [bank.weak for bank in board.flash.banks],
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("board.json", json.dumps(about, indent=1))
        for number, bank in enumerate(board.flash.banks, start=1):
            archive.writestr(f"bank{number}.bin", bank.content)
            archive.writestr(f"bank{number}.words", bank.states)
    write_atomic(path, packed.getvalue(), SECRET_MODE)


def read(path: Path) -> KeptBoard:
    """Read the file, no more of it than a board can be.

    Raises:
        FormatError: it is missing or may not be read, or anything is wrong with it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(_content(path))) as archive:
            return _parse(archive)
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(
            str(path),
            f"this is not a virtual board ({error})",
            f"expected a file of format '{FORMAT}'",
            "make a new board, this file is damaged or something else",
        ) from error


def _content(path: Path) -> bytes:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no regular file")
        if about.st_size > LARGEST_FILE:
            raise ValueError(f"it has {about.st_size} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise FormatError(
            str(path), "there is no such file", "expected a virtual board", "make one first"
        ) from None
    except OSError as error:
        raise unreadable(path, error) from error


def _parse(archive: zipfile.ZipFile) -> KeptBoard:
    about: dict[str, Any] = json.loads(_member(archive, "board.json", LARGEST_ABOUT))
    if about["format"] != FORMAT:
        raise ValueError(f"format is '{about['format']}'")
    chip = CHIPS[about["chip"]]
    if about["rom_id"] not in ROM_VERSIONS:
        raise ValueError(f"ROM id is {about['rom_id']}")
    banks = [
        _bank(archive, f"bank{number}", bank.size, weak)
        for number, (bank, weak) in enumerate(zip(chip.banks, about["weak"], strict=True), start=1)
    ]
    options = about["options"]
    kept_options = OptionBytes(
        optsr=int(options["optsr"]),
        boot=int(options["boot"]),
        prar=_pair(options["prar"]),
        scar=_pair(options["scar"]),
        wpsn=_pair(options["wpsn"]),
    )
    flash = FlashSnapshot((banks[0], banks[1]), kept_options)
    return KeptBoard(
        chip,
        about["rom_id"],
        int(about["seed"]),
        Timing[about["timing"]],
        bytes.fromhex(about["uid"]),
        flash,
    )


def _bank(archive: zipfile.ZipFile, name: str, size: int, weak: dict[str, int]) -> CellsSnapshot:
    content = _member(archive, f"{name}.bin", size)
    states = _member(archive, f"{name}.words", size // FLASH_WORD)
    if len(content) != size or len(states) != size // FLASH_WORD or max(states) > max(Word):
        raise ValueError("a bank has another size")
    return CellsSnapshot(content, states, {int(word): int(left) for word, left in weak.items()})


def _member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """Unpack a file of the archive, which says its size before."""
    size = archive.getinfo(name).file_size
    if size > largest:
        raise ValueError(f"{name} has {size} bytes")
    return archive.read(name)


def _pair(values: list[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)
