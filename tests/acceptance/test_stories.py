"""What a loader must do, one short story each, on the shipped binary.

Every story can fail: ``tests/mutants`` breaks the loader on purpose and shows which story notices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import told
import workshop
from refusals import CASES, flip, payload_with, put, sign_again

from packager import crypto
from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.format import HEADER_SIZE, INFO_OFFSET, INFO_SIZE, RECORD_SIZE, BootCheck
from packager.image import elf_segments
from packager.keys import (
    SigningKey,
    load_device_keys,
    load_recipients,
    load_signing_key,
    load_verify_keys,
    published_test_keys,
)
from packager.reasons import Reason
from packager.records import (
    Action,
    AppState,
    RecordType,
    ResultRecord,
    build_info,
    build_record,
    parse_info,
    parse_record,
)
from packager.segments import fill
from packager.sim.board import Board, Outcome
from packager.sim.cells import Word
from packager.sim.operations import Cut, FlashOp, Flavour, OpKind
from packager.update import Secrets, UpdatePlan, seal_update

SIZE = 3000
CHUNK = 1024
TAG = 16
BLANK = b"\xff" * FLASH_WORD


class Scene(NamedTuple):
    """A board that runs ``old`` with an update to ``new`` in staging."""

    board: Board
    old: bytes
    new: bytes
    update: bytes


def prepared(shop: workshop.Workshop, size: int = SIZE, counter: int = 2) -> Scene:
    old, new = shop.image(SIZE, seed=1), shop.image(size, seed=2)
    update = seal(shop, new, counter=counter)
    board = shop.board(old)
    shop.stage(board, update)
    return Scene(board, old, new, update)


def seal(
    shop: workshop.Workshop,
    image: bytes,
    version: int = 0x0200_0000,
    counter: int = 2,
    secrets: Secrets | None = None,
    signing_key: SigningKey | None = None,
) -> bytes:
    """Return an update of small chunks, so that even a small image has several."""
    plan = UpdatePlan(
        shop.layout,
        signing_key or load_signing_key(shop.keys, None),
        tuple(load_recipients(shop.keys)),
        version,
        counter,
        chunk_size=CHUNK,
    )
    return seal_update(image, plan, secrets or Secrets.draw())


def signed(shop: workshop.Workshop, update: bytes) -> bytes:
    return sign_again(update, load_signing_key(shop.keys, None))


def reconfigure(shop: workshop.Workshop, board: Board, *, boot_check: BootCheck) -> None:
    """Give the loader on the board another ``boot_check``, as if built so."""
    start, loader = fill(elf_segments(shop.loader.elf))
    info = replace(parse_info(loader[INFO_OFFSET : INFO_OFFSET + INFO_SIZE]), boot_check=boot_check)
    end = INFO_OFFSET + INFO_SIZE
    board.program({start: loader[:INFO_OFFSET] + build_info(info) + loader[end:]})


def undisturbed(board: Board) -> list[FlashOp]:
    """Return the operations of an undisturbed boot; leaves the board as it was."""
    before = board.snapshot()
    operations = board.boot(strict=False).operations
    board.restore(before)
    return operations


def app_operations(shop: workshop.Workshop, operations: list[FlashOp]) -> list[FlashOp]:
    return [op for op in operations if shop.layout.app.contains(op.address)]


def lose_update(shop: workshop.Workshop, board: Board) -> None:
    """Let another drop begin: the ROM has erased the header's sector and no more."""
    shop.stage(board, BLANK)


def refused_for(shop: workshop.Workshop, board: Board) -> Reason:
    """Boot; return the reason given to the application, NONE if nothing was refused."""
    result = told.boot(board, shop.layout, strict=False).result
    assert result is not None
    return result.reason if result.action is Action.REFUSED else Reason.NONE


def runs_whole(shop: workshop.Workshop, scene: Scene) -> bool:
    """Tell whether the app area holds one of the two images, whole."""
    return shop.app_is(scene.board, scene.old) or shop.app_is(scene.board, scene.new)


