"""Files on a mount that does not answer are not tried one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.stage import mounts as module
from tasks.stage.mounts import HANG_TOGETHER, PROBE_S, Mounts

GONE = [f"/mnt/gone/shot {number}.exr" for number in range(HANG_TOGETHER + 2)]
OTHERS = ["/mnt/good/a.exr", "/home/a.exr", "/mnt/gone.exr"]


class Process:
    """A process, the paths in which its threads hang, and its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.hanging: list[str] = []
        self.mounts = Mounts(lambda: self.hanging, lambda: self.now)

    def hang(self, paths: list[str]) -> None:
        self.hanging += paths
        self.mounts.note(dict.fromkeys(paths, True))


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    table = tmp_path / "mountinfo"
    points = ("/", "/mnt/gone", "/mnt/good", "/mnt/with\\040space")
    table.write_text("".join(f"1 2 0:3 / {point} rw - nfs x rw\n" for point in points))
    monkeypatch.setattr(module, "MOUNTS", str(table))
    return Process()


def test_a_mount_of_which_several_files_hang_is_left_alone(process: Process) -> None:
    process.hang(GONE[: HANG_TOGETHER - 1])
    assert process.mounts.dead([*GONE, *OTHERS]) == {}

    process.hang(GONE[HANG_TOGETHER - 1 : HANG_TOGETHER])
    assert process.mounts.dead([*GONE, *OTHERS]) == dict.fromkeys(GONE, "/mnt/gone")


def test_a_mount_answers_when_its_threads_wake_up(process: Process) -> None:
    process.hang(GONE)
    process.hanging.clear()
    assert process.mounts.dead(GONE) == {}


def test_a_mount_is_not_gone_if_another_of_its_files_answers(process: Process) -> None:
    process.hang(GONE)
    process.mounts.note({GONE[0]: True, GONE[1]: False})
    assert process.mounts.dead(GONE) == {}


def test_one_file_is_tried_now_and_then(process: Process) -> None:
    process.hang(GONE)
    process.now += PROBE_S
    assert [*process.mounts.dead(GONE)] == GONE[1:]
    assert [*process.mounts.dead(GONE)] == GONE


def test_files_below_the_root_may_be_links_to_any_mount(process: Process) -> None:
    process.hang(["/home/1.exr", "/home/2.exr", "/home/3.exr", "/home/4.exr"])
    assert process.mounts.dead(OTHERS) == {}


def test_names_of_mounts_may_have_spaces(process: Process) -> None:
    paths = [f"/mnt/with space/{number}.exr" for number in range(HANG_TOGETHER)]
    process.hang(paths)
    assert process.mounts.dead(paths) == dict.fromkeys(paths, "/mnt/with space")
