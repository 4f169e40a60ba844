"""Paths of Windows, where the hook runs on Windows. tests/windows runs it there for real."""

from __future__ import annotations

import ntpath
from types import SimpleNamespace

import pytest

from tasks.config import environment, path_map
from tasks.config.path_map import absolute, check_here, mapped
from tasks.transfer import allowed, windows
from tasks.transfer.errors import FileRefusedError
from tasks.transfer.windows import is_windows_path, on_disk, ordinary, real_path

ROOTS = ("P:\\prod", "\\\\NAS\\Vol")


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that know the system see a Windows; its files are not looked at."""
    system = SimpleNamespace(path=ntpath, sep="\\", pathsep=";")
    for module in (path_map, allowed, windows):
        monkeypatch.setattr(module, "os", system)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("P:\\prod\\a.exr", "P:/prod/a.exr"),
        ("p:/Prod/a.exr", "p:/Prod/a.exr"),
        ("P:\\prod\\..\\b\\.\\a.exr", "P:/b/a.exr"),
        ("\\\\nas\\vol\\a.exr", "\\\\nas/vol/a.exr"),
        ("//nas/vol/a.exr", "\\\\nas/vol/a.exr"),
        ("\\\\?\\P:\\prod\\a.exr", "P:/prod/a.exr"),
        ("\\\\?\\UNC\\nas\\vol\\a.exr", "\\\\nas/vol/a.exr"),
        ("\\\\?\\unc\\nas\\vol\\a.exr", "\\\\nas/vol/a.exr"),
        ("//?/P:/prod/a.exr", "P:/prod/a.exr"),
        ("P:\\sh\\f.%04d.exr [1-10]", "P:/sh/f.%04d.exr [1-10]"),
    ],
)
@pytest.mark.usefixtures("on_windows")
def test_a_record_has_a_windows_path_with_slashes(path: str, expected: str) -> None:
    assert absolute(path, ()) == expected
    assert absolute(expected, ()) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("\\\\?\\P:\\prod\\a.exr", "P:/prod/a.exr"),
        ("\\\\?\\UNC\\nas\\vol\\a.exr", "\\\\nas/vol/a.exr"),
        ("\\\\?\\Volume{4c1b}\\a.exr", "\\\\?/Volume{4c1b}/a.exr"),
        ("/mnt/P:\\a.exr", "/mnt/P:\\a.exr"),
    ],
)
def test_a_long_path_has_its_ordinary_form_on_any_system(path: str, expected: str) -> None:
    assert absolute(path, ()) == expected
    assert absolute("\\\\?\\P:\\prod\\a.exr", [("P:\\prod", "/mnt/prod")]) == "/mnt/prod/a.exr"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mnt/prod/sh/a.exr", "P:/prod/sh/a.exr"),
        ("/mnt/cache/a.exr", "\\\\nas/vol/a.exr"),
        ("Q:\\A.exr", "P:/prod/q/A.exr"),
        ("P:\\PROD\\a.exr", "P:/PROD/a.exr"),
        ("\\\\nas\\VOL\\a.exr", "\\\\nas/VOL/a.exr"),
        ("/mnt/production/../x/a.exr", "/mnt/x/a.exr"),
        ("\\production\\a.exr", "Z:/production/a.exr"),
    ],
)
@pytest.mark.usefixtures("on_windows")
def test_a_map_leads_to_drives_and_shares(
    path: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ntpath, "abspath", lambda text: ntpath.normpath(ntpath.join("Z:\\", text)))
    pairs = [("/mnt/prod", "P:\\prod"), ("/mnt/cache", "\\\\nas\\vol"), ("Q:\\", "P:\\prod\\q")]

    once = absolute(path, pairs)

    assert once == expected
    assert absolute(once, pairs) == once


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("P:/prod/a.exr", "P:\\prod\\a.exr"),
        ("p:/PROD/a.exr", "p:\\PROD\\a.exr"),
        ("P:/prod", "P:\\Prod"),
        ("P:/prod/a.exr", "\\\\?\\P:\\prod\\a.exr"),
        ("\\\\nas/vol/a.exr", "\\\\nas\\VOL\\a.exr"),
        ("\\\\nas/vol/a.exr", "\\\\?\\UNC\\nas\\vol\\a.exr"),
    ],
)
@pytest.mark.usefixtures("on_windows")
def test_roots_are_compared_in_any_case_on_windows(path: str, real: str) -> None:
    check_here(path, real, ROOTS, look=True)
    with pytest.raises(FileRefusedError, match=r"outside the storage roots \(C:\\other\)"):
        check_here(path, real, ["C:\\other"], look=True)


@pytest.mark.usefixtures("on_windows")
def test_a_path_outside_the_roots_is_refused_on_windows() -> None:
    for real in ("P:\\production\\a.exr", "P:\\a.exr", "Q:\\prod\\a.exr", "\\\\nas\\vol2\\a.exr"):
        with pytest.raises(FileRefusedError, match=r"is outside the storage roots \(P:"):
            check_here(real.replace("\\", "/"), real, ROOTS, look=True)
        check_here(windows.with_slashes(real), real, ROOTS, look=False)


@pytest.mark.usefixtures("on_windows")
def test_windows_does_not_look_at_paths_of_linux() -> None:
    path = "/mnt/prod/a.exr"
    with pytest.raises(FileRefusedError, match="is a Linux path that FARMHAUL_PATH_MAP does not"):
        check_here(path, "Z:\\mnt\\prod\\a.exr", ROOTS, look=True)
    check_here(path, "Z:\\mnt\\prod\\a.exr", ROOTS, look=False)


@pytest.mark.usefixtures("on_windows")
def test_windows_maps_to_paths_of_linux_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # As Python 3.13 has it.
    monkeypatch.setattr(ntpath, "isabs", lambda text: ntpath.splitdrive(text)[0] != "")
    pairs = environment.path_map("P:\\=/mnt/prod;\\\\NAS\\vol=/mnt/cache/")

    assert absolute("p:\\sh\\a.exr", pairs) == "/mnt/prod/sh/a.exr"
    assert absolute("\\\\nas\\vol\\a.exr", pairs) == "/mnt/cache/a.exr"
    assert environment.absolute_path("P:\\prod") == "P:\\prod"
    with pytest.raises(ValueError, match="is not an absolute path"):
        environment.absolute_path("\\prod")


def test_only_windows_looks_at_windows_paths() -> None:
    with pytest.raises(FileRefusedError, match="FARMHAUL_PATH_MAP does not map here"):
        check_here("P:/prod/a.exr", "P:/prod/a.exr", ROOTS, look=True)
    check_here("P:/prod/a.exr", "P:/prod/a.exr", ROOTS, look=False)


@pytest.mark.usefixtures("on_windows")
def test_windows_opens_long_paths_by_their_long_form() -> None:
    name = "d" * 240
    short, drive, share = "P:/prod/a.exr", f"P:/prod/{name}/a", f"\\\\nas/vol/{name}/a"

    assert on_disk(short) == short
    assert on_disk(drive) == f"\\\\?\\P:\\prod\\{name}\\a"
    assert on_disk(share) == f"\\\\?\\UNC\\nas\\vol\\{name}\\a"
    assert on_disk(on_disk(drive)) == on_disk(drive)
    assert ordinary(on_disk(drive)) == f"P:\\prod\\{name}\\a"


def test_other_systems_open_a_path_as_it_is() -> None:
    path = f"/mnt/{'d' * 300}"

    assert on_disk(path) == path


@pytest.mark.usefixtures("on_windows")
def test_a_server_that_is_away_does_not_stop_the_check_of_a_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(_: str) -> str:
        raise OSError(59, "An unexpected network error occurred")

    monkeypatch.setattr(ntpath, "realpath", away)

    assert real_path("\\\\nas/vol/a.exr") == "\\\\nas\\vol\\a.exr"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("P:\\a", True),
        ("p:/a", True),
        ("\\\\nas\\vol", True),
        ("P:", False),
        ("P:a", False),
        ("//nas/vol", False),
        ("/P:/a", False),
        ("é:/a", False),
        ("1:/a", False),
        ("", False),
    ],
)
def test_a_windows_path_has_a_drive_or_a_share(path: str, *, expected: bool) -> None:
    assert is_windows_path(path) is expected
    assert mapped(path, ()) == path
