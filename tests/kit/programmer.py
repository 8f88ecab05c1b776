"""Stands in for STM32_Programmer_CLI at a virtual board: takes its arguments, prints its words.

Writes as that one is known to do: erases the sectors a file touches, writes upwards, reads back.
``BENCH`` names the folder with the board and with what a person did to it; see ``walk.Bench``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kit.replies import BANNER, COMPLETE, CONNECTED, VERIFIED, WRITING, listed
from packager.chip import SECTOR_SIZE
from packager.dfu.protocol import DfuSe
from packager.dfu.usb import open_device
from packager.errors import DeviceError, ProtectedError
from packager.hex_file import read_hex
from packager.sim.board import Board


def main(arguments: list[str]) -> int:
    """Do what the arguments say and return the exit code."""
    bench = Path(os.environ["BENCH"])
    state = json.loads((bench / "state.json").read_text())
    is_there = state["plugged_in"] and state["boot0_at_power_on"]
    if arguments == ["-l", "usb"]:
        return say(listed(int(is_there)))
    if arguments[:3] != ["-c", "port=usb1", "-w"] or arguments[4:] != ["-v"] or not is_there:
        return say(BANNER + f"Error: Wrong option {arguments}\n", 1)
    board = Board.load(bench / "board.sim")
    board.boot(boot0=True, cut=state["cut"])
    try:
        return write(Path(arguments[3]), board)
    finally:
        board.power_off()
        board.save(bench / "board.sim")


def write(file: Path, board: Board) -> int:
    """Write a .hex file and verify it."""
    say(BANNER + CONNECTED)
    try:
        with open_device(backend=board.usb_backend(), clock=board.clock) as device:
            for address, data in read_hex(file.read_bytes(), file.name).items():
                if not put(device, address, data):
                    return say("Error: Download verification failed\n", 1)
    except ProtectedError:
        return say("Warning: Device is under Read Out Protection\nError: Data read failed\n", 1)
    except DeviceError:
        return say("Error: failed to download Sector[0]\n", 1)
    return say(VERIFIED)


def put(device: DfuSe, address: int, data: bytes) -> bool:
    """Erase, write, read back."""
    first = address - address % SECTOR_SIZE
    for sector in range(first, address + len(data), SECTOR_SIZE):
        device.erase_sector(sector)
    device.write_blocks(address, data)
    say(WRITING.replace("0x08020000", f"0x{address:08X}") + COMPLETE)
    return device.upload(address, len(data)) == data


def say(text: str, code: int = 0) -> int:
    """Print, and return an exit code."""
    sys.stdout.write(text)
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
