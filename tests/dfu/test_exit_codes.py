"""Every exit code that a customer can meet, through the real command line."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import usb.core
from dfu import products, street
from dfu.fake_usb import Bus, Plugged
from dfu.products import STAGING
from dfu.scripted import Rom

from packager import errors
from packager.cli import EXIT_CODES, run
from packager.dfu import usb as our_usb
from packager.format import field_text
from packager.sim.board import Board

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
UPDATE = products.whole_update()


def with_loader(**script: object) -> Rom:
    rom = Rom(**script)  # type: ignore[arg-type]
    rom.put(products.INFO_ADDRESS, products.info_bytes())
    rom.put(products.MARKS.start, products.record())
    rom.put(STAGING.start, b"old" * 200)
    return rom


def worn_out() -> Rom:
    """Takes every write and keeps none: the read-back differs."""
    rom = with_loader()
    rom.flash[STAGING.start - 0x08000000 :][: STAGING.size] = b"\xff" * STAGING.size
    erase = rom._erase

    def then_protect(sector: int) -> None:
        erase(sector)
        rom.write_protected.add(sector)

    rom._erase = then_protect  # type: ignore[method-assign]
    return rom


def denied(code: int) -> usb.core.USBError:
    return usb.core.USBError("text of the system", -3, code)


CASES = [
    ("no device", [], UPDATE, 11, "no device in DFU mode found"),
    ("several devices", [Plugged(Rom(), 1), Plugged(Rom(), 2)], UPDATE, 12, "we do not guess"),
    ("no permission", [Plugged(Rom(), 1, open_error=denied(errno.EACCES))], UPDATE, 13, "udev"),
    ("no driver", [Plugged(Rom(), 1, open_error=NotImplementedError())], UPDATE, 13, "pnputil"),
    ("busy", [Plugged(Rom(), 1, open_error=denied(errno.EBUSY))], UPDATE, 13, "another program"),
    ("protected", [Plugged(with_loader(protected=True), 1)], UPDATE, 14, "do NOT let any tool"),
    (
        "write protection that gives no error",
        [Plugged(with_loader(write_protected={STAGING.start}), 1)],
        UPDATE,
        15,
        "write-protected (WRP option bytes)",
    ),
    ("writes that do not stay", [Plugged(worn_out(), 1)], UPDATE, 15, "the flash is still blank"),
    ("a hanging device", [Plugged(with_loader(mute_after=80), 1)], UPDATE, 16, "no answer to"),
    (
        "an erase without end",
        [Plugged(with_loader(stuck_after_erase_of={STAGING.start}), 1)],
        UPDATE,
        16,
        "still busy (dfuDNBUSY) after 30 s",
    ),
    ("unplugged", [Plugged(with_loader(unplug_at=80), 1)], UPDATE, 10, "left the bus"),
    ("no loader", [Plugged(Rom(), 1)], UPDATE, 8, "no splitflash loader"),
    (
        "for another product",
        [Plugged(with_loader(), 1)],
        products.whole_update().replace(b"pump", b"tank"),
        8,
        "another product",
    ),
    ("not an update", [Plugged(with_loader(), 1)], b"MZ" * 700, 4, "update.bin"),
    ("a file cut short", [Plugged(with_loader(), 1)], UPDATE[:-64], 4, "update.bin"),
    ("a file that does not fit", [Plugged(with_loader(), 1)], None, 18, "staging of this device"),
]


@pytest.mark.parametrize(
    ("devices", "update", "code", "text"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_each_failure_of_a_drop_has_its_exit_code_and_one_line_that_says_what_to_do(
    devices: list[Plugged],
    update: bytes | None,
    code: int,
    text: str,
    tmp_path: Path,
    monkeypatch: Patch,
    capsys: Captured,
) -> None:
    file = tmp_path / "update.bin"
    file.write_bytes(update or products.whole_update(STAGING.size))
    for device in devices:
        device.rom.announced_poll_ms = 0
    monkeypatch.setattr(our_usb, "_default_backend", lambda: Bus(*devices))
    for device in devices:
        # the client waits in real time for a device on USB; this one lives in its own
        monkeypatch.setattr(our_usb.DfuSe, "__init__", in_time_of(device.rom))
    assert run(["drop", str(file)]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("splitflash: ")
    assert text in last
    assert "; " in last, "no advice"


ORIGINAL = our_usb.DfuSe.__init__


def in_time_of(rom: Rom) -> object:
    def init(self: our_usb.DfuSe, pipe: object, clock: object = None, **rest: object) -> None:
        ORIGINAL(self, pipe, rom.clock, **rest)  # type: ignore[arg-type]

    return init


def test_the_help_and_the_tree_of_errors_name_the_same_codes() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in classes if issubclass(kind, errors.PackagerError)}
    told = {int(code) for code in re.findall(r"(?:^|\s{2,})(\d+)  \S", EXIT_CODES, re.M)}
    drawn = {int(code) for code in re.findall(r"[a-zA-Z]Error +(\d+) ", errors.__doc__ or "")}
    drawn |= {int(code) for code in re.findall(r"Fault +(\d+) ", errors.__doc__ or "")}
    assert told == codes | {0, 2, 130}
    assert drawn == codes


def test_no_two_errors_share_an_exit_code() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = [kind.exit_code for kind in classes if issubclass(kind, errors.PackagerError)]
    assert len(codes) == len(set(codes))


# -- the program itself ---------------------------------------------------------------------------


def splitflash(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "packager", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.parametrize(("rdp", "code"), [(None, 0), (0x55, 14), (0xCC, 11)])
def test_the_process_ends_with_the_exit_code(rdp: int | None, code: int, tmp_path: Path) -> None:
    (name,) = street.saved(tmp_path, street.board(rdp=rdp))
    file = tmp_path / "u.bin"
    file.write_bytes(UPDATE)
    with splitflash("drop", str(file), "--device", name) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent another way there")
def test_ctrl_c_ends_with_130_and_the_next_drop_works(tmp_path: Path) -> None:
    (name,) = street.saved(tmp_path, street.board())
    file = tmp_path / "u.bin"
    update = products.whole_update(800 * 1024)
    file.write_bytes(update)
    with splitflash("drop", str(file), "--device", name, "--json") as process:
        assert process.stdout
        for line in process.stdout:
            if '"write"' in line:
                process.send_signal(signal.SIGINT)
                break
        time.sleep(0.01)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "splitflash: interrupted"
    assert "Traceback" not in err
    board = Board.load(name.removeprefix("sim:"))
    assert board.read(STAGING.start, 8) == b"\xff" * 8
    assert run(["drop", str(file), "--device", name]) == 0
    assert Board.load(name.removeprefix("sim:")).read(STAGING.start, len(update)) == update


AT_IMPORT = """
import os, signal, sys
class AtImport:
    def find_spec(self, name, path=None, target=None):
        if name == "{library}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, AtImport())
