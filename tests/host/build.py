"""Builds the loader's own C sources for the machine the tests run on, as a shared library.

All of ``CORE_SOURCES``, Monocypher and the generated configuration, with other files in place of
the seams. A C compiler of the machine does it, or the one that the package ziglang brings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from packager import resources
from packager.errors import BuildError
from packager.layout import Layout
from packager.loader_parts import (
    CORE_SOURCES,
    NO_INDICATOR,
    PRODUCTION,
    LoaderKeys,
    describe,
    render_config,
    render_keys,
)
from packager.monocypher import FLAGS, find_monocypher
from packager.toolchain import WARNINGS

HERE = Path(__file__).parent
SEAMS = ("flash_host.c", "machine_host.c", "door_host.c")
_COMMON = ("-std=c11", "-O2", "-g", "-fPIC", "-fno-strict-aliasing", "-fno-builtin")
_HOST_COMPILERS = ("gcc", "clang")
ZIG = (sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined")


@cache
def compiler() -> tuple[str, ...] | None:
    """Return the command of a C compiler for this machine, if there is one."""
    for name in _HOST_COMPILERS:
        if path := shutil.which(name):
            return (path,)
    if find_spec("ziglang"):
        return ZIG
    return None


def build_host(
    layout: Layout,
    keys: LoaderKeys,
    out: Path,
    *,
    sources: Path | None = None,
    command: Sequence[str] | None = None,
) -> Path:
    """Build the loader of a product into the shared library ``out``; return that.

    Raises:
        BuildError: no compiler, or it refuses a source.
    """
    command = command or compiler()
    if command is None:
        raise BuildError("host build", "no C compiler", "gcc, clang or ziglang", "install one")
    root, library = sources or resources.loader_sources(), find_monocypher()
    with tempfile.TemporaryDirectory(prefix="splitflash-host-") as name:
        work = Path(name)
        config = work / "config.c"
        info = describe(layout, keys.ids, dev=False)
        config.write_text(render_config(info) + render_keys(keys))
        include = [f"-I{folder}" for folder in (HERE, root, library)]
        jobs: list[tuple[Path, tuple[str, ...]]] = [
            (root / part, WARNINGS) for part in (*CORE_SOURCES, *PRODUCTION, *NO_INDICATOR)
        ]
        jobs += [(HERE / part, WARNINGS) for part in SEAMS]
        jobs += [(config, ()), (library / "monocypher.c", ("-w", *FLAGS))]

        def compile_one(number: int) -> str:
            source, flags = jobs[number]
            target = str(work / f"{number}.o")
            _run([*command, *_COMMON, *flags, *include, "-c", str(source), "-o", target], work)
            return target

        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compile_one, range(len(jobs))))
        _run([*command, "-shared", *objects, "-o", str(out)], work)
    return out


def _run(command: list[str], work: Path) -> None:
    environment = {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": str(resources.build_folder() / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(work / "zig"),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise BuildError("host build", f"the compiler says\n{done.stderr}", "", "correct it")
