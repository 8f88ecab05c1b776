"""The whole life of a product on a virtual board, told as a story in which every claim is checked.

Nothing here is scripted output: each sentence that says "checked" stands behind an assertion on the
board's flash, its serial output or the loader's own records, made in this very run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from packager import rehearse
from packager.chip import SECTOR_SIZE
from packager.errors import PackagerError
from packager.examples import build_example
from packager.factory import make_factory, write_factory
from packager.flash_map import draw
from packager.format import HEADER_SIZE, pack_version
from packager.image import load_image
from packager.keys import keygen
from packager.layout import Layout, load_layout
from packager.loader_build import build_loader
from packager.packing import pack
from packager.resources import layouts
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.operations import FlashOp, Flavour, OpKind
from packager.update_file import read_update_file

LAYOUT_FILE = "h743zi_app_bank2.yaml"
PLAINTEXT_WINDOW = 16
"""Bytes of the image that must not be found in staging, wherever they start."""


class DemoError(PackagerError):
    """Something the demo claims did not come out true."""


@dataclass
class Story:
    """Tells and checks; ``claims`` counts what was checked."""

    say: Callable[[str], None]
    claims: int = 0
    chapters: int = 0

    def chapter(self, title: str) -> None:
        """Begin the next part."""
        self.chapters += 1
        self.say(f"\n{self.chapters}. {title}")

    def tell(self, text: str) -> None:
        """Say a sentence or a picture, indented below its chapter."""
        for line in text.splitlines():
            self.say(f"   {line}")

    def check(self, claim: str, is_true: bool) -> None:
        """Say a claim, or stop the demo because it is not true.

        Raises:
            DemoError: it is not true.
        """
        if not is_true:
            raise DemoError("demo", f"not true: {claim}", "", "report this with the output above")
        self.claims += 1
        self.say(f"   checked: {claim}")


@dataclass
class Product:
    """What the developer of the demo has made: files by role, and the images they were made of."""

    layout: Layout
    folder: Path
    loader_elf: Path
    factory: dict[int, bytes] = field(repr=False)
    image_v1: bytes = field(repr=False)
    image_v2: bytes = field(repr=False)
    update_v2: bytes = field(repr=False)


def run_demo(folder: Path, say: Callable[[str], None], toolchain: str | None = None) -> int:
    """Run the demo in ``folder``; return how many claims were checked.

    Raises:
        DemoError: a claim is not true.
        PackagerError: a step failed.
    """
    story = Story(say)
    product = _prepare(story, folder, toolchain)
    board = _first_boot(story, product)
    _drop_and_install(story, product, board)
    _altered_update(story, product, board)
    _power_cut(story, product)
    say(f"\n{story.claims} claims checked, all true. Everything ran on the loader that ships.")
    return story.claims


def _prepare(story: Story, folder: Path, toolchain: str | None) -> Product:
    story.chapter("The developer makes keys, loader, factory image and an update")
    layout = load_layout(layouts() / LAYOUT_FILE)
    story.tell(draw(layout))
    made = keygen(folder / "keys")
    fingerprints = ", ".join(f"{name} {key.hex()}" for name, key in made.fingerprints.items())
    story.tell(f"keys: {folder / 'keys'} (fingerprints: {fingerprints})")
    loader = build_loader(layout, folder / "keys", folder / "loader", toolchain=toolchain)
    story.tell(f"loader: {loader.size} bytes, built with {loader.toolchain}")
    app_v1, app_v2 = (
        build_example(version, layout, folder, toolchain) for version in ("1.0.0", "2.0.0")
    )
    factory = make_factory(
        app_v1, loader.elf, layout, folder / "keys", pack_version("1.0.0"), counter=1
    )
    write_factory(folder / "factory_SECRET.hex", factory)
    packed = pack(
        app_v2,
        layout.path,
        folder / "keys",
        folder / "update-2.0.0.hex",
        version="2.0.0",
        counter=1,
    )
    story.tell(f"update: {packed.paths[0].name}, {len(packed.update)} bytes, signed and encrypted")
    image_v1, image_v2 = (load_image(path, layout).data for path in (app_v1, app_v2))
    update = read_update_file(packed.paths[0]).data
    story.check(
        f"no {PLAINTEXT_WINDOW} bytes of the image are found in the update",
        not _shares_plaintext(update, image_v2),
    )
    return Product(layout, folder, loader.elf, factory, image_v1, image_v2, update)


def _first_boot(story: Story, product: Product) -> Board:
    story.chapter("The factory flashes a new device, and it boots version 1.0.0")
    board = _new_device(product)
    report = board.boot()
    _show_boot(story, report)
    story.check("version 1.0.0 runs", _runs(report, "1.0.0"))
    story.check("booting changed no flash", not report.operations)
    return board


def _drop_and_install(story: Story, product: Product, board: Board) -> None:
    layout = product.layout
    story.chapter("The customer drops the update over USB DfuSe and plugs the device in again")
    before = dict(board.clock.seconds)
    rehearse.drop(board, product.update_v2)
    story.tell("dropped: " + _times(board.clock.since(before)))
    staged = board.read(layout.staging.start, layout.staging.size)
    story.tell(draw(layout, {"staging": len(product.update_v2), "app": len(product.image_v1)}))
    story.check("staging holds the update, still encrypted", staged.startswith(product.update_v2))
    leaks: list[FlashOp] = []

    def look_for_plaintext(op: FlashOp, board: Board) -> None:
        content = board.read(layout.staging.start, layout.staging.size)
        if _shares_plaintext(content, product.image_v2):
            leaks.append(op)

    report = board.boot(on_operation=look_for_plaintext)
    _show_boot(story, report)
    story.tell(draw(layout, {"app": len(product.image_v2)}))
    story.check("version 2.0.0 runs", _runs(report, "2.0.0"))
    story.check("the app area equals the packed image byte for byte", _app_is(board, product))
    story.check(
        "the header is erased, so the work is not repeated", _is_header_blank(board, layout)
    )
    story.check(
        f"at none of {len(report.operations)} flash operations plaintext was in staging",
        not leaks,
    )


def _altered_update(story: Story, product: Product, board: Board) -> None:
    layout = product.layout
    story.chapter("Somebody alters one bit of the update's payload and drops that")
    altered = bytearray(product.update_v2)
    altered[HEADER_SIZE + 100] ^= 0x01
    rehearse.drop(board, bytes(altered))
    report = board.boot()
    _show_boot(story, report)
    refused = rehearse.status(board).refused
    story.tell(f"the loader says: {refused.meaning if refused else 'nothing'}")
    story.check("the loader recorded a refusal", refused is not None)
    story.check("version 2.0.0 still runs, untouched", _runs(report, "2.0.0"))
    story.check("the app area was not touched", _app_is(board, product))
    touched = {op.address - op.address % SECTOR_SIZE for op in report.operations}
    story.check(
        "only the header's sector and the marks were written",
        touched <= {layout.staging.start, layout.marks.start},
    )


def _power_cut(story: Story, product: Product) -> None:
    story.chapter("On another device the power fails in the middle of the installation")
    board = _new_device(product)
    rehearse.drop(board, product.update_v2)
    rehearsal = board.snapshot()
    in_app = [op for op in board.boot().operations if product.layout.app.contains(op.address)]
    middle = [op for op in in_app if op.kind is OpKind.PROGRAM][len(in_app) // 2]
    board.restore(rehearsal)
    cut = board.boot(cut=f"{middle.index}-{Flavour.TORN}")
    story.check(
        f"the power failed inside the program of 0x{middle.address:08X}",
        cut.outcome is Outcome.POWER_CUT,
    )
    story.check("the app area is a mixture now", not _app_is(board, product))
    report = board.boot()
    _show_boot(story, report)
    story.check("at the next power-on version 2.0.0 runs", _runs(report, "2.0.0"))
    story.check("the app area equals the packed image byte for byte", _app_is(board, product))


def _new_device(product: Product) -> Board:
    board = Board.new(product.layout.chip)
    board.program(product.factory)
    return board


def _show_boot(story: Story, report: BootReport) -> None:
    for line in report.uart.splitlines():
        story.tell(f"serial port: {line}")
    erases = sum(op.kind is OpKind.ERASE for op in report.operations)
    programs = sum(op.kind is OpKind.PROGRAM for op in report.operations)
    story.tell(f"flash: {erases} sectors erased, {programs} words programmed")
    story.tell(_times(report.seconds))


def _times(seconds: dict[str, float]) -> str:
    parts = [f"{purpose} {spent:.3f} s" for purpose, spent in sorted(seconds.items())]
    return "virtual time: " + ", ".join(parts)


def _runs(report: BootReport, version: str) -> bool:
    return report.outcome is Outcome.APP_RUNS and f"application {version}\n" in report.uart


def _app_is(board: Board, product: Product) -> bool:
    image = product.image_v2
    return board.read(product.layout.app.start, len(image)) == image


def _is_header_blank(board: Board, layout: Layout) -> bool:
    return board.read(layout.staging.start, HEADER_SIZE) == b"\xff" * HEADER_SIZE


def _shares_plaintext(data: bytes, image: bytes) -> bool:
    """Tell whether any window of the image stands in ``data``; runs of one byte do not count."""
    for at in range(0, len(image) - PLAINTEXT_WINDOW + 1, PLAINTEXT_WINDOW):
        window = image[at : at + PLAINTEXT_WINDOW]
        if len(set(window)) > 1 and window in data:
            return True
    return False
