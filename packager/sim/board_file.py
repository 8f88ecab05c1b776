"""The file a virtual board lives in: a zip of JSON, flash content and word states.

board.json      format, chip, rom_id, seed, timing, uid, option words, weak words per bank
bank1.bin ...   content of the bank
bank1.words     health of its flash words, one byte each
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packager.chip import CHIPS, FLASH_WORD, Chip
from packager.errors import FormatError
from packager.sim.cells import CellsSnapshot, Word
from packager.sim.flash import FlashSnapshot
from packager.sim.operations import Timing
from packager.sim.options import OptionBytes
from packager.sim.rom_descriptors import ROM_VERSIONS

FORMAT = "splitflash virtual board 1"


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
    """Write the file beside its place, then rename it there."""
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
    handle, name = tempfile.mkstemp(prefix=path.name, suffix=".new", dir=path.parent)
    try:
        with (
            os.fdopen(handle, "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            archive.writestr("board.json", json.dumps(about, indent=1))
            for number, bank in enumerate(board.flash.banks, start=1):
                archive.writestr(f"bank{number}.bin", bank.content)
                archive.writestr(f"bank{number}.words", bank.states)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read(path: Path) -> KeptBoard:
    """Read the file; anything wrong with it is a :class:`~packager.errors.FormatError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("board.json"))
            files = {name: archive.read(name) for name in archive.namelist()}
        return _parse(about, files)
    except FileNotFoundError:
        raise FormatError(
            str(path), "there is no such file", "expected a virtual board", "make one first"
        ) from None
    except Exception as error:
        raise FormatError(
            str(path),
            f"this is not a virtual board ({error})",
            f"expected a file of format '{FORMAT}'",
            "make a new board, this file is damaged or something else",
        ) from error


def _parse(about: dict[str, Any], files: dict[str, bytes]) -> KeptBoard:
    if about["format"] != FORMAT:
        raise ValueError(f"format is '{about['format']}'")
    chip = CHIPS[about["chip"]]
    if about["rom_id"] not in ROM_VERSIONS:
        raise ValueError(f"ROM id is {about['rom_id']}")
    banks = [
        _bank(chip.banks[n].size, files[f"bank{n + 1}.bin"], files[f"bank{n + 1}.words"], weak)
        for n, weak in enumerate(about["weak"])
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


def _bank(size: int, content: bytes, states: bytes, weak: dict[str, int]) -> CellsSnapshot:
    if len(content) != size or len(states) != size // FLASH_WORD or max(states) > max(Word):
        raise ValueError("a bank has another size")
    return CellsSnapshot(content, states, {int(word): int(left) for word, left in weak.items()})


def _pair(values: list[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)