# -- power cuts ------------------------------------------------------------------------------------


def test_a_good_update_is_installed_runs_and_is_cleared_away(shop: workshop.Workshop) -> None:
    board, _, new, _ = prepared(shop)

    assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, new)
    assert shop.is_header_blank(board)
    assert workshop.runs(board.boot(strict=False))


def test_a_cut_near_the_end_of_an_install_never_loses_the_update(shop: workshop.Workshop) -> None:
    board, _, new, _ = prepared(shop)
    count = len(undisturbed(board))
    before = board.snapshot()
    for index in (count - 8, count - 4, count - 1, count):
        board.restore(before)
        assert board.boot(cut=Cut(index, "before"), strict=False).outcome is Outcome.POWER_CUT

        assert workshop.runs(board.boot(strict=False)), index
        assert shop.app_is(board, new), index


def test_a_cut_install_whose_update_is_lost_never_runs_a_mixed_app(shop: workshop.Workshop) -> None:
    """Even where ``boot_check: off`` leaves the records as the only guard."""
    scene = prepared(shop)
    board = scene.board
    reconfigure(shop, board, boot_check=BootCheck.OFF)
    writes = app_operations(shop, undisturbed(board))
    before = board.snapshot()
    for index in (writes[1].index, writes[-2].index):
        board.restore(before)
        board.boot(cut=Cut(index, "after"), strict=False)
        lose_update(shop, board)

        report = board.boot(strict=False)

        assert not workshop.runs(report) or runs_whole(shop, scene), index


def unchecked(shop: workshop.Workshop) -> Scene:
    """A board whose loader has nothing but records to tell whether an app is whole."""
    scene = prepared(shop)
    reconfigure(shop, scene.board, boot_check=BootCheck.OFF)
    return scene


def cut_amid_the_app(shop: workshop.Workshop, board: Board) -> None:
    writes = app_operations(shop, undisturbed(board))
    assert board.boot(cut=Cut(writes[5].index, "after"), strict=False)


def never_mixed(shop: workshop.Workshop, scene: Scene, *faded: FlashOp) -> None:
    """Let words fade and the update be lost: what runs now, if anything, has to be whole."""
    for op in faded:
        scene.board.flash.plant(op.address, Word.POISONED)
    lose_update(shop, scene.board)

    report = scene.board.boot(strict=False)

    assert not workshop.runs(report) or runs_whole(shop, scene)


def test_a_record_that_fades_after_a_cut_never_lets_a_mixed_app_run(
    shop: workshop.Workshop,
) -> None:
    """The cut tears the last word of INSTALLING; it reads right at the next start, then fades."""
    scene = unchecked(shop)
    announced = undisturbed(scene.board)[3]
    assert scene.board.boot(cut=Cut(announced.index, "after"), strict=False)
    cut_amid_the_app(shop, scene.board)

    never_mixed(shop, scene, announced)


def test_a_record_in_a_slot_that_was_not_quite_blank_never_lets_a_mixed_app_run(
    shop: workshop.Workshop,
) -> None:
    """A cut left the slot so early that it read blank; what is written over that fades."""
    scene = unchecked(shop)
    first = undisturbed(scene.board)[0]
    cut_amid_the_app(shop, scene.board)

    never_mixed(shop, scene, first)


def test_a_note_of_a_refusal_is_not_the_only_record_that_says_installing(
    shop: workshop.Workshop,
) -> None:
    """The cuts tear INSTALLING, then the note that staging cannot be read; both fade later."""
    scene = unchecked(shop)
    board = scene.board
    announced = undisturbed(board)[3]
    assert board.boot(cut=Cut(announced.index, "after"), strict=False)
    board.flash.plant(shop.layout.staging.start + HEADER_SIZE, Word.POISONED)
    noted = undisturbed(board)[3]
    assert board.boot(cut=Cut(noted.index, "after"), strict=False)
    assert shop.records(board)[-1].type is RecordType.REFUSED
    shop.stage(board, scene.update)
    cut_amid_the_app(shop, board)

    never_mixed(shop, scene, announced, noted)


