"""Builds the loader for one layout and one set of keys.

Writes two files that hold the device key, named and moded as the secrets they are. Reads
``device/`` and ``public/`` of the keys folder, never ``signing/``.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from packager import files, resources
from packager.chip import KIB, Span
from packager.errors import BuildError, PackagerError
from packager.hex_file import write_hex
from packager.image import elf_segments
from packager.layout import Layout
from packager.loader_parts import (
    CONFIG_NAME,
    ELF_NAME,
    HEX_NAME,
    KEYS_NAME,
    SCRIPT_NAME,
    LoaderKeys,
    describe,
    load_loader_keys,
    refuse_weak_keys,
    render_config,
    render_keys,
    render_script,
    sources_of,
)
from packager.monocypher import FLAGS, find_monocypher
from packager.records import InfoBlock
from packager.toolchain import Source, Toolchain, compile_link, find_toolchain

LARGEST_LOADER = 40 * KIB
"""Bytes of flash the loader may take; what the toolchains really need is pinned by a test."""


@dataclass(frozen=True)
class BuiltLoader:
    """What was built: ``segments`` by address, ``size`` in bytes of flash."""

    elf: Path
    hex: Path
    info: InfoBlock
    size: int
    toolchain: str


def build_loader(
    layout: Layout,
    loader_keys: Path | LoaderKeys,
    out_dir: Path,
    *,
    dev: bool = False,
    toolchain: Toolchain | str | None = None,
    monocypher: Path | None = None,
    sources: Path | None = None,
) -> BuiltLoader:
    """Compile and link the loader and write ``loader_SECRET.elf`` and ``.hex`` into ``out_dir``.

    Raises:
        KeyFileError: a key is missing, blank, published or of low order.
        BuildError: no toolchain, no Monocypher, or it does not compile or fit.
    """
    if isinstance(loader_keys, Path):
        loader_keys = load_loader_keys(loader_keys)
    refuse_weak_keys(loader_keys)
    return build_unchecked(
        layout,
        loader_keys,
        out_dir,
        dev=dev,
        toolchain=toolchain,
        monocypher=monocypher,
        sources=sources,
    )


def build_unchecked(
    layout: Layout,
    loader_keys: LoaderKeys,
    out_dir: Path,
    *,
    dev: bool = False,
    toolchain: Toolchain | str | None = None,
    monocypher: Path | None = None,
    sources: Path | None = None,
) -> BuiltLoader:
    """Build with any keys, so that a test can show what the loader itself refuses."""
    if not isinstance(toolchain, Toolchain):
        toolchain = find_toolchain(toolchain)
    library = find_monocypher(monocypher)
    root = sources or resources.loader_sources()
    info = describe(layout, loader_keys.ids, dev=dev)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PackagerError(str(out_dir), f"cannot be made ({error.strerror})") from error
    with tempfile.TemporaryDirectory(prefix="splitflash-") as name:
        work = Path(name)
        generated = {CONFIG_NAME: render_config(info), KEYS_NAME: render_keys(loader_keys)}
        for file_name, text in generated.items():
            (work / file_name).write_text(text)
        script = work / SCRIPT_NAME
        script.write_text(render_script(layout, root))
        elf = compile_link(
            [
                *(
                    Source(root / part.name, flags=part.flags)
                    for part in sources_of(layout, dev=dev)
                ),
                *(Source(work / file_name) for file_name in generated),
                Source(library / "monocypher.c", ours=False, flags=FLAGS),
            ],
            script,
            out_dir / ELF_NAME,
            toolchain=toolchain,
            include=(root, library),
            mode=files.SECRET_MODE,
        )
    segments = elf_segments(elf)
    size = _flash_size(segments, layout.loader)
    hex_path = out_dir / HEX_NAME
    files.write_atomic(hex_path, write_hex(segments), files.SECRET_MODE)
    return BuiltLoader(elf, hex_path, info, size, toolchain.name)


def _flash_size(segments: dict[int, bytes], loader: Span) -> int:
    for address, data in segments.items():
        if not loader.contains(address, len(data)):
            raise BuildError(
                "loader", f"has {len(data)} bytes at 0x{address:08X}", "outside its area", "report"
            )
    size = max(address + len(data) for address, data in segments.items()) - loader.start
    if size > LARGEST_LOADER:
        raise BuildError("loader", f"{size} bytes", f"at most {LARGEST_LOADER}", "shorten it")
    return size
