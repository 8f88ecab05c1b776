"""OTG_FS by a small program of its own: what enumerates, what does not and why, and odd hosts."""

from __future__ import annotations

import pytest
import usb.core
import usb.util
from sim import usb_firmware
from sim.firmware import APP, build

from packager.chip import CHIPS
from packager.errors import PackagerError, SimulationFault
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.core_usb import CoreUsb
from packager.sim.usb import Gone, Hung, Stall

PATTERN, STORE, FETCH, RESET = 0x10, 0x11, 0x12, 0x13
IN, OUT = 0xC0, 0x40


def pattern(first: int, size: int) -> bytes:
    return bytes((i * 7 + first) & 0xFF for i in range(size))


def boot(source: str, **options: float) -> tuple[Board, BootReport]:
    board = Board.new(CHIPS["stm32h743xi"])
    board.program(build(source))
    return board, board.boot(**options)  # type: ignore[arg-type]


@pytest.fixture
def board() -> Board:
    return boot(usb_firmware.source())[0]


@pytest.fixture
def device(board: Board) -> CoreUsb:
    device = board.device
    assert isinstance(device, CoreUsb)
    return device


# -- the bring-up -------------------------------------------------------------------------------


def test_a_complete_bring_up_enumerates() -> None:
    board, report = boot(usb_firmware.source())
    assert report.outcome is Outcome.STAYS_IN_DFU
    assert report.usb == []
    assert board.device is not None
    assert board.device.descriptors.ids == (0xDEAD, 0xBEEF)
    assert len(board.device.descriptors.configuration) == 18


WITHOUT = {
    "usb33den": "PWR_CR3.USB33DEN is 0",
    "hsi48rdy": "GRSTCTL.CSRST",
    "usbsel": "USBSEL selects nothing",
    "crsen": "CRSEN is 0",
    "crs_source": "SYNCSRC is not 3",
    "crs_on": "AUTOTRIMEN and CEN are not both 1",
    "otg_clock": "USB2OTGFSEN is 0",
    "gpio_clock": "GPIOAEN is 0",
    "pins": "PA11 and PA12 are not alternate functions",
    "pin_speed": "PA11 or PA12 is not fast",
    "af10": "PA11 and PA12 are not AF10",
    "ahb_idle": "before GRSTCTL.AHBIDL was read as 1",
    "core_reset": "the core was not reset",
    "core_reset_wait": "while GRSTCTL.CSRST was still set",
    "trdt": "TRDT is less than 6",
    "fdmod": "FDMOD is 0",
    "device_mode": "before the core was in device mode",
    "session": "BVALOEN and BVALOVAL are not both 1",
    "pwrdwn": "PWRDWN is 0",
    "speed": "DSPD is not 3",
    "rx_size": "the FIFOs have no sizes",
    "tx_size": "the FIFOs have no sizes",
    "flush": "the rx FIFO was not flushed",
    "connect": "SDIS is 1",
}


@pytest.mark.parametrize("step", sorted(WITHOUT))
def test_a_bring_up_without_one_step_does_not_enumerate_and_the_board_says_why(step: str) -> None:
    # the program does not hang in its own waits, which is what a real one must see to
    instead = {"hsi48rdy": ""} if step == "hsi48rdy" else {}
    if step in ("otg_clock", "usbsel", "hsi48rdy"):
        instead |= {
            "ahb_idle": "for (int i = 0; i < 100 && !(G(0x10) & 1u << 31); i++) {}",
            "core_reset_wait": "for (int i = 0; i < 10 && G(0x10) & 1u; i++) {}",
        }
    if step == "hsi48rdy":
        instead["core_reset_wait"] = "for (int i = 0; i < 2 && G(0x10) & 1u; i++) {}"
    if step == "fdmod":
        instead["device_mode"] = ""
    skipped = () if step == "hsi48rdy" else (step,)
    board, report = boot(usb_firmware.source(*skipped, instead=instead), limit_seconds=5.0)
    assert board.device is None
    assert report.outcome in (Outcome.STAYS_PARKED, Outcome.TIME_UP)
    assert any(WITHOUT[step] in line for line in report.usb), report.usb


def test_a_core_reset_without_48_mhz_never_ends() -> None:
    board, report = boot(usb_firmware.source("hsi48", "hsi48rdy"), limit_seconds=5.0)
    assert board.device is None
    assert "RCC_CR.HSI48ON is 0: there are no 48 MHz" in report.usb


