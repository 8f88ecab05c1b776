"""Stops an emulator that has gone silent, without ever disturbing one at work.

An asynchronous stop that meets the emulator inside a callback makes it repeat the access. So the
pacer asks only after a stretch of real time without a single callback, under a lock that ends
with the run, and callbacks with effects step back while it asks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

FIRST_SILENCE, LONGEST_SILENCE = 0.05, 1.0
"""Real seconds without a callback before the first, and between later stops."""


class Pacer:
    """Watches one run at a time from a thread of its own; real time, not virtual."""

    def __init__(self, events: Callable[[], int], stop: Callable[[], None]) -> None:
        self._events = events
        self._stop = stop
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._runs = False
        self._limit = FIRST_SILENCE
        self._last_events = -1
        self.asked = False
        """True from the request to stop until the next run; read by callbacks."""
        self.silence = 0.0
        """Real seconds without a callback so far."""
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
        silent = 0.0
        while not self._over.wait(FIRST_SILENCE):
            with self._lock:
                events = self._events()
                if events != self._last_events:
                    self._last_events, self._limit = events, FIRST_SILENCE
                    self.silence = silent = 0.0
                    continue
                silent += FIRST_SILENCE
                self.silence += FIRST_SILENCE
                if self._runs and silent >= self._limit:
                    self._limit = min(2 * self._limit, LONGEST_SILENCE)
                    silent = 0.0
                    self.asked = True
                    self._stop()
