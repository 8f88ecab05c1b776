from __future__ import annotations

import ast
import inspect

import pytest
from dfu.scripted import BUSY, DNLOAD_IDLE, ERROR, MANIFEST_SYNC, SYNC, UPLOAD_IDLE, Rom

from packager.chip import SECTOR_SIZE
from packager.dfu import protocol
from packager.dfu.pipe import GoneError
from packager.dfu.replies import RequestRefusedError
from packager.errors import DeviceError, DeviceTimeoutError, ProtectedError

BANK1, BANK2 = 0x08020000, 0x08100000


def test_no_function_can_unprotect_or_erase_everything() -> None:
    tree = ast.parse(inspect.getsource(protocol))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert "ERASE" in names
    assert "READ_UNPROTECT" not in names
    assert 0x92 not in [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]


@pytest.mark.parametrize("state", [DNLOAD_IDLE, UPLOAD_IDLE, ERROR])
def test_any_state_left_by_another_program_becomes_idle(state: int) -> None:
    rom = Rom()
    rom.state, rom.status = state, 15 if state == ERROR else 0
    rom.client().to_idle()
    assert rom.state == 2


def test_a_command_left_half_sent_is_finished_first() -> None:
    rom = Rom()
    rom.state, rom.pending = SYNC, ("erase", BANK1, b"")
    rom.client().to_idle()
    assert rom.state == 2


def test_a_wedge_left_by_another_program_is_cleared_after_its_time() -> None:
    rom = Rom()
    rom.state, rom.stuck_until = BUSY, 5.0
    rom.client().to_idle()
    assert rom.state == 2
    assert rom.clock.now >= 5.0


def test_the_rom_id_is_read() -> None:
    assert Rom(rom_id=0x90).client().read_rom_id().name == "V9.0"


def test_a_rom_that_hides_its_id_counts_as_the_worst() -> None:
    rom = Rom(hides_rom_id=True).client().read_rom_id()
    assert rom.stays_busy_after_bank2_erase
    assert rom.answers_before_bank2_erase_ends


def test_the_time_an_erase_takes_inside_the_answer_is_not_slept_again() -> None:
    rom = Rom(erase_seconds=0.9)
    rom.client().erase_sector(BANK1)
    assert rom.clock.now < 0.97


def test_a_slow_erase_is_polled_until_it_ends() -> None:
    rom = Rom(erase_seconds=0.0, erase_takes_polls=200)
    rom.client().erase_sector(BANK1)
    assert 9.0 < rom.clock.now < 12.0


def test_an_erase_that_never_ends_is_a_timeout_that_names_the_sector() -> None:
    rom = Rom(rom_id=0x92, stuck_after_erase_of={BANK1})
    with pytest.raises(
        DeviceTimeoutError,
        match=r"erase of sector 0x08020000: .* still busy \(dfuDNBUSY\) after 30 s",
    ):
        rom.client().erase_sector(BANK1)


def test_a_device_that_stops_answering_is_a_timeout_that_names_the_phase() -> None:
    rom = Rom(mute_after=2)
    with pytest.raises(
        DeviceTimeoutError, match="set address 0x08020000: no answer to GETSTATUS within 15 s"
    ):
        rom.client().set_address(BANK1)


def test_a_failed_erase_tells_the_status() -> None:
    with pytest.raises(RequestRefusedError, match="refused with status errERASE in dfuERROR"):
        Rom(erase_status=4).client().erase_sector(BANK1)


def test_a_wedged_bank_2_erase_is_recovered_and_found_blank() -> None:
    rom = Rom(rom_id=0x90, stuck_after_erase_of={BANK2})
    rom.put(BANK2, b"old")
    client = rom.client()
    client.read_rom_id()
    client.erase_sector(BANK2)
    assert rom.count("CLRSTATUS") == 2
    assert rom.count("UPLOAD") == 1 + SECTOR_SIZE // 1024
    assert rom.clock.now > 4.0


def test_a_wedge_that_left_the_sector_unerased_is_an_error() -> None:
    rom = Rom(rom_id=0x90, stuck_after_erase_of={BANK2}, stuck_erase_does_nothing=True)
    rom.put(BANK2 + 5000, b"old")
    client = rom.client()
    client.read_rom_id()
    with pytest.raises(
        DeviceError, match="erase of sector 0x08100000: the device reports success, but"
    ):
        client.erase_sector(BANK2)


