"""The refusal table, shown to the host's reader and to the shipped loader: one verdict, one reason.

Before the verdict the loader changes nothing: its first flash operations are those of the note in
the marks, then the header's sector is erased; while an install is under way not even that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import told
import workshop
from proof.refused import NOTE_WORDS
from refusals import (
    CASES,
    FLOOR_CASES,
    Case,
    FloorCase,
    claim,
    payload_with,
    put,
    sign_again,
    size_cases,
)

from packager import toolchain
from packager.dfu.target import check_floor
from packager.errors import KeyFileError, RefusedError
from packager.format import (
    HEADER_SIZE,
    MAX_CHUNK_SIZE,
    RECORD_SIZE,
    largest_image,
    parse_header,
    version_text,
)
from packager.keys import (
    DeviceKey,
    SigningKey,
    VerifyKey,
    load_device_keys,
    load_recipients,
    load_signing_key,
    load_verify_keys,
    published_test_keys,
)
from packager.loader_build import BuiltLoader, build_loader, build_unchecked
from packager.loader_parts import LoaderKeys
from packager.reasons import EXPLANATIONS, Reason
from packager.records import Action, AppState, MarkRecord, RecordType
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.cells import Word
from packager.sim.flash import FlashSnapshot
from packager.sim.operations import Cut, OpKind
from packager.update import (
    Floor,
    Refusal,
    Secrets,
    UpdatePlan,
    header_field,
    open_update,
    seal_update,
)

SIZE, CHUNK = 3_500, 1024
VERSION, COUNTER = 0x0200_0000, 2
TOOLS = toolchain.NAMES
LAYOUT = workshop.layout_named(workshop.DEFAULT)
SIZE_CASES = size_cases(LAYOUT)
Benches = Callable[[str], "Bench"]


@dataclass
class Bench:
    """A board that runs the old image, and one whose install was cut in the middle."""

    shop: workshop.Workshop
    update: bytes = b""
    board: Board = field(init=False)

    def __post_init__(self) -> None:
        shop = self.shop
        self.key = load_signing_key(shop.keys, None)
        self.old, self.new = shop.image(SIZE, seed=1), shop.image(SIZE, seed=2)
        self.update = self.seal(self.new)
        self.board = shop.board(self.old)
        self.fresh = self.board.snapshot()
        shop.stage(self.board, self.update)
        self.board.boot(cut=Cut(40, "after"), strict=False)
        assert shop.records(self.board)[-1].state is AppState.INSTALLING
        self.installing = self.board.snapshot()

    def seal(
        self, image: bytes, version: int = VERSION, counter: int = COUNTER, flags: int = 0
    ) -> bytes:
        """Return a good update of several chunks."""
        recipients = tuple(load_recipients(self.shop.keys))[:1]
        plan = UpdatePlan(self.shop.layout, self.key, recipients, version, counter, flags, CHUNK)
        return seal_update(image, plan, Secrets.draw())

    def host_reason(self, update: bytes, floor: Floor | None = None) -> Reason | None:
        """Return why the host's reader refuses it, None if it does not."""
        keys = self.shop.keys
        verify, device = load_verify_keys(keys), load_device_keys(keys)
        try:
            open_update(update, verify, device, self.shop.layout, floor=floor)
        except Refusal as refusal:
            return refusal.reason
        return None

    def boot(self, start: FlashSnapshot, update: bytes) -> told.Told:
        """Stage an update on a board in this state and boot it."""
        self.board.restore(start)
        self.shop.stage(self.board, update)
        return told.boot(self.board, self.shop.layout, strict=False)

    def assert_refused(self, update: bytes, reason: Reason) -> None:
        """Both readers refuse it for this reason, and the device is as before."""
        assert self.host_reason(update) is reason
        seen = self.boot(self.fresh, update)
        self.assert_said(seen, reason)

    def assert_said(self, seen: told.Told, reason: Reason) -> None:
        """The loader noted the reason, cleared the header, told the application, and no more."""
        shop, board = self.shop, self.board
        assert workshop.runs(seen.report)
        assert shop.app_is(board, self.old)
        assert seen.result is not None
        if reason is Reason.NONE:
            assert seen.result.action is Action.BOOTED
            assert not seen.report.operations
            return
        assert (seen.result.action, seen.result.reason) == (Action.REFUSED, reason)
        note = shop.records(board)[-1]
        assert (note.type, note.reason) == (RecordType.REFUSED, reason)
        assert note.state is AppState.INSTALLED
        assert_noted_then(shop, seen.report, [(OpKind.ERASE, shop.layout.staging.start)])
        assert shop.is_header_blank(board)


