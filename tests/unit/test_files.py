"""Which files may be sent, and whether they are still the same."""

from __future__ import annotations

import gc
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.config.remedies import explained
from tasks.transfer.allowed import check_kind, check_roots
from tasks.transfer.errors import FileChangedError, FileNotReadyError, FileRefusedError
from tasks.transfer.files import (
    identity_of,
    open_checked,
    require_unchanged,
)
from tasks.transfer.models import AskedFor
from tests.helpers.fuse import can_mount, mounted
from tests.helpers.skipping import skip_loudly


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_regular_file_below_a_root_is_opened(root: Path) -> None:
    path = root / "main.exr"
    path.write_bytes(b"pixels")

    with open_checked(str(path), ["/nowhere", str(root)]) as file:
        assert file.read() == b"pixels"


def test_a_directory_is_refused(root: Path) -> None:
    with pytest.raises(FileRefusedError, match="is a directory"):
        open_checked(str(root), [str(root)])


def test_a_fifo_is_refused_without_waiting_for_a_writer(root: Path) -> None:
    path = root / "pipe"
    os.mkfifo(path)

    with pytest.raises(FileRefusedError, match="is a FIFO"):
        open_checked(str(path), [str(root)])


def test_a_device_is_refused() -> None:
    with pytest.raises(FileRefusedError, match="is a device"):
        open_checked("/dev/null", ["/dev"])


def test_a_socket_is_refused_and_never_opened(root: Path) -> None:
    path = root / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))

        with pytest.raises(FileRefusedError, match="is a socket"):
            check_kind(str(path), path.stat(), allow_empty=False)
        with pytest.raises(FileNotReadyError, match="No such device or address"):
            open_checked(str(path), [str(root)])


def test_an_empty_file_is_waited_for_as_it_may_be_about_to_be_written(root: Path) -> None:
    path = root / "main.exr"
    path.touch()

    with pytest.raises(FileNotReadyError, match="is empty") as waiting:
        open_checked(str(path), [str(root)])
    assert waiting.value.fault == "empty"
    with pytest.raises(FileRefusedError, match="is empty") as refused:
        check_kind(str(path), path.stat(), allow_empty=False)
    assert refused.value.fault == "empty"


def test_an_empty_file_is_opened_when_that_is_allowed(root: Path) -> None:
    path = root / "main.exr"
    path.touch()

    with open_checked(str(path), [str(root)], allow_empty=True) as file:
        assert file.read() == b""


def test_a_missing_file_is_not_ready_as_it_may_appear_soon(root: Path) -> None:
    with pytest.raises(FileNotReadyError, match="No such file or directory"):
        open_checked(str(root / "missing.exr"), [str(root)])


@pytest.mark.parametrize("path", ["P:/prod/main.exr", "\\\\server/prod/main.exr"])
def test_a_path_of_windows_that_nobody_has_mapped_is_told_so(path: str) -> None:
    with pytest.raises(FileNotReadyError) as caught:
        open_checked(path, ["/mnt/prod"])

    assert explained(caught.value) == (
        f"cannot read {path}: No such file or directory; "
        "map this path of Windows to a folder of this node with FARMHAUL_PATH_MAP"
    )


def test_a_path_through_a_file_is_not_ready(root: Path) -> None:
    (root / "file").touch()

    with pytest.raises(FileNotReadyError, match="Not a directory"):
        open_checked(str(root / "file" / "main.exr"), [str(root)])


def test_a_loop_of_symlinks_is_not_ready(root: Path) -> None:
    (root / "loop").symlink_to("loop")

    with pytest.raises(FileNotReadyError, match="Too many levels of symbolic links"):
        open_checked(str(root / "loop"), [str(root)])


def test_a_symlink_out_of_the_roots_is_refused_naming_where_it_leads(
    root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "secret.txt"
    outside.write_text("secret")
    (root / "main.exr").symlink_to(outside)

    with pytest.raises(FileRefusedError) as refusal:
        open_checked(str(root / "main.exr"), [str(root)])

    assert refusal.value.path == f"{root}/main.exr"
    assert f"leads to {outside}, which" in refusal.value.why
    assert f"({root})" in refusal.value.why
    assert refusal.value.fault == "outside_roots"


def test_a_symlinked_folder_out_of_the_roots_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "main.exr").write_bytes(b"pixels")
    (root / "folder").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FileRefusedError, match="outside the storage roots"):
        open_checked(str(root / "folder" / "main.exr"), [str(root)])


