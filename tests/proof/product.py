"""A product under proof: keys, authentic releases, and boards that begin with the first of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import workshop
from host.board import HostBoard
from host.build import build_host

from packager import crypto
from packager.factory import factory_record
from packager.format import pack_version, pad_to_flash_word
from packager.image import elf_segments
from packager.keys import keygen, load_recipients, load_signing_key
from packager.layout import Layout, load_layout
from packager.loader_build import build_loader
from packager.loader_parts import load_loader_keys
from packager.records import build_record
from packager.sim.board import Board
from packager.update import build_update

LAYOUTS = Path(__file__).parent / "layouts"
ONE, TWO = "one_sector", "two_sectors"
HOST = "host"


class Release(NamedTuple):
    """An authentic update, or what the factory flashed: then ``update`` is empty."""

    name: str
    version: int
    counter: int
    image: bytes
    digest: bytes
    update: bytes


@dataclass
class Product:
    """One layout with its keys and everything it has signed so far."""

    layout: Layout
    folder: Path
    sources: Path | None = None
    releases: dict[bytes, Release] = field(default_factory=dict)
    """By image digest, which is how a record names what is installed."""
    failures: Path | None = None
    """Where to keep the boards that failed."""

    @classmethod
    def new(cls, layout_name: str, folder: Path, sources: Path | None = None) -> Product:
        """Make keys in ``folder`` (kept if there) for a layout of this package."""
        folder.mkdir(parents=True, exist_ok=True)
        product = cls(load_layout(LAYOUTS / f"{layout_name}.yaml"), folder, sources)
        if not product.keys.exists():
            keygen(product.keys)
        return product

    @property
    def keys(self) -> Path:
        """The keys folder."""
        return self.folder / "keys"

    @cached_property
    def library(self) -> Path:
        """The host build of the loader."""
        out = self.folder / f"{self.layout.path.stem}.so"
        if not out.exists():
            build_host(self.layout, load_loader_keys(self.keys), out, sources=self.sources)
        return out

    def loader(self, tool: str) -> dict[int, bytes]:
        """Return the shipped loader by address, built with ``tool``."""
        out = self.folder / f"{self.layout.path.stem}-{tool}"
        elf = out / "loader_SECRET.elf"
        if not elf.exists():
            elf = build_loader(
                self.layout, self.keys, out, toolchain=tool, sources=self.sources
            ).elf
        return elf_segments(elf)

    def image(self, size: int, seed: int, like: bytes = b"") -> bytes:
        """Return a bootable image that begins as ``like``, if that is given."""
        image = workshop.image_for(self.layout, size, seed)
        return like[:size] + image[len(like) :]

    def factory(self, image: bytes, counter: int = 1) -> Release:
        """Return the release the device is made with: 1.0.0."""
        return self._known("factory", "1.0.0", counter, image, b"")

    def release(self, name: str, version: str, counter: int, image: bytes) -> Release:
        """Sign a release, once."""
        known = self.releases.get(crypto.digest(image))
        if known is not None and known[:3] == (name, pack_version(version), counter):
            return known
        update = build_update(
            image,
            self.layout,
            load_signing_key(self.keys, None),
            load_recipients(self.keys),
            pack_version(version),
            counter,
        )
        return self._known(name, version, counter, image, update)

    def board(self, made_with: Release, kind: str = HOST, seed: int = 0) -> Board:
        """Return a board fresh from the factory; ``kind`` is :data:`HOST` or a toolchain."""
        chip = self.layout.chip
        if kind == HOST:
            board: Board = HostBoard(chip, self.library, seed=seed)
        else:
            board = Board.new(chip, seed=seed)
            board.program(self.loader(kind))
        first = factory_record(made_with.image, made_with.version, made_with.counter)
        records = (first, replace(first, sequence=first.sequence + 1))
        board.program(
            {
                self.layout.app.start: pad_to_flash_word(made_with.image),
                self.layout.marks.start: b"".join(map(build_record, records)),
            }
        )
        return board

    def _known(self, name: str, version: str, counter: int, image: bytes, update: bytes) -> Release:
        digest = crypto.digest(image)
        release = Release(name, pack_version(version), counter, image, digest, update)
        self.releases[digest] = release
        return release