def test_a_header_is_not_erased_on_the_word_of_a_single_note(shop: workshop.Workshop) -> None:
    """INSTALLED is torn once, and the note that the update is installed lies in a weak slot."""
    board, _, new, _ = prepared(shop)
    copy, cleared = RECORD_SIZE // FLASH_WORD, 1
    installed = undisturbed(board)[-copy - cleared - 1]
    assert board.boot(cut=Cut(installed.index, "after"), strict=False)
    noted = undisturbed(board)[0]
    assert workshop.runs(board.boot(strict=False))
    assert shop.is_header_blank(board)
    board.flash.plant(installed.address, Word.POISONED)
    board.flash.plant(noted.address, Word.POISONED)

    assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, new)


def test_a_sector_that_is_written_again_is_not_called_done_meanwhile(
    shop: workshop.Workshop,
) -> None:
    """A cut right before the end; then a bit has to be repaired, and a second cut tears a word."""
    board, _, new, _ = prepared(shop)
    operations = undisturbed(board)
    last = app_operations(shop, operations)[-1]
    installed_twice, cleared = 2 * RECORD_SIZE // FLASH_WORD, 1
    cut = Cut(operations[-installed_twice - cleared].index, "before")
    assert board.boot(cut=cut, strict=False)
    noted = shop.records(board)[-1]
    assert noted.state is AppState.INSTALLING
    assert noted.done_sectors
    board.flash.plant(shop.layout.app.start, Word.CORRECTED)
    again = next(op for op in undisturbed(board) if op.address == last.address)
    assert board.boot(cut=Cut(again.index, "after"), strict=False).outcome is Outcome.POWER_CUT
    board.flash.plant(last.address, Word.WEAK, reads=6)

    for _ in range(8):
        assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, new)


def test_a_last_word_that_fades_later_never_ends_in_a_dead_app(shop: workshop.Workshop) -> None:
    """The cut tears the last word of the image; it reads right a few times, then no more."""
    board, _, new, _ = prepared(shop)
    last = app_operations(shop, undisturbed(board))[-1]
    assert board.boot(cut=Cut(last.index, "after"), strict=False).outcome is Outcome.POWER_CUT
    board.flash.plant(last.address, Word.WEAK, reads=6)

    for _ in range(8):
        assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, new)


def test_a_refused_update_is_kept_while_the_app_area_is_in_pieces(shop: workshop.Workshop) -> None:
    board, _, new, update = prepared(shop)
    middle = app_operations(shop, undisturbed(board))[40]
    board.boot(cut=Cut(middle.index, "after"), strict=False)
    damaged = flip(HEADER_SIZE + 5)(update)
    shop.stage(board, damaged)

    assert board.boot(strict=False).outcome is Outcome.STAYS_IN_ROM

    assert board.read(shop.layout.staging.start, len(damaged)) == damaged
    shop.stage(board, update)
    assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, new)


def test_a_cut_while_the_marks_are_emptied_never_loses_the_floor(shop: workshop.Workshop) -> None:
    old = shop.image(SIZE, seed=1)
    board = shop.board(old, "2.0.0", 7)
    record = board.read(shop.layout.marks.start, RECORD_SIZE)
    board.program({shop.layout.marks.start: record * 900})
    shop.stage(board, seal(shop, shop.image(SIZE, seed=2), counter=7))
    erase = next(op for op in undisturbed(board) if op.address == shop.layout.marks.start)
    assert erase.kind is OpKind.ERASE
    before = board.snapshot()
    past = seal(shop, shop.image(SIZE, seed=3), 0x0900_0000, counter=6)
    for flavour in (Flavour.TORN, Flavour.AFTER):
        board.restore(before)
        board.boot(cut=Cut(erase.index, flavour), strict=False)
        shop.stage(board, past)

        assert refused_for(shop, board) is Reason.COUNTER_TOO_OLD, flavour
        assert shop.app_is(board, old), flavour