def assert_noted_then(
    shop: workshop.Workshop, report: BootReport, after: Sequence[tuple[OpKind, int]]
) -> None:
    """The flash operations are those of one mark record that stands twice, then ``after``."""
    note = report.operations[:NOTE_WORDS]
    assert len(note) == NOTE_WORDS
    assert all(op.kind is OpKind.PROGRAM for op in note)
    assert all(shop.layout.marks.contains(op.address) for op in note)
    assert [(op.kind, op.address) for op in report.operations[NOTE_WORDS:]] == list(after)


@pytest.fixture(scope="module")
def bench(build: workshop.Build) -> Benches:
    made: dict[str, Bench] = {}

    def get(tool: str) -> Bench:
        if tool not in made:
            made[tool] = Bench(build(workshop.DEFAULT, tool))
        return made[tool]

    return get


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("case", [*CASES, *SIZE_CASES], ids=lambda case: case.name)
def test_a_wrong_update_is_refused_for_the_same_reason_by_host_and_loader(
    bench: Benches, case: Case, tool: str
) -> None:
    desk = bench(tool)

    desk.assert_refused(case.make(desk.update, desk.key), case.reason)


def one_of_each_reason() -> list[Case]:
    return list({case.reason: case for case in CASES}.values())


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("case", one_of_each_reason(), ids=lambda case: case.name)
def test_a_refused_update_stays_in_staging_while_an_install_is_under_way(
    bench: Benches, case: Case, tool: str
) -> None:
    desk = bench(tool)
    wrong = case.make(desk.update, desk.key)

    report = desk.boot(desk.installing, wrong).report

    assert report.outcome is Outcome.STAYS_IN_ROM
    assert desk.board.read(desk.shop.layout.staging.start, len(wrong)) == wrong
    if case.reason is Reason.NONE:
        assert not report.operations
        return
    note = desk.shop.records(desk.board)[-1]
    assert (note.type, note.reason) == (RecordType.REFUSED, case.reason)
    assert note.state is AppState.INSTALLING
    assert_noted_then(desk.shop, report, [])


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("case", FLOOR_CASES, ids=str)
def test_the_floor_decides_the_same_on_host_and_loader(
    bench: Benches, case: FloorCase, tool: str
) -> None:
    desk = bench(tool)
    counter, version = case.floor
    update = desk.seal(desk.new, case.version, case.counter, case.flags)
    board = desk.shop.board(desk.old, version_text(version), counter)
    newest = desk.shop.records(board)[-1]
    desk.shop.stage(board, update)

    seen = told.boot(board, desk.shop.layout, strict=False)

    assert desk.host_reason(update, Floor(counter, version)) is case.reason
    assert reason_of_drop(update, newest) is case.reason
    assert seen.result is not None
    if case.reason is None:
        assert seen.result.action is Action.INSTALLED
        assert desk.shop.app_is(board, desk.new)
    else:
        assert (seen.result.action, seen.result.reason) == (Action.REFUSED, case.reason)
        assert desk.shop.app_is(board, desk.old)


def reason_of_drop(update: bytes, newest: MarkRecord) -> Reason | None:
    """Return why ``splitflash drop`` does not write it, in the words of the table of reasons."""
    try:
        check_floor(parse_header(update[:HEADER_SIZE]), newest)
    except RefusedError as error:
        return next(
            reason
            for reason in Reason
            if EXPLANATIONS[reason].do == error.do and EXPLANATIONS[reason].meaning in error.found
        )
    return None


