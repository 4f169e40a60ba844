"""farmhaul check: what cannot be compared is said before anything is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.transfer.compare import NO_MD5, Compared, Pair
from tests.sandbox.process import NO_REDIS
from workers.cli.check_here import NO_PATH, _report
from workers.cli.group import main

TARGET = ("--version-id", "9f1d2c3b-0000-4000-8000-000000000001")
FTRACK = {
    "FTRACK_SERVER": "http://127.0.0.1:9",
    "FTRACK_API_USER": "farm",
    "FTRACK_API_KEY": "secret-key",
}


@pytest.fixture(autouse=True)
def node(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without Redis, whose ftrack does not listen."""
    for name in [name for name in os.environ if name.startswith(("FARMHAUL_", "FTRACK_"))]:
        monkeypatch.delenv(name)
    roots = {"FARMHAUL_REDIS_URL": NO_REDIS, "FARMHAUL_STORAGE_ROOTS": str(root)}
    for name, value in {**roots, **FTRACK}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name what to check"),
        (("--name", "a", *TARGET), "name what to check"),
        (("--version-id", "v3"), "'v3' is not a UUID"),
        (("{root}/a.mov", *TARGET, *TARGET), "several ids are for a check without PATH"),
        (("{root}/a.mov", *TARGET, "--in", "."), "--in and several ids"),
        (("{root}/a.mov",), "--version-id"),
        (("/etc/hostname", *TARGET), "outside the storage roots"),
        (("{root}/a.mov", "--manifest", "list"), "--manifest cannot be combined"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    root: Path, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["check", *(argument.format(root=root) for argument in arguments)])

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_a_node_without_credentials_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FTRACK:
        monkeypatch.delenv(name)

    assert main(["check", "/x", *TARGET]) == 2
    assert "farmhaul check calls ftrack from this node" in capsys.readouterr().err


def test_people_see_what_is_not_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    pair = Pair("/mnt/prod/a.mov", "id")
    for outcome in (
        Compared("same", 6, 6),
        Compared("size differs", 6, 2000),
        Compared("not compared", 6, 6, NO_MD5),
    ):
        _report(pair, outcome, human=True)
    _report(Pair("", "an-id"), Compared("not readable", why=NO_PATH), human=True)

    assert capsys.readouterr().out.splitlines() == [
        "size differs       /mnt/prod/a.mov  (6 B, 2.0 kB in ftrack)",
        "not compared       /mnt/prod/a.mov  (6 B)  the store has no MD5 of it",
        f"not readable       an-id  (?)  {NO_PATH}",
    ]
