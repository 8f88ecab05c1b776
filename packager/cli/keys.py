"""``splitflash keygen``: make the keys of a product, once."""

from __future__ import annotations

from pathlib import Path

import click

_FOLDERS = (
    (
        "signing",
        "whoever releases updates; pack needs it",
        "if 'active' is lost 'spare' signs; if both are lost no device takes an update ever again",
    ),
    (
        "device",
        "whoever builds loaders; loader build needs it",
        "if lost no further loader can be built for this key; if leaked every update can be read",
    ),
    (
        "public",
        "everybody who packs or builds loaders",
        "can be made again from the others",
    ),
)
"""Folder, with whom it stays, what is lost with it."""


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def keygen(directory: Path) -> None:
    """Make signing keys (active, spare) and a device key below DIR; nothing is ever replaced."""
    from packager.keys import keygen as make_keys

    made = make_keys(directory)
    for name, key_id in made.fingerprints.items():
        click.echo(f"{name}: {key_id.hex()}")
    for path in made.paths:
        click.echo(f"wrote: {path}")
    for folder, owner, loss in _FOLDERS:
        click.echo(f"{directory / folder}: stays with {owner}; {loss}")
    click.echo("keep a copy of signing/ and device/ offline, and signing/spare.pem apart")
