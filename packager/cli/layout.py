"""``splitflash layout``: check, show and export a flash layout."""

from __future__ import annotations

from pathlib import Path

import click

from packager.cli import FOLDER_OPTION
from packager.cli.output import output_option
from packager.layout import Layout, load_layout, read_layout

_LAYOUT = click.argument(
    "layout_path", metavar="LAYOUT", type=click.Path(dir_okay=False, path_type=Path)
)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def layout() -> None:
    """Check, show and export flash layouts."""


@layout.command()
@_LAYOUT
def check(layout_path: Path) -> None:
    """Check a layout against its chip; warn of what may not be meant."""
    from packager.layout_lint import warnings_of

    checked, draft = read_layout(layout_path)
    for warning in warnings_of(checked):
        click.echo(draft.tell(warning, "warning: "), err=True)
    click.echo(f"{layout_path}: good, layout id {checked.layout_id.hex()}")
    size = checked.largest_image
    click.echo(f"largest updatable image: {size} bytes ({size / 1024:.1f} KiB)")


@layout.command()
@_LAYOUT
@click.option("--app", type=_FILE, help="Show how full APP (.elf, .hex, .bin) makes the app area.")
@click.option("--update", type=_FILE, help="Show how full an update makes staging.")
@output_option("--svg", help="Write a vector picture instead, for documents.")
def show(layout_path: Path, app: Path | None, update: Path | None, svg: Path | None) -> None:
    """Draw the flash map."""
    from packager.files import write_atomic
    from packager.flash_map import draw
    from packager.flash_svg import draw_svg

    shown = load_layout(layout_path)
    filled = _filled(shown, app, update)
    if svg is None:
        click.echo(draw(shown, filled))
    else:
        write_atomic(svg, draw_svg(shown, filled).encode())
        click.echo(str(svg))


def _filled(layout: Layout, app: Path | None, update: Path | None) -> dict[str, int]:
    """Return the bytes in use of app area and staging."""
    filled = {}
    if app is not None:
        from packager.image import load_image

        filled["app"] = len(load_image(app, layout).data)
    if update is not None:
        from packager.update_file import read_update_file

        filled["staging"] = len(read_update_file(update).data)
    return filled


@layout.command()
@click.option("--reference", is_flag=True, help="The tables of all keys and chips instead.")
def schema(reference: bool) -> None:
    """Print the JSON Schema of layouts, for editors; put it beside yours."""
    from packager.layout_schema import reference_text, schema_text

    click.echo(reference_text() if reference else schema_text(), nl=False)


@layout.command()
@_LAYOUT
@FOLDER_OPTION
@click.option("--check", "only_check", is_flag=True, help="Write nothing; fail if not current.")
def export(layout_path: Path, directory: Path, only_check: bool) -> None:
    """Write linker scripts, C header, CMake module and CubeIDE notes for the application."""
    from packager.export import check_export, export_layout

    exported = load_layout(layout_path)
    if only_check:
        check_export(exported, directory)
        click.echo(f"{directory}: current")
        return
    for path in export_layout(exported, directory):
        click.echo(str(path))
