"""The Windows of these tests is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.windows.python import WindowsPython

pytestmark = [pytest.mark.windows, pytest.mark.timeout(900)]


def test_python_is_that_of_windows_with_tls(windows: WindowsPython) -> None:
    done = windows.run("-c", "import os, ssl; print(os.name, ssl.OPENSSL_VERSION)")
    assert done.stdout.startswith(b"nt OpenSSL 3")
    assert done.stderr == b""


def test_a_drive_and_a_share_are_folders_of_this_system(
    windows: WindowsPython, tmp_path: Path
) -> None:
    (tmp_path / "größe 映像.exr").write_bytes(b"pixels")
    windows.drive("P", tmp_path)
    windows.share("server", "prod", tmp_path)
    code = "import os, sys; [print(ascii(os.listdir(path))) for path in sys.argv[1:]]"
    places = ("P:\\", "p:/", "\\\\server\\prod", "\\\\?\\P:\\", "\\\\?\\UNC\\server\\prod\\")
    done = windows.run("-c", code, *places)
    assert done.stdout.decode().splitlines() == [ascii(["größe 映像.exr"])] * len(places), done
