"""farmhaul check: what ftrack has is what is on disk, or the difference is named."""

from __future__ import annotations

import json
import random

import pytest
from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.records.keys import upload_key
from tests.farm import Farm, wait_until
from tests.helpers.checking import TARGET, check, render, states, wait_healed
from tests.sandbox import seed


def test_a_sequence_that_is_gone_from_disk_is_missing_there(farm: Farm) -> None:
    folder, _ = render(farm, 2)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    gone = {"f.1001.exr": "missing on disk", "f.1002.exr": "missing on disk"}
    assert states(check(farm, folder / "f.%04d.exr", *TARGET, code=1)) == gone
    named = f"{folder}/f.%04d.exr [1002, 1003]"
    assert states(check(farm, named, *TARGET, code=1)) == {
        "f.1002.exr": "missing on disk",
        "f.1003.exr": "missing on disk",
    }


def test_files_of_all_kinds_are_checked_by_a_manifest(farm: Farm) -> None:
    large = farm.upload(content=random.randbytes(1 << 20) * 70, name="large.mov")
    parts = farm.upload(content=random.randbytes(1 << 20) * 65, name="parts.mov")
    files = [farm.upload(content=200, name=f"{name}.mov") for name in ("same", "gone", "link")]
    fresh = farm.make_file("fresh.mov", 200)
    farm.wait_located(file.id for file in (large, parts, *files))
    with parts.path.open("r+b") as file:
        file.seek(64 << 20)
        file.write(b"other")
    files[1].path.unlink()
    files[2].path.unlink()
    files[2].path.symlink_to("/etc/hostname")
    rows = [{"path": str(one.path), "component_id": one.component_id} for one in (large, *files)]
    rows += [{"path": str(parts.path), "component_id": parts.component_id}]
    rows += [{"path": str(fresh), "version_id": seed.VERSION_ID}]
    encoded = {"path": str(fresh), "version_id": seed.VERSION_ID, "name": "e", "encode_only": True}
    manifest = farm.folder / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, [*rows, encoded])))

    lines = check(farm, "--manifest", manifest, code=1)

    assert states(lines) == {
        "parts.mov": "differs",
        "gone.mov": "missing on disk",
        "link.mov": "not readable",
        "fresh.mov": "missing in ftrack",
    }
    assert len(lines) == len(rows)
    [why] = [line["why"] for line in lines if line["state"] == "missing in ftrack"]
    # It may be there under another name, or in another version.
    assert why == f'version {seed.VERSION_ID} has no component "fresh_mov"'


def test_files_of_a_context_are_healed_in_its_version(farm: Farm) -> None:
    shot = {"context": "demo/sh010", "asset": "beauty", "asset_type": "Render"}
    files = [farm.make_file(f"{name}.mov", 200) for name in "ab"]
    manifest = farm.folder / "manifest.jsonl"
    manifest.write_text("\n".join(json.dumps({**shot, "path": str(path)}) for path in files))
    uploads = farm.enqueue("--manifest", manifest, "--wait")
    files[1].write_bytes(b"other")

    lines = check(farm, "--manifest", manifest, "--enqueue", code=1)

    assert states(lines) == {"b.mov": "size differs"}
    wait_healed(farm, lines)
    check(farm, "--manifest", manifest)
    version_id = uploads[0]["version_id"]
    assert len(check(farm, "--version-id", version_id)) == 2
    # A version that is gone is no version in which nothing differs.
    farm.sandbox.ftrack.delete("AssetVersion", version_id)
    gone = check(farm, "--version-id", version_id, code=1)
    assert {line["state"] for line in gone} == {"missing in ftrack"}
    farm.redis.flushdb()
    done = farm.cli("check", "--version-id", version_id)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"ftrack has no version {version_id}" in done.stderr


def test_a_file_is_not_compared_with_a_sequence(farm: Farm) -> None:
    sequence = farm.sandbox.ftrack.create("SequenceComponent", name="s")
    file = farm.make_file("a.mov", 20)

    done = farm.cli("check", file, "--component-id", sequence["id"])

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert (
        f"component {sequence['id']} is a sequence in ftrack, and {file} is a file" in done.stderr
    )


