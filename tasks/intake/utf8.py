"""Names of files are UTF-8 in any locale, as they are in requests and in ftrack."""

from __future__ import annotations

import os
import sys

UTF8 = "utf-8"


def begin_in_utf8() -> None:
    """Start this program again in Python's UTF-8 mode, unless it reads names as UTF-8 already.

    In a locale such as en_US (ISO-8859-1), Python reads the bytes of a name as other letters.
    The hook would still find the file here, and ask for a name that no worker finds.
    """
    # Whoever runs Python with -X utf8=0 has decided, and must not be asked for ever.
    if sys.getfilesystemencoding() == UTF8 or "utf8" in sys._xoptions:  # noqa: SLF001
        return
    try:
        # The bytes as they were, and Python's own options among them.
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().split(b"\0")[1:-1]
        python = os.fsencode(sys.executable)  # as the first word, it tells Python its environment
        os.execv(python, [python, b"-X", b"utf8", *words])  # noqa: S606 no shell
    except OSError:
        pass  # not Linux, or Python has no file of its own: ASCII names still work
