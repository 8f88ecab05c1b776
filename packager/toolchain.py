"""Compiles and links bare-metal C for the Cortex-M7, with GNU Arm or with Zig.

Both give the same bytes for the same sources, wherever these lie. Nothing secret is left behind:
objects live in a private temporary folder, and Zig keeps only its own run-time in a lasting cache.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packager import files, resources
from packager.errors import BuildError

GCC = "gcc"
ZIG = "zig"
GCC_COMPILER = "arm-none-eabi-gcc"
NAMES = (GCC, ZIG)
"""Toolchains by name, best known first."""

WARNINGS = (
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wundef",
    "-Wvla",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wpointer-arith",
    "-Wcast-qual",
    "-Wwrite-strings",
    "-Werror",
)
"""For our own sources."""

_COMMON = (
    "-std=c11",
    "-Os",
    "-g",
    "-mfloat-abi=soft",
    "-ffreestanding",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-common",
    "-fno-strict-aliasing",
)


@dataclass(frozen=True)
class Toolchain:
    """A compiler driver and what only this one needs."""

    name: str
    command: tuple[str, ...]
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    libraries: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """One C file; sources of others are compiled without our warnings."""

    path: Path
    ours: bool = True
    flags: tuple[str, ...] = ()


def find_toolchain(name: str | None = None) -> Toolchain:
    """Return the named toolchain, or the first of :data:`NAMES` that is installed.

    Raises:
        BuildError: it, or any, is missing; says what to install.
    """
    if name is not None and name not in NAMES:
        raise BuildError(f"toolchain '{name}'", "unknown", f"one of {', '.join(NAMES)}", "name one")
    for candidate in NAMES if name is None else (name,):
        found = _gcc() if candidate == GCC else _zig()
        if found:
            return found
    wanted = {GCC: f"{GCC_COMPILER} is not on PATH", ZIG: "the package ziglang is not installed"}
    found_text = wanted[name] if name else "neither arm-none-eabi-gcc nor ziglang is installed"
    raise BuildError(
        "toolchain",
        found_text,
        "a compiler for the Cortex-M7 is needed",
        "install the GNU Arm toolchain, or 'pip install ziglang'",
    )


def installed() -> list[str]:
    """Return the names of the toolchains that are installed."""
    return [name for name, find in ((GCC, _gcc), (ZIG, _zig)) if find()]


def compile_flags(toolchain: Toolchain, source: Source) -> tuple[str, ...]:
    """Return the flags that decide what a source becomes; paths are not among them."""
    warnings = WARNINGS if source.ours else ("-w",)
    return (*toolchain.compile_flags, *_COMMON, *warnings, *source.flags)


def link_flags(toolchain: Toolchain) -> tuple[str, ...]:
    """Return the flags of the linker but script, objects and libraries."""
    return (*toolchain.link_flags, "-Wl,--gc-sections", "-Wl,--build-id=none")


def compile_link(
    sources: Sequence[Source | Path],
    linker_script: Path,
    out: Path,
    *,
    toolchain: Toolchain | str | None = None,
    include: Sequence[Path] = (),
    mode: int = files.PUBLIC_MODE,
) -> Path:
    """Compile every source, link them by the script (which names the entry) and write ``out``.

    Raises:
        BuildError: no toolchain, or the compiler or linker complains; carries what it said.
    """
    if not isinstance(toolchain, Toolchain):
        toolchain = find_toolchain(toolchain)
    with tempfile.TemporaryDirectory(prefix="splitflash-") as folder:
        work = Path(folder).resolve()
        objects = [
            _compile(
                toolchain,
                source if isinstance(source, Source) else Source(source),
                n,
                include,
                work,
            )
            for n, source in enumerate(sources)
        ]
        for fragment in (path for folder in include for path in folder.glob("*.ld")):
            # INCLUDE in a linker script looks in the current folder; zig passes no -L on
            shutil.copy(fragment, work)
        linked = work / "linked.elf"
        script = linker_script.resolve()
        command = [
            *toolchain.command,
            *link_flags(toolchain),
            "-T",
            str(script),
            *(str(path) for path in objects),
            *toolchain.libraries,
            "-o",
            str(linked),
        ]
        _run(command, work, toolchain, out.name)
        files.write_atomic(out, linked.read_bytes(), mode)
    return out


def _compile(
    toolchain: Toolchain, source: Source, number: int, include: Sequence[Path], work: Path
) -> Path:
    path = source.path.resolve()
    target = work / f"{number:02}_{path.stem}.o"
    command = [
        *toolchain.command,
        *compile_flags(toolchain, source),
        *(f"-I{folder.resolve()}" for folder in include),
        # the same bytes wherever the sources lie; without the slash, /tmp/s would be taken for
        # the beginning of /tmp/splitflash-1234
        *(f"-ffile-prefix-map={folder.resolve()}/=./" for folder in include),
        f"-ffile-prefix-map={path.parent}/=./",
        f"-ffile-prefix-map={work}=.",
        "-c",
        str(path),
        "-o",
        str(target),
    ]
    _run(command, work, toolchain, path.name)
    return target


def _run(command: list[str], work: Path, toolchain: Toolchain, what: str) -> None:
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": "0",
        "ZIG_GLOBAL_CACHE_DIR": str(resources.build_folder() / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(work / "zig"),  # objects may hold keys: gone with the folder
    }
    try:
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise BuildError(toolchain.command[0], f"cannot be run ({error.strerror})") from error
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise BuildError(what, f"{toolchain.name} refuses it:\n{said}", "", "correct the source")


def _gcc() -> Toolchain | None:
    compiler = shutil.which(GCC_COMPILER)
    return gcc(compiler) if compiler else None


def gcc(compiler: str) -> Toolchain:
    """Return the GNU Arm toolchain with this compiler driver, installed here or not."""
    cpu = ("-mcpu=cortex-m7", "-mthumb")
    return Toolchain(
        GCC,
        (compiler,),
        (
            *cpu,
            # or gcc turns the loops of our memset into calls of memset
            "-fno-tree-loop-distribute-patterns",
            # each makes code smaller, also with -Os
            "-fno-schedule-insns2",
            "-fno-move-loop-invariants",
            "-fno-tree-coalesce-vars",
            "-fno-tree-scev-cprop",
            "-fno-tree-tail-merge",
            "-fno-ssa-phiopt",
            "-fira-region=all",
        ),
        (*cpu, "-mfloat-abi=soft", "-nostdlib", "-nostartfiles"),
        ("-lgcc",),
    )


def _zig() -> Toolchain | None:
    if importlib.util.find_spec("ziglang") is None:
        return None
    cpu = ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m7")
    return Toolchain(
        ZIG,
        (sys.executable, "-m", "ziglang", "cc"),
        (*cpu, "-fno-sanitize=undefined"),
        # no -nostdlib, which would drop the compiler's run-time; no --entry would keep nothing
        (*cpu, "-mfloat-abi=soft", "-g", "-Wl,--entry=Reset_Handler"),
        (),
    )