@pytest.mark.parametrize(
    ("instead", "why"),
    [
        ({"usbsel": "REG(0x58024454u) |= 1u << 20;"}, "selects PLL1Q"),
        ({"pwrdwn": "G(0x38) = 1u << 16 | 1u << 21;"}, "VBDEN is 1"),
        ({"tx_size": "G(0x28) = 64u << 16 | 32u;"}, "inside the 64 words of GRXFSIZ"),
        ({"tx_size": "G(0x28) = 64u << 16 | 1000u;"}, "ends at word 1064 of 1024"),
        ({"tx_size": "G(0x28) = 8u << 16 | 64u;"}, "DIEPTXF0 is 8 words"),
        ({"rx_size": "G(0x24) = 20u;"}, "endpoint 0 needs 33"),
        ({"ungate": "G(0xE00) = 1u;"}, "clocks of the core are gated"),
        ({"crs_source": "REG(0x40008404u) = 3u << 28 | 0xBB7Eu;"}, "do not fit 48 MHz"),
        ({"pin_speed": "REG(0x58020008u) |= 0xFu << 22; REG(0x5802000Cu) |= 1u << 22;"}, "pull"),
    ],
)
def test_a_bring_up_with_a_wrong_value_does_not_enumerate(
    instead: dict[str, str], why: str
) -> None:
    if "usbsel" in instead:
        instead["core_reset_wait"] = "for (int i = 0; i < 10 && G(0x10) & 1u; i++) {}"
    board, report = boot(usb_firmware.source(instead=instead), limit_seconds=5.0)
    assert board.device is None
    assert any(why in line for line in report.usb), report.usb


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"DAD": ""}, "it answers to address 0, not 7"),
        ({"FORGET_DAD": "", "DAD": "G(0x800) |= 7u << 4;"}, ""),
        ({"DAD": "", "LATE_DAD": "for (;;) { if (G(0x908) & 1u) { G(0x800) |= 7u << 4; break; } }"},
         "it answers to address 0, not 7"),
    ],
)  # fmt: skip
def test_the_address_is_set_before_the_status_stage(changes: dict[str, str], why: str) -> None:
    board, report = boot(usb_firmware.source(**changes), limit_seconds=20.0)
    if why:
        assert board.device is None
        assert any(why in line for line in report.usb), report.usb
    else:
        device = board.device
        assert device is not None
        with pytest.raises(Hung):  # its address stays after a bus reset
            device.reset()


def test_a_write_that_takes_the_supply_off_the_core_is_reported() -> None:
    with pytest.raises(SimulationFault, match="switches the core's supply off"):
        boot(usb_firmware.source(instead={"usb33den": "REG(0x5802480Cu) = 1u << 24;"}))


def test_a_store_of_the_upper_byte_leaves_the_lower_one_to_be_written_once() -> None:
    byte = "*(volatile uint8_t *)0x5802480Fu |= 1u;"
    board, report = boot(usb_firmware.source(instead={"usb33den": byte}))
    assert board.device is not None, report.usb


def test_a_program_that_never_touches_usb_gets_no_explanations() -> None:
    assert boot("void main(void) { for (;;) {} }")[1].usb == []


# -- transfers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3, 63, 64, 65, 128, 1000, 1024])
def test_data_comes_in_whatever_its_length(device: CoreUsb, size: int) -> None:
    assert device.control(IN, PATTERN, 5, 0, size) == pattern(5, size)


@pytest.mark.parametrize("size", [0, 1, 3, 63, 64, 65, 128, 1000, 1024])
def test_data_goes_out_whatever_its_length(device: CoreUsb, size: int) -> None:
    device.control(OUT, STORE, 0, 0, pattern(1, size))
    assert device.control(IN, FETCH, 0, 0, 1024) == pattern(1, size)


def test_a_short_answer_of_whole_packets_ends_with_an_empty_one(device: CoreUsb) -> None:
    device.control(OUT, STORE, 0, 0, pattern(0, 128))
    assert device.control(IN, FETCH, 0, 0, 200) == pattern(0, 128)


def test_an_unknown_request_stalls_and_the_next_one_works(device: CoreUsb) -> None:
    with pytest.raises(Stall):
        device.control(IN, 0x77, 0, 0, 8)
    with pytest.raises(Stall):
        device.control(OUT, 0x77, 0, 0, b"data")
    assert device.control(IN, PATTERN, 0, 0, 4) == pattern(0, 4)