def test_a_symlink_that_stays_in_the_roots_is_followed(root: Path) -> None:
    (root / "v001.exr").write_bytes(b"pixels")
    (root / "latest.exr").symlink_to("v001.exr")

    with open_checked(str(root / "latest.exr"), [str(root)]) as file:
        assert file.read() == b"pixels"


def test_a_root_that_hangs_holds_up_no_file_of_another(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_mount():
        skip_loudly("A ROOT THAT HANGS WAS NOT TESTED", "only root can mount FUSE")
    monkeypatch.setattr("tasks.transfer.allowed.ROOT_S", 0.1)
    hung, link, outside = tmp_path / "hung", tmp_path / "link", tmp_path / "outside.exr"
    hung.mkdir()
    link.symlink_to(root)
    for path in (root / "1.exr", root / "2.exr", outside):
        path.write_bytes(b"pixels")
    roots = [str(hung / "shows"), str(link)]

    with ThreadPoolExecutor() as threads, mounted(str(hung), "SILENCE"):
        for name in ("1.exr", "2.exr"):
            threads.submit(open_checked, str(link / name), roots).result(10).close()
        waiting = threads.submit(open_checked, str(outside), roots)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)  # it may be in the other root

    with pytest.raises(FileRefusedError, match="outside the storage roots"):
        waiting.result(10)


def test_a_folder_that_only_begins_like_a_root_is_outside(root: Path, tmp_path: Path) -> None:
    (tmp_path / "storage2").mkdir()
    (tmp_path / "storage2" / "main.exr").write_bytes(b"pixels")

    with pytest.raises(FileRefusedError, match=r"main\.exr is outside the storage roots"):
        open_checked(str(tmp_path / "storage2" / "main.exr"), [str(root)])


@pytest.mark.parametrize(("root", "differs"), [("/mnt/sh\u00e9", True), ("/mnt/shes", False)])
def test_a_root_in_another_unicode_form_is_said_to_be_one(root: str, *, differs: bool) -> None:
    path = "/mnt/she\u0301/main.exr"
    with pytest.raises(FileRefusedError) as refused:
        check_roots(path, path, [root])
    assert ("only the Unicode form of a name differs)" in str(refused.value)) is differs


def test_without_roots_nothing_may_be_sent(root: Path) -> None:
    (root / "main.exr").write_bytes(b"pixels")

    with pytest.raises(FileRefusedError, match=r"\(there are none\)"):
        open_checked(str(root / "main.exr"), [])


def test_a_refusal_is_text_whatever_bytes_a_symlink_holds() -> None:
    with pytest.raises(FileRefusedError) as refusal:
        check_roots("/mnt/prod/a", "/etc/\udcff", ["/mnt/prod"])

    assert r"leads to /etc/\udcff, which" in str(refusal.value).encode().decode()


def test_where_descriptors_have_no_path_the_path_is_resolved_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside.exr").write_bytes(b"pixels")
    (root / "link.exr").symlink_to(tmp_path / "outside.exr")
    really = os.readlink

    def without_proc(path: str, **options: int | None) -> str:
        if path.startswith("/proc/"):
            raise FileNotFoundError(path)
        return really(path, **options)

    monkeypatch.setattr(os, "readlink", without_proc)

    with pytest.raises(FileRefusedError, match=r"leads to .*outside\.exr"):
        open_checked(str(root / "link.exr"), [str(root)])


def test_a_file_that_is_refused_leaves_no_descriptor_open(root: Path, tmp_path: Path) -> None:
    (root / "empty.exr").touch()
    (tmp_path / "outside.exr").write_bytes(b"pixels")
    gc.collect()  # what earlier tests left is closed now, not between the two counts
    before = count_descriptors()

    for path in (root / "empty.exr", tmp_path / "outside.exr", root):
        with pytest.raises((FileRefusedError, FileNotReadyError)):
            open_checked(str(path), [str(root)])

    assert count_descriptors() <= before