# -- flash that fails ------------------------------------------------------------------------------


def test_marks_that_take_no_record_right_never_cost_the_app(shop: workshop.Workshop) -> None:
    board, old, _, _ = prepared(shop)
    board.flash.faults.never_verifies.add(shop.layout.marks.start)

    report = board.boot(strict=False)

    assert workshop.runs(report)
    assert not app_operations(shop, report.operations)
    assert shop.app_is(board, old)


def test_a_sector_that_reads_back_wrong_is_never_called_installed(shop: workshop.Workshop) -> None:
    board, _, _, _ = prepared(shop)
    board.flash.faults.never_verifies.add(shop.layout.app.start)

    report = board.boot(strict=False)

    assert not workshop.runs(report)
    assert shop.records(board)[-1].state is AppState.INSTALLING


def test_one_operation_that_fails_is_tried_again(shop: workshop.Workshop) -> None:
    board, _, new, _ = prepared(shop)
    app = shop.layout.app.start
    board.flash.faults.erase_errors[app] = 1
    board.flash.faults.program_errors[app + 64] = 1

    assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, new)


def test_the_marks_never_say_installed_before_all_of_the_app_reads_right(
    shop: workshop.Workshop,
) -> None:
    """A word goes bad when every sector has been written and found right."""
    board, _, new, _ = prepared(shop)
    sectors = shop.layout.app.size // SECTOR_SIZE
    spoilt: list[int] = []

    def watch(op: FlashOp, board: Board) -> None:
        if not shop.layout.marks.contains(op.address):
            return
        slot = op.address - op.address % RECORD_SIZE
        if op.address != slot + RECORD_SIZE - FLASH_WORD:
            return
        record = parse_record(board.read(slot, RECORD_SIZE))
        if record.state is AppState.INSTALLED:
            assert shop.app_is(board, new), op
        elif not spoilt and record.done_sectors == (1 << sectors) - 1:
            spoilt.append(shop.layout.app.start + 32)
            board.flash.plant(spoilt[0], Word.POISONED)

    report = board.boot(on_operation=watch, strict=False)

    assert spoilt
    assert workshop.runs(report)
    assert shop.app_is(board, new)


def test_a_torn_header_costs_nothing(shop: workshop.Workshop) -> None:
    scene = prepared(shop)
    for place in (0, 10):
        board = scene.board
        shop.stage(board, scene.update)
        board.flash.plant(shop.layout.staging.start + place * FLASH_WORD, Word.POISONED)

        report = board.boot(strict=False)

        assert workshop.runs(report), place
        assert not report.faults, place
        assert shop.app_is(board, scene.old), place


def test_no_flash_word_is_programmed_twice_whatever_lies_in_the_marks(
    shop: workshop.Workshop,
) -> None:
    """The second word of the next slot was torn; its first word still reads blank."""
    board, _, _, update = prepared(shop)
    shop.stage(board, flip(100)(update))
    next_slot = shop.layout.marks.start + len(shop.records(board)) * RECORD_SIZE
    board.flash.plant(next_slot + FLASH_WORD, Word.POISONED)

    report = board.boot(strict=False)

    assert workshop.runs(report)
    assert all(op.virgin for op in report.operations)
    assert shop.records(board)[-1].type is RecordType.REFUSED


def test_an_app_that_changed_in_flash_is_not_started(shop: workshop.Workshop) -> None:
    old = shop.image(SIZE, seed=1)
    board = shop.board(old)
    board.program({shop.layout.app.start: old[:-1] + bytes([old[-1] ^ 1])})

    assert board.boot(strict=False).outcome is Outcome.STAYS_IN_ROM