@pytest.mark.parametrize("tool", TOOLS)
def test_an_old_update_that_is_replayed_is_refused(bench: Benches, tool: str) -> None:
    desk = bench(tool)
    shop, board = desk.shop, desk.board
    first, second = desk.seal(desk.new, VERSION, 2), desk.seal(desk.old, VERSION + 1, 3)
    assert workshop.runs(desk.boot(desk.fresh, first).report)
    shop.stage(board, second)
    assert workshop.runs(board.boot(strict=False))
    shop.stage(board, first)

    seen = told.boot(board, shop.layout, strict=False)

    desk.assert_said(seen, Reason.COUNTER_TOO_OLD)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("taken", "reason"),
    [
        ((), Reason.PAYLOAD_DIGEST),
        (("payload_digest",), Reason.KEY_AGREEMENT),
        (("payload_digest", "base_nonce"), Reason.KEY_AGREEMENT),
    ],
)
def test_the_header_of_one_update_with_the_payload_of_another_is_refused(
    bench: Benches, taken: tuple[str, ...], reason: Reason, tool: str
) -> None:
    desk = bench(tool)
    other = desk.seal(desk.new)
    mixed = desk.update[:HEADER_SIZE] + other[HEADER_SIZE:]
    for name in taken:
        mixed = put(name, header_field(other, name))(mixed)
    if reason is Reason.KEY_AGREEMENT:
        mixed = put("recipients", header_field(other, "recipients"))(mixed)

    desk.assert_refused(sign_again(mixed, desk.key) if taken else mixed, reason)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_chunk_of_another_update_is_refused(bench: Benches, tool: str) -> None:
    desk = bench(tool)
    other = desk.seal(desk.new)
    end = HEADER_SIZE + CHUNK + 16

    def mix(update: bytes) -> bytes:
        return update[:HEADER_SIZE] + other[HEADER_SIZE:end] + update[end:]

    mixed = sign_again(payload_with(mix)(desk.update), desk.key)

    desk.assert_refused(mixed, Reason.CHUNK_TAG)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("stack", "reset"),
    [
        (0x2002_0008, 9),
        (0x2000_0000, 9),
        (0x2001_FFFC, 9),
        (0x0000_8000, 9),
        (0x2002_0000, 8),
        (0x2002_0000, 7),
        (0x2002_0000, -0x1000),
        (0x2002_0000, 2001),
    ],
)
def test_an_image_that_cannot_start_is_refused(
    bench: Benches, stack: int, reset: int, tool: str
) -> None:
    desk = bench(tool)
    vectors = stack.to_bytes(4, "little") + (desk.shop.layout.app.start + reset).to_bytes(
        4, "little"
    )

    desk.assert_refused(desk.seal(vectors + bytes(1992)), Reason.IMAGE_VECTORS)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("word", [1, 19, 20, 60])
def test_staging_that_cannot_be_read_is_refused(bench: Benches, word: int, tool: str) -> None:
    desk = bench(tool)
    desk.board.restore(desk.fresh)
    desk.shop.stage(desk.board, desk.update)
    desk.board.flash.plant(desk.shop.layout.staging.start + word * 32, Word.POISONED)

    seen = told.boot(desk.board, desk.shop.layout, strict=False)

    desk.assert_said(seen, Reason.STAGING_UNREADABLE)


UNUSABLE_KEYS = (
    ("blank verify", TOOLS[0]),
    ("zero verify", TOOLS[0]),
    ("blank device", TOOLS[0]),
    ("published device", TOOLS[0]),
    ("published verify", TOOLS[1]),
)


@pytest.mark.parametrize(("kind", "tool"), UNUSABLE_KEYS)
def test_a_loader_with_keys_that_everybody_knows_is_not_built_and_would_install_nothing(
    bench: Benches, compiler: workshop.Compiler, tmp_path: Path, kind: str, tool: str
) -> None:
    desk = bench(tool)
    keys = unusable(desk.shop.keys, kind)
    with pytest.raises(KeyFileError):
        build_loader(desk.shop.layout, keys, tmp_path, toolchain=tool)
    built = build_unchecked(desk.shop.layout, keys, tmp_path, toolchain=compiler(tool))
    careless = with_loader(desk, built)

    seen = careless.boot(careless.fresh, desk.update)

    careless.assert_said(seen, Reason.KEYS_UNUSABLE)


