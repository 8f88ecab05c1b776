"""Which cuts to try, and their ids: ``137-torn+12-before`` is a cut in one boot, then in the next.

The strategies are those of littlefs' tests: none, log, linear, exhaustive, and random.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from packager.sim.operations import Cut, Flavour

Chain = tuple[Cut, ...]
FLAVOURS = tuple(Flavour)


def parse(text: str) -> Chain:
    """Read a chain as :func:`text_of` writes it; ``none`` is a chain without any cut."""
    return () if text == "none" else tuple(Cut.parse(part) for part in text.split("+"))


def text_of(chain: Chain) -> str:
    """Return the id of a chain."""
    return "+".join(str(cut) for cut in chain) or "none"


def none(operations: int) -> Iterator[int]:
    """No cut at all."""
    return iter(())


def logarithmic(operations: int) -> Iterator[int]:
    """Yield the first operation, the second, fourth, eighth; and the same from the end."""
    near = {1 << power for power in range(operations.bit_length())}
    yield from sorted({at for at in near | {operations + 1 - at for at in near} if at > 0})


def linear(operations: int, step: int = 7) -> Iterator[int]:
    """Yield every ``step``-th operation, and the last."""
    yield from sorted({*range(1, operations + 1, step), operations})


def exhaustive(operations: int) -> Iterator[int]:
    """Yield every operation."""
    return iter(range(1, operations + 1))


STRATEGIES = {"none": none, "log": logarithmic, "linear": linear, "exhaustive": exhaustive}


def single(strategy: str, operations: int) -> Iterator[Chain]:
    """Yield the chains of one cut, in all flavours; for strategy none the chain without any."""
    if strategy == "none":
        yield ()
    for index in STRATEGIES[strategy](operations):
        for flavour in FLAVOURS:
            yield (Cut(index, flavour),)


def random_chain(rng: Random, cuts: int, operations: int) -> Chain:
    """Return ``cuts`` cuts at random places; half of them early, where every boot comes by."""
    reach = (operations, min(operations, 24))
    return tuple(Cut(rng.randint(1, rng.choice(reach)), rng.choice(FLAVOURS)) for _ in range(cuts))
