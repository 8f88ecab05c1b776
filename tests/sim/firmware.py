"""Small programs for the virtual core, compiled on the spot."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile

HERE = Path(__file__).parent
_FLAGS = ("-O1", "-g", "-ffreestanding", "-fno-builtin", "-Wall", "-Werror", "-I", str(HERE))


@cache
def _compiler() -> tuple[str, ...]:
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc:
        return (
            gcc,
            "-mcpu=cortex-m7",
            "-mthumb",
            "-nostdlib",
            "-fno-tree-loop-distribute-patterns",
        )
    zig = (sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi")
    if subprocess.run([*zig[:3], "version"], capture_output=True, check=False).returncode == 0:
        return (*zig, "-mcpu=cortex_m7", "-fno-sanitize=undefined")
    raise AssertionError("no Arm compiler: install arm-none-eabi-gcc, or ziglang from PyPI")


@cache
def build(body: str, *, at: int = 0x0800_0000, stack: int = 0x2001_FF00) -> dict[int, bytes]:
    """Compile the C text around ``mini.h``; returns the segments to program."""
    source = f'#include "mini.h"\n{body}\n'
    script = (
        f"ENTRY(reset) SECTIONS {{ . = {at:#x}; .text : {{ KEEP(*(.vectors)) *(.text*) *(.rodata*)"
        " . = ALIGN(32); } _itcm_from = .;"
        " .itcm 0x100 : AT(_itcm_from) { _itcm = .; *(.itcm*) . = ALIGN(4); _itcm_end = .; }"
        " .bss 0x20000000 (NOLOAD) : { *(.bss*) *(.data*) }"
        " /DISCARD/ : { *(.ARM.*) } }"
    )
    name = hashlib.sha256((source + script).encode()).hexdigest()[:16]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / f"{name}.c").write_text(source)
        (work / "link.ld").write_text(script)
        command = [
            *_compiler(),
            *_FLAGS,
            "-Wl,-T,link.ld",
            "-Wl,--build-id=none",
            f"-DSTACK={stack}u",
        ]
        command += [f"{name}.c", str(HERE / "mini_start.c")]
        done = subprocess.run(
            [*command, "-o", "out.elf"],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ZIG_LOCAL_CACHE_DIR": folder},
        )
        assert done.returncode == 0, done.stderr
        with (work / "out.elf").open("rb") as file:
            return {
                segment["p_paddr"]: segment.data()
                for segment in ELFFile(file).iter_segments("PT_LOAD")
                if segment["p_filesz"] and segment["p_paddr"] >= at
            }


APP = """
void main(void) { print("app\\n"); for (;;) {} }
"""
WRITER = """
static const uint32_t words[8] = {1, 2, 3, 4, 5, 6, 7, 8};
void main(void) {
    unlock(1);
    erase(1, 7);
    for (uint32_t i = 0; i < 8; i++) { program(1, 0x081E0000u + 32u * i, words); }
    jump(BANK2);
}
"""
"""Erases the last sector, programs eight words there, and starts the program in bank 2."""
