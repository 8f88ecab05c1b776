"""Shows progress on stderr: a bar on a terminal, a line per tenth elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from packager.dfu.pipe import Clock, Progress

_STEPS = 10


@contextmanager
def show_progress(clock: Clock) -> Iterator[Progress]:
    """Yield a progress callback that shows phase, share, rate and the time left."""
    if not sys.stderr.isatty():
        yield _plain(clock)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), get_time=lambda: clock.now) as bars:
        tasks = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done, total=total)

        yield show


@contextmanager
def show_several(devices: list[str]) -> Iterator[Callable[[str], Progress]]:
    """Yield what gives each device its own callback: a bar each, or lines that name the device."""
    if not sys.stderr.isatty():
        yield lambda device: _plain_of(device)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {device: bars.add_task(device, total=None) for device in devices}

        def progress_of(device: str) -> Progress:
            def show(phase: str, done: int, total: int) -> None:
                words = f"{device} {phase:>9}"
                bars.update(tasks[device], description=words, completed=done, total=total)

            return show

        yield progress_of


def _plain_of(device: str) -> Progress:
    shown: dict[str, int] = {}

    def show(phase: str, done: int, total: int) -> None:
        step = _STEPS * done // total if total else _STEPS
        if step != shown.get(phase):
            shown[phase] = step
            click.echo(f"{device}: {phase}: {100 * done // total if total else 100} %", err=True)

    return show


def _plain(clock: Clock) -> Progress:
    began: dict[str, float] = {}
    shown: dict[str, int] = {}

    def show(phase: str, done: int, total: int) -> None:
        start = began.setdefault(phase, clock.now)
        step = _STEPS * done // total if total else _STEPS
        if step == shown.get(phase):
            return
        shown[phase] = step
        line = f"{phase}: {100 * done // total if total else 100} %"
        seconds = clock.now - start
        if done and seconds > 0:
            left = seconds * (total - done) / done
            line += f", {done / 1024 / seconds:.0f} KiB/s, {left:.0f} s left"
        click.echo(line, err=True)

    return show
