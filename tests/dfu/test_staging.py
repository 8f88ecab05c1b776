from __future__ import annotations

from dataclasses import replace

import pytest
from dfu import products
from dfu.products import BANK2_STAGING, STAGING
from dfu.scripted import Rom
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.chip import SECTOR_SIZE, Span
from packager.dfu.memory_map import parse_memory_map
from packager.dfu.staging import (
    Erase,
    Held,
    Memory,
    Plan,
    Verify,
    Write,
    compare_sector,
    plan_drop,
    prepare_drop,
    run_plan,
)
from packager.errors import (
    DeviceError,
    FormatError,
    OutsideStagingError,
    ProtectedError,
    RefusedError,
    VerifyMismatchError,
)
from packager.layout import load_layout
from packager.records import AppState, RecordType, build_info
from packager.resources import layouts

S = STAGING.start
FIRST, SECOND, THIRD = (S + n * SECTOR_SIZE for n in range(3))


def device(staging: Span = STAGING, **script: object) -> Rom:
    rom = Rom(**script)  # type: ignore[arg-type]
    rom.put(products.INFO_ADDRESS, products.info_bytes(staging))
    return rom


def drop(rom: Rom, update: bytes) -> Plan:
    with rom.client() as client:
        plan = prepare_drop(update, client)
        run_plan(plan, client)
    return plan


def memory(*sectors: Held) -> Memory:
    return Memory(STAGING, 1024, sectors)


# -- plans ------------------------------------------------------------------------------------


def test_a_small_update_is_erase_payload_read_back_then_header() -> None:
    update = products.update(2000)
    assert plan_drop(update, memory(Held(FIRST, 0, False))) == Plan(
        STAGING,
        (
            Erase(FIRST),
            Write(FIRST + 1024, update[1024:]),
            Verify(FIRST + 1024, update[1024:]),
            Write(FIRST, update[:1024]),
            Verify(FIRST, update[:1024]),
        ),
    )


def test_blank_sectors_are_not_erased_and_runs_are_joined() -> None:
    update = products.update(2 * SECTOR_SIZE)
    held = (Held(FIRST, 0, True), Held(SECOND, 0, False), Held(THIRD, 0, True))
    assert plan_drop(update, memory(*held)).steps[:3] == (
        Erase(FIRST),
        Erase(THIRD),
        Write(FIRST + 1024, update[1024:]),
    )


def test_data_that_is_there_already_is_not_written_again() -> None:
    update = products.update(2 * SECTOR_SIZE)
    held = (Held(FIRST, 4096, False), Held(SECOND, SECTOR_SIZE, False), Held(THIRD, 320, False))
    assert plan_drop(update, memory(*held)).steps[:3] == (
        Erase(FIRST),
        Write(FIRST + 1024, update[1024:SECTOR_SIZE]),
        Write(THIRD + 320, update[2 * SECTOR_SIZE + 320 :]),
    )


def test_only_what_is_written_is_read_back_for_the_rest_was_read_before() -> None:
    update = products.update(2 * SECTOR_SIZE)
    held = (
        Held(FIRST, SECTOR_SIZE, dirty=False, headless=True),
        Held(SECOND, 4096, dirty=False),
        Held(THIRD, 0, dirty=True),
    )
    steps = plan_drop(update, memory(*held)).steps
    written = {(step.address, step.data) for step in steps if isinstance(step, Write)}
    read_back = {(step.address, step.data) for step in steps if isinstance(step, Verify)}
    assert read_back == written
    assert not any(address < SECOND for address, _ in written if address != FIRST)


def test_a_payload_without_its_header_is_kept() -> None:
    update = products.update(2 * SECTOR_SIZE)
    held = (
        Held(FIRST, SECTOR_SIZE, dirty=False, headless=True),
        Held(SECOND, 320, dirty=False),
        Held(THIRD, 0, dirty=False),
    )
    assert plan_drop(update, memory(*held)).steps[:1] == (
        Write(SECOND + 320, update[SECTOR_SIZE + 320 :]),
    )


