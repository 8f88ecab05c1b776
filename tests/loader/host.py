"""Compiles loader sources for the machine the tests run on, so that Python can call them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from packager import resources
from packager.monocypher import FLAGS, find_monocypher
from packager.toolchain import WARNINGS

MCU_LOADER = resources.loader_sources()
CRYPTO = (
    *("mem.c", "crc32.c", "crypto/sha512.c", "crypto/hkdf.c", "crypto/ed25519.c"),
    *("crypto/x25519.c", "crypto/aead.c"),
)


def compiler() -> list[str]:
    """Return a host compiler; Zig brings one where there is none."""
    for name in ("gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    zig = subprocess.run([sys.executable, "-m", "ziglang", "version"], capture_output=True)
    if zig.returncode == 0:
        return [sys.executable, "-m", "ziglang", "cc"]
    if os.environ.get("SPLITFLASH_TEST_ALL_TOOLS"):
        pytest.fail("no compiler for this machine")
    pytest.skip("no compiler for this machine")


def build_library(out: Path, names: tuple[str, ...]) -> ctypes.CDLL:
    """Compile these files of ``mcu_loader/`` (and Monocypher) into a shared library."""
    library = find_monocypher()
    driver = compiler()
    common = ["-std=c11", "-O1", "-fPIC", "-ffreestanding", "-fno-strict-aliasing"]
    if "gcc" in driver[0]:
        common.append("-fno-tree-loop-distribute-patterns")
    objects = []
    sources = [(MCU_LOADER / name, [*WARNINGS]) for name in names]
    sources.append((library / "monocypher.c", ["-w", *FLAGS]))
    for number, (source, flags) in enumerate(sources):
        target = out / f"{number}.o"
        include = [f"-I{MCU_LOADER}", f"-I{library}"]
        run([*driver, *common, *flags, *include, "-c", str(source), "-o", str(target)])
        objects.append(str(target))
    shared = out / "host.so"
    run([*driver, "-shared", *objects, "-o", str(shared)])
    return ctypes.CDLL(str(shared))


def variable(library: ctypes.CDLL, name: str, *, beside: str) -> ctypes.Array[ctypes.c_ubyte]:
    """Return a variable that is private to a C file, as it is in memory now."""
    with Path(library._name).open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        there, function = (table.get_symbol_by_name(symbol)[0] for symbol in (name, beside))
    loaded = ctypes.cast(getattr(library, beside), ctypes.c_void_p).value
    assert loaded is not None
    address = loaded - function["st_value"] + there["st_value"]
    return (ctypes.c_ubyte * there["st_size"]).from_address(address)


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
