"""The command line as a whole: help, version, defaults from the environment, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from packager import __version__
from packager.cli import COMMANDS, cli, run
from packager.resources import layouts

SPLITFLASH = str(Path(sys.executable).parent / "splitflash")


def splitflash(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SPLITFLASH, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def commands(
    command: click.Command = cli, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """Yield a context of each command, groups and their commands included."""
    context = click.Context(command, parent, command.name, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, context)


def test_the_help_names_every_command_and_the_exit_codes() -> None:
    done = splitflash("--help")

    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout
    assert "14  device is read-protected" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    done = splitflash(name, "--help")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: splitflash {name}")


def test_the_version_is_the_packages() -> None:
    assert splitflash("--version").stdout == f"splitflash, version {__version__}\n"


def test_an_unknown_command_is_wrong_usage() -> None:
    done = splitflash("frobnicate")

    assert done.returncode == 2
    assert "No such command 'frobnicate'" in done.stderr


def test_options_have_defaults_from_the_environment(tmp_path: Path) -> None:
    image = tmp_path / "app.bin"
    image.write_bytes(b"x")
    done = splitflash(
        "pack",
        str(image),
        "--version",
        "1.0.0",
        "-o",
        str(tmp_path / "u.bin"),
        SPLITFLASH_LAYOUT=str(tmp_path / "none.yaml"),
        SPLITFLASH_KEYS=str(tmp_path),
    )

    assert done.returncode == 3
    assert "none.yaml" in done.stderr


def test_shell_completion_can_be_installed() -> None:
    done = splitflash(_SPLITFLASH_COMPLETE="bash_source")

    assert done.returncode == 0
    assert "complete" in done.stdout


def test_a_layout_error_is_told_on_stderr_with_its_exit_code(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("chip: stm32h743zz\n")

    done = splitflash("layout", "check", str(bad))

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"splitflash: {bad}:1:1: chip: found 'stm32h743zz'")


def test_layout_check_prints_the_largest_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layout", "check", str(layouts() / "h743zi_app_bank2.yaml")]) == 0
    assert "largest updatable image: 915968 bytes" in capsys.readouterr().out


def test_an_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")

    layout = str(layouts() / "h743zi_app_bank2.yaml")
    done = splitflash("layout", "export", layout, "-o", str(blocked / "sub"))

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_the_environment_variables_of_the_readme_exist() -> None:
    for command, options in (("pack", ("LAYOUT", "KEYS")), ("drop", ("DEVICE",))):
        text = splitflash(command, "--help").stdout
        for option in options:
            assert f"SPLITFLASH_{option}" in text


def test_no_option_reads_the_environment_but_the_three_that_the_readme_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = [(one, each) for each in commands() for one in each.command.get_params(each)]
    asked: dict[str, set[str]] = {}

    class Environment(dict[str, str]):
        def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
            asked.setdefault(name, set()).update(option.opts)
            return default

    monkeypatch.setattr(os, "environ", Environment())
    for option, context in options:
        option.value_from_envvar(context)

    assert asked == {
        "SPLITFLASH_LAYOUT": {"--layout"},
        "SPLITFLASH_KEYS": {"--keys"},
        "SPLITFLASH_DEVICE": {"--device"},
    }


def test_they_stand_in_for_their_option_wherever_the_readme_does_not_say_otherwise() -> None:
    readme = " ".join((Path(__file__).parent.parent / "README.md").read_text().split())
    assert "but for the `--layout` of `drop` and `status`" in readme

    said_only = {
        (context.command.name, option.opts[0])
        for context in commands()
        for option in context.command.params
        if {"--layout", "--keys", "--device"} & set(option.opts) and not option.envvar
    }

    assert said_only == {("drop", "--layout"), ("status", "--layout")}


def test_a_variable_named_like_a_switch_changes_nothing() -> None:
    layout = str(layouts() / "h743zi_app_bank2.yaml")

    done = splitflash("layout", "check", layout, SPLITFLASH_VERSION="1")

    assert "good, layout id" in done.stdout