def test_blank_staging_is_not_erased() -> None:
    update = products.update(2000)
    plan = plan_drop(update, memory(Held(FIRST, 1024, dirty=False, headless=True)))
    assert plan.steps[0] == Write(FIRST + 1024, update[1024:])


def test_an_update_that_is_staged_already_needs_no_step() -> None:
    update = products.update(2000)
    assert plan_drop(update, memory(Held(FIRST, len(update), False))).steps == ()


def test_a_plan_beyond_staging_is_not_made() -> None:
    with pytest.raises(OutsideStagingError, match="is outside staging"):
        plan_drop(bytes(32 * 1024 * 1024), memory())


@pytest.mark.parametrize(
    "step", [Erase(0x08000000), Write(S - 32, bytes(64)), Write(STAGING.end - 32, bytes(64))]
)
def test_a_plan_that_leaves_staging_is_stopped_before_any_transfer(step: Erase | Write) -> None:
    rom = device()
    with pytest.raises(OutsideStagingError, match="is outside staging"):
        run_plan(Plan(STAGING, (step,)), rom.client())
    assert rom.log == []


@pytest.mark.parametrize(
    ("held", "equal", "dirty"),
    [
        ("AB..", 64, False),
        ("....", 0, False),
        ("ABCD", 128, False),
        ("A.C.", 0, True),
        ("AX..", 0, True),
        ("...X", 0, True),
        ("X", 0, True),
    ],
)
def test_a_sector_is_compared_word_by_word(held: str, equal: int, dirty: bool) -> None:
    def words(text: str) -> bytes:
        return b"".join(b"\xff" * 32 if c == "." else c.encode() * 32 for c in text)

    assert compare_sector(S, words("ABCD"), [words(held)]) == Held(S, equal, dirty)


@pytest.mark.parametrize(
    ("held", "equal", "dirty", "headless"),
    [
        ("ABCD", 128, False, False),
        ("..CD", 128, False, True),
        ("..C.", 96, False, True),
        ("....", 64, False, True),
        ("..CX", 0, True, False),
        (".BCD", 0, True, False),
    ],
)
def test_the_block_of_the_header_may_be_missing(
    held: str, equal: int, dirty: bool, headless: bool
) -> None:
    def words(text: str) -> bytes:
        return b"".join(b"\xff" * 32 if c == "." else c.encode() * 32 for c in text)

    blocks = [words(held[:2]), words(held[2:])]
    found = compare_sector(S, words("ABCD"), blocks, is_first=True)
    assert found == Held(S, equal, dirty, headless)


# -- drops ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1024, 3000, SECTOR_SIZE, 2 * SECTOR_SIZE + 5000])
@pytest.mark.parametrize("transfer_size", [64, 1024, 2048])
def test_a_drop_lands_whole(size: int, transfer_size: int) -> None:
    rom = device(transfer_size=transfer_size)
    update = products.update(size)
    drop(rom, update)
    assert rom.get(S, len(update)) == update


def test_the_header_is_written_last() -> None:
    rom = device()
    drop(rom, products.update(5000))
    assert rom.written[-1] == (S, 1024)


def test_the_header_sector_is_erased_first() -> None:
    rom = device()
    for sector in (FIRST, SECOND):
        rom.put(sector, b"old")
    drop(rom, products.update(SECTOR_SIZE))
    assert rom.erased == [FIRST, SECOND]


def test_the_same_update_again_changes_nothing() -> None:
    rom = device()
    drop(rom, products.update(5000))
    drop(rom.plug_in(), products.update(5000))
    assert (rom.erased, rom.written) == ([], [])


def test_unreadable_words_in_staging_are_erased() -> None:
    rom = device(unreadable={SECOND + 320})
    update = products.update(SECTOR_SIZE)
    drop(rom, update)
    assert rom.erased == [SECOND]
    assert rom.get(S, len(update)) == update