def test_a_rom_that_answers_too_early_gets_the_worst_case_erase_time() -> None:
    rom = Rom(rom_id=0x91, erase_seconds=0.0)
    client = rom.client()
    client.read_rom_id()
    client.erase_sector(BANK2)
    wait = rom.clock.now
    assert wait >= 4.0


@pytest.mark.parametrize("rom_id", [0xD2, 0x92])
def test_a_good_rom_gets_no_extra_wait_in_bank_2(rom_id: int) -> None:
    rom = Rom(rom_id=rom_id)
    client = rom.client()
    client.read_rom_id()
    client.erase_sector(BANK2)
    assert rom.clock.now < 1.0


def test_blocks_are_sequential_after_one_set_address() -> None:
    rom = Rom()
    rom.client().write_blocks(BANK1, bytes(range(256)) * 12)
    sent = [(value, len(data)) for name, value, data in rom.log
            if name == "DNLOAD" and isinstance(data, bytes)]  # fmt: skip
    assert sent == [(0, 5), (2, 1024), (3, 1024), (4, 1024)]


def test_a_short_tail_gets_its_own_address() -> None:
    rom = Rom()
    data = bytes(range(256)) * 5
    rom.client().write_blocks(BANK1, data)
    assert rom.written == [(BANK1, 1024), (BANK1 + 1024, 256)]
    assert rom.get(BANK1, len(data)) == data


def test_any_size_is_read_exactly() -> None:
    rom = Rom()
    rom.put(BANK1, bytes(range(256)) * 12)
    client = rom.client()
    for size in (1, 640, 1024, 1025, 3000):
        assert client.upload(BANK1, size) == (bytes(range(256)) * 12)[:size]


def test_reading_an_unreadable_word_is_refused_and_the_device_stays_usable() -> None:
    rom = Rom(unreadable={BANK1 + 64})
    client = rom.client()
    with pytest.raises(RequestRefusedError, match="read at 0x08020000: refused"):
        client.upload(BANK1, 640)
    assert client.upload(BANK1 + 1024, 8) == b"\xff" * 8


@pytest.mark.parametrize("what", ["erase", "write", "read"])
def test_a_protected_device_is_explained_and_never_unprotected(what: str) -> None:
    client = Rom(protected=True).client()
    with pytest.raises(ProtectedError, match=r"read-protected.*do NOT let any tool disable"):
        {
            "erase": lambda: client.erase_sector(BANK1),
            "write": lambda: client.write_blocks(BANK1, bytes(32)),
            "read": lambda: client.upload(BANK1, 32),
        }[what]()


@pytest.mark.parametrize("vanishes", [False, True])
def test_a_device_that_vanishes_while_leaving_has_left(vanishes: bool) -> None:
    rom = Rom(vanishes_while_leaving=vanishes)
    with rom.client() as client:
        client.leave(0x08000000)
    assert rom.left_to == 0x08000000


def test_leave_sets_the_pointer_so_that_it_never_jumps_into_the_update() -> None:
    rom = Rom()
    client = rom.client()
    client.write_blocks(BANK1, bytes(1024))
    client.leave(0x08000000)
    assert rom.left_to == 0x08000000


def test_leaving_is_refused_aloud_when_the_device_says_so() -> None:
    rom = Rom()
    client = rom.client()
    original = rom._get_status

    def refuse() -> bytes:
        if rom.state == MANIFEST_SYNC:
            rom.state, rom.status = ERROR, 10
        return original()

    rom._get_status = refuse  # type: ignore[method-assign]
    with pytest.raises(RequestRefusedError, match="leave to 0x08000000"):
        client.leave(0x08000000)


def test_closing_leaves_the_device_idle() -> None:
    rom = Rom()
    with rom.client() as client:
        client.set_address(BANK1)
    assert rom.state == 2
    assert rom.closed == 1


def test_closing_after_an_unplug_raises_nothing() -> None:
    rom = Rom(unplug_at=3)
    with (
        pytest.raises(GoneError, match="set address 0x08020000: the device left"),
        rom.client() as c,
    ):
        c.set_address(BANK1)
    assert rom.closed == 1


def test_a_transfer_size_that_splits_flash_words_is_refused() -> None:
    with pytest.raises(DeviceError, match="transfers 100 bytes at a time"):
        Rom(transfer_size=100).client()


def test_garbage_from_get_status_is_a_device_error() -> None:
    rom = Rom()
    rom._get_status = lambda: b"\x63\0\0\0\2\0"  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="GETSTATUS answered 630000000200"):
        rom.client().to_idle()
