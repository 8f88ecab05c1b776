"""A person who reads only HOWTO.html can do it: every step and every row, on a virtual board."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import workshop
from bus.mocked_bus import MockedBus

from packager import rehearse
from packager.hex_file import read_hex
from packager.kit.contents import CUBE_BAT, HOWTO
from packager.kit.make import make_kit
from packager.reasons import Reason
from packager.sim.board import Outcome

from .conftest import Wine
from .page import Page
from .replies import CALLS, CASES, put_replies
from .walk import Bench, runs, type_in, walk

SIZE = 6_000


class Customer:
    """A device with version 1, and the kit that brings version 2."""

    def __init__(self, shop: workshop.Workshop, folder: Path, update: bytes | None = None) -> None:
        self.shop = shop
        self.old, self.new = shop.image(SIZE, seed=1), shop.image(SIZE, seed=2)
        file = folder / "update.bin"
        file.write_bytes(update or shop.update(self.new))
        make_kit(file, folder / "kit", shop.layout.path)
        self.page = Page(folder / "kit" / HOWTO)
        self.bench = Bench(folder / "bench", shop.board(self.old))

    def script(self) -> None:
        """Write with the script; it must work."""
        done = type_in(self.page, self.bench, "cubeprogrammer-sh")
        assert (done.returncode, "DONE" in done.stdout) == (0, True), done.stdout + done.stderr

    def refused_script(self, code: int) -> str:
        """Write with the script; it must stop."""
        done = type_in(self.page, self.bench, "cubeprogrammer-sh")
        assert (done.returncode, "STOPPED" in done.stdout) == (code, True), done.stdout
        return done.stdout

    def walk(self, write: Callable[[], None] | None = None) -> None:
        """Do all six steps."""
        walk(self.page, self.bench, write or self.script)

    def begin(self) -> None:
        """Do steps 1 to 3."""
        for what in ("unplug", "boot0-on", "plug-in"):
            self.bench.do(what)

    def end(self) -> None:
        """Do steps 5 and 6."""
        for what in ("unplug", "boot0-off", "plug-in"):
            self.bench.do(what)

    @property
    def runs_new(self) -> bool:
        """Version 2 runs."""
        return runs(self.shop, self.bench, self.new)

    @property
    def runs_old(self) -> bool:
        """Version 1 runs."""
        return runs(self.shop, self.bench, self.old)

    def row(self, beginning: str) -> str:
        """Return what the page says to do in a case."""
        (found,) = [do for what, do in self.page.table.items() if what.startswith(beginning)]
        return found


@pytest.fixture
def customer(shop: workshop.Workshop, tmp_path: Path) -> Customer:
    return Customer(shop, tmp_path)


def test_the_six_steps_with_the_script_end_with_the_new_version(customer: Customer) -> None:
    customer.walk()

    assert customer.runs_new


def test_the_six_steps_on_windows_end_with_the_new_version(
    customer: Customer, wine: Wine, windows_programmer: Path, tmp_path: Path
) -> None:
    """The programmer for Windows only answers; what it was asked for is done to the board then."""
    page, bench = customer.page, customer.bench
    assert page.command("cubeprogrammer-bat") == CUBE_BAT
    put_replies(tmp_path, CASES["success"])

    def double_click() -> None:
        done = wine.run(
            page.path.parent / CUBE_BAT,
            FAKE_REPLIES=f"Z:{tmp_path}".replace("/", "\\"),
            WINEPATH=f"Z:{windows_programmer.parent}".replace("/", "\\"),
        )
        assert (done.returncode, "DONE" in done.stdout) == (0, True), done.stdout + done.stderr
        asked = (tmp_path / CALLS).read_text().splitlines()
        program = bench.programmer("STM32_Programmer_CLI") / "STM32_Programmer_CLI"
        said = ""
        for line in asked:
            arguments = shlex.split(line.partition('.exe"')[2])
            said += subprocess.run(
                [program, *arguments],
                cwd=page.path.parent,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        assert "DFU mode: 1" in said
        assert "Download verified successfully" in said

    customer.walk(double_click)

    assert customer.runs_new


def test_the_six_steps_with_dfu_util_end_with_the_new_version(
    customer: Customer, bus: MockedBus, dfu_util: str
) -> None:
    bench, page = customer.bench, customer.page
    assert dfu_util

    def type_it() -> None:
        board = bench.board
        board.boot(boot0=True)
        with bus.with_board(board):
            ended = bus.run(["sh", "-c", page.command("dfu-util")], cwd=page.path.parent)
        assert (ended.code, "DONE" in ended.out) == (0, True), ended.out
        board.power_off()
        board.save(bench.folder / "board.sim")

    customer.walk(type_it)

    assert customer.runs_new


def test_the_six_steps_with_splitflash_end_with_the_new_version(
    customer: Customer, bus: MockedBus
) -> None:
    bench, page = customer.bench, customer.page
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def type_it() -> None:
        board = bench.board
        board.boot(boot0=True)
        with bus.with_board(board):
            ended = bus.run(
                ["sh", "-c", page.command("splitflash")],
                cwd=page.path.parent,
                extra={"PATH": path},
            )
        assert ended.code == 0, ended.out
        board.power_off()
        board.save(bench.folder / "board.sim")

    customer.walk(type_it)

    assert customer.runs_new


def test_the_six_steps_by_hand_end_with_the_new_version(customer: Customer) -> None:
    """What the window does is taken from the list: which file, which address, which boxes."""
    page, bench = customer.page, customer.bench
    said = " ".join(page.by_hand)
    (name,) = re.findall(r"Browse and choose (\S+)\.", said)
    (address,) = re.findall(r"Address must be (0x[0-9A-F]{8})", said)
    for words in ("choose USB", "Connect", "Erasing & Programming", "Start Programming"):
        assert words in said
    assert "Tick Verify programming. Leave the other two boxes empty." in said

    def click() -> None:
        file = (page.path.parent / name).read_bytes()
        assert list(read_hex(file, name)) == [int(address, 16)]
        customer.script()

    customer.walk(click)

    assert customer.runs_new
    assert bench.board.read(customer.shop.layout.staging.start, 8) == b"\xff" * 8


def test_the_device_is_found_only_if_boot0_is_on_before_it_is_plugged_in(
    customer: Customer,
) -> None:
    for what in ("unplug", "plug-in", "boot0-on"):
        customer.bench.do(what)
    said = customer.refused_script(11)

    assert "no device found" in said
    assert "BOOT0 must be ON before you plug in" in customer.row("No device")
    customer.begin()
    customer.script()
    customer.end()
    assert customer.runs_new


@pytest.mark.parametrize("cut", ["1-torn", "2-after", "100-torn"])
def test_power_lost_while_writing_leaves_the_old_version_and_beginning_again_helps(
    customer: Customer, cut: str
) -> None:
    customer.begin()
    customer.bench.cut_power(cut)
    customer.refused_script(10)
    customer.bench.cut_power(None)
    customer.end()
    assert customer.runs_old

    assert "Begin again at step 1" in customer.row("The cable came out")
    customer.walk()
    assert customer.runs_new


@pytest.mark.parametrize("cut", ["1-before", "6-torn", "150-torn", "210-after"])
def test_power_lost_while_installing_is_healed_by_plugging_in_again(
    customer: Customer, cut: str
) -> None:
    customer.begin()
    customer.script()
    customer.bench.cut_power(cut)
    customer.end()
    assert customer.bench.last_boot is not None
    assert customer.bench.last_boot.outcome is Outcome.POWER_CUT

    assert "Plug in again with BOOT0 at OFF" in customer.row("The power failed during step 6")
    for what in ("unplug", "plug-in"):
        customer.bench.do(what)
    assert customer.runs_new


def test_a_protected_device_is_told_and_keeps_everything(customer: Customer) -> None:
    board = customer.bench.board
    board.flash.options = board.flash.options.with_rdp(0x55)
    board.save(customer.bench.folder / "board.sim")
    customer.begin()

    said = customer.refused_script(14)
    customer.end()

    assert "Never let any program remove the protection" in said
    assert "Never remove the protection" in customer.row("Something speaks of read protection")
    assert customer.runs_old


def test_an_update_that_is_too_old_leaves_the_old_version_and_the_device_says_why(
    shop: workshop.Workshop, tmp_path: Path
) -> None:
    customer = Customer(shop, tmp_path, shop.update(shop.image(SIZE, seed=2), counter=0))

    customer.walk()

    assert customer.runs_old
    assert "splitflash status" in customer.row("The old version is still there")
    found = rehearse.status(customer.bench.board)
    assert found.refused is not None
    assert found.refused.reason is Reason.COUNTER_TOO_OLD


def test_what_the_page_forbids_does_what_the_page_says(customer: Customer) -> None:
    board = customer.bench.board
    for bank in (1, 2):
        board.flash.erase_bank(bank)
    assert board.boot(strict=False).outcome is Outcome.LOCKED_UP

    assert any("Full chip erase" in line and "not start" in line for line in customer.page.never)
