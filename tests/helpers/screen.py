"""``farmhaul watch`` on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from typing import Self

from tests.farm import BIN, Farm, heed_sigint

COLUMNS, LINES = 80, 24
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Screen:
    """The command on a terminal of 80 columns and 24 lines."""

    def __init__(self, farm: Farm, *arguments: str, **env: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {**farm.environment(), "TERM": "xterm-256color", **env}
        environment.pop("COLUMNS", None)
        self.process = subprocess.Popen(
            [BIN / "farmhaul", "watch", *arguments],
            env=environment, stdin=slave, stdout=slave, stderr=slave, preexec_fn=heed_sigint,
        )  # fmt: skip
        os.close(slave)
        self.raw = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while block := os.read(self._master, 65536):
                self.raw += block
        except OSError:  # how Linux says that the other end is closed
            pass

    @property
    def text(self) -> str:
        # Each table is drawn from the top left corner, without a newline before it.
        shown = self.raw.decode(errors="replace").replace("\x1b[H", "\n").replace("\r", "")
        return CONTROLS.sub("", shown.replace("\x1b[?1049l", "\n"))

    @property
    def last(self) -> str:
        """The last table that was shown."""
        return self.text[self.text.rfind("state      file") :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the command, if a test has failed before it did."""
        if self.process.poll() is None:
            self.interrupt()

    def wait(self) -> int:
        code = self.process.wait(60)
        self._reader.join(10)
        os.close(self._master)
        return code

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.wait()