def test_a_wedging_rom_gets_its_update_in_bank_2() -> None:
    sectors = {BANK2_STAGING.start + n * SECTOR_SIZE for n in range(7)}
    rom = device(BANK2_STAGING, rom_id=0x90, stuck_after_erase_of=sectors)
    update = products.update(SECTOR_SIZE, BANK2_STAGING)
    rom.put(BANK2_STAGING.start, b"old" * 60000)
    drop(rom, update)
    assert rom.get(BANK2_STAGING.start, len(update)) == update


@pytest.mark.parametrize("sector", [FIRST, SECOND])
def test_silent_write_protection_is_caught_and_no_header_is_written(sector: int) -> None:
    rom = device(write_protected={sector})
    rom.put(sector, b"old")
    with pytest.raises(VerifyMismatchError, match=r"write-protected \(WRP option bytes\)"):
        drop(rom, products.update(SECTOR_SIZE))
    assert (S, 1024) not in rom.written


def test_words_that_become_unreadable_are_caught_by_reading_back() -> None:
    rom = device()
    with rom.client() as client:
        plan = prepare_drop(products.update(), client)
        rom.unreadable.add(S + 2048)
        write = client.write_blocks

        def weak(address: int, data: bytes, *rest: object) -> None:
            write(address, data)
            rom.unreadable.add(S + 2048)

        client.write_blocks = weak  # type: ignore[method-assign]
        with pytest.raises(VerifyMismatchError, match="0x08020800: unreadable flash"):
            run_plan(plan, client)


def test_progress_reaches_the_end_of_every_phase() -> None:
    rom = device()
    rom.put(FIRST, b"old")
    seen: dict[str, list[int]] = {}

    def progress(phase: str, done: int, total: int) -> None:
        seen.setdefault(phase, []).append(done)
        assert done <= total

    update = products.update(5000)
    with rom.client() as client:
        run_plan(prepare_drop(update, client, progress=progress), client, progress)
    assert list(seen) == ["compare", "erase", "write", "read back"]
    assert {phase: done[-1] for phase, done in seen.items()} == {
        "compare": len(update),
        "erase": SECTOR_SIZE,
        "write": len(update),
        "read back": len(update),
    }
    assert all(done == sorted(done) for done in seen.values())


# -- refusals ---------------------------------------------------------------------------------

BEFORE_FLOOR = {"security_counter": 2}
SAME_COUNTER = {"security_counter": 3, "version": 0x01030000}

REFUSALS = [
    (
        {"product_id": b"valve".ljust(16, b"\0")},
        "another product .'valve'., this device has 'pump'",
    ),
    ({"chip": 0x04000450}, "another chip"),
    ({"layout_id": bytes(16)}, "another flash layout"),
    ({"app_address": 0x08120000}, "app 0x08120000"),
    ({"staging_address": 0x08040000}, "staging 0x08040000"),
    ({"signing_key_id": b"stranger"}, "a key this loader does not trust"),
    ({"recipients": ()}, "encrypted for nobody"),
    (BEFORE_FLOOR, "security counter 2., this device is at 3"),
    (SAME_COUNTER, "version 1.3.0., this device had 1.4.0"),
]


@pytest.mark.parametrize(("change", "text"), REFUSALS)
def test_an_update_for_another_device_is_refused_before_anything_changes(
    change: dict[str, object], text: str
) -> None:
    rom = device()
    rom.put(products.MARKS.start, products.record())
    with pytest.raises(RefusedError, match=text):
        drop(rom, products.update(**change))  # type: ignore[arg-type]
    assert (rom.erased, rom.written) == ([], [])


def test_a_downgrade_the_signer_allows_is_taken() -> None:
    rom = device()
    rom.put(products.MARKS.start, products.record())
    assert drop(rom, products.update(**SAME_COUNTER, flags=1)).steps  # type: ignore[arg-type]


def test_an_update_larger_than_staging_is_refused() -> None:
    rom = device()
    with pytest.raises(OutsideStagingError, match="staging of this device holds 917504"):
        drop(rom, products.update(STAGING.size))
    assert (rom.erased, rom.written) == ([], [])


def test_a_file_that_is_no_update_is_refused_without_a_transfer() -> None:
    rom = device()
    with pytest.raises(FormatError):
        drop(rom, bytes(2000))
    assert rom.log == []


