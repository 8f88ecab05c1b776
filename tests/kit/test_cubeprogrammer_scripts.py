"""The scripts for STM32CubeProgrammer, run by real shells against a fake of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import workshop
from bus.mocked_bus import MockedBus
from bus.scene import Product

from packager.kit.contents import CUBE_BAT, CUBE_SH
from packager.kit.make import MadeKit

from .conftest import Wine, program
from .replies import CALLS, CASES, Case, fake_for_sh, put_replies

SHELLS = {"sh": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash", "--posix"]}
NEVER = ("-e ", "-rdu", "-ob", "-g ", "-s ", "--start", "all")


def run_sh(
    script: Path, shell: str = "sh", *, path: Path | None = None, home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script as the page says, from another folder than its own."""
    command = [program(SHELLS[shell][0]), *SHELLS[shell][1:], str(script)]
    paths = [str(path)] if path else []
    environment = {
        "PATH": os.pathsep.join([*paths, "/usr/bin", "/bin"]),
        "HOME": str(home or "/nowhere"),
    }
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        cwd="/",
        timeout=60,
        check=False,
    )


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder with a programmer in it."""
    folder = tmp_path / "fake programmer"
    folder.mkdir()
    fake_for_sh(folder)
    return folder


def check(done: subprocess.CompletedProcess[str], case: Case, made: MadeKit) -> None:
    said = done.stdout + done.stderr
    assert done.returncode == case.code, said
    for word in case.words:
        assert word in said
    assert ("DONE" in said) == (case.code == 0)
    assert ("STOPPED" in said) == (case.code != 0)
    if case.code == 0:
        silence = made.kit.silence
        assert f"usually {silence.usual} seconds, at most {silence.longest}." in said
    else:
        assert "HOWTO.html" in said


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", CASES)
def test_the_sh_script_says_what_happened(
    made: MadeKit, folder: Path, fake: Path, name: str, shell: str
) -> None:
    put_replies(fake, CASES[name])

    done = run_sh(folder / CUBE_SH, shell, path=fake)

    check(done, CASES[name], made)
    assert not done.stderr
    calls = (fake / CALLS).read_text().splitlines()
    assert calls[0] == "-l|usb|"
    assert calls[1:] == ([f"-c|port=usb1|-w|{made.kit.stem}.hex|-v|"] * (CASES[name].devices == 1))


@pytest.mark.parametrize("name", CASES)
def test_the_batch_file_says_what_happened(
    made: MadeKit, folder: Path, wine: Wine, windows_programmer: Path, tmp_path: Path, name: str
) -> None:
    put_replies(tmp_path, CASES[name])

    done = wine.run(
        folder / CUBE_BAT,
        FAKE_REPLIES=f"Z:{tmp_path}".replace("/", "\\"),
        WINEPATH=f"Z:{windows_programmer.parent}".replace("/", "\\"),
    )

    check(done, CASES[name], made)
    calls = [
        line.partition('.exe" ')[2].rstrip() for line in (tmp_path / CALLS).read_text().splitlines()
    ]
    assert calls[0] == "-l usb"
    writes = [f'-c port=usb1 -w "{made.kit.stem}.hex" -v'] * (CASES[name].devices == 1)
    assert calls[1:] == writes


@pytest.mark.parametrize("shell", SHELLS)
def test_the_sh_script_stops_when_the_programmer_is_missing(folder: Path, shell: str) -> None:
    done = run_sh(folder / CUBE_SH, shell)

    assert done.returncode == 1
    assert "STM32CubeProgrammer was not found" in done.stdout


def test_the_sh_script_finds_the_programmer_where_its_installer_puts_it(
    folder: Path, tmp_path: Path
) -> None:
    usual = tmp_path / "STMicroelectronics/STM32Cube/STM32CubeProgrammer/bin"
    usual.mkdir(parents=True)
    fake_for_sh(usual)
    put_replies(usual, CASES["success"])

    done = run_sh(folder / CUBE_SH, home=tmp_path)

    assert (done.returncode, f"Found {usual}" in done.stdout) == (0, True)


def test_the_sh_script_tells_a_device_it_may_not_use_from_none(
    folder: Path, fake: Path, bus: MockedBus, product: Callable[[str], Product]
) -> None:
    """The programmer says the same of both; what Linux itself sees makes the difference."""
    put_replies(fake, CASES["no device"])
    command = ["sh", folder / CUBE_SH]
    path = {"PATH": f"{fake}{os.pathsep}/usr/bin{os.pathsep}/bin"}

    nothing = bus.run(command, extra=path)
    with bus.with_board(product(workshop.DEFAULT).board()):
        forbidden = bus.run(command, extra=path)

    assert nothing.code == 11, nothing.out
    assert (forbidden.code, "you may not use it" in forbidden.out) == (13, True), forbidden.out


def test_the_batch_file_finds_the_programmer_where_its_installer_puts_it_or_stops(
    folder: Path, wine: Wine, windows_programmer: Path, tmp_path: Path
) -> None:
    place = "Program Files/STMicroelectronics/STM32Cube/STM32CubeProgrammer/bin"
    put_replies(tmp_path, CASES["success"])

    shutil.rmtree(wine.c_drive / "Program Files/STMicroelectronics", ignore_errors=True)
    without = wine.run(folder / CUBE_BAT)
    usual = wine.c_drive / place
    usual.mkdir(parents=True)
    try:
        shutil.copy(windows_programmer, usual)
        done = wine.run(folder / CUBE_BAT, FAKE_REPLIES=f"Z:{tmp_path}".replace("/", "\\"))
    finally:
        shutil.rmtree(wine.c_drive / "Program Files/STMicroelectronics")

    assert without.returncode == 1
    assert "STM32CubeProgrammer was not found" in without.stdout
    assert done.returncode == 0, done.stdout
    assert f"Found C:\\{place}\\STM32_Programmer_CLI.exe".replace("/", "\\") in done.stdout


@pytest.fixture
def alone(folder: Path, tmp_path: Path) -> Path:
    """The scripts without the rest, as out of a ZIP that was not unpacked."""
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in (CUBE_SH, CUBE_BAT):
        shutil.copy(folder / name, alone)
    return alone


def test_the_sh_script_stops_without_the_update_or_with_a_damaged_one(
    made: MadeKit, folder: Path, alone: Path, fake: Path
) -> None:
    put_replies(fake, CASES["success"])
    name = f"{made.kit.stem}.hex"

    assert run_sh(alone / CUBE_SH, path=fake).returncode == 4
    (alone / name).write_bytes((folder / name).read_bytes().replace(b"0", b"1", 1))
    done = run_sh(alone / CUBE_SH, path=fake)

    assert (done.returncode, "is damaged" in done.stdout) == (4, True)
    assert not (fake / CALLS).exists()


def test_the_batch_file_stops_without_the_update_or_with_a_cut_one(
    made: MadeKit, folder: Path, alone: Path, wine: Wine
) -> None:
    name = f"{made.kit.stem}.hex"

    done = wine.run(alone / CUBE_BAT)
    assert (done.returncode, "Extract All" in done.stdout) == (4, True)
    (alone / name).write_bytes((folder / name).read_bytes()[:-40])
    done = wine.run(alone / CUBE_BAT)

    assert (done.returncode, "is damaged" in done.stdout) == (4, True)


def test_no_script_asks_for_anything_but_writing_and_verifying(made: MadeKit) -> None:
    for path in made.paths:
        if path.suffix in (".sh", ".bat"):
            commands = [
                line
                for line in path.read_text().splitlines()
                if ('"$tool"' in line or '"%CLI%"' in line) and " -" in line
            ]
            for line in commands:
                assert not any(f" {word}" in f"{line} " for word in NEVER), line


def test_the_batch_file_has_the_line_ends_that_windows_needs(folder: Path) -> None:
    content = (folder / CUBE_BAT).read_bytes()

    assert content.count(b"\n") == content.count(b"\r\n") > 100
    assert b"\r" not in (folder / CUBE_SH).read_bytes()
    assert content.isascii()
