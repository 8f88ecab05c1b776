"""Stops an emulator that has gone silent, without ever disturbing one at work.

A stop from outside that meets the emulator in or right behind a callback makes it repeat the
access. So the pacer asks only after a stretch of the emulator's own processor time without a
single callback (real time would do on an idle machine only), and what a callback takes is not such
time, for a garbage collection may run in it. It announces the request before it looks for the last
time, and callbacks with effects step back from then on.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

FIRST_SILENCE, LONGEST_SILENCE = 0.05, 1.0
"""Processor seconds without a callback before the first, and between later stops."""
_LOOK_EVERY = 0.025
_NOT_OVER = -1
"""In place of the number of callbacks seen: one more is to come to its end."""


class Pacer:
    """Watches one core while it runs; one thread looks at all of them."""

    def __init__(
        self, events: Callable[[], int], start: Callable[..., None], stop: Callable[[], None]
    ) -> None:
        self._events = events
        self._emulator = start.__code__
        """What the thread is in while no callback is."""
        self._stop = stop
        self._lock = threading.Lock()
        self._runs = False
        self._thread = -1
        self._used: Callable[[], float] = time.process_time
        self._seen = 0
        self._since = self._silent_since = 0.0
        self._limit = FIRST_SILENCE
        self._insists = False
        self.asked = False
        """True from the request to stop until the next run; callbacks with effects step back."""
        self.silence = 0.0
        """Processor seconds without a callback so far."""

    def __enter__(self) -> Pacer:
        if self._thread != threading.get_ident():
            self._thread = threading.get_ident()
            self._used = _processor_time_of_this_thread()
        self._note_activity()
        _WATCHER.add(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _WATCHER.remove(self)

    def begin(self) -> None:
        """Let the emulator run."""
        with self._lock:
            self.asked, self._runs = False, True

    def end(self) -> None:
        """Note that the emulator stopped; no request is under way after this."""
        with self._lock:
            self._runs = False

    def insist(self) -> None:
        """Stop a run that never goes on, as often as it takes: it may be about to begin only.

        Takes no lock, since a signal handler calls it, perhaps of the thread that holds it.
        """
        self._insists = True

    def _note_activity(self) -> None:
        self._seen, now = self._events(), self._used()
        self._since = self._silent_since = now
        self._limit, self.silence = FIRST_SILENCE, 0.0

    def _is_in_callback(self) -> bool:
        """Tell whether the thread is anywhere but in the emulator."""
        frame = sys._current_frames().get(self._thread)
        return frame is None or frame.f_code is not self._emulator

    def look(self) -> None:
        """See whether the core has been silent for too long; called by the watching thread."""
        with self._lock:
            if not self._runs:
                return
            if self._insists:
                self._stop()
                return
            in_callback = self._is_in_callback()
            if in_callback or self._events() != self._seen:
                self._note_activity()
            if in_callback:
                self._seen = _NOT_OVER  # so the next look begins to count, at the earliest
            now = self._used()
            self.silence = now - self._silent_since
            if now - self._since >= self._limit:
                self.asked = True
                if self._events() == self._seen:
                    self._stop()
                    self._since, self._limit = now, min(2 * self._limit, LONGEST_SILENCE)
                else:
                    self.asked = False


class _Watcher:
    """The thread that looks; it sleeps while no core runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pacers: list[Pacer] = []
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, pacer: Pacer) -> None:
        """Look at a core from now on."""
        with self._lock:
            self._pacers.append(pacer)
            self._busy.set()
            if self._thread is None or not self._thread.is_alive():  # or it did not live a fork
                self._thread = threading.Thread(
                    target=self._watch, name="virtual core pacer", daemon=True
                )
                self._thread.start()

    def remove(self, pacer: Pacer) -> None:
        """Look at it no more."""
        with self._lock:
            self._pacers.remove(pacer)

    def _watch(self) -> None:
        while True:
            self._busy.wait()
            time.sleep(_LOOK_EVERY)
            with self._lock:
                pacers = list(self._pacers)
                if not pacers:
                    self._busy.clear()
            for pacer in pacers:
                pacer.look()


_WATCHER = _Watcher()


def _processor_time_of_this_thread() -> Callable[[], float]:
    """Return a clock of the calling thread that others may read; of the process where needed."""
    if hasattr(time, "pthread_getcpuclockid"):
        clock = time.pthread_getcpuclockid(threading.get_ident())
        return lambda: time.clock_gettime(clock)
    return time.process_time