def test_a_protected_device_is_refused() -> None:
    rom = device(protected=True)
    with pytest.raises(ProtectedError):
        drop(rom, products.update())


def test_a_device_without_a_loader_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"no splitflash loader.*factory image"):
        drop(Rom(), products.update())


def test_a_layout_stands_in_for_a_missing_loader() -> None:
    layout = load_layout(layouts() / "h743zi_app_bank2.yaml")
    update = products.update(layout_id=layout.layout_id, product_id=layout.product_id_field)
    rom = Rom()
    with rom.client() as client:
        run_plan(prepare_drop(update, client, layout), client)
    assert rom.get(S, len(update)) == update


def test_a_layout_that_contradicts_the_loader_is_refused() -> None:
    layout = load_layout(layouts() / "h743zi_app_bank2.yaml")
    rom = device()
    with rom.client() as client, pytest.raises(RefusedError, match="leave out --layout"):
        prepare_drop(products.update(), client, layout)


@pytest.mark.parametrize(
    "staging",
    [
        Span(0x08000000, SECTOR_SIZE),
        Span(0x08020000, 0),
        Span(0x08020400, SECTOR_SIZE),
        Span(0x080E0000, 2 * SECTOR_SIZE),
        Span(0x081C0000, SECTOR_SIZE),
        Span(0x24000000, SECTOR_SIZE),
    ],
)
def test_an_info_block_that_would_lead_elsewhere_is_not_followed(staging: Span) -> None:
    rom = Rom()
    odd = replace(products.info(), staging=products.area(staging))
    rom.put(products.INFO_ADDRESS, build_info(odd))
    with rom.client() as client, pytest.raises(DeviceError, match="no layout of ours"):
        prepare_drop(products.update(staging_address=staging.start), client)
    assert (rom.erased, rom.written) == ([], [])


def test_a_memory_map_without_the_right_to_write_staging_is_respected() -> None:
    rom = device()
    client = rom.client()
    client.memory_map = parse_memory_map("@Internal Flash/0x08000000/16*128Ka")
    with pytest.raises(
        OutsideStagingError, match=r"expected to erase and write 0x08020000..0x080FFFFF"
    ):
        prepare_drop(products.update(), client)


# -- unplugged --------------------------------------------------------------------------------


def transfers_of(update: bytes) -> int:
    rom = device()
    rom.put(FIRST, b"old" * 100)
    drop(rom, update)
    return len(rom.log)


SMALL = products.update(3000)
LARGE = products.update(SECTOR_SIZE + 5000, seed=2)


@pytest.mark.parametrize("flavour", ["before", "torn", "after"])
def test_a_drop_unplugged_at_any_transfer_is_finished_by_the_next(flavour: str) -> None:
    for at in range(1, transfers_of(SMALL)):
        _unplug_and_drop_again(SMALL, at, flavour)


@pytest.mark.parametrize("flavour", ["before", "torn", "after"])
def test_a_drop_over_two_sectors_survives_unplugging_now_and_then(flavour: str) -> None:
    for at in range(1, transfers_of(LARGE), 23):
        _unplug_and_drop_again(LARGE, at, flavour)


def _unplug_and_drop_again(update: bytes, at: int, flavour: str) -> None:
    rom = device(unplug_at=at, unplug_flavour=flavour)
    rom.put(FIRST, b"old" * 100)
    with pytest.raises(DeviceError) as caught:
        drop(rom, update)
    assert caught.value.exit_code == 10, f"{flavour}@{at}"
    drop(rom.plug_in(), update)
    assert rom.get(S, len(update)) == update, f"{flavour}@{at}"


