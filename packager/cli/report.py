"""What a command tells: text for people, or JSON Lines for programs that call it.

Every line of ``--json`` is one object ``{"type": ..., "data": {"task": ..., "device": ..., ...}}``
on stdout. A command begins with ``task_begin`` and ends with ``task_end``, both with ``device``
null; between them each device of a drop has a pair of its own. ``task_end`` holds ``result``
(success or fail), ``exit_code`` and, if it failed, ``error``. ``task_progress`` holds ``phase``,
``done`` and ``total`` in bytes and ``percent``; ``info`` holds ``kind`` and one value of that
name; ``log`` holds ``level`` and ``message``. Errors go to stderr as text all the same.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import click

from packager.cli.progress import ProgressOf, show_progress, show_several
from packager.dfu.pipe import Clock, Progress
from packager.errors import PackagerError

INTERRUPTED = 130


@dataclass
class End:
    """How a task ends when nothing was raised."""

    exit_code: int = 0


class Report:
    """One command's words."""

    def __init__(self, task: str, *, as_json: bool) -> None:
        self.as_json = as_json
        self._task = task
        self._lock = threading.Lock()

    @contextmanager
    def running(self, device: str | None = None, **data: Any) -> Iterator[End]:
        """Announce the command, or its work on one device, and tell how it ended."""
        self._emit("task_begin", device, **data)
        end = End()
        try:
            yield end
        except BaseException as error:
            self._emit("task_end", device, result="fail", **_failure(error))
            raise
        result = "fail" if end.exit_code else "success"
        self._emit("task_end", device, result=result, exit_code=end.exit_code)

    def info(self, kind: str, value: Any, lines: Iterable[str], device: str | None = None) -> None:
        """Tell a result: ``value`` to programs, ``lines`` to people."""
        if self.as_json:
            self._emit("info", device, kind=kind, **{kind: value})
            return
        for line in lines:
            click.echo(line)

    def say(self, message: str, device: str | None = None) -> None:
        """Say something that only people need."""
        if self.as_json:
            self._emit("log", device, level="info", message=message)
        else:
            click.echo(message)

    @contextmanager
    def progress(self, device: str, clock: Clock) -> Iterator[Progress]:
        """Yield the callback that shows the progress on one device."""
        if self.as_json:
            yield self._json_progress(device)
            return
        with show_progress(clock) as progress:
            yield progress

    @contextmanager
    def progress_of_each(self, devices: Iterable[str]) -> Iterator[ProgressOf]:
        """Yield what gives every device its callback, for work on several at once."""
        if self.as_json:
            yield lambda device: nullcontext(self._json_progress(device))
            return
        with show_several(list(devices)) as progress_of:
            yield progress_of

    def _json_progress(self, device: str) -> Progress:
        shown: tuple[str, int] | None = None

        def show(phase: str, done: int, total: int) -> None:
            nonlocal shown
            percent = 100 * done // total if total else 100
            if shown != (phase, percent):
                shown = (phase, percent)
                values = {"phase": phase, "done": done, "total": total, "percent": percent}
                self._emit("task_progress", device, **values)

        return show

    def _emit(self, line_type: str, device: str | None, /, **data: Any) -> None:
        if not self.as_json:
            return
        line = {"type": line_type, "data": {"task": self._task, "device": device, **data}}
        with self._lock:
            click.echo(json.dumps(line))


def _failure(error: BaseException) -> dict[str, Any]:
    code = _exit_code(error)
    described: dict[str, Any] = {"kind": type(error).__name__, "exit_code": code}
    if isinstance(error, PackagerError):
        described |= {
            "where": error.where,
            "found": error.found,
            "expected": error.expected,
            "do": error.do,
        }
    message = "interrupted" if code == INTERRUPTED else _message(error)
    return {"exit_code": code, "error": {**described, "message": message}}


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, PackagerError | click.ClickException):
        return error.exit_code
    return PackagerError.exit_code


def _message(error: BaseException) -> str:
    return error.format_message() if isinstance(error, click.ClickException) else str(error)
