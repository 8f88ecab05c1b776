"""The virtual clock of a board: seconds pass because something was done, never by themselves."""

from __future__ import annotations


class Clock:
    """Virtual time in seconds, accounted per purpose (``erase``, ``program``, ``usb``, ``cpu``)."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds: dict[str, float] = {}
        self._present = 0.0
        """Where others are already, while somebody catches up."""

    def advance(self, seconds: float, purpose: str) -> None:
        """Let ``seconds`` pass for ``purpose``; time that is caught up with counts once."""
        self.now += seconds
        if self._present:
            seconds = self.now - self._present
            if seconds <= 0.0:
                return
            self._present = 0.0
        self.seconds[purpose] = self.seconds.get(purpose, 0.0) + seconds

    def advance_to(self, moment: float, purpose: str) -> None:
        """Let time pass until ``moment``; a moment in the past costs nothing."""
        if moment > self.now:
            self.advance(moment - self.now, purpose)

    def go_back_to(self, moment: float) -> None:
        """Let somebody live through time that has passed for others, until :meth:`be_present`."""
        if moment < self.now:
            self._present = max(self._present, self.now)
            self.now = moment

    def be_present(self) -> None:
        """Be where the others are, at least."""
        self.now = max(self.now, self._present)
        self._present = 0.0

    def sleep(self, seconds: float) -> None:
        """Stand in for ``time.sleep`` in code that waits for the device."""
        self.advance(seconds, "waiting")

    def since(self, before: dict[str, float]) -> dict[str, float]:
        """Return the seconds per purpose, to the nanosecond, since ``before`` was a copy."""
        spent = {
            name: round(total - before.get(name, 0.0), 9) for name, total in self.seconds.items()
        }
        return {name: seconds for name, seconds in spent.items() if seconds > 0.0}