def test_a_broken_app_is_repaired_by_dropping_its_own_update_again(
    shop: workshop.Workshop,
) -> None:
    board, _, new, update = prepared(shop)
    assert workshop.runs(board.boot(strict=False))
    board.program({shop.layout.app.start: new[:2000] + bytes(64) + new[2064:]})
    shop.stage(board, update)

    assert workshop.runs(board.boot(strict=False))
    assert shop.app_is(board, new)


# -- hostile updates -------------------------------------------------------------------------------


def test_a_forged_update_is_refused(shop: workshop.Workshop) -> None:
    board, old, _, update = prepared(shop)
    stranger = crypto.draw()
    key = SigningKey("stranger", stranger, crypto.verify_key_of(stranger))
    shop.stage(board, sign_again(update, key))

    assert refused_for(shop, board) is Reason.SIGNATURE
    assert shop.app_is(board, old)


def test_an_update_that_claims_more_than_the_areas_hold_is_refused_for_its_sizes(
    shop: workshop.Workshop,
) -> None:
    board, _, _, update = prepared(shop)
    for image_size in (shop.layout.app.size, 1 << 31, 0xFFFF_F000):
        chunks = (image_size - 1) // CHUNK + 1
        payload_size = (image_size + TAG * chunks) % (1 << 32)
        claims = put("payload_size", payload_size)(put("image_size", image_size)(update))
        shop.stage(board, signed(shop, claims))

        assert refused_for(shop, board) is Reason.SIZES, image_size


def test_an_update_without_its_last_chunk_is_refused(shop: workshop.Workshop) -> None:
    """By whoever holds the signing key: only the chunk's own flag tells that more must follow."""
    board, old, new, update = prepared(shop)
    size = SIZE // CHUNK * CHUNK
    payload_size = size + size // CHUNK * TAG
    payload = update[HEADER_SIZE : HEADER_SIZE + payload_size]
    fields: tuple[tuple[str, int | bytes], ...] = (
        ("image_size", size),
        ("payload_size", payload_size),
        ("image_digest", crypto.digest(new[:size])),
        ("payload_digest", crypto.digest(payload)),
    )
    shorter = update[: HEADER_SIZE + payload_size]
    for name, value in fields:
        shorter = put(name, value)(shorter)
    shop.stage(board, signed(shop, shorter))

    assert refused_for(shop, board) is Reason.CHUNK_TAG
    assert shop.app_is(board, old)


def test_a_wrong_chunk_is_refused_before_the_app_area_is_touched(shop: workshop.Workshop) -> None:
    board, old, _, update = prepared(shop)
    shop.stage(board, signed(shop, payload_with(flip(-1))(update)))

    seen = told.boot(board, shop.layout, strict=False)

    assert seen.result is not None
    assert seen.result.reason is Reason.CHUNK_TAG
    assert not app_operations(shop, seen.report.operations)
    assert shop.app_is(board, old)


def test_an_update_that_uses_what_is_reserved_is_refused(shop: workshop.Workshop) -> None:
    refuses_the_cases_of(shop, Reason.RESERVED_NOT_ZERO, Reason.COMPRESSION)


def test_an_update_for_another_device_is_refused(shop: workshop.Workshop) -> None:
    refuses_the_cases_of(shop, Reason.PRODUCT, Reason.CHIP, Reason.LAYOUT, Reason.ADDRESS)


def refuses_the_cases_of(shop: workshop.Workshop, *reasons: Reason) -> None:
    """Show every row of the refusal table that has one of these reasons to the loader."""
    board, _, _, update = prepared(shop)
    before = board.snapshot()
    key = load_signing_key(shop.keys, None)
    for case in (case for case in CASES if case.reason in reasons):
        board.restore(before)
        shop.stage(board, case.make(update, key))

        assert refused_for(shop, board) is case.reason, case.name


