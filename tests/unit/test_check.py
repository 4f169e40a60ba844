"""farmhaul check: what cannot be compared is said before anything is asked."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tasks.config.hook_settings import HookSettings
from tasks.intake.manifest import Entry
from tasks.stage.comparison import OnResult
from tasks.stage.tries import NOT_BEGUN
from tasks.transfer.compare import NO_LOCATION, NO_MD5, Compared, Pair
from tasks.transfer.inventory import Inventory
from tests.sandbox.process import NO_REDIS
from workers.cli import check_here
from workers.cli.check_files import Item, wanted_of
from workers.cli.check_here import _of_sequence, _report
from workers.cli.check_listed import NO_PATH
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


def test_what_was_not_begun_is_no_case_for_download(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_here, "_asked", lambda *_: Inventory({}))

    def compare(*_: object, on_result: OnResult, **__: object) -> None:
        on_result(1, Compared("not compared", 6, 6, NO_MD5))

    monkeypatch.setattr(check_here, "compare_all", compare)

    with pytest.raises(SystemExit, match="1"):
        main(["check", str(root / "f.%04d.exr [1-3]"), *TARGET, "--json"])

    out, err = capsys.readouterr()
    whys = [(row["state"], row["why"]) for row in map(json.loads, out.splitlines())]
    assert whys == [("not compared", why) for why in (NO_MD5, NOT_BEGUN, NOT_BEGUN)]
    assert err == "farmhaul: 1 of 3 files are not compared; see --download\n"


@pytest.mark.parametrize(
    ("only_in", "why"),
    [("disk", NO_LOCATION), (None, "the sequence itself is not in ftrack.server")],
)
def test_a_sequence_without_a_place_is_told_what_it_lacks(
    root: Path, only_in: str | None, why: str
) -> None:
    entry = Entry(f"{root}/f.%04d.exr [1-3]", version_id=TARGET[1], only_in=only_in)
    item = Item(wanted_of(entry, HookSettings.from_environment()), Pair(entry.path, "id"))

    assert _of_sequence(item) == Compared("missing in ftrack", why=why)


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