def unusable(folder: Path, kind: str) -> LoaderKeys:
    """Return the good keys and a bad one."""
    published = published_test_keys()
    signing, device = published["active"], published["device"]
    assert isinstance(signing, SigningKey)
    assert isinstance(device, DeviceKey)
    verify_keys = {
        "blank verify": VerifyKey("bad", b"\xff" * 32),
        "zero verify": VerifyKey("bad", bytes(32)),
        "published verify": VerifyKey("bad", signing.public),
    }
    device_keys = {
        "blank device": DeviceKey("bad", b"\xff" * 32, load_device_keys(folder)[0].public),
        "published device": device,
    }
    verify = (*load_verify_keys(folder), *(k for name, k in verify_keys.items() if name == kind))
    devices = (*load_device_keys(folder), *(k for name, k in device_keys.items() if name == kind))
    return LoaderKeys(verify, devices)


def with_loader(desk: Bench, loader: BuiltLoader) -> Bench:
    """Return a bench whose board has another loader, and nothing under way."""
    other = object.__new__(Bench)
    other.__dict__.update(desk.__dict__)
    other.shop = dataclasses.replace(desk.shop, loader=loader)
    other.board = other.shop.board(desk.old)
    other.fresh = other.board.snapshot()
    return other


def test_full_marks_that_cannot_be_emptied_refuse_the_update_and_start_the_app(
    bench: Benches,
) -> None:
    desk = bench(toolchain.installed()[0])
    shop, board = desk.shop, desk.board
    marks = shop.layout.marks
    board.restore(desk.fresh)
    record = board.read(marks.start, RECORD_SIZE)
    board.program({marks.start: record * (marks.size // RECORD_SIZE)})
    shop.stage(board, desk.update)
    board.flash.faults.erase_errors[marks.start] = 1000

    seen = told.boot(board, shop.layout, strict=False)
    board.flash.faults.erase_errors.clear()

    assert workshop.runs(seen.report)
    assert shop.app_is(board, desk.old)
    assert seen.result is not None
    assert (seen.result.action, seen.result.reason) == (Action.REFUSED, Reason.MARKS_FULL)


def test_a_flash_that_fails_for_good_is_named_in_the_record_that_stays(bench: Benches) -> None:
    desk = bench(toolchain.installed()[0])
    shop, board = desk.shop, desk.board
    board.restore(desk.fresh)
    shop.stage(board, desk.update)
    board.flash.faults.erase_errors[shop.layout.app.start] = 1000

    report = board.boot(strict=False)
    board.flash.faults.erase_errors.clear()

    assert report.outcome is Outcome.STAYS_IN_ROM
    note = shop.records(board)[-1]
    assert (note.state, note.reason) == (AppState.INSTALLING, Reason.FLASH_FAILED)
    assert board.read(shop.layout.staging.start, len(desk.update)) == desk.update


def test_no_reason_is_left_without_a_test() -> None:
    shown = {case.reason for case in (*CASES, *SIZE_CASES)}
    shown |= {case.reason for case in FLOOR_CASES if case.reason is not None}
    shown |= {Reason.IMAGE_VECTORS, Reason.STAGING_UNREADABLE, Reason.KEYS_UNUSABLE}
    shown |= {Reason.MARKS_FULL, Reason.FLASH_FAILED}  # each by its own test above
    shown |= {Reason.ALREADY_INSTALLED}  # test_stories.py, told to the application

    assert shown == set(Reason)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("image_size", largest_image(LAYOUT.app.size, LAYOUT.staging.size, CHUNK)),
        ("payload_size", LAYOUT.staging.size - HEADER_SIZE),
        ("chunk_size", MAX_CHUNK_SIZE),
    ],
)
def test_every_size_is_tried_at_its_edges(bench: Benches, name: str, most: int) -> None:
    desk = bench(toolchain.installed()[0])
    edges = {0, 1, most - 1, most, most + 1, 1 << 31, 0xFFFF_FFFF}

    shown = [case.make(desk.update, desk.key) for case in (*CASES, *SIZE_CASES)]
    shown.append(desk.shop.update(desk.new))  # the largest chunk is the usual one

    tried = {int.from_bytes(header_field(update, name), "little") for update in shown}
    assert tried >= edges


def test_sizes_that_wrap_around_are_among_the_cases() -> None:
    wrapped = claim(0xFFFF_FFFF, CHUNK)(bytes(HEADER_SIZE))

    assert int.from_bytes(header_field(wrapped, "payload_size"), "little") < 0xFFFF_FFFF