def test_it_is_found_and_talked_to_by_pyusb(board: Board) -> None:
    found = usb.core.find(backend=board.usb_backend(), idVendor=0xDEAD)
    assert found is not None
    assert found.ctrl_transfer(IN, PATTERN, 9, 0, 100).tobytes() == pattern(9, 100)
    assert found.ctrl_transfer(OUT, STORE, 0, 0, b"hello") == 5
    assert found.ctrl_transfer(IN, FETCH, 0, 0, 100).tobytes() == b"hello"
    with pytest.raises(usb.core.USBError):
        found.ctrl_transfer(IN, 0x77, 0, 0, 1)
    assert found[0][(0, 0)].bInterfaceClass == 0xFF


def test_two_runs_are_the_same_to_the_nanosecond() -> None:
    def run() -> tuple[float, dict[str, float]]:
        board, _ = boot(usb_firmware.source())
        device = board.device
        assert device is not None
        for size in (10, 1000, 64):
            device.control(OUT, STORE, 0, 0, pattern(0, size))
            board.clock.sleep(0.01)
            device.control(IN, FETCH, 0, 0, 1024)
        return board.clock.now, board.clock.seconds

    assert run() == run()


# -- odd hosts ----------------------------------------------------------------------------------


def setup(kind: int, request: int, value: int, length: int) -> bytes:
    head = bytes((kind, request)) + value.to_bytes(2, "little")
    return head + bytes(2) + length.to_bytes(2, "little")


def test_a_new_setup_in_the_data_stage_ends_the_old_transfer(device: CoreUsb) -> None:
    device.setup(setup(IN, PATTERN, 0, 1000))
    assert device.in_() == pattern(0, 64)
    assert device.control(IN, PATTERN, 3, 0, 100) == pattern(3, 100)
    device.setup(setup(OUT, STORE, 0, 500))
    device.out(pattern(0, 64))
    assert device.control(IN, PATTERN, 4, 0, 10) == pattern(4, 10)


def test_a_packet_that_was_never_fetched_answers_the_next_question_unless_flushed() -> None:
    board, _ = boot(usb_firmware.source(NO_FLUSH=""))
    device = board.device
    assert isinstance(device, CoreUsb)
    device.setup(setup(IN, PATTERN, 0, 64))
    board.clock.sleep(0.01)
    assert device.control(IN, PATTERN, 3, 0, 10) == pattern(0, 10)


def test_setup_packets_in_a_row_all_count(device: CoreUsb) -> None:
    for value in (1, 2, 3):
        device.setup(setup(IN, PATTERN, value, 10))
    assert device.in_() == pattern(3, 10)


def test_a_host_that_sends_less_than_announced_can_begin_again(device: CoreUsb) -> None:
    device.setup(setup(OUT, STORE, 0, 300))
    device.out(pattern(0, 20))
    with pytest.raises(Hung):
        device.in_()
    device.control(OUT, STORE, 0, 0, b"again")
    assert device.control(IN, FETCH, 0, 0, 64) == b"again"


def test_a_host_that_asks_without_a_setup_gets_no_answer(device: CoreUsb) -> None:
    with pytest.raises(Hung):
        device.in_()
    assert device.control(IN, PATTERN, 0, 0, 4) == pattern(0, 4)


def test_a_port_reset_gives_the_address_anew(device: CoreUsb) -> None:
    device.setup(setup(OUT, STORE, 0, 300))
    device.reset()
    assert device.control(IN, PATTERN, 0, 0, 4) == pattern(0, 4)
    device.bus_reset()
    with pytest.raises(Stall):
        device.control(IN, 0x77, 0, 0, 8)  # answered at address 0


@pytest.mark.parametrize("count", [0, 7, 8, 9, 71, 72, 73, 108])
def test_a_cable_pulled_after_any_byte_leaves_a_device_that_can_be_plugged_in_again(
    board: Board, device: CoreUsb, count: int
) -> None:
    device.unplug_after_bytes(count)
    with pytest.raises(Gone):
        device.control(OUT, STORE, 0, 0, pattern(0, 101))
    assert board.device is None
    assert not device.is_on_bus
    assert board.go_on().outcome is Outcome.STAYS_IN_DFU
    board.plug_in()
    assert board.go_on().outcome is Outcome.STAYS_IN_DFU
    again = board.device
    assert again is not None
    assert again.control(IN, PATTERN, 0, 0, 4) == pattern(0, 4)
    with pytest.raises(Gone):
        device.control(IN, PATTERN, 0, 0, 4)


def test_a_planted_unplugging_is_found_by_the_transfer_it_names(device: CoreUsb) -> None:
    device.unplug_at = 2
    device.control(IN, PATTERN, 0, 0, 4)
    with pytest.raises(Gone):
        device.control(IN, PATTERN, 0, 0, 4)


