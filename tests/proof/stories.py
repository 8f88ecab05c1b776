"""The situations in which the power is cut: each prepares a board and says what may come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.factory import factory_record
from packager.format import CARRY_SIZE, RECORD_SIZE
from packager.reasons import Reason
from packager.records import MarkRecord, RecordType, build_record
from packager.sim.cells import Word
from proof.product import HOST, ONE, TWO, Product, Release
from proof.watch import Watched

SLOTS = SECTOR_SIZE // RECORD_SIZE
SPARE = 256
TINY, SMALL, USUAL = 1032, 2 * 1024, 8 * 1024
TWO_SECTORS = SECTOR_SIZE + 600


class Scene(NamedTuple):
    """A prepared board and the releases it may run after the next undisturbed boot."""

    watched: Watched
    good: tuple[Release, ...]
    healer: Release
    staged: Release


class Story(NamedTuple):
    """A situation; ``prepare`` takes the product, a kind of board and the seed of its chances."""

    name: str
    layout: str
    prepare: Callable[[Product, str, int], Scene]


@dataclass(frozen=True)
class Cast:
    """The releases of a product that a story plays with."""

    made_with: Release
    new: Release
    healer: Release


def cast(product: Product, old: bytes, new: bytes) -> Cast:
    """Sign the releases; the healer is newer than everything."""
    return Cast(
        product.factory(old),
        product.release("new", "2.0.0", 2, new),
        product.release("healer", "9.0.0", 9, product.image(TINY, 99)),
    )


def scene(product: Product, kind: str, seed: int, play: Cast) -> Scene:
    """Return the plain scene: the factory's app runs, the new release is staged."""
    watched = Watched(product, product.board(play.made_with, kind, seed))
    watched.stage(play.new.update)
    return Scene(watched, (play.new,), play.healer, play.new)


_CASTS: dict[tuple[int, str, int], Cast] = {}


def cast_of_size(product: Product, old: int, new: int, like: int = 0) -> Cast:
    """Return releases of random content, ``like`` bytes of the new one as in the old one."""
    key = (id(product), f"{old} {new}", like)
    if key not in _CASTS:
        first = product.image(old, 1)
        _CASTS[key] = cast(product, first, product.image(new, 2, first[:like]))
    return _CASTS[key]


def _install(old: int, new: int, like: int = 0) -> Callable[[Product, str, int], Scene]:
    def prepare(product: Product, kind: str, seed: int) -> Scene:
        return scene(product, kind, seed, cast_of_size(product, old, new, like))

    return prepare


def _refused(product: Product, kind: str, seed: int) -> Scene:
    play = cast_of_size(product, SMALL, TINY)
    made = scene(product, kind, seed, play)
    wrong = bytearray(play.new.update)
    wrong[100] ^= 1
    made.watched.stage(bytes(wrong))
    return made._replace(good=(play.made_with,))


def _old_update(product: Product, kind: str, seed: int) -> Scene:
    """A device at 2.0.0 with counter 2 is offered what has counter 1."""
    play = cast_of_size(product, SMALL, TINY)
    past = product.release("past", "8.0.0", 1, product.image(TINY, 5))
    at_two = product.factory(product.image(SMALL, 7), counter=2)
    watched = Watched(product, product.board(at_two, kind, seed))
    watched.stage(past.update)
    return Scene(watched, (at_two,), play.healer, past)


def _same_again(product: Product, kind: str, seed: int) -> Scene:
    made = _install(SMALL, TINY)(product, kind, seed)
    made.watched.runs(made.watched.boot(), made.good)
    made.watched.stage(made.staged.update)
    return made


def _repair(product: Product, kind: str, seed: int) -> Scene:
    made = _same_again(product, kind, seed)
    made.watched.board.flash.plant(product.layout.app.start + 5 * FLASH_WORD, Word.POISONED)
    made.watched.act()
    return made


def _marks(
    used: int, carry_used: int = 0, torn_carry: bool = False
) -> Callable[[Product, str, int], Scene]:
    """The plain scene with ``used`` records in marks and as many carry slots in use."""

    def prepare(product: Product, kind: str, seed: int) -> Scene:
        play = cast_of_size(product, SMALL, TINY)
        made = scene(product, kind, seed, play)
        fill_marks(made.watched, play.made_with, used)
        for slot in range(carry_used):
            at = product.layout.app.end - CARRY_SIZE + slot * RECORD_SIZE
            made.watched.board.flash.plant(at, Word.POISONED)
        made.watched.act()
        return made

    return prepare


@cache
def _records(release: Release, used: int) -> bytes:
    first = factory_record(release.image, release.version, release.counter)
    refused = replace(first, type=RecordType.REFUSED, reason=Reason.SIGNATURE, refused_run=1)
    made: list[MarkRecord] = [first]
    made += [replace(refused, sequence=at + 1) for at in range(1, used)]
    return b"".join(build_record(record) for record in made)


def fill_marks(watched: Watched, release: Release, used: int) -> None:
    """Write ``used`` records that all say: this release is installed."""
    watched.board.program({watched.layout.marks.start: _records(release, used)})
    watched.act()


STORIES = (
    Story("install 8 KiB", ONE, _install(USUAL, USUAL)),
    Story("install 1 KiB", ONE, _install(SMALL, TINY)),
    Story("first sector is equal", TWO, _install(TWO_SECTORS, TWO_SECTORS, SECTOR_SIZE)),
    Story("app shrinks by a sector", TWO, _install(TWO_SECTORS, TINY)),
    Story("second sector begins to be used", TWO, _install(SMALL, TWO_SECTORS, SMALL)),
    Story("refused header", ONE, _refused),
    Story("old update", ONE, _old_update),
    Story("same update again", ONE, _same_again),
    Story("corrupt app is repaired", ONE, _repair),
    Story("marks nearly full", ONE, _marks(SLOTS - SPARE + 1)),
    Story("marks full", ONE, _marks(SLOTS)),
    Story("marks nearly full, carry nearly used up", ONE, _marks(SLOTS - SPARE + 1, 6)),
    Story("marks nearly full, carry used up", ONE, _marks(SLOTS - SPARE + 1, 8)),
    Story("marks nearly full in two sectors, carry used up", TWO, _marks(SLOTS - SPARE + 1, 8)),
    Story("marks full, carry used up", ONE, _marks(SLOTS, 8)),
)
BY_NAME = {story.name: story for story in STORIES}


class Stage:
    """The products of a run, made once in a folder and shared by every worker."""

    def __init__(self, folder: Path, sources: Path | None = None) -> None:
        self.products = {name: Product.new(name, folder / name, sources) for name in (ONE, TWO)}

    def scene(self, story: Story, kind: str = HOST, seed: int = 0) -> Scene:
        """Prepare a story."""
        return story.prepare(self.products[story.layout], kind, seed)
