"""Counts of what was tried and what it did; tallies add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from proof.watch import Harm, ViolationError


@dataclass
class Tally:
    """Counts by category, and the text of every failure."""

    counts: Counter[str] = field(default_factory=Counter)
    harm: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.counts + other.counts, self.harm + other.harm, self.failures + other.failures
        )

    def count(self, category: str, number: int = 1) -> None:
        """Count something that was tried."""
        self.counts[category] += number

    def fail(self, violation: ViolationError, where: str) -> None:
        """Note a violation."""
        self.harm[violation.harm] += 1
        self.failures.append(f"{where}: {violation}")

    @property
    def is_clean(self) -> bool:
        """Whether nothing ever went wrong."""
        return not self.failures and not any(self.harm[harm] for harm in Harm)