ERASE = """
if (stored == 5u && !wanted && !(G(0x900) & EPENA)) {
    stored = 0; unlock(1); FLASH_CR(1) = 0x34u; FLASH_CR(1) = 0xB4u; while (FLASH_SR(1) & 4u) {}
}
"""

# -- the core behind it -------------------------------------------------------------------------


def test_a_chip_that_resets_itself_leaves_the_bus_and_comes_back(
    board: Board, device: CoreUsb
) -> None:
    device.control(OUT, RESET, 0, 0, b"")
    board.clock.sleep(0.1)
    assert not device.is_on_bus
    with pytest.raises(Gone):
        device.control(IN, PATTERN, 0, 0, 4)
    report = board.go_on()
    assert report.resets == ["reset"]
    assert report.outcome is Outcome.STAYS_IN_DFU
    assert board.device is not None
    assert board.device is not device
    assert report.uart == "up\nup\n"


def test_going_on_without_a_reset_stays_with_the_same_device(board: Board, device: CoreUsb) -> None:
    assert board.go_on().outcome is Outcome.STAYS_IN_DFU
    assert board.device is device


def test_a_program_that_stops_polling_hangs_and_its_watchdog_frees_it() -> None:
    body = usb_firmware.source(
        start='if (REG(0x580244D0u) & 1u << 26) { print("bitten"); for (;;) {} }'
        "IWDG_KR = 0xCCCCu; IWDG_KR = 0x5555u; REG(0x58004804u) = 6u; REG(0x58004808u) = 999u;",
        in_loop="if (stored == 3u && !wanted && !(G(0x900) & EPENA)) { for (;;) {} }"
        "IWDG_KR = 0xAAAAu;",
    )
    board, report = boot(body)
    device = board.device
    assert device is not None, report
    board.clock.sleep(60.0)
    assert device.is_on_bus
    device.control(OUT, STORE, 0, 0, b"die")
    with pytest.raises(Hung):
        device.control(IN, PATTERN, 0, 0, 4)
    assert device.is_on_bus
    board.clock.sleep(10.0)
    assert not device.is_on_bus
    report = board.go_on()
    assert report.resets == ["watchdog"]
    assert report.uart.endswith("bitten")


def test_an_idle_device_is_as_alive_after_a_minute(board: Board, device: CoreUsb) -> None:
    board.clock.sleep(60.0)
    assert device.control(IN, PATTERN, 0, 0, 4) == pattern(0, 4)


def test_the_host_waits_while_the_core_works_and_time_counts_once(board: Board) -> None:
    body = usb_firmware.source(in_loop=ERASE)
    board, _ = boot(body)
    device = board.device
    assert device is not None
    device.control(OUT, STORE, 0, 0, b"erase")
    began = board.clock.now
    board.clock.sleep(0.25)
    assert device.control(IN, PATTERN, 0, 0, 4) == pattern(0, 4)
    assert board.clock.now - began == pytest.approx(1.0, abs=0.05)
    assert sum(board.clock.seconds.values()) == pytest.approx(board.clock.now)


def test_power_off_while_the_core_erases_tears_the_sector() -> None:
    body = usb_firmware.source(in_loop=ERASE)
    board, _ = boot(body)
    board.program({0x0810_0000: bytes(range(32)) * 64})
    device = board.device
    assert device is not None
    device.control(OUT, STORE, 0, 0, b"erase")
    board.clock.sleep(0.1)
    board.power_off()
    assert not device.is_on_bus
    assert any(board.flash.banks[1].states[:4096])


def test_going_on_with_a_board_that_does_not_wait_is_an_error() -> None:
    with pytest.raises(PackagerError, match="no program is running"):
        Board.new(CHIPS["stm32h743xi"]).go_on()


def test_a_controller_left_on_is_seen_at_the_handover_until_it_is_reset() -> None:
    def left(more: str) -> dict[int, int]:
        board = Board.new(CHIPS["stm32h743xi"])
        start = f"REG(0x580244D8u) |= 1u << 27; G(0x38) = 1u << 16; {more} jump(BANK2);"
        board.program({**build(usb_firmware.source(start=start)), **build(APP, at=0x0810_0000)})
        handover = board.boot().handover
        assert handover is not None
        return {at: value for at, value in handover.changed.items() if at >= 0x4008_0000}

    assert left("").get(0x4008_0038) == 1 << 16
    pulse = "REG(0x58024480u) = 1u << 27; REG(0x58024480u) = 0;"
    assert 0x4008_0038 not in left(pulse)