def test_what_an_interrupted_drop_has_written_is_neither_erased_nor_written_again() -> None:
    rom = device(unplug_at=transfers_of(LARGE) // 2)
    rom.put(FIRST, b"old" * 100)
    with pytest.raises(DeviceError):
        drop(rom, LARGE)
    there = max(address + size for address, size in rom.written)
    drop(rom.plug_in(), LARGE)
    assert rom.erased == []
    assert rom.written[0][0] == there
    assert rom.written[-1] == (FIRST, 1024)
    assert rom.get(S, len(LARGE)) == LARGE


def test_a_drop_interrupted_before_its_header_writes_the_header_only() -> None:
    rom = device(unplug_at=transfers_of(LARGE) - 8)
    rom.put(FIRST, b"old" * 100)
    with pytest.raises(DeviceError):
        drop(rom, LARGE)
    drop(rom.plug_in(), LARGE)
    assert (rom.erased, rom.written) == ([], [(FIRST, 1024)])


def test_an_old_header_is_erased_before_anything_else_even_over_the_same_payload() -> None:
    rom = device()
    rom.put(S, LARGE)
    rom.put(SECOND, b"old" * 100)
    drop(rom, LARGE)
    assert rom.erased == [FIRST, SECOND]
    assert rom.get(S, len(LARGE)) == LARGE


def test_ctrl_c_leaves_a_device_that_the_next_drop_can_use() -> None:
    rom = device()

    def interrupt(phase: str, done: int, total: int) -> None:
        if phase == "write":
            raise KeyboardInterrupt

    client = rom.client()
    with pytest.raises(KeyboardInterrupt), client:
        run_plan(prepare_drop(SMALL, client), client, interrupt)
    assert rom.state == 2
    drop(rom, SMALL)
    assert rom.get(S, len(SMALL)) == SMALL


# -- never outside ----------------------------------------------------------------------------

CONTENT = st.sampled_from(["blank", "old", "same", "prefix", "torn", "late"])


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(1040, 3 * SECTOR_SIZE),
    staging=st.sampled_from([STAGING, BANK2_STAGING]),
    rom_id=st.sampled_from([0xD2, 0xD3, 0x90, 0x91, 0x92, 0x33]),
    transfer_size=st.sampled_from([64, 1024, 2048]),
    contents=st.lists(CONTENT, min_size=4, max_size=4),
    unplug_at=st.one_of(st.none(), st.integers(1, 3000)),
    flavour=st.sampled_from(["before", "torn", "after"]),
)
def test_no_transfer_ever_erases_or_writes_outside_staging(
    size: int,
    staging: Span,
    rom_id: int,
    transfer_size: int,
    contents: list[str],
    unplug_at: int | None,
    flavour: str,
) -> None:
    stuck = {staging.start + n * SECTOR_SIZE for n in range(7)} if rom_id == 0x90 else set()
    if staging is STAGING:
        stuck = set()
    rom = device(staging, rom_id=rom_id, transfer_size=transfer_size, stuck_after_erase_of=stuck)
    update = products.update(size, staging, seed=size)
    for number, content in enumerate(contents):
        _fill(rom, staging.start + number * SECTOR_SIZE, content,
              update[number * SECTOR_SIZE :][:SECTOR_SIZE])  # fmt: skip
    rom.unplug_at, rom.unplug_flavour = unplug_at, flavour
    for _ in range(2):
        try:
            drop(rom, update)
        except DeviceError:
            assert unplug_at is not None
        for sector in rom.erased:
            assert staging.contains(sector, SECTOR_SIZE)
        for address, length in rom.written:
            assert staging.contains(address, length)
        rom.plug_in()
    assert rom.get(staging.start, len(update)) == update


def _fill(rom: Rom, sector: int, content: str, same: bytes) -> None:
    if content == "old":
        rom.put(sector, b"old" * 1000)
    elif content == "same":
        rom.put(sector, same)
    elif content == "prefix":
        rom.put(sector, same[:4096])
    elif content == "late":
        rom.put(sector + 100 * 1024, b"late")
    elif content == "torn":
        rom.unreadable.add(sector + 64)


def test_a_record_of_every_state_allows_a_newer_update() -> None:
    for kind, state in (
        (RecordType.INSTALLED, AppState.INSTALLED),
        (RecordType.INSTALLING, AppState.INSTALLING),
        (RecordType.REFUSED, AppState.NONE),
    ):
        rom = device()
        rom.put(products.MARKS.start, products.record(type=kind, state=state))
        assert drop(rom, SMALL).steps
