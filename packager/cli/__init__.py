"""The command line: parse, call one function, print.

Commands are imported only when they are called, so that ``pack`` starts fast.
"""

from __future__ import annotations

import gc
import importlib
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from packager import __version__
from packager.cli.output import OUTPUT_FOLDER
from packager.errors import PackagerError

EXIT_CODES = """\b
Exit codes:
  0  done                             9  loader or sample application not built
  1  other error                     10  device error
  2  wrong usage                     11  no device found
  3  layout file                     12  several devices, none chosen
  4  file format                     13  permission or driver
  5  application image               14  device is read-protected
  6  signature, tag or key mismatch  15  read-back differs
  7  key file                        16  device did not answer in time
  8  update refused here             17  not all of several devices done
 20  broken chip rule (simulation)   18  update does not fit into staging
130  interrupted (Ctrl-C)
"""

COMMANDS = {
    "demo": "packager.cli.demo:demo",
    "keygen": "packager.cli.keys:keygen",
    "layout": "packager.cli.layout:layout",
    "loader": "packager.cli.loader:loader",
    "factory": "packager.cli.factory:factory",
    "pack": "packager.cli.update:pack",
    "inspect": "packager.cli.update:inspect",
    "verify": "packager.cli.update:verify",
    "unpack": "packager.cli.update:unpack",
    "kit": "packager.cli.kit:kit",
    "drop": "packager.cli.drop:drop",
    "devices": "packager.cli.status:devices",
    "status": "packager.cli.status:status",
    "doctor": "packager.cli.doctor:doctor",
    "sim": "packager.cli.sim:sim",
}
"""Each command and where it lives, in the order of a product's life."""


GC_THRESHOLD = 100_000
"""Objects between two collections; Python's own 700 makes dozens of them while it imports."""


class LazyGroup(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of a product's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="splitflash")
def cli() -> None:
    """Encrypted, signed firmware updates for STM32H743 devices over plain USB DfuSe."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors go to stderr, one line each."""
    try:
        result: Any = cli.main(args=arguments, prog_name="splitflash", standalone_mode=False)
    except PackagerError as error:
        click.echo(f"splitflash: {error}", err=True)
        return error.exit_code
    except click.exceptions.Abort:
        click.echo("splitflash: interrupted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:
        click.echo(f"splitflash: {_os_error(error)}", err=True)
        return PackagerError.exit_code
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Entry point of the ``splitflash`` command."""
    # Importing allocates much and frees nothing: collecting then is a fifth of a short run's time.
    gc.set_threshold(GC_THRESHOLD)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # A file name need not be text, nor fit the encoding of the terminal.
        sys.stdout.reconfigure(errors="backslashreplace")
    code = run()
    gc.freeze()  # the interpreter's last collections have nothing to walk
    sys.exit(code)


def _os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; check the path and its permissions"


_Command = TypeVar("_Command", bound=Callable[..., Any])


def layout_option(text: str, *, required: bool = False) -> Callable[[_Command], _Command]:
    """Declare ``--layout``, which the environment can stand in for."""
    return click.option(
        "--layout",
        "layout_path",
        required=required,
        envvar="SPLITFLASH_LAYOUT",
        show_envvar=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help=text,
    )


def keys_option(text: str, *, required: bool = False) -> Callable[[_Command], _Command]:
    """Declare ``--keys``, which the environment can stand in for."""
    return click.option(
        "--keys",
        "keys_dir",
        required=required,
        envvar="SPLITFLASH_KEYS",
        show_envvar=True,
        # whether it may be read is for the room of the keys to say, with its exit code
        type=click.Path(file_okay=False, readable=False, path_type=Path),
        help=text,
    )


LAYOUT_OPTION = layout_option("Flash layout of the product (YAML).", required=True)
KEYS_OPTION = keys_option("Key folder made by keygen.", required=True)
VERSION_OPTION = click.option("--version", required=True, help="Version of APP, like 1.4.2.")
COUNTER_OPTION = click.option(
    "--counter",
    type=click.IntRange(0, 0xFFFF_FFFF),
    help="Security counter of APP: raise it to shut out older updates. Default: the layout's.",
)
SIGNING_KEY_OPTION = click.option(
    "--signing-key",
    type=click.Choice(["active", "spare"]),
    help="Which key signs. Default: active, or spare when active is gone.",
)
BATCH_OPTION = click.option(
    "--batch",
    "batches",
    metavar="NAME",
    multiple=True,
    help="Whose device key goes into the loader, once or twice. Default: all there are, if at"
    " most 2.",
)
TOOLCHAIN_OPTION = click.option(
    "--toolchain",
    type=click.Choice(["gcc", "zig"]),
    help="Compiler; arm-none-eabi-gcc when installed, else zig.",
)
FOLDER_OPTION = click.option(
    "-o",
    "--output",
    "directory",
    required=True,
    type=OUTPUT_FOLDER,
    help="Folder for the files; made if it is missing.",
)
