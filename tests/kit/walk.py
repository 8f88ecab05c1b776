"""A desk with a device on it, and someone who does what HOWTO.html says and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import workshop

from packager.sim.board import Board, BootReport

from .page import Page

PROGRAMMER = Path(__file__).parent / "programmer.py"


class Bench:
    """One device: whether it is plugged in, and its BOOT0 switch; everything else is its board."""

    def __init__(self, folder: Path, board: Board) -> None:
        self.folder = folder
        self.plugged_in = True
        self.boot0 = False
        self.boot0_at_power_on = False
        self.cut: str | None = None
        """Where the power goes the next time something happens in flash."""
        self.last_boot: BootReport | None = None
        self.folder.mkdir()
        board.save(self._file)
        self._note()

    @property
    def _file(self) -> Path:
        return self.folder / "board.sim"

    @property
    def board(self) -> Board:
        """The board as it is now."""
        return Board.load(self._file)

    def do(self, what: str) -> None:
        """Do one thing of a step."""
        {
            "unplug": self._unplug,
            "plug-in": self._plug_in,
            "boot0-on": lambda: self._switch(on=True),
            "boot0-off": lambda: self._switch(on=False),
        }[what]()
        self._note()

    def _unplug(self) -> None:
        self.plugged_in = False

    def _switch(self, *, on: bool) -> None:
        self.boot0 = on

    def _plug_in(self) -> None:
        assert not self.plugged_in, "it is plugged in already"
        self.plugged_in, self.boot0_at_power_on = True, self.boot0
        if not self.boot0:
            board = self.board
            self.last_boot = board.boot(cut=self.cut, strict=False)
            board.power_off()
            board.save(self._file)
            self.cut = None

    def _note(self) -> None:
        """Tell the programmer, which is another process."""
        names = ("plugged_in", "boot0_at_power_on", "cut")
        state = {name: getattr(self, name) for name in names}
        (self.folder / "state.json").write_text(json.dumps(state))

    def cut_power(self, cut: str | None) -> None:
        """Let the power go at that operation."""
        self.cut = cut
        self._note()

    def programmer(self, name: str) -> Path:
        """Install the programmer that writes to this board; return its folder."""
        folder = self.folder / "programmer"
        folder.mkdir(exist_ok=True)
        program = folder / name
        program.write_text(
            f"#!/bin/sh\nBENCH='{self.folder}' exec '{sys.executable}' '{PROGRAMMER}' \"$@\"\n"
        )
        program.chmod(0o755)
        return folder


Write = Callable[[], None]


def walk(page: Page, bench: Bench, write: Write) -> None:
    """Do the steps of the page in their order; ``write`` does what step 4 points to."""
    steps = page.steps
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    for step in steps:
        for what in step.do:
            if what == "write":
                write()
            elif what == "wait":
                wait(page, bench)
            else:
                bench.do(what)


def wait(page: Page, bench: Bench) -> None:
    """Wait as long as the page says, and no longer."""
    assert bench.last_boot is not None
    seconds = sum(bench.last_boot.seconds.values())
    told = re.search(r"usually (\d+) seconds, at most (\d+)\.", page.steps[-1].text)
    assert told is not None
    usual, longest = (int(number) for number in told.groups())
    assert seconds <= usual < longest


def type_in(page: Page, bench: Bench, name: str) -> subprocess.CompletedProcess[str]:
    """Type a command of the page in a terminal that stands in the folder of the page."""
    path = bench.programmer("STM32_Programmer_CLI")
    return subprocess.run(
        ["sh", "-c", page.command(name)],
        cwd=page.path.parent,
        env={"PATH": f"{path}{os.pathsep}/usr/bin{os.pathsep}/bin", "HOME": "/nowhere"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def runs(shop: workshop.Workshop, bench: Bench, image: bytes) -> bool:
    """Tell whether the device started with this application."""
    boot = bench.last_boot
    return boot is not None and workshop.runs(boot) and shop.app_is(bench.board, image)
