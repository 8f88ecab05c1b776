"""Where the files live that ship beside the Python code: loader sources and layouts.

An installed wheel carries them inside the package, a checkout has them beside it.
"""

from __future__ import annotations

from pathlib import Path

from packager.errors import BuildError

_PACKAGE = Path(__file__).parent


def loader_sources() -> Path:
    """Return the folder with the loader's C sources."""
    return _find("mcu_loader")


def layouts() -> Path:
    """Return the folder with the shipped layouts."""
    return _find("layouts")


def licence() -> Path:
    """Return the file with the licence of all that is ours."""
    return _find("LICENSE")


def build_folder() -> Path:
    """Return the folder for what is fetched and built once.

    That is ``build/`` in a checkout, where git ignores it, and the user's cache otherwise.
    """
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout / "build"
    return Path.home() / ".cache" / "splitflash"


def _find(name: str) -> Path:
    for found in (_PACKAGE / name, _PACKAGE.parent / name):
        if found.exists():
            return found
    raise BuildError(
        f"{_PACKAGE}", f"'{name}' is missing", "it ships with splitflash", "install it again"
    )
