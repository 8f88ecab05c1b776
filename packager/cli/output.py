"""What a command writes: always named, and never what it reads or what else it writes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from packager.cli.device import SIM, DeviceName

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class OutputPath(click.Path):
    """A file or folder to write; an empty name, as an unset variable gives it, is wrong usage."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See that there is a name."""
        if not os.fspath(value):
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


OUTPUT_FILE = OutputPath(dir_okay=False, path_type=Path)
OUTPUT_FOLDER = OutputPath(file_okay=False, readable=False, path_type=Path)


def output_option(*names: str, **attributes: Any) -> Callable[[_Command], _Command]:
    """Declare an option that names a file to write, and check it before the command does anything.

    What is there is replaced only if it is no input of this command, no other output of it, and
    nothing that :func:`packager.files.refuse_to_replace` protects.
    """
    attributes.setdefault("type", OUTPUT_FILE)

    def decorate(command: _Command) -> _Command:
        return click.option(*names, **attributes)(_checked(command))  # type: ignore[return-value]

    return decorate


def _checked(command: Callable[_P, _R]) -> Callable[_P, _R]:
    @functools.wraps(command)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        from packager.files import refuse_to_replace

        context = click.get_current_context()
        for param, path in _paths(context):
            if isinstance(param.type, OutputPath) and not path.is_dir():
                _refuse_clash(context, param, path)
                refuse_to_replace(path)
        return command(*args, **kwargs)

    return checked


def _refuse_clash(context: click.Context, output: click.Parameter, path: Path) -> None:
    for other, taken in _paths(context):
        if other is not output and _is_same(path, taken):
            found = f"'{path}' is {other.get_error_hint(context)} too; name another file"
            raise click.BadParameter(found, context, output)


def _paths(context: click.Context) -> Iterator[tuple[click.Parameter, Path]]:
    """Yield every file and folder that the command was given; a virtual board is one too."""
    for param in context.command.params:
        value = context.params.get(param.name or "")
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None and isinstance(param.type, click.Path):
                yield param, Path(one)
            elif one is not None and isinstance(param.type, DeviceName) and one.startswith(SIM):
                yield param, Path(one.removeprefix(SIM))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is still to be made
        return os.path.realpath(one) == os.path.realpath(other)