from {module} import {function}
sys.argv[1:] = ["devices"]
{function}()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent another way there")
@pytest.mark.parametrize("library", ["packager.cli", "click", "packager.errors", "usb.core"])
def test_ctrl_c_while_the_command_is_still_being_imported_is_one_line_too(library: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    module, _, function = project["project"]["scripts"]["splitflash"].partition(":")
    script = AT_IMPORT.format(module=module, function=function, library=library)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 130, done.stderr
    assert (done.stdout, done.stderr.lstrip("\n")) == ("", "splitflash: interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such shell")
@pytest.mark.parametrize("boards", [1, 2])
def test_a_drop_without_a_stderr_still_drops(boards: int, tmp_path: Path) -> None:
    names = street.saved(tmp_path, *(street.board() for _ in range(boards)))
    file = tmp_path / "u.bin"
    file.write_bytes(UPDATE)
    devices = [word for name in names for word in ("--device", name)]
    command = [sys.executable, "-m", "packager", "drop", str(file), *devices]
    done = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *command], timeout=60)
    assert done.returncode == 0
    for name in names:
        board = Board.load(Path(name.removeprefix("sim:")))
        assert board.read(STAGING.start, len(UPDATE)) == UPDATE


FORGED = b"x\x1b[2J\nsigned: y".ljust(16, b"\0")


@pytest.mark.parametrize("product_id", [FORGED, b"pump\xe4".ljust(16, b"\0")], ids=["forged", "ä"])
@pytest.mark.parametrize("command", ["inspect", "drop", "drop to two", "kit"])
def test_a_product_id_cannot_forge_a_line_of_output(
    command: str, product_id: bytes, tmp_path: Path, monkeypatch: Patch, capsys: Captured
) -> None:
    file = tmp_path / "u.bin"
    file.write_bytes(products.update(65536 + 1024, image_size=65536, payload_size=66560,
                                     product_id=product_id))  # fmt: skip
    street.plug_in(monkeypatch, street.board(), street.board())
    rest = {
        "inspect": [],
        "drop": ["--device", "usb:1-1"],
        "drop to two": ["--all"],
        "kit": ["-o", str(tmp_path / "kit.zip")],
    }
    code = run([command.split()[0], str(file), *rest[command]])
    said = "".join(capsys.readouterr())
    assert code == {"inspect": 0, "drop": 8, "drop to two": 17, "kit": 4}[command]
    assert field_text(product_id) in said
    assert "\x1b" not in said
    assert "signed: y" not in said.splitlines()


def test_a_device_cannot_forge_a_line_of_output(monkeypatch: Patch, capsys: Captured) -> None:
    street.plug_in(monkeypatch, street.board(name=b"x\x1b[2J\nusb:1-9: Valve"))
    assert run(["devices"]) == 0
    assert run(["doctor"]) == 0
    assert run(["status"]) == 0
    out = capsys.readouterr().out
    assert r"usb:1-1: x\x1b[2J\nusb:1-9: Valve, loader" in out
    assert "\x1b" not in out
    assert not [line for line in out.splitlines() if line.startswith("usb:1-9")]
