"""Faults a test or a rehearsal plants into the flash of a virtual board."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class PlantedFaults:
    """Worn-out places of the flash; addresses are of flash words or sector starts.

    ``program_errors`` and ``erase_errors`` say how many more operations there fail with OPERR and
    change nothing; so do those with the numbers in ``burst``, the next one being 1, wherever.
    ``never_verifies`` holds sectors where every programmed word comes out with one bit wrong,
    without any error flag.
    """

    program_errors: dict[int, int] = field(default_factory=dict)
    erase_errors: dict[int, int] = field(default_factory=dict)
    never_verifies: set[int] = field(default_factory=set)
    burst: range = range(0)
    _seen: int = 0

    def program_fails(self, address: int) -> bool:
        """Tell whether this program operation fails, and use the fault up by one."""
        return self._is_in_burst() or _take(self.program_errors, address)

    def erase_fails(self, address: int) -> bool:
        """Tell whether this erase operation fails, and use the fault up by one."""
        return self._is_in_burst() or _take(self.erase_errors, address)

    def _is_in_burst(self) -> bool:
        self._seen += 1
        return self._seen in self.burst


def _take(faults: dict[int, int], address: int) -> bool:
    left = faults.get(address, 0)
    if left > 0:
        faults[address] = left - 1
    return left > 0
