"""Measures size and speed, and prints one table: ``python tests/bench/measure.py``.

Instructions, flash operations and bytes do not depend on the machine. The only seconds are a ratio
of two programs that ran in turn, in the same run of this script.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import workshop

from packager import toolchain
from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.format import RECORD_SIZE, BootCheck
from packager.records import build_record
from packager.sim.board import Board
from packager.sim.operations import OpKind

Row = tuple[str, str, str]
SMALL, LARGE = 128 * 1024, 256 * 1024
"""Image sizes; both whole sectors, so that their difference is the price of a byte."""
PACKED_SIZE = 900_000
USED_SLOTS = 1_000
"""Of 1024: nearly full marks."""


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="process runs behind each ratio")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        rows = [*loader_rows(Path(folder)), *pack_rows(Path(folder), runs)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, value, bound in rows:
        print(f"{name:<{widths[0]}}  {value:>{widths[1]}}  {bound}")


def loader_rows(folder: Path) -> Iterator[Row]:
    """Size of the loader, and what it costs to boot and to install."""
    layout = workshop.layout_named(workshop.DEFAULT)
    for tool in toolchain.installed():
        shop = workshop.make_workshop(folder, layout, tool)
        bound = "aim <= 24576" if tool == "gcc" else ""
        yield f"loader size, {tool}, bytes", f"{shop.loader.size}", bound
        yield from boot_rows(folder, tool)
        yield from install_rows(shop, tool)


def boot_rows(folder: Path, tool: str) -> Iterator[Row]:
    """Instructions from reset to the application's first, marks nearly full."""
    for check in BootCheck:
        layout = replace(
            workshop.layout_named(workshop.DEFAULT),
            boot_check=check,
            path=Path(f"boot_check_{check.name.lower()}.yaml"),
        )
        shop = workshop.make_workshop(folder, layout, tool)
        board = shop.board(shop.image(LARGE))
        fill_marks(shop, board)
        report = board.boot(count=True, app_seconds=0.0)
        name = f"no-update boot, {tool}, boot_check {check.name.lower()}, instructions"
        bound = "aim <= 8000" if check is BootCheck.OFF else f"image {LARGE} bytes"
        yield name, f"{report.instructions}", bound


def fill_marks(shop: workshop.Workshop, board: Board) -> None:
    """Use up nearly every record slot, as many updates would."""
    record = shop.records(board)[0]
    pieces = {}
    for slot in range(USED_SLOTS):
        at = shop.layout.marks.start + slot * RECORD_SIZE
        pieces[at] = build_record(replace(record, sequence=slot + 1))
    board.program(pieces)


@dataclass(frozen=True)
class Install:
    """What one install took."""

    instructions: int
    programs: int
    erases: int
    app_programs: int


def install_rows(shop: workshop.Workshop, tool: str) -> Iterator[Row]:
    """Instructions per installed byte, and flash operations against the least possible."""
    small, large = install(shop, SMALL), install(shop, LARGE)
    per_byte = (large.instructions - small.instructions) / (LARGE - SMALL)
    yield f"install, {tool}, instructions per byte", f"{per_byte:.1f}", ""
    least = LARGE // FLASH_WORD
    yield f"install, {tool}, programs of the app area", f"{large.app_programs}", f"least {least}"
    records = large.programs - large.app_programs
    sectors = shop.layout.app.size // SECTOR_SIZE
    # INSTALLING, DONE for each sector, INSTALLED: each of them twice
    least_records = 2 * (sectors + 2) * RECORD_SIZE // FLASH_WORD
    yield f"install, {tool}, programs of marks", f"{records}", f"{least_records} by design"
    least_erases = LARGE // SECTOR_SIZE + 1
    yield f"install, {tool}, sector erases", f"{large.erases}", f"least {least_erases}"


def install(shop: workshop.Workshop, size: int) -> Install:
    """Install an image of ``size`` bytes over one of the same size."""
    board = shop.board(shop.image(size, seed=1))
    shop.stage(board, shop.update(shop.image(size, seed=2)))
    report = board.boot(count=True, app_seconds=0.0)
    assert workshop.runs(report) and report.instructions is not None, report
    kinds = Counter(op.kind for op in report.operations)
    in_app = sum(
        op.kind is OpKind.PROGRAM and shop.layout.app.contains(op.address)
        for op in report.operations
    )
    return Install(report.instructions, kinds[OpKind.PROGRAM], kinds[OpKind.ERASE], in_app)


def pack_rows(folder: Path, runs: int) -> Iterator[Row]:
    """The whole process of packing, next to imgtool signing and encrypting the same image."""
    layout = workshop.layout_named(workshop.DEFAULT)
    image = folder / "app.bin"
    image.write_bytes(workshop.image_for(layout, PACKED_SIZE))
    tools = Path(sys.executable).parent
    ours = [
        str(tools / "splitflash"), "pack", str(image), "--layout", str(layout.path),
        "--keys", str(folder / "keys"), "--version", "1.0.0", "--counter", "1",
        "-o", str(folder / "ours.bin"),
    ]  # fmt: skip
    theirs = imgtool_command(tools / "imgtool", folder, image)
    seconds = alternate([ours, theirs], runs)
    mine, other = (statistics.median(times) for times in seconds)
    ratio = statistics.median(a / b for a, b in zip(*seconds, strict=True))
    yield f"pack of {PACKED_SIZE} bytes, whole process, s", f"{mine:.3f}", f"median of {runs}"
    yield "imgtool sign, encrypted, same image, s", f"{other:.3f}", f"median of {runs}"
    yield "pack / imgtool", f"{ratio:.2f}", "aim <= 1.00"


def imgtool_command(imgtool: Path, folder: Path, image: Path) -> list[str]:
    """Make imgtool its keys, Ed25519 and X25519 like ours, and return its command line."""
    signing, encryption, public = (folder / f"imgtool-{name}.pem" for name in ("s", "e", "p"))
    for path, kind in ((signing, "ed25519"), (encryption, "x25519")):
        run([str(imgtool), "keygen", "-k", str(path), "-t", kind])
    public.write_text(run([str(imgtool), "getpub", "-k", str(encryption), "-e", "pem"]))
    return [
        str(imgtool), "sign", "--key", str(signing), "--encrypt", str(public),
        "--header-size", "0x400", "--pad-header", "--slot-size", "0x100000",
        "--align", "32", "--max-align", "32", "--version", "1.0.0",
        str(image), str(folder / "theirs.bin"),
    ]  # fmt: skip


def alternate(commands: list[list[str]], runs: int) -> list[list[float]]:
    """Run the commands in turn, ``runs`` times each after a warm-up; return their seconds."""
    seconds: list[list[float]] = [[] for _ in commands]
    for turn in range(runs + 1):
        for command, times in zip(commands, seconds, strict=True):
            start = time.perf_counter()
            run(command)
            if turn:
                times.append(time.perf_counter() - start)
    return seconds


def run(command: list[str]) -> str:
    """Run a command that must succeed; return what it printed.

    Bytecode may be kept, as pip keeps it for everything it installs: nobody compiles every time.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout


if __name__ == "__main__":
    main()
