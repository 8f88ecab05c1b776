"""The loader of a product as a folder of sources that builds without splitflash and without Python.

Sources, flags, configuration and linker script are those of :mod:`packager.loader_parts`, so what
CMake makes of the folder is byte for byte what ``splitflash loader build`` makes with the same gcc.
The device key is left out unless asked for; without its file the folder refuses to build.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packager import files, resources
from packager.errors import BuildError
from packager.export.origin import made_by, must_be_current
from packager.export.template import fill
from packager.layout import Layout
from packager.loader_parts import (
    CONFIG_NAME,
    ELF_NAME,
    HEX_NAME,
    KEYS_NAME,
    SCRIPT_NAME,
    KeyIds,
    LoaderKeys,
    Part,
    describe,
    load_key_ids,
    load_loader_keys,
    render_config,
    render_keys,
    render_script,
    sources_of,
)
from packager.monocypher import FLAGS, SOURCES, find_monocypher, licence_text
from packager.toolchain import GCC_COMPILER, Source, compile_flags, gcc, link_flags

SOURCE_FOLDER = "src"
LIBRARY_FOLDER = "monocypher"
BUILD_FILE = "CMakeLists.txt"
OBJECTS_FILE = "objects.cmake"
NOTES_FILE = "README.md"
_FILLED = (BUILD_FILE, OBJECTS_FILE, NOTES_FILE)
_TEMPLATES = Path(__file__).parent / "loader_templates"
_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class LoaderExport:
    """What is to be exported; ``keys_dir`` needs ``device/`` only for the device key."""

    layout: Layout
    keys_dir: Path
    dev: bool = False
    with_device_key: bool = False
    monocypher: Path | None = None
    batches: tuple[str, ...] = ()
    """Whose device keys, if not all in ``device/``, or in ``public/`` without the device key."""

    def write(self, directory: Path) -> list[Path]:
        """Write the folder, whole or not at all; return the paths of its files.

        Raises:
            KeyFileError: a key is missing, blank, published or of low order.
            BuildError: no Monocypher.
            PackagerError: the folder is there already, or cannot be written.
        """
        contents = self.files()
        files.create_folder(directory, contents, secret=frozenset({KEYS_NAME}))
        return [directory / name for name in contents]

    def check(self, directory: Path) -> None:
        """Return only if every file is there just as it would be written now.

        The file with the device key counts only if it is asked for.

        Raises:
            FormatError: one is missing or differs.
            KeyFileError, BuildError: as :meth:`write`.
        """
        layout = self.layout
        options = f"--layout {layout.path} --keys {self.keys_dir}{self._options()}"
        options += " --with-device-key" * self.with_device_key
        command = f"splitflash loader export {options} -o NEW_FOLDER"
        must_be_current(directory, self.files(), layout, command)

    def key_ids(self) -> KeyIds:
        """Return the fingerprints of the keys that this loader is to hold.

        Raises:
            KeyFileError: as :meth:`write`.
        """
        held = self._held()
        return held.ids if held else load_key_ids(self.keys_dir, self.batches)

    def _held(self) -> LoaderKeys | None:
        return load_loader_keys(self.keys_dir, self.batches) if self.with_device_key else None

    def _options(self) -> str:
        """Return the options that choose which loader it is, as the command line has them."""
        return "".join(f" --batch {name}" for name in self.batches) + " --dev" * self.dev

    def files(self) -> dict[str, bytes]:
        """Return every file by name; ``KEYS_NAME`` is among them only with the device key."""
        layout, origin = self.layout, made_by(self.layout)
        root, library = resources.loader_sources(), find_monocypher(self.monocypher)
        held, key_ids = self._held(), self.key_ids()
        values = {**_values(layout, key_ids, dev=self.dev), "options": self._options()}
        texts = {
            **{name: fill(_TEMPLATES / name, values) for name in _FILLED},
            ".gitignore": f"/build*/\n{KEYS_NAME}\n",
            "LICENSE": resources.licence().read_text(encoding="utf-8"),
            CONFIG_NAME: render_config(describe(layout, key_ids, dev=self.dev), origin),
            SCRIPT_NAME: f"/* {origin} */\n{render_script(layout, root)}",
            f"{LIBRARY_FOLDER}/LICENCE.txt": licence_text(library),
            **({KEYS_NAME: render_keys(held, origin)} if held else {}),
        }
        copies = _copies(layout, library, dev=self.dev)
        return {**{name: files.text_bytes(text) for name, text in texts.items()}, **copies}


def _copies(layout: Layout, library: Path, *, dev: bool) -> dict[str, bytes]:
    """Return the sources this layout links, unchanged, and Monocypher."""
    root = resources.loader_sources()
    parts = [part.name for part in sources_of(layout, dev=dev)]
    ours = {f"{SOURCE_FOLDER}/{name}": root / name for name in (*parts, *_headers(root, parts))}
    others = {f"{LIBRARY_FOLDER}/{name}": library / name for name in SOURCES}
    return {name: path.read_bytes() for name, path in {**ours, **others}.items()}


def _headers(root: Path, sources: Iterable[str]) -> list[str]:
    """Return the headers of ours that the sources include, and those that these include."""
    found: set[str] = set()
    to_read = list(sources)
    while to_read:
        name = to_read.pop()
        for header in _INCLUDE.findall((root / name).read_text(encoding="utf-8")):
            at = _place_of(root, Path(name).parent, header)
            if at not in found and at not in SOURCES:
                found.add(at)
                to_read.append(at)
    return sorted(found)


def _place_of(root: Path, folder: Path, header: str) -> str:
    """Return where an include is found: beside the file that has it, or below the root."""
    for at in (posixpath.normpath((folder / header).as_posix()), header):
        if (root / at).is_file() or at in SOURCES:
            return at
    raise BuildError(str(root / folder), f"includes '{header}'", "which is not there", "report it")


def _values(layout: Layout, key_ids: KeyIds, *, dev: bool) -> dict[str, str]:
    toolchain = gcc(GCC_COMPILER)
    library = f"{LIBRARY_FOLDER}/monocypher.c"
    parts = sources_of(layout, dev=dev)
    return {
        "made_by": made_by(layout),
        "product": layout.product_name,
        "layout": layout.path.name,
        "kind": "DEVELOPMENT loader" if dev else "loader",
        "compiler": GCC_COMPILER,
        "key_ids": str(key_ids),
        "keys": KEYS_NAME,
        "config": CONFIG_NAME,
        "script": SCRIPT_NAME,
        "objects": OBJECTS_FILE,
        "elf": ELF_NAME,
        "hex": HEX_NAME,
        "ours": _lines([*(f"{SOURCE_FOLDER}/{part.name}" for part in parts), CONFIG_NAME]),
        "library": library,
        "flags_for_ours": _lines(compile_flags(toolchain, Source(Path()))),
        "flags_for_library": _lines(
            compile_flags(toolchain, Source(Path(), ours=False, flags=FLAGS))
        ),
        "flags_of_some": "\n".join(_more_flags(parts)),
        "link_flags": _lines(link_flags(toolchain)),
        "link_libraries": " ".join(toolchain.libraries),
    }


def _lines(words: Iterable[str]) -> str:
    return "\n".join(f"    {word}" for word in words)


def _more_flags(parts: Iterable[Part]) -> Iterator[str]:
    """Yield what some sources have beyond the others."""
    for part in parts:
        name = f"{SOURCE_FOLDER}/{part.name}"
        folder = Path(name).parent.as_posix()
        paths = () if folder == SOURCE_FOLDER else (f"-ffile-prefix-map=${{root}}/{folder}/=./",)
        for flag in (*part.flags, *paths):
            yield f"set_property(SOURCE {name} APPEND PROPERTY COMPILE_OPTIONS {flag})"
