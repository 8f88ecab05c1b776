"""Nothing secret is in RAM when anything but the loader runs, whatever happened before.

At the application's first instruction, at the entry into the ROM and when the loader goes to
sleep, all RAM of the chip is searched for 16 bytes in a row, at any offset, of the device key, of
every secret on the way from it to the content key, of the content key, or of an image.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import refusals
import workshop

from packager import crypto, keys
from packager.format import RECORD_SIZE, WRAP_DOMAIN, pack_version
from packager.image import elf_segments
from packager.keys import VerifyKey
from packager.loader_build import build_loader, build_unchecked
from packager.loader_parts import LoaderKeys, load_loader_keys
from packager.reasons import Reason
from packager.records import AppState
from packager.resources import loader_sources
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.cells import Word
from packager.sim.ram import Rams
from packager.update import Secrets, UpdatePlan, seal_update

RUN = 16
BLOCK = 1024
VERSION, COUNTER = "2.0.0", 5
OLD_SIZE, NEW_SIZE = 3_000, 2_500


def windows(data: bytes) -> set[bytes]:
    return {data[at : at + RUN] for at in range(len(data) - RUN + 1)}


def clamped(secret: bytes) -> bytes:
    """Return an X25519 secret as the curve uses it (RFC 7748 5)."""
    return bytes([secret[0] & 248]) + secret[1:31] + bytes([secret[31] & 127 | 64])


@dataclass
class Scene:
    """A product with one update whose every secret is known, and what to look for."""

    shop: workshop.Workshop
    secrets: Secrets = field(default_factory=Secrets.draw)

    def __post_init__(self) -> None:
        self.old = self.shop.image(OLD_SIZE, seed=1)
        self.new = self.shop.image(NEW_SIZE, seed=2)
        self.signing = keys.load_signing_key(self.shop.keys, None)
        self.device = keys.load_device_keys(self.shop.keys)[0]
        self.wanted: dict[bytes, str] = {}
        for name, data in self._secrets().items():
            self.wanted.update(dict.fromkeys(windows(data), name))

    def _secrets(self) -> dict[str, bytes]:
        device, ephemeral = self.device, crypto.public_key_of(self.secrets.ephemeral_secret)
        shared = crypto.shared_secret(device.secret, ephemeral)
        info = WRAP_DOMAIN + self.shop.layout.product_id_field + device.key_id
        return {
            "the old image": self.old,
            "the new image": self.new,
            "the device key": device.secret,
            "the clamped device key": clamped(device.secret),
            "the shared secret": shared,
            "the key encryption key": crypto._derive_kek(shared, ephemeral + device.public, info),
            "the content key": self.secrets.cek,
        }

    def update(
        self, version: str = VERSION, counter: int = COUNTER, image: bytes | None = None
    ) -> bytes:
        recipients = tuple(keys.load_recipients(self.shop.keys))
        plan = UpdatePlan(
            self.shop.layout,
            self.signing,
            recipients,
            pack_version(version),
            counter,
            chunk_size=1024,
        )
        return seal_update(self.new if image is None else image, plan, self.secrets)

    def board(self) -> Board:
        return self.shop.board(self.old, "1.5.0", COUNTER)

    def found_in(self, board: Board) -> set[str]:
        """Return what is found; blocks that still hold what power-on left hold nothing of ours."""
        fresh = Rams(board.chip)
        fresh.power_on()
        found = set()
        for span in fresh.spans:
            memory, noise = board.read(span.start, span.size), fresh.read(span.start, span.size)
            assert noise is not None
            for start in range(0, span.size, BLOCK):
                if memory[start : start + BLOCK] != noise[start : start + BLOCK]:
                    piece = memory[max(0, start - RUN) : start + BLOCK + RUN]
                    found |= {self.wanted[run] for run in windows(piece) & self.wanted.keys()}
        return found


@dataclass
class Watch:
    """Searches RAM at every way out of the loader."""

    scene: Scene
    board: Board
    looks: int = 0
    found: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        rom_ran = self.board.rams.rom_ran

        def before_the_rom_writes(axi_bytes: int) -> None:
            self._look()
            rom_ran(axi_bytes)

        self.board.on_jump = lambda handover: self._look()
        self.board.rams.rom_ran = before_the_rom_writes  # type: ignore[method-assign]

    def boot(self) -> BootReport:
        report = self.board.boot(strict=False)
        if report.outcome is Outcome.STAYS_PARKED:
            self._look()
        return report

    def _look(self) -> None:
        self.looks += 1
        self.found |= self.scene.found_in(self.board)


Path_ = Callable[[Scene], tuple[Board, Outcome]]


def no_update(scene: Scene) -> tuple[Board, Outcome]:
    return scene.board(), Outcome.APP_RUNS


def install(scene: Scene) -> tuple[Board, Outcome]:
    board = scene.board()
    scene.shop.stage(board, scene.update())
    return board, Outcome.APP_RUNS


def resumed_install(scene: Scene) -> tuple[Board, Outcome]:
    board, _ = install(scene)
    assert board.boot(cut="40-torn", strict=False).outcome is Outcome.POWER_CUT
    assert scene.shop.records(board)[-1].state is AppState.INSTALLING
    return board, Outcome.APP_RUNS


def already_installed(scene: Scene) -> tuple[Board, Outcome]:
    board, _ = install(scene)
    assert workshop.runs(board.boot(strict=False))
    scene.shop.stage(board, scene.update())
    return board, Outcome.APP_RUNS


def stay_in_the_rom(scene: Scene) -> tuple[Board, Outcome]:
    """In the middle of an install another update is dropped, whose image is wrong in the end."""
    board, _ = resumed_install(scene)
    scene.shop.stage(board, refused_for(scene, Reason.IMAGE_DIGEST))
    return board, Outcome.STAYS_IN_ROM


def stay_and_sleep(scene: Scene) -> tuple[Board, Outcome]:
    board, _ = stay_in_the_rom(scene)
    board.flash.options = board.flash.options.with_rdp(0x55)
    return board, Outcome.STAYS_PARKED


def sector_that_fails(scene: Scene) -> tuple[Board, Outcome]:
    """Chunks are opened and programmed, and cannot be."""
    board, _ = install(scene)
    board.flash.faults.never_verifies.add(scene.shop.layout.app.start)
    return board, Outcome.STAYS_IN_ROM


def marks_without_room(scene: Scene) -> tuple[Board, Outcome]:
    board, _ = install(scene)
    layout = scene.shop.layout
    record = board.read(layout.marks.start, RECORD_SIZE)
    board.program({layout.marks.start: record * 1020})
    return board, Outcome.APP_RUNS


def marks_that_cannot_be_emptied(scene: Scene) -> tuple[Board, Outcome]:
    board, _ = marks_without_room(scene)
    board.flash.faults.erase_errors[scene.shop.layout.marks.start] = 100
    return board, Outcome.APP_RUNS


def unreadable_chunk(scene: Scene) -> tuple[Board, Outcome]:
    board, _ = install(scene)
    board.flash.plant(scene.shop.layout.staging.start + 640 + 2048, Word.POISONED)
    return board, Outcome.APP_RUNS


def blank_loader(scene: Scene) -> tuple[Board, Outcome]:
    board = Board.new(scene.shop.layout.chip)
    board.program(elf_segments(scene.shop.loader.elf))
    return board, Outcome.STAYS_IN_ROM


PATHS: tuple[Path_, ...] = (
    no_update,
    install,
    resumed_install,
    already_installed,
    stay_in_the_rom,
    stay_and_sleep,
    sector_that_fails,
    marks_without_room,
    marks_that_cannot_be_emptied,
    unreadable_chunk,
    blank_loader,
)

TOO_OLD = {
    Reason.COUNTER_TOO_OLD: ("3.0.0", COUNTER - 1),
    Reason.VERSION_TOO_OLD: ("1.4.0", COUNTER),
}
BY_TABLE = sorted({case.reason for case in refusals.CASES if case.reason is not Reason.NONE})
BY_UPDATE = [*BY_TABLE, *TOO_OLD, Reason.IMAGE_VECTORS]
ELSEWHERE = {
    Reason.NONE,
    Reason.STAGING_UNREADABLE,
    Reason.KEYS_UNUSABLE,
    Reason.MARKS_FULL,
    Reason.ALREADY_INSTALLED,
    Reason.FLASH_FAILED,
}
"""Met by the paths above and the tests below."""


def refused_for(scene: Scene, reason: Reason) -> bytes:
    """Return an update that is refused for this reason, as late as the reason allows."""
    if reason in TOO_OLD:
        return scene.update(*TOO_OLD[reason])
    if reason is Reason.IMAGE_VECTORS:
        return scene.update(image=bytes(8) + scene.new[8:])
    cases = [case for case in refusals.CASES if case.reason is reason]
    case = next((case for case in cases if case.name.startswith("last")), cases[0])
    return case.make(scene.update(), scene.signing)


@pytest.fixture(scope="module")
def scene(shop: workshop.Workshop) -> Scene:
    return Scene(shop)


def test_every_reason_is_covered_here() -> None:
    assert {*BY_UPDATE, *ELSEWHERE} == set(Reason)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
@pytest.mark.parametrize("tool", ["gcc", "zig"])
def test_no_secret_is_in_ram_on_the_way_out_of(
    build: workshop.Build, tool: str, path: Path_
) -> None:
    scene = Scene(build(workshop.DEFAULT, tool))
    board, outcome = path(scene)
    watch = Watch(scene, board)

    report = watch.boot()

    assert report.outcome is outcome, report
    assert watch.looks == 1
    assert watch.found == set()


@pytest.mark.parametrize("reason", BY_UPDATE, ids=lambda reason: reason.name)
def test_no_secret_is_in_ram_after_a_refusal_for(scene: Scene, reason: Reason) -> None:
    board = scene.board()
    scene.shop.stage(board, refused_for(scene, reason))
    watch = Watch(scene, board)

    assert workshop.runs(watch.boot())

    assert scene.shop.records(board)[-1].reason is reason
    assert (watch.looks, watch.found) == (1, set())


@pytest.mark.parametrize("reason", [Reason.CHUNK_TAG, Reason.IMAGE_DIGEST], ids=str)
def test_no_secret_is_in_ram_when_a_refusal_leads_into_the_rom(
    scene: Scene, reason: Reason
) -> None:
    board = scene.board()
    board.flash.plant(scene.shop.layout.app.start, Word.POISONED)
    scene.shop.stage(board, refused_for(scene, reason))
    watch = Watch(scene, board)

    assert watch.boot().outcome is Outcome.STAYS_IN_ROM

    assert (watch.looks, watch.found) == (1, set())


def test_no_secret_is_in_ram_behind_a_development_loader(
    scene: Scene, compiler: workshop.Compiler, tmp_path: Path
) -> None:
    tool = compiler()
    built = build_loader(scene.shop.layout, scene.shop.keys, tmp_path, dev=True, toolchain=tool)
    board = Board.new(scene.shop.layout.chip)
    board.program({**elf_segments(built.elf), scene.shop.layout.app.start: scene.old})
    watch = Watch(scene, board)
    assert workshop.runs(watch.boot())
    scene.shop.stage(board, scene.update())
    assert workshop.runs(watch.boot())
    assert scene.shop.app_is(board, scene.new)
    assert (watch.looks, watch.found) == (2, set())


def test_no_secret_is_in_ram_behind_a_loader_with_an_unusable_key(
    scene: Scene, compiler: workshop.Compiler, tmp_path: Path
) -> None:
    good = load_loader_keys(scene.shop.keys)
    weak = LoaderKeys((*good.verify, VerifyKey("blank", b"\xff" * 32)), good.device)
    built = build_unchecked(scene.shop.layout, weak, tmp_path, toolchain=compiler())
    board = scene.board()
    board.program(elf_segments(built.elf))
    scene.shop.stage(board, scene.update())
    watch = Watch(scene, board)
    assert workshop.runs(watch.boot())
    assert scene.shop.records(board)[-1].reason is Reason.KEYS_UNUSABLE
    assert (watch.looks, watch.found) == (1, set())


LEAKS = {
    "nothing is wiped": (
        "machine_h743.c",
        '"ldr r3, =ram_end\\n\\t"',
        '"mov r3, r2\\n\\t"',
        {"the content key", "the new image"},
    ),
    "half of the key encryption key is left in AXI SRAM": (
        "update.c",
        "    crypto_wipe(kek, sizeof kek);\n    return mismatch;",
        "    memcpy((void *)0x24012345u, kek + 5, 16);\n    return mismatch;",
        {"the key encryption key"},
    ),
    "half of the shared secret is left in SRAM4": (
        "update.c",
        "    crypto_wipe(shared, sizeof shared);",
        "    memcpy((void *)0x38001003u, shared + 16, 16);",
        {"the shared secret"},
    ),
    "half of the device key is left high in DTCM": (
        "update.c",
        "    crypto_wipe(shared, sizeof shared);",
        "    memcpy((void *)0x20012001u, key->secret + 8, 16);",
        {"the device key", "the clamped device key"},
    ),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_negative_control_a_loader_that_leaves_a_secret_is_caught(
    scene: Scene, compiler: workshop.Compiler, tmp_path: Path, leak: str
) -> None:
    file, old, new, expected = LEAKS[leak]
    sources = tmp_path / "mcu_loader"
    shutil.copytree(loader_sources(), sources)
    text = (sources / file).read_text()
    assert text.count(old) == 1, "the mutation no longer fits the source"
    (sources / file).write_text(text.replace(old, new))
    careless = workshop.make_workshop(
        tmp_path, scene.shop.layout, compiler(scene.shop.loader.toolchain), sources
    )
    own = Scene(careless)
    board, _ = install(own)
    watch = Watch(own, board)
    assert workshop.runs(watch.boot())
    assert watch.found & expected