def test_what_was_installed_raises_the_floor(shop: workshop.Workshop) -> None:
    board, _, new, _ = prepared(shop, counter=5)
    assert workshop.runs(board.boot(strict=False))
    for version, counter, reason in (
        (0x0900_0000, 4, Reason.COUNTER_TOO_OLD),
        (0x01FF_FFFF, 5, Reason.VERSION_TOO_OLD),
    ):
        shop.stage(board, seal(shop, shop.image(SIZE, seed=3), version, counter))

        assert refused_for(shop, board) is reason
        assert shop.app_is(board, new)


def test_counters_are_compared_as_they_are_around_2_to_the_31(shop: workshop.Workshop) -> None:
    old = shop.image(SIZE, seed=1)
    for floor, counter, reason in (
        (0x8000_0000, 0x7FFF_FFFF, Reason.COUNTER_TOO_OLD),
        (0x7FFF_FFFF, 0x8000_0000, Reason.NONE),
    ):
        board = shop.board(old, counter=floor)
        shop.stage(board, seal(shop, shop.image(SIZE, seed=2), counter=counter))

        assert refused_for(shop, board) is reason


def test_a_loader_with_a_published_key_installs_nothing(shop: workshop.Workshop) -> None:
    scene = prepared(shop)
    published = published_test_keys()["active"]
    assert isinstance(published, SigningKey)
    start, loader = fill(elf_segments(shop.loader.elf))
    for key in load_verify_keys(shop.keys):
        loader = loader.replace(key.raw, published.public).replace(key.key_id, published.key_id)
    scene.board.program({start: loader})
    shop.stage(scene.board, seal(shop, scene.new, signing_key=published))

    assert refused_for(shop, scene.board) is Reason.KEYS_UNUSABLE
    assert shop.app_is(scene.board, scene.old)


def test_a_refused_update_is_cleared_away_and_noted_once(shop: workshop.Workshop) -> None:
    board, _, _, update = prepared(shop)
    shop.stage(board, flip(100)(update))

    assert refused_for(shop, board) is Reason.SIGNATURE

    assert shop.is_header_blank(board)
    assert not board.boot(strict=False).operations


def test_a_bad_update_that_is_dropped_for_ever_does_not_fill_the_marks(
    shop: workshop.Workshop,
) -> None:
    board, _, _, update = prepared(shop)
    shop.stage(board, flip(100)(update))
    marks = shop.layout.marks.start
    factory = shop.records(board)[-1]
    refusals = [
        replace(
            factory,
            type=RecordType.REFUSED,
            sequence=1 + number,
            reason=Reason.SIGNATURE,
            refused_run=number,
        )
        for number in range(1, 65)
    ]
    board.program({marks: b"".join(build_record(record) for record in (factory, *refusals))})

    seen = told.boot(board, shop.layout, strict=False)

    assert workshop.runs(seen.report)
    assert [op.address for op in seen.report.operations] == [shop.layout.staging.start]
    assert seen.result is not None
    assert seen.result.reason is Reason.SIGNATURE, "the application is still told"


# -- the chip --------------------------------------------------------------------------------------


def running_watchdog(board: Board) -> None:
    """Let the watchdog run from power-on, with its shortest reset value: half a second."""
    options = board.flash.options
    board.flash.options = options.with_watchdog(from_power_on=True)


def test_a_running_watchdog_is_fed_while_flash_is_erased(shop: workshop.Workshop) -> None:
    board, _, new, _ = prepared(shop)
    running_watchdog(board)

    report = board.boot(limit_seconds=4.0, strict=False)

    assert not report.resets
    assert workshop.runs(report)
    assert shop.app_is(board, new)


