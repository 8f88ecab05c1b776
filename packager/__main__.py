"""The ``splitflash`` command; ``python -m packager`` is the same."""

import sys


def main() -> None:
    """Import and run the command line; Ctrl-C is one line from the first import on."""
    try:
        from packager.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("splitflash: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
