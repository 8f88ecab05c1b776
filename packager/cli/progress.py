"""Shows progress on stderr: a bar on a terminal, a line per tenth elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import click

from packager.dfu.pipe import Clock, Progress

ProgressOf = Callable[[str], AbstractContextManager[Progress]]
"""Gives the callback for one of several devices, for as long as it is worked on."""

_STEPS = 10


@contextmanager
def show_progress(clock: Clock) -> Iterator[Progress]:
    """Yield a progress callback that shows phase, share, rate and the time left."""
    if not _is_terminal():
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
def show_several(devices: list[str]) -> Iterator[ProgressOf]:
    """Yield what shows the work on each device: a bar each, or lines that name the device."""
    if not _is_terminal():
        yield lambda device: nullcontext(_plain_of(device))
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {device: bars.add_task(_words(device, ""), total=None) for device in devices}

        @contextmanager
        def progress_of(device: str) -> Iterator[Progress]:
            task = tasks[device]

            def show(phase: str, done: int, total: int) -> None:
                bars.update(task, description=_words(device, phase), completed=done, total=total)

            try:
                yield show
            except BaseException:
                bars.update(task, description=_words(device, "failed"), completed=0, total=1)
                raise
            bars.update(task, description=_words(device, "done"))

        yield progress_of


def _is_terminal() -> bool:
    # there is no stderr at all where it was closed before the start, or under pythonw
    return sys.stderr is not None and sys.stderr.isatty()


def _words(device: str, phase: str) -> str:
    return f"{device} {phase:>9}"


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