def test_a_running_watchdog_is_fed_while_a_large_update_is_judged(shop: workshop.Workshop) -> None:
    """Its last chunk is wrong, so no flash operation comes before the verdict."""
    board = prepared(shop).board
    update = shop.update(shop.image(240_000, seed=2))
    shop.stage(board, signed(shop, payload_with(flip(-1))(update)))
    running_watchdog(board)

    # instructions are counted, because computing is what takes the time here
    report = board.boot(count=True, limit_seconds=1.0)

    assert not report.resets
    assert report.operations, "the verdict was not reached"
    assert shop.records(board)[-1].reason is Reason.CHUNK_TAG


def test_no_flash_operation_begins_before_the_supply_is_good(shop: workshop.Workshop) -> None:
    board, _, new, _ = prepared(shop)
    good_from = board.clock.now + 1.0
    board.supply_volts = lambda now: 3.3 if now >= good_from else 2.4

    report = board.boot(strict=False)

    assert report.operations
    assert all(op.time >= good_from for op in report.operations)
    assert workshop.runs(report)
    assert shop.app_is(board, new)


def test_nothing_runs_from_a_bank_that_is_being_written(shop: workshop.Workshop) -> None:
    """The header is erased in the bank of the loader itself; the virtual chip reports a fetch."""
    board = prepared(shop).board

    report = board.boot()

    assert not report.faults
    assert shop.layout.chip.bank_of(report.operations[-1].address) == 1
    assert shop.is_header_blank(board)


def test_an_app_finds_the_core_as_after_reset(shop: workshop.Workshop) -> None:
    board = prepared(shop).board

    entered = board.boot(strict=False).handover

    assert entered is not None
    assert entered.vtor == shop.layout.app.start
    assert not entered.mpu_on
    assert not entered.instruction_cache_on
    assert not entered.data_cache_on
    core = (entered.primask, entered.faultmask, entered.control, entered.ipsr)
    assert not any(core)


def test_no_secret_is_left_in_ram_when_the_app_is_entered(shop: workshop.Workshop) -> None:
    """After an install, after finding it installed, after a refusal at the very last chunk."""
    board, _, new, _ = prepared(shop)
    secrets = Secrets.draw()
    update = seal(shop, new, secrets=secrets)
    wrong = signed(shop, payload_with(flip(-1))(update))
    pieces = [new[at : at + 32] for at in range(CHUNK, SIZE - 32, 32)]
    pieces += [secrets.cek, *(key.secret for key in load_device_keys(shop.keys))]
    for staged, action in (
        (update, Action.INSTALLED),
        (update, Action.ALREADY_INSTALLED),
        (wrong, Action.REFUSED),
    ):
        shop.stage(board, staged)
        seen = told.boot(board, shop.layout, memory=True, strict=False)

        assert seen.result is not None
        assert seen.result.action is action
        for address, memory in seen.memory.items():
            assert not any(piece in memory for piece in pieces), (action, hex(address))


# -- what the application is told ------------------------------------------------------------------


def test_the_application_is_told_what_happened_before_it_started(shop: workshop.Workshop) -> None:
    board, _, _, update = prepared(shop)
    wrong = flip(100)(update)
    factory, installed = (0x0100_0000, 1), (0x0200_0000, 2)
    stories: tuple[tuple[bytes, Action, Reason, tuple[int, int]], ...] = (
        (BLANK, Action.BOOTED, Reason.NONE, factory),
        (wrong, Action.REFUSED, Reason.SIGNATURE, factory),
        (update, Action.INSTALLED, Reason.NONE, installed),
        (update, Action.ALREADY_INSTALLED, Reason.ALREADY_INSTALLED, installed),
        (wrong, Action.REFUSED, Reason.SIGNATURE, installed),
        (BLANK, Action.BOOTED, Reason.NONE, installed),
    )
    for staged, action, reason, (version, counter) in stories:
        shop.stage(board, staged)

        result = told.boot(board, shop.layout, strict=False).result

        assert result is not None
        assert result == ResultRecord(
            shop.loader.info.loader_version, action, reason, version, counter, result.reset_cause
        )