def test_a_version_is_checked_where_its_records_say_it_lies(farm: Farm) -> None:
    folder, sequence_id = render(farm, 3)
    movies = [farm.upload(*TARGET, content=200, name=f"{name}.mov") for name in ("kept", "deleted")]
    shown = farm.upload(*TARGET, "--thumbnail", content=200, name="shown.jpg")
    still = farm.make_file("still.exr", 200)
    rows = [{"path": f"{folder}/f.%04d.exr", "name": "plate"}, {"path": str(still)}]
    entries = ({**row, "version_id": seed.VERSION_ID, "publish": "v3"} for row in rows)
    [publish] = farm.enqueue_manifest(entries)
    farm.wait_located([*(file.id for file in (*movies, shown)), publish["upload_id"]])
    assert len(check(farm, *TARGET)) == 3 + 3 + 1 + 3
    farm.sandbox.ftrack.delete("FileComponent", shown.component_id)
    farm.sandbox.ftrack.delete("FileComponent", movies[1].component_id)
    encoded = farm.upload(*TARGET, "--encode-only", content=200, name="encoded.mov")
    wait_until(lambda: farm.record(encoded.id).get("state") == "located")
    wait_until(lambda: not farm.sandbox.ftrack.get("FileComponent", encoded.component_id))
    foreign = farm.sandbox.ftrack.create(
        "FileComponent", name="theirs", version_id=seed.VERSION_ID, file_type=".exr"
    )
    (folder / "f.1002.exr").write_bytes(b"other")

    lines = check(farm, *TARGET, "--enqueue", code=1)

    assert sum("upload_id" not in line for line in lines) == 3 + 3 + 1 + 3
    assert states(lines) == {
        "f.1002.exr": "size differs",
        "deleted.mov": "missing in ftrack",
        "shown.jpg": "missing in ftrack",
    }
    wait_healed(farm, lines)
    ids = ("--component-id", sequence_id, "--component-id", foreign["id"])
    again = check(farm, *ids, code=1)
    assert [line["state"] for line in again] == ["same"] * 3 + ["not readable"]
    check(farm, *TARGET)
    farm.redis.flushdb()
    assert {line["state"] for line in check(farm, *TARGET, code=1)} == {"not readable"}
    assert states(check(farm, "--component-id", sequence_id, "--in", folder)) == {}


@pytest.mark.slow
def test_bytes_that_were_confirmed_and_never_stored_are_found(farm: Farm) -> None:
    path = farm.make_file("sh010.exr", 3000)
    what = (path, "--version-id", farm.sandbox.ftrack.version_id)
    # What a store answers with 200 is stored, as S3 promises; a broken proxy may say so, too.
    farm.sandbox.faults.add("store", "status", 200, times=1, method="PUT", body="")
    [upload] = farm.enqueue(*what, "--wait")
    assert upload["state"] == "located"

    done = farm.cli("check", *what)
    assert (done.returncode, "missing in ftrack" in done.stdout) == (1, True), done
    farm.cli("check", *what, "--enqueue")
    farm.wait_located([upload["upload_id"]])

    assert farm.cli("check", *what).returncode == 0
    assert farm.sandbox.store.read(upload["component_id"]) == path.read_bytes()


def test_a_record_that_this_node_cannot_open_holds_up_no_other(farm: Farm) -> None:
    plain, sealed = (farm.upload(*TARGET, name=f"{name}.mov") for name in ("plain", "sealed"))
    farm.wait_located([plain.id, sealed.id])
    request = Codec([Fernet.generate_key().decode()]).encode({"path": "/mnt/sealed.mov"})
    farm.redis.hset(upload_key(sealed.id), "request", request)

    [same, lost] = check(farm, *TARGET, code=1)

    assert (same["path"], same["state"]) == (str(plain.path), "same")
    assert (lost["component_id"], lost["state"]) == (sealed.component_id, "not readable")
    assert "FARMHAUL_SECRET_KEY does not open its record" in lost["why"]