def test_an_untouched_file_is_unchanged(root: Path) -> None:
    path = root / "main.exr"
    path.write_bytes(b"pixels")
    with path.open("rb") as file:
        require_unchanged(file, str(path), identity_of(path.stat()))


def test_a_change_names_what_differs(root: Path) -> None:
    path = root / "main.exr"
    path.write_bytes(b"pixels")
    known = identity_of(path.stat())
    with path.open("rb") as file:
        path.write_bytes(b"more pixels")
        with pytest.raises(FileChangedError, match="size 6 → 11, mtime"):
            require_unchanged(file, str(path), known)


@pytest.mark.parametrize(("asked_bytes", "is_here"), [(6, True), (99, False), (None, False)])
def test_a_change_may_be_of_one_node_if_another_saw_none(
    root: Path, asked_bytes: int | None, *, is_here: bool
) -> None:
    path = root / "main.exr"
    path.write_bytes(b"pixels")
    known = identity_of(path.stat())
    path.write_bytes(b"older pixels")
    asked = AskedFor(asked_bytes, known.mtime_ns)
    with path.open("rb") as file, pytest.raises(FileChangedError) as caught:
        require_unchanged(file, str(path), known, asked)
    assert caught.value.is_here is is_here


def test_a_replaced_file_of_equal_size_and_time_is_a_change(root: Path) -> None:
    path = root / "main.exr"
    path.write_bytes(b"pixels")
    known = identity_of(path.stat())
    other = root / "other.exr"
    other.write_bytes(b"PIXELS")
    os.utime(other, ns=(known.mtime_ns, known.mtime_ns))
    with path.open("rb") as file:
        other.replace(path)
        with pytest.raises(FileChangedError, match=r"\(inode \d+ → \d+\)"):
            require_unchanged(file, str(path), known)


def test_a_file_is_the_same_on_a_node_with_another_inode(root: Path) -> None:
    path = root / "main.exr"
    path.write_bytes(b"pixels")
    known = identity_of(path.stat())
    elsewhere = replace(known, device=known.device + 1, inode=known.inode + 1)
    with path.open("rb") as file:
        require_unchanged(file, str(path), elsewhere)
        with pytest.raises(FileChangedError, match="inode"):
            require_unchanged(file, str(path), replace(elsewhere, device=known.device))


def test_a_file_replaced_here_changed_whoever_checked_it(root: Path) -> None:
    path = root / "main.exr"
    path.write_bytes(b"pixels")
    known = identity_of(path.stat())
    elsewhere = replace(known, device=known.device + 1, inode=known.inode + 1)
    other = root / "other.exr"
    other.write_bytes(b"PIXELS")
    os.utime(other, ns=(known.mtime_ns, known.mtime_ns))
    with path.open("rb") as file:
        other.replace(path)
        with pytest.raises(FileChangedError, match=r"\(inode \d+ → \d+\)"):
            require_unchanged(file, str(path), elsewhere)


def test_two_nodes_never_share_a_device_number(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = identity_of(root.stat())
    monkeypatch.setattr("socket.gethostname", lambda: "another-node")

    assert identity_of(root.stat()).device != here.device


def test_a_file_whose_folder_became_a_file_is_not_ready(root: Path) -> None:
    folder = root / "shot"
    folder.mkdir()
    path = folder / "main.exr"
    path.write_bytes(b"pixels")
    known = identity_of(path.stat())
    with path.open("rb") as file:
        path.unlink()
        folder.rmdir()
        folder.touch()
        with pytest.raises(FileNotReadyError, match="Not a directory"):
            require_unchanged(file, str(path), known)


def test_a_name_in_another_unicode_form_is_shown(root: Path, roots: tuple[str, ...]) -> None:
    (root / "e\u0301.exr").write_bytes(b"pixels")

    with pytest.raises(FileNotReadyError) as missing:
        open_checked(f"{root}/\u00e9.exr", roots)

    assert f"on disk it is '{root}/e\\u0301.exr'" in str(missing.value)
    with pytest.raises(FileNotReadyError, match="No such file"):
        open_checked(f"{root}/\u00e8.exr", roots)
