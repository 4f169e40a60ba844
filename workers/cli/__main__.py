"""``python -m workers.cli`` is the command ``farmhaul``."""

from workers.cli import main

main()
