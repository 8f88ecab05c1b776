"""The script for dfu-util: against a fake for what is rare, and the real one on a virtual board."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import material
import pytest
import workshop
from bus.mocked_bus import Ended, MockedBus
from bus.scene import NEW, OLD, Product

from packager.kit.contents import DFU_UTIL_SH
from packager.kit.make import MadeKit, make_kit
from packager.sim.options import OptionBytes

from .conftest import program
from .test_cubeprogrammer_scripts import SHELLS

FOUND = (
    'Found DFU: [0483:df11] ver=0200, devnum={0}, cfg=1, intf=0, path="1-{0}", alt={1},'
    ' name="{2}", serial="200364500000"\n'
)
BOTH = (0, "@Internal Flash   /0x08000000/16*128Kg"), (1, "@Option Bytes   /0x5200201C/01*128 e")
NO_ACCESS = "Cannot open DFU device 0483:df11 found on devnum 4 (LIBUSB_ERROR_ACCESS)\n"


def devices(count: int) -> str:
    """Return what ``dfu-util -l`` prints of boards in their ROM."""
    return "".join(FOUND.format(number, *alt) for number in range(1, count + 1) for alt in BOTH)


FAKE = """#!/bin/sh
here=$(dirname "$0")
printf '%s|' "$@" >>"$here/calls.txt"
echo >>"$here/calls.txt"
case " $* " in
*' -l '*) cat "$here/list.txt" ;;
*' -D '*) cat "$here/write.txt"; exit "$(cat "$here/write.code")" ;;
*' -U '*)
    cat "$here/read.txt"
    for last; do :; done
    cat "$here/memory" >"$last"
    exit "$(cat "$here/read.code")" ;;
