"""``python -m packager`` is the ``splitflash`` command."""

from packager.cli import main

main()
