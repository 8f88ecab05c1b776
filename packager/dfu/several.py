"""Does the same with several devices at once, each in its own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from packager.dfu.pipe import Progress
from packager.errors import PackagerError, as_ours

T = TypeVar("T")

LOOK_UP_SECONDS = 0.2
"""How often the waiting thread looks up, so that Ctrl-C gets through on every system."""


class Stop:
    """Tells the work on every device to stop where that leaves the device usable."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Ask everybody to stop."""
        self._asked.set()

    def check(self) -> None:
        """Stop if that was asked for.

        Raises:
            KeyboardInterrupt: it was.
        """
        if self._asked.is_set():
            raise KeyboardInterrupt

    def heeding(self, progress: Progress) -> Progress:
        """Return ``progress``, which also stops the work that reports it."""

        def report(phase: str, done: int, total: int) -> None:
            self.check()
            progress(phase, done, total)

        return report


def on_each(names: Sequence[str], work: Callable[[str, Stop], T]) -> dict[str, T | PackagerError]:
    """Do ``work`` for every name at once; return results and errors of ours in the same order.

    Whatever fails for one name, the others are finished. Ctrl-C stops all of it, waits until every
    device was left, and then goes on its way.
    """
    stop = Stop()
    with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
        futures = {name: pool.submit(work, name, stop) for name in names}
        try:
            _wait(set(futures.values()))
        except BaseException:
            stop.ask()
            raise
    outcomes: dict[str, T | PackagerError] = {}
    for name, future in futures.items():
        error = future.exception()
        outcomes[name] = as_ours(name, error) if isinstance(error, Exception) else future.result()
    return outcomes


def _wait(futures: set[Future[T]]) -> None:
    pending = futures
    while pending:
        _, pending = wait(pending, timeout=LOOK_UP_SECONDS)
