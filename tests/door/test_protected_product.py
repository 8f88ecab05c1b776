"""A read-protected product, from its YAML to its second version, as its developer would type it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import workshop

from packager.cli import run
from packager.errors import NoDeviceError, ProtectedError
from packager.examples import build_example
from packager.layout import Layout, load_layout
from packager.resources import layouts

PRODUCT = "h743_protected"
BOARD, UPDATE = "board.sim", "update.hex"


@dataclass
class Bench:
    """A folder in which a developer works, and the words of his commands."""

    folder: Path
    layout: Layout
    capsys: pytest.CaptureFixture[str]

    @property
    def board(self) -> str:
        """The virtual board's file."""
        return str(self.folder / BOARD)

    @property
    def update(self) -> str:
        """The update's file."""
        return str(self.folder / UPDATE)

    def succeeds(self, *command: str) -> str:
        """Return what a command prints."""
        code = run(command)
        out, err = self.capsys.readouterr()
        assert code == 0, err
        return out

    def fails(self, code: int, *command: str) -> str:
        """Return what a command says on stderr when it ends with ``code``."""
        assert run(command) == code
        return self.capsys.readouterr().err


@pytest.fixture(scope="module")
def factory_fresh(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Layout]:
    """A folder with a board of version 1.0.0 and a packed update to 2.0.0, made by commands."""
    workshop.needs("gcc")
    folder = tmp_path_factory.mktemp("product")
    product = folder / "product.yaml"
    product.write_text((layouts() / f"{PRODUCT}.yaml").read_text())
    layout = load_layout(product)
    old, new = (build_example(version, layout, folder, "gcc") for version in ("1.0.0", "2.0.0"))
    common = ["--layout", str(product), "--keys", str(folder / "keys")]
    loader, factory = str(folder / "loader"), str(folder / "factory_SECRET.hex")
    first = ["--loader", f"{loader}/loader_SECRET.elf", "--version", "1.0.0", "--counter", "1"]
    second = ["--version", "2.0.0", "--counter", "1", "-o", str(folder / UPDATE)]
    for command in (
        ["keygen", str(folder / "keys")],
        ["loader", "build", *common, "--toolchain", "gcc", "-o", loader],
        ["factory", "build", str(old), *common, *first, "-o", factory],
        ["sim", "new", str(folder / BOARD), "--layout", str(product), "--factory", factory],
        ["pack", str(new), *common, *second],
    ):
        assert run(command) == 0
    return folder, layout


@pytest.fixture
def bench(
    factory_fresh: tuple[Path, Layout], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Bench:
    """A factory-fresh board with version 1.0.0 and a packed update to 2.0.0."""
    folder, layout = factory_fresh
    for name in (BOARD, UPDATE):
        shutil.copy(folder / name, tmp_path / name)
    capsys.readouterr()
    return Bench(tmp_path, layout, capsys)


def test_at_level_1_the_rom_refuses_and_the_loader_takes_the_update(bench: Bench) -> None:
    device = f"sim:{bench.board}"
    app = hex(bench.layout.app.start)

    bench.succeeds("sim", "protect", bench.board, "1")
    refused = bench.fails(
        ProtectedError.exit_code, "drop", bench.update, "--device", device, "--boot0"
    )
    assert "read-protected (errVENDOR: RDP level 1)" in refused
    assert "such a product takes updates without BOOT0, through its own loader" in refused
    dropped = bench.succeeds("drop", bench.update, "--device", device)
    assert "staged and read back" in dropped
    assert "it restarts by itself, checks the update and installs it" in dropped
    assert "BOOT0" not in dropped
    booted = bench.succeeds("sim", "boot", bench.board)
    assert "example application 2.0.0" in booted
    stolen = bench.folder / "stolen.bin"
    bench.fails(
        ProtectedError.exit_code, "sim", "read", bench.board, app, "0x1000", "-o", str(stolen)
    )
    assert not stolen.exists()


def test_at_level_2_no_rom_starts_and_the_loader_takes_the_update(bench: Bench) -> None:
    device = f"sim:{bench.board}"

    bench.succeeds("sim", "protect", bench.board, "2")
    refused = bench.fails(
        NoDeviceError.exit_code, "drop", bench.update, "--device", device, "--boot0"
    )
    assert "at RDP level 2, or with BOOT_CM7_ADD1 elsewhere, it never starts" in refused
    bench.succeeds("drop", bench.update, "--device", device)
    assert "example application 2.0.0" in bench.succeeds("sim", "boot", bench.board)
    bench.fails(
        ProtectedError.exit_code,
        *("sim", "read", bench.board, "0x08000000", "512", "-o", str(bench.folder / "x")),
    )


def test_the_commands_tell_loader_from_rom_and_which_level(bench: Bench) -> None:
    device = ["--device", f"sim:{bench.board}"]
    bench.succeeds("sim", "protect", bench.board, "1")

    listed = bench.succeeds("devices", *device)
    assert "on USB itself, read-protected (RDP level 1)" in listed
    assert "read-protected, ROM unknown" in bench.succeeds("devices", *device, "--boot0")
    status = bench.succeeds("status", *device)
    assert "bootloader: splitflash loader" in status
    assert "rdp: 1" in status
    assert "installed.version: 1.0.0" in status
    doctor = bench.succeeds("doctor", *device)
    assert "the splitflash loader itself: it takes updates at every protection level" in doctor
    assert "on (RDP level 1)" in doctor


def test_what_was_dropped_is_shown_and_without_leave_waits_for_the_next_start(
    bench: Bench,
) -> None:
    device = ["--device", f"sim:{bench.board}"]
    bench.succeeds("sim", "protect", bench.board, "2")

    said = bench.succeeds("drop", bench.update, *device, "--no-leave")
    assert said.endswith("unplug the device and plug it in again; its loader then checks it\n")
    bench.succeeds("sim", "boot", bench.board)
    status = bench.succeeds("status", *device)
    assert "rdp: 2" in status
    assert "staging: empty" in status
    assert "installed.version: 2.0.0" in status
