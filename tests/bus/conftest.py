"""The mocked bus, shared by the tests of a session, and the stock programs on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import workshop
from host.build import compiler

from .mocked_bus import BusMissing, MockedBus
from .scene import Product

HERE = Path(__file__).parent


def missing(text: str) -> NoReturn:
    """Skip; where every tool must be there, fail instead of skipping."""
    if os.environ.get("SPLITFLASH_TEST_ALL_TOOLS"):
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="session")
def bus(session_folder: Path) -> Iterator[MockedBus]:
    """A USB bus that stock programs see."""
    if sys.platform != "linux":
        missing("a mocked USB bus needs Linux")
    command = compiler()
    if command is None:
        missing("no C compiler for this machine, to give stock programs virtual time")
    library = session_folder / "virtual_time.so"
    flags = ("-shared", "-fPIC", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror")
    subprocess.run([*command, *flags, HERE / "virtual_time.c", "-o", library], check=True)
    try:
        made = MockedBus(session_folder, library)
    except BusMissing as error:
        missing(f"{error}; install umockdev, gir1.2-umockdev-1.0 and python3-gi")
    yield made
    made.close()


@pytest.fixture(scope="session")
def dfu_util() -> str:
    """The distribution's dfu-util."""
    found = shutil.which("dfu-util")
    if found is None:
        missing("dfu-util is not installed")
    return found


@pytest.fixture(scope="session")
def splitflash() -> tuple[str, ...]:
    """Our own command line, as a program."""
    return sys.executable, "-m", "packager"


@pytest.fixture(scope="session")
def product(build: workshop.Build) -> Callable[[str], Product]:
    """Return the product of a layout, made once a session."""
    made: dict[str, Product] = {}

    def get(layout_name: str = workshop.DEFAULT) -> Product:
        if layout_name not in made:
            made[layout_name] = Product(build(layout_name))
        return made[layout_name]

    return get
