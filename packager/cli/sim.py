"""``splitflash sim``: virtual boards kept in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from packager.cli import LAYOUT_OPTION
from packager.cli.device import BOOT0
from packager.cli.output import output_option

if TYPE_CHECKING:
    from packager.sim.board import Board

_BOARD = click.argument("board_path", metavar="BOARD", type=click.Path(path_type=Path))
_FILE = click.Path(dir_okay=False, path_type=Path)
_PINS = click.option(
    "--pin",
    "pins",
    metavar="NAME=0|1",
    multiple=True,
    help="Hold a pin at a level, like PC13=1; may be given several times.",
)
_USBIP_PORT = 3240
"""Where both usbip programs look for a server (registered with IANA)."""


@click.group()
def sim() -> None:
    """Virtual boards: a device to rehearse with, kept in a file."""


@sim.command()
@_BOARD
@LAYOUT_OPTION
@click.option("--factory", "factory_path", type=_FILE, help="Factory image to flash.")
@click.option("--loader", "loader_path", type=_FILE, help="Loader to flash, as a debugger would.")
@click.option("--app", "app_path", type=_FILE, help="Application to flash, as a debugger would.")
@click.option(
    "--rom",
    type=click.Choice(["D2", "D3", "90", "91", "92"]),
    default="90",
    show_default=True,
    help="Version of the ROM bootloader.",
)
def new(
    board_path: Path,
    layout_path: Path,
    factory_path: Path | None,
    loader_path: Path | None,
    app_path: Path | None,
    rom: str,
) -> None:
    """Make a board and flash it; refuses to overwrite one."""
    from packager.errors import PackagerError
    from packager.layout import load_layout
    from packager.sim.board import Board
    from packager.virtual_flash import flash_files

    if board_path.exists():
        raise PackagerError(
            str(board_path), "exists already", "a new file", "name another or delete it"
        )
    layout = load_layout(layout_path)
    board = Board.new(layout.chip, rom_id=int(rom, 16))
    by_hardware = layout.watchdog_is_hardware
    board.flash.options = board.flash.options.with_watchdog(from_power_on=by_hardware)
    flash_files(board, layout, factory=factory_path, loader=loader_path, app=app_path)
    board.save(board_path)
    click.echo(f"{board_path}: {layout.chip.name}, ROM 0x{rom}")


@sim.command()
@_BOARD
@click.option("--boot0", is_flag=True, help="With the BOOT0 pin high: starts the ROM bootloader.")
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(min=0.001),
    default=120.0,
    show_default=True,
    help="Virtual seconds to wait for an outcome.",
)
@click.option(
    "--cut", help="Cut the power at a flash operation, like 137-torn (before|torn|after)."
)
@_PINS
@click.option(
    "--press-reset", is_flag=True, help="Press the reset button once after the first outcome."
)
def boot(
    board_path: Path,
    boot0: bool,
    seconds: float,
    cut: str | None,
    pins: tuple[str, ...],
    press_reset: bool,
) -> None:
    """Power the board on; ends when the app runs, the loader stays, or the time is up."""
    from packager.sim.board import Board

    board = Board.load(board_path)
    _hold(board, pins)
    try:
        report = board.boot(boot0=boot0, limit_seconds=seconds, cut=cut)
        if press_reset:
            report = board.press_reset(limit_seconds=seconds)
    finally:
        board.power_off()
        board.save(board_path)
    for line in report.uart.splitlines():
        click.echo(f"uart: {line}")
    click.echo(f"outcome: {report.outcome.value}")
    click.echo(f"flash operations: {len(report.operations)}")
    for purpose, spent in report.seconds.items():
        click.echo(f"virtual seconds, {purpose}: {spent:.3f}")
    for fault in report.faults:
        click.echo(f"fault: {fault}")
    for reason in report.usb:
        click.echo(f"not on the USB bus: {reason}")


@sim.command()
@_BOARD
@click.argument("chain", metavar="ID")
@click.option("--keep", is_flag=True, help="Keep in BOARD what the boots did to its flash.")
def replay(board_path: Path, chain: str, keep: bool) -> None:
    """Cut the power again as ID says, then boot once more without a cut.

    ID is what a failing sweep prints: 137-torn+12-before cuts the first boot at its 137th flash
    operation and the second one before its 12th; 'none' only boots.
    """
    from packager.sim.board import Board
    from packager.sim.operations import Cut

    cuts = [] if chain == "none" else [Cut.parse(part) for part in chain.split("+")]
    board = Board.load(board_path)
    for cut in (*cuts, None):
        report = board.boot(cut=cut)
        click.echo(
            f"{cut or 'no cut'}: {report.outcome.value}, {len(report.operations)} operations"
        )
        for line in (*report.resets, *report.faults):
            click.echo(f"  {line}")
    board.power_off()
    if keep:
        board.save(board_path)


@sim.command()
@_BOARD
def info(board_path: Path) -> None:
    """Say what chip and ROM a board has, and what its option bytes are."""
    from packager.sim.board import Board

    board = Board.load(board_path)
    click.echo(f"chip: {board.chip.name}")
    click.echo(f"ROM: 0x{board.rom_id:02X}")
    click.echo(f"RDP level: {board.flash.options.rdp_level}")


@sim.command()
@_BOARD
@click.argument("address", type=str)
@click.argument("length", type=str)
@output_option("-o", "--output", required=True, help="File for the bytes.")
def read(board_path: Path, address: str, length: str, output: Path) -> None:
    """Copy flash content of a board into a file, as a debugger would: at RDP level 0 only."""
    from packager.files import write_atomic
    from packager.sim.board import Board

    with Board.load(board_path).debugger() as debugger:
        write_atomic(output, debugger.read(_number(address), _length(length)))


@sim.command()
@_BOARD
@click.argument("level", type=click.IntRange(0, 2))
def protect(board_path: Path, level: int) -> None:
    """Set the read-out protection level of a board, as its option bytes do.

    From 1 back to 0 the flash is erased, loader and keys included. Level 2 is final.
    """
    from packager.sim.board import Board

    board = Board.load(board_path)
    before = board.flash.options.rdp_level
    board.protect(level)
    board.save(board_path)
    erased = ", all flash erased" if before == 1 and level == 0 else ""
    click.echo(f"{board_path}: RDP level {level}{erased}")


@sim.command()
@_BOARD
@LAYOUT_OPTION
def options(board_path: Path, layout_path: Path) -> None:
    """Set the option bytes that production sets, but for the read-out protection.

    They are those of step 2 in factory-steps.txt; 'sim protect' is the last step.
    """
    from packager.layout import load_layout
    from packager.sim.board import Board
    from packager.virtual_flash import set_options

    board = Board.load(board_path)
    set_options(board, load_layout(layout_path))
    board.save(board_path)
    click.echo(f"{board_path}: option bytes of {layout_path.name}")


@sim.command()
@_BOARD
@click.option("--usbip", is_flag=True, required=True, help="Serve it over USB/IP.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; there is no password, so anything but loopback is open to all.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_USBIP_PORT,
    show_default=True,
    help="TCP port; 0 takes a free one.",
)
@BOOT0
def serve(board_path: Path, usbip: bool, host: str, port: int, boot0: bool | None) -> None:
    """Plug a board into this computer, or another one: its ROM, or the DFU of its loader.

    Any tool then sees a device in DFU mode. The board's own work takes no real time.
    BOARD is saved at every detach and at the end.
    """
    import asyncio

    from packager.sim.board import Board
    from packager.sim.usbip import UsbipServer
    from packager.virtual_door import start_in_dfu

    board = Board.load(board_path)
    start_in_dfu(board, str(board_path), boot0=boot0)

    def ready() -> None:
        at = f"{host} port {server.port}; Ctrl-C ends"
        what = "its loader" if rom is None else f"ROM 0x{board.rom_id:02X} with BOOT0 high"
        click.echo(f"{board_path}: {what}, at {at}")
        for line in _how_to_attach(host, server.port):
            click.echo(line)

    rom = board.rom
    server = UsbipServer(board, click.echo, lambda: board.save(board_path))
    try:
        asyncio.run(server.serve(host, port, ready))
        if rom is None:
            report = board.go_on()
            click.echo(f"it went on: {report.outcome.value}")
    except KeyboardInterrupt:
        click.echo("ended")
    finally:
        board.power_off()
        board.save(board_path)
    if rom is not None and rom.left_to is not None:
        click.echo(f"the device was told to start what lies at 0x{rom.left_to:08X}")
    click.echo("saved; unplug, BOOT0 low and plug in again is here:")
    click.echo(f"  splitflash sim boot {board_path}")


def _how_to_attach(host: str, port: int) -> Iterator[str]:
    from packager.sim.usbip import BUS_ID

    server = "ADDRESS-OF-THIS-COMPUTER" if host in ("0.0.0.0", "::") else host
    where = "" if port == _USBIP_PORT else f" --tcp-port {port}"
    yield "attach it on Linux:"
    yield "  sudo modprobe vhci-hcd"
    yield f"  sudo usbip{where} attach -r {server} -b {BUS_ID}"
    yield "attach it on Windows, with usbip-win2 installed:"
    yield f"  usbip{where} attach -r {server} -b {BUS_ID}"
    yield "detach it by 'usbip port', then 'usbip detach -p' and the number shown"


def _hold(board: Board, pins: tuple[str, ...]) -> None:
    for text in pins:
        name, _, level = text.partition("=")
        if level not in ("0", "1"):
            raise click.BadParameter(f"'{text}' is no pin and level; write it like PC13=1")
        board.pins[name.upper()] = level == "1"


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError as error:
        raise click.BadParameter(f"'{text}' is no number; write it like 0x08100000") from error


def _length(text: str) -> int:
    length = _number(text)
    if length < 1:
        raise click.BadParameter(f"'{text}' is no length in bytes; it is at least 1")
    return length