esac
"""
WRITTEN = "Erase    done.\nDownload done.\nFile downloaded successfully\n"
UPLOADED = "Uploading to socket done\n"
REFUSED = "dfu-util: ERASE_PAGE not correctly executed\n"
WHY = "DFU state(10) = dfuERROR, status(11) = iString indicates a vendor specific error\n"


def answers(
    made: MadeKit,
    count: int = 1,
    write: tuple[str, int] = (WRITTEN, 0),
    read: tuple[str, int] = (UPLOADED, 0),
    memory: bytes | None = None,
) -> dict[str, str | bytes]:
    """Return what a fake dfu-util answers; by default everything goes well."""
    whole = made.kit.update + b"\xff" * 1023
    return {
        "list.txt": devices(count),
        "write.txt": write[0],
        "write.code": str(write[1]),
        "read.txt": read[0],
        "read.code": str(read[1]),
        "memory": whole if memory is None else memory,
    }


Answers = Callable[[MadeKit], dict[str, str | bytes]]
CASES: dict[str, tuple[Answers, int, str]] = {
    "success": (answers, 0, "DONE"),
    "no device": (lambda made: answers(made, 0), 11, "no device found"),
    "no permission": (
        lambda made: {**answers(made, 0), "list.txt": NO_ACCESS},
        13,
        "you may not use the USB device",
    ),
    "several devices": (lambda made: answers(made, 2), 12, "2 devices found"),
    "unplugged": (
        lambda made: answers(made, write=("Error during download get_status\n", 74)),
        10,
        "was not written",
    ),
    "nothing said, exit code 0": (
        lambda made: answers(made, write=("", 0)),
        10,
        "was not written",
    ),
    "protected": (
        lambda made: answers(made, write=(REFUSED, 74), read=(WHY, 74)),
        14,
        "Never let any program remove the protection",
    ),
    "other bytes": (
        lambda made: answers(made, memory=made.kit.update[:-1] + b"\0" + b"\xff" * 1023),
        15,
        "does not hold what was written",
    ),
    "read-back cut short": (
        lambda made: answers(made, memory=made.kit.update[:-1]),
        15,
        "does not hold what was written",
    ),
    "read-back fails": (
        lambda made: answers(made, read=("", 74)),
        15,
        "does not hold what was written",
    ),
}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", CASES)
def test_the_script_says_what_happened(
    made: MadeKit, folder: Path, tmp_path: Path, name: str, shell: str
) -> None:
    prepare, code, words = CASES[name]
    for file, data in prepare(made).items():
        (tmp_path / file).write_bytes(data.encode() if isinstance(data, str) else data)
    (tmp_path / "dfu-util").write_text(FAKE)
    (tmp_path / "dfu-util").chmod(0o755)

    done = subprocess.run(
        [program(SHELLS[shell][0]), *SHELLS[shell][1:], str(folder / DFU_UTIL_SH)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin"},
        cwd="/",
        timeout=60,
        check=False,
    )

    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout
    assert ("DONE" in done.stdout) == (code == 0)
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert calls[0] == "-d|0483:df11|-l|"
    for call in calls[1:]:
        assert call.startswith("-d|0483:df11|-a|0|-s|0x08020000"), call
    if code in (11, 12, 13):
        assert len(calls) == 1


# -- the real dfu-util ----------------------------------------------------------------------------


@pytest.fixture
def thing(product: Callable[[str], Product]) -> Product:
    return product(workshop.DEFAULT)


@pytest.fixture
def script(thing: Product, dfu_util: str, tmp_path: Path) -> Path:
    """The script in the kit of a product that there is a board of."""
    assert dfu_util
    update = tmp_path / "update.bin"
    update.write_bytes(thing.update)
    make_kit(update, tmp_path / "kit", material.layout().path)
    return tmp_path / "kit" / DFU_UTIL_SH


def run(bus: MockedBus, script: Path, meanwhile: Callable[[], None] | None = None) -> Ended:
    return bus.run([program("dash"), script], meanwhile=meanwhile)


def test_with_the_real_dfu_util_the_update_is_installed(
    bus: MockedBus, thing: Product, script: Path
) -> None:
    board = thing.board(0x90)
    with bus.with_board(board):
        ended = run(bus, script)

    assert ended.code == 0, ended.out
    assert "DONE: the update is in the device" in ended.out
    assert thing.power_cycle(board) == NEW


def test_with_the_real_dfu_util_no_device_is_told(
    bus: MockedBus, thing: Product, script: Path
) -> None:
    ended = run(bus, script)

    assert (ended.code, "no device found" in ended.out) == (11, True)


def test_with_the_real_dfu_util_two_devices_are_told_and_left_alone(
    bus: MockedBus, thing: Product, script: Path
) -> None:
    boards = thing.board(), thing.board()
    with bus.with_board(boards[0], 1), bus.with_board(boards[1], 2):
        ended = run(bus, script)

    assert (ended.code, "2 devices found" in ended.out) == (12, True)
    assert [thing.power_cycle(board) for board in boards] == [OLD, OLD]


def test_with_the_real_dfu_util_a_read_protected_device_is_told_and_left_alone(
    bus: MockedBus, thing: Product, script: Path
) -> None:
    board = thing.board(protected=True)
    options: OptionBytes = board.flash.options
    with bus.with_board(board):
        ended = run(bus, script)

    assert ended.code == 14, ended.out
    assert "Never let any program remove the protection" in ended.out
    assert board.flash.options == options
    assert thing.power_cycle(board) == OLD


def test_with_the_real_dfu_util_an_unplug_in_the_middle_is_healed_by_beginning_again(
    bus: MockedBus, thing: Product, script: Path
) -> None:
    board = thing.board()
    board.boot(boot0=True, cut="100-torn")
    with bus.with_board(board):
        first = run(bus, script)
    old = thing.power_cycle(board)
    board.boot(boot0=True)
    with bus.with_board(board):
        second = run(bus, script)

    assert (first.code, "begin again at step 1" in first.out) == (10, True)
    assert old == OLD
    assert second.code == 0, second.out
    assert thing.power_cycle(board) == NEW
