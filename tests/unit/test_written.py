"""Paths as people and programs write them lead to the file, or are refused with a good one."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from tasks.intake.errors import BadInputError
from tests.helpers.entries import recorded

Form = Literal["NFC", "NFD"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("P:\\sh\\f.exr", "/mnt/prod/sh/f.exr"),
        ("p:/sh\\f.exr", "/mnt/prod/sh/f.exr"),
        ("\\\\?\\P:\\sh\\f.exr", "/mnt/prod/sh/f.exr"),
        ("//?/P:/sh/f.exr", "/mnt/prod/sh/f.exr"),
        ("\\\\NAS\\vol\\f.exr", "/mnt/vol/f.exr"),
        ("//nas/vol/f.exr", "/mnt/vol/f.exr"),
        ("\\\\?\\UNC\\nas\\vol\\f.exr", "/mnt/vol/f.exr"),
        ("//?/unc/nas/vol/f.exr", "/mnt/vol/f.exr"),
        ("q:\\sh/f.exr", "Q:/sh/f.exr"),
        ("//other/vol/f.exr", "\\\\other/vol/f.exr"),
        ("//mnt/prod/f.exr", "/mnt/prod/f.exr"),
        ("/mnt/a$F4/b %V x%/f.$F4.exr [1-2]", "/mnt/a$F4/b %V x%/f.%04d.exr [1-2]"),
        ("/mnt/a /f.exr", "/mnt/a /f.exr"),
        ("/mnt/take #/a##b/{c}/1 < 2/f.exr", "/mnt/take #/a##b/{c}/1 < 2/f.exr"),
        ("P:\\sh\\..\\f.exr", "/mnt/prod/f.exr"),
    ],
)
def test_a_path_in_any_form_leads_to_its_file(path: str, expected: str) -> None:
    assert recorded(path) == expected


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ('"P:\\a b\\f.exr"', "has quotation marks in it; write P:\\a b\\f.exr"),
        ("'/mnt/a b/f.exr'", "has quotation marks in it; write /mnt/a b/f.exr"),
        ('P:\\a b"', "has quotation marks in it; write P:\\a b"),
        ('P:\\a"b\\f.exr', "has a quotation mark in it; write P:\\ab\\f.exr"),
        ("P:f.exr", "depends on the current folder of drive P:; write P:\\f.exr"),
        ("\\\\.\\P:\\f.exr", "is a path of a device; write P:\\f.exr"),
        ("\\\\.\\PhysicalDrive0", "is a path of a device; write the drive or the share"),
        ("\\\\?\\Volume{4c1b}\\f.exr", "is a path of a device; write the drive or the share"),
        ("P:\\sh \\f.exr", "at its end, which Windows drops; write P:\\sh\\f.exr"),
        ("P:\\sh\\f.exr.", "at its end, which Windows drops; write P:\\sh\\f.exr"),
        ("%RENDER%\\f.exr", "has the variable %RENDER% in it, which nobody has replaced"),
        ("P:\\%SHOT%\\f.%04d.exr [1-2]", "has the variable %SHOT% in it"),
        ("/mnt/${SHOT}_a/f.exr", "has the variable ${SHOT} in it"),
        ("$HIP/f.$F4.exr", "has the variable $HIP in it"),
        ("$env:RENDER\\f.exr", "has the variable $env:RENDER in it"),
        ("/mnt/%V/f.%04d.exr [1-2]", "own path, such as /mnt/left/f.%04d.exr [1-2]"),
        ("/mnt/a_%v/f.exr", "has %v in a folder, and farmhaul reads marks only in the name of a f"),
        ("P:\\%V\\f.exr", "such as P:\\left\\f.exr"),
        ("/mnt/####/f.exr", "has #### in a folder"),
        ("/mnt/a_%04d/f.%04d.exr [1-2]", "has %04d in a folder, and farmhaul reads marks only in"),
        ("/mnt/<RenderLayer>/f.$F4.exr [1]", "<RenderLayer> in a folder"),
        ("P:\\<aov>\\f.exr", "<aov> in a folder, and farmhaul reads marks only in the name of a f"),
        ("~/f.exr", "begins with ~, which only a shell replaces"),
        ("file:///mnt/f.exr", "is a URL; write the path of the file"),
        ("s3://show/f.exr", "is a URL; write the path of the file"),
    ],
)
def test_what_nobody_can_open_is_refused_with_what_to_write(path: str, said: str) -> None:
    for look in (False, True):
        with pytest.raises(BadInputError) as refused:
            recorded(path, look=look)
        assert said in str(refused.value)


@pytest.mark.parametrize("name", ["x:f.exr", "%RENDER%.exr", "$RENDER.exr", "'f.exr'"])
def test_a_file_of_linux_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).touch()
    (tmp_path / name).write_bytes(b"pixels")
    monkeypatch.chdir(tmp_path)

    assert recorded(name, tmp_path, look=True) == str(tmp_path.resolve() / name)


def test_a_folder_of_linux_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "%V" / "####" / "<a>"
    folder.mkdir(parents=True)
    (folder / "f.0001.exr").write_bytes(b"pixels")

    assert recorded(f"{folder}/f.%04d.exr", tmp_path, look=True) == f"{folder}/f.%04d.exr [1]"


@pytest.mark.parametrize("name", ["f.%frame4%.exr [1001]", "f.${FRAME:4}.exr [1001]"])
def test_a_mark_is_not_taken_for_a_variable(name: str) -> None:
    assert recorded(f"/mnt/p/{name}") == "/mnt/p/f.%04d.exr [1001]"
    with pytest.raises(BadInputError, match="nobody has replaced"):
        recorded(f"/mnt/p/${{F4}}_${{SHOT}}_{name}")
    with pytest.raises(BadInputError, match="does not say how many digits"):
        recorded("/mnt/p/f.%frame%.exr [1001]")


# Unicode


@pytest.mark.parametrize(("there", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("path", ["é/f.exr", "a/é.exr", "é/ü/ö.exr"])
def test_a_file_is_found_in_another_unicode_form(
    tmp_path: Path, path: str, there: Form, written: Form
) -> None:
    file = tmp_path / unicodedata.normalize(there, path)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"pixels")

    other = unicodedata.normalize(written, f"{tmp_path}/{path}")

    assert recorded(other, tmp_path, look=True) == str(file)


@pytest.mark.parametrize(("there", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_sequence_is_found_in_another_unicode_form(
    tmp_path: Path, there: Form, written: Form
) -> None:
    folder = tmp_path / unicodedata.normalize(there, "é")
    folder.mkdir()
    for number in (1, 2):
        (folder / unicodedata.normalize(there, f"ü.{number:04d}_ö.exr")).write_bytes(b"pixels")

    found = unicodedata.normalize(there, f"{tmp_path}/é/ü.%04d_ö.exr [1-2]")
    for text in ("é/ü.%04d_ö.exr", "é/ü.%04d_ö.exr [1-2]", "é"):
        pattern = unicodedata.normalize(written, f"{tmp_path}/{text}")
        assert recorded(pattern, tmp_path, look=True) == found


def test_two_names_that_differ_in_their_form_stay_two_files(tmp_path: Path) -> None:
    names = [unicodedata.normalize("NFC", "é.exr"), unicodedata.normalize("NFD", "é.exr")]
    for name in names:
        (tmp_path / name).write_bytes(b"pixels")

    paths = [recorded(f"{tmp_path}/{name}", tmp_path, look=True) for name in names]

    assert [os.path.basename(path) for path in paths] == names


def test_what_is_not_there_in_any_form_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file exists here"):
        recorded(f"{tmp_path}/é/ü.exr", tmp_path, look=True)
