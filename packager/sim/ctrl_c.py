"""Ctrl-C while the emulator runs: it ends the run, and is raised when the emulator has returned.

Python would raise it inside whatever callback comes next, where the emulator's C code swallows it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def raised_at_the_end(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at Ctrl-C, and raise it when the block is left.

    Does nothing outside the main thread, which gets no signals, nor where somebody else handles
    Ctrl-C.

    Raises:
        KeyboardInterrupt: it was pressed; whatever else the block raised.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGINT)
    if not in_main_thread or previous is not signal.default_int_handler:
        yield
        return
    is_asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal is_asked
        is_asked = True
        stop()

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if is_asked:
            raise KeyboardInterrupt
