"""Stops an emulator that has gone silent, without ever disturbing one at work.

A stop from outside that meets the emulator in or right behind a callback makes it repeat the
access. So the pacer asks only after a stretch of the emulator's own processor time without a
single callback (real time would do on an idle machine only); it announces the request before it
looks for the last time, and callbacks with effects step back from then on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FIRST_SILENCE, LONGEST_SILENCE = 0.05, 1.0
"""Processor seconds without a callback before the first, and between later stops."""
_LOOK_EVERY = 0.025


class Pacer:
    """Watches one core from a thread of its own."""

    def __init__(self, events: Callable[[], int], stop: Callable[[], None]) -> None:
        self._events = events
        self._stop = stop
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._runs = False
        self._used = _processor_time_of_this_thread()
        self.asked = False
        """True from the request to stop until the next run; callbacks with effects step back."""
        self.silence = 0.0
        """Processor seconds without a callback so far."""
        self._thread = threading.Thread(target=self._watch, name="virtual core pacer", daemon=True)

    def __enter__(self) -> Pacer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def begin(self) -> None:
        """Let the emulator run."""
        with self._lock:
            self.asked, self._runs = False, True

    def end(self) -> None:
        """Note that the emulator stopped; no request is under way after this."""
        with self._lock:
            self._runs = False

    def _watch(self) -> None:
        events, since, limit = self._events(), self._used(), FIRST_SILENCE
        silent_since = since
        while not self._over.wait(_LOOK_EVERY):
            with self._lock:
                now = self._used()
                if self._events() != events:
                    events, since, silent_since, limit = self._events(), now, now, FIRST_SILENCE
                self.silence = now - silent_since
                if self._runs and now - since >= limit:
                    self.asked = True
                    if self._events() == events:
                        self._stop()
                        since, limit = now, min(2 * limit, LONGEST_SILENCE)
                    else:
                        self.asked = False


def _processor_time_of_this_thread() -> Callable[[], float]:
    """Return a clock of the calling thread that others may read; of the process where needed."""
    if hasattr(time, "pthread_getcpuclockid"):
        clock = time.pthread_getcpuclockid(threading.get_ident())
        return lambda: time.clock_gettime(clock)
    return time.process_time
