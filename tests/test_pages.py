"""The pages and the deployment agree with the code on names, marks and variables."""

from __future__ import annotations

import base64
import posixpath
import re
import sys
import threading
import time
from http.server import HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import requests

from tasks.config.variables import READ
from tasks.config.variables import faults as unknown_variables
from tasks.intake.errors import BadInputError
from tasks.intake.manifest import Entry
from tasks.intake.notation import Frames
from tasks.intake.web_review import review_of
from tasks.records.notices import Notice
from tasks.records.upload_state import UploadState
from tasks.transfer.names import COMPRESSED, FAMILIES, PASSES, default_name, file_type
from tests.docs_tables import defaults
from tests.helpers.documents import DOCS, block_after, section
from tests.helpers.entries import folder_with, given_back, recorded
from tests.sandbox.process import CHECKOUT
from workers.steps.message import body_of_message, signed

PAGE = DOCS["naming.md"]


def rows(heading: str) -> list[list[str]]:
    """Return the cells of a table of the page, without backticks."""
    table = [line for line in section(PAGE, heading).splitlines() if line.startswith("| `")]
    assert table
    return [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in table]


@pytest.mark.parametrize("row", rows("The name of a component"), ids=" ".join)
def test_the_page_shows_the_names_that_components_get(row: list[str]) -> None:
    path, name, kind = row
    head, mark, tail = path.partition("%04d")
    sequence = (Frames(head, tail, 4, (1001,)),) if mark else ()
    kinds = [frames.file_type for frames in sequence] or [file_type(posixpath.basename(path))]

    assert default_name(head, tail if mark else None) == name
    assert [found or "none" for found in kinds] == [kind]


@pytest.mark.parametrize("row", rows("Reviewables"), ids=" ".join)
def test_the_page_shows_the_names_that_reviewables_get(
    row: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, resolution, name = row
    ffprobe = tmp_path / "ffprobe"
    stream = '{"width": 1920, "height": 1080, "r_frame_rate": "24/1", "nb_frames": "9"}'
    ffprobe.write_text(f"#!/bin/sh\necho '{{\"streams\": [{stream}]}}'")
    ffprobe.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert review_of(Entry(f"/mnt/{file}", resolution=resolution or None))[0] == name


def test_the_page_lists_the_folders_of_passes_and_the_compressions() -> None:
    listed = PAGE.partition("<!-- passes -->")[2].partition("<!-- /passes -->")[0]
    single, families = listed.split("begins with")
    compressions = PAGE.partition("is a compression\n")[2].partition(")")[0]

    assert words_in_code(single) == sorted(PASSES)
    assert words_in_code(families) == list(FAMILIES)
    assert words_in_code(compressions) == sorted(COMPRESSED)


def words_in_code(text: str) -> list[str]:
    return re.findall("`([^`]+)`", text)


@pytest.mark.parametrize("row", rows("The names that fetch gives back"), ids=" ".join)
def test_the_page_shows_the_names_that_fetch_gives(row: list[str]) -> None:
    path, own, written = row
    folder, name = posixpath.split(path)
    with folder_with(posixpath.basename(folder), [name.replace("%04d", "1001")]) as where:
        assert given_back(where / name, own or None, str(where)) == [written]


MARKS = [
    (mark, line.split("|")[2].strip().startswith("refused"))
    for line in section(DOCS["frames.md"], "Marks").splitlines()
    if line.startswith("| `")
    for mark in re.findall("`([^`]+)`", line.split("|")[1])
]


@pytest.mark.parametrize(("mark", "is_refused"), MARKS)
def test_a_path_may_have_the_marks_of_the_page(mark: str, is_refused: bool) -> None:
    name = mark if mark.startswith("f.") else f"f.{mark}.exr"
    if is_refused:
        with pytest.raises(BadInputError):
            recorded(f"/mnt/p/{name} [1001]")
    else:
        assert re.fullmatch(r"/mnt/p/f\.(%04d|%d)\.exr \[1001\]", recorded(f"/mnt/p/{name} [1001]"))


def test_what_compose_and_kubernetes_set_is_no_mistake() -> None:
    text = (CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8")
    names = set(re.findall(r"FARMHAUL_[A-Z_]+", text))
    assert "FARMHAUL_REDIS_PORT" in names
    links = {
        "FARMHAUL_REDIS_SERVICE_HOST": "10.0.0.1",
        "FARMHAUL_REDIS_SERVICE_PORT_REDIS": "6379",
        "FARMHAUL_REDIS_PORT_6379_TCP_ADDR": "10.0.0.1",
        "FARMHAUL_REDIS_PORT": "tcp://10.0.0.1:6379",
    }

    assert unknown_variables({*names, *links}) == []


def test_the_names_of_variables_are_those_that_are_documented() -> None:
    documented = {name for name in defaults() if name.startswith("FARMHAUL_")}

    assert documented == {*READ} - {"FARMHAUL_HOOK_ENV", "FARMHAUL_FLOWER_OPEN"}


def test_the_receiver_of_the_page_takes_what_workers_sign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = b"k" * 32
    client = MagicMock()  # the sandbox keeps no notes
    monkeypatch.setitem(sys.modules, "ftrack_api", client)
    monkeypatch.setenv("NOTIFY_KEY", f"whsec_{base64.b64encode(key).decode()}")
    receiver: dict[str, Any] = {"__name__": "receiver"}
    exec(block_after(DOCS["notices.md"], "runs this with real messages"), receiver)
    upload = MagicMock(spec=UploadState, asked_user="", asked_host="", state="failed")
    upload.configure_mock(
        component_id="c", version_id="v", name="main", path="/mnt/a.exr", files=0, size_bytes=1
    )
    notice = Notice(b"{}", "upload_failed", "an id", 0.0, "FileRefusedError", "is empty", "")
    body = body_of_message([notice], {"an id": upload}, 0, 0)

    with HTTPServer(("127.0.0.1", 0), receiver["Receiver"]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def answer(key: bytes, body: bytes = body, at: float = time.time()) -> int:
            message = signed(body, "name", int(at), [b"another", key])
            url = f"http://127.0.0.1:{server.server_port}"
            return requests.post(url, message.body, headers=message.headers).status_code

        assert answer(b"no key") == answer(key, at=time.time() - 1000) == 401
        assert answer(key) == answer(key) == 204
        server.shutdown()

    session = client.Session.return_value.__enter__.return_value
    [note] = session.get("AssetVersion", "v").create_note.call_args_list
    assert note.args == ("Upload failed: /mnt/a.exr\nis empty",)
