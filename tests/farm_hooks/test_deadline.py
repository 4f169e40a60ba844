"""Deadline 10, by a stand-in for its Python modules: deadline.py."""

from __future__ import annotations

import configparser
import re
import sys
import time
from typing import Any

import pytest

from tests.farm_hooks.conftest import Installed, TellP95, load
from tests.farm_hooks.deadline import (
    EVENT,
    DeadlineEventListener,
    Repository,
    finish,
    make_job,
    put_in_place,
    run_task,
)
from tests.farm_hooks.stand import HOOKS

VERSION = "9f1d2c3b-0000-4000-8000-000000000001"
IDS = {"ftrack_version_id": VERSION, "ftrack_name0": "beauty", "ftrack_name1": "depth"}


@pytest.fixture(autouse=True)
def deadline(monkeypatch: pytest.MonkeyPatch, installed: Installed) -> None:
    put_in_place(monkeypatch, installed.folder)


def test_each_output_of_a_finished_job_is_queued_as_a_sequence(installed: Installed) -> None:
    assert finish(make_job(IDS, [1001, 1002, 1004])) == [
        (
            "info",
            "farmhaul: /mnt/prod/sh 010/f.%04d.exr [1001-1002, 1004] and 1 more: 2 queued",
        )
    ]
    assert installed.queued == [
        ("/mnt/prod/sh 010/f.%04d.exr [1001-1002, 1004]", "beauty"),
        ("/mnt/prod/sh 010/depth/z_%04d.exr [1001-1002, 1004]", "depth"),
    ]
    assert installed.left == []


def test_the_lines_of_the_readme_are_queued(installed: Installed) -> None:
    readme = (HOOKS / "deadline/README.md").read_text()
    ids = dict(re.findall(r"^ +ExtraInfoKeyValue\d=(\w+)=(\S+)$", readme, re.MULTILINE))
    assert set(ids) == {"ftrack_version_id", "ftrack_priority"}

    [(level, says)] = finish(make_job({**ids, "ftrack_version_id": VERSION}, [1001, 1002]))

    assert (level, installed.left) == ("info", []), says


def test_frames_that_were_changed_since_are_those_that_count(installed: Installed) -> None:
    Repository.jobs["65a0"] = make_job(IDS, [5, 6])
    finish(make_job(IDS, [1, 2, 3]))
    assert installed.queued[0][0] == "/mnt/prod/sh 010/f.%04d.exr [5-6]"


@pytest.mark.parametrize("mark", ["%04d", "$F4", "@@@@", "????"])
def test_every_mark_that_farmhaul_reads_may_be_in_the_name(installed: Installed, mark: str) -> None:
    names = {"JobOutputDirectories": ["/mnt/prod"], "JobOutputFileNames": [f"f.{mark}.exr"]}
    finish(make_job(IDS, [1, 2], **names))
    assert installed.queued == [("/mnt/prod/f.%04d.exr [1-2]", "beauty")]


def test_deadlines_search_path_stays_as_it_was(installed: Installed) -> None:
    before = list(sys.path)
    finish(make_job(IDS, [1]))
    assert sys.path == before


def test_a_job_without_ftrack_ids_is_left_alone(installed: Installed) -> None:
    job = make_job({}, [1], JobOutputFileNames=[])
    assert finish(job) == [("info", "farmhaul: the job names no ftrack id; nothing is queued")]
    assert (installed.queued, installed.left) == ([], [])


@pytest.mark.parametrize(
    ("folders", "names", "says", "count"),
    [
        (["/mnt/prod"], [], "output 0 has a folder and no file name: /mnt/prod", 0),
        (["/mnt/a", "/mnt/b"], ["f.exr"], "output 1 has a folder and no file name: /mnt/b", 1),
        ([], ["f.exr"], "output 0 has a file name and no folder: f.exr", 0),
        ([], [], "the job has no output", 0),
        (None, None, "the job has no output", 0),
    ],
)
def test_what_the_outputs_of_a_job_lack_is_a_warning(
    installed: Installed, folders: list[str] | None, names: list[str] | None, says: str, count: int
) -> None:
    outputs = {"JobOutputDirectories": folders, "JobOutputFileNames": names}
    [(level, text)] = finish(make_job(IDS, [1], **outputs))
    assert (level, says in text) == ("warning", True)
    assert len(installed.queued) == count


def test_outputs_that_would_be_one_component_are_not_mixed(installed: Installed) -> None:
    ids = {"ftrack_version_id": VERSION, "ftrack_name": "main"}
    [(level, text)] = finish(make_job(ids, [1, 2]))
    assert (level, "component 'main'" in text, "would get two files" in text) == (
        "warning",
        True,
        True,
    )
    assert installed.queued == [("/mnt/prod/sh 010/f.%04d.exr [1-2]", "main")]
    assert installed.lines()[0]["path"] == "/mnt/prod/sh 010/depth/z_%04d.exr [1-2]"


@pytest.mark.parametrize(
    ("folders", "queued"),
    [
        (["/mnt/left", "/mnt/right"], ["left_f", "right_f"]),
        (["/mnt/v1", "/mnt/v2"], ["f"]),  # and a warning: no rule tells these apart
    ],
)
def test_outputs_without_a_name_are_told_apart_or_refused(
    installed: Installed, folders: list[str], queued: list[str]
) -> None:
    names = ["f.####.exr", "f.####.exr"]
    outputs = {"JobOutputDirectories": folders, "JobOutputFileNames": names}
    [(level, _)] = finish(make_job({"ftrack_version_id": VERSION}, [1, 2], **outputs))
    assert [name for _, name in installed.queued] == queued
    assert (level, len(installed.left)) == (("info", 0) if len(queued) == 2 else ("warning", 1))


def fail(*_: object) -> Any:
    raise RuntimeError("no connection to the database")


@pytest.mark.parametrize("name", ["GetJob", "CheckPathMapping"])
def test_an_error_of_deadlines_repository_is_a_warning(
    installed: Installed, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = getattr(Repository, name)
    outputs = ("P:\\sh 010\\depth/z_####.exr", "65a0")  # not the folder of the hook
    broken = staticmethod(lambda *words: fail() if words[0] in outputs else real(*words))
    monkeypatch.setattr(Repository, name, broken)
    log = finish(make_job(IDS, [1, 2]))
    assert log[0][0] == "warning"
    assert "no connection to the database" in log[0][1]
    # What does not depend on it is queued.
    assert [one for _, one in installed.queued] == ["beauty", "depth"][: 3 - len(name) // 8]


def test_an_error_of_a_job_is_a_warning(installed: Installed) -> None:
    job = make_job(IDS, [1], GetJobExtraInfoKeyValue=fail)
    logs = (finish(job), run_task(job, 1, 1, str(installed.folder)))
    text = "farmhaul: nothing is queued: RuntimeError: no connection to the database"
    assert [*logs] == [[("warning", text)], [("warning", text)]]


def test_an_error_is_one_line_of_deadlines_log(installed: Installed) -> None:
    def refuse(_: str) -> str:
        raise RuntimeError("odd\x1b[2J\nforged line\u202e")

    job = make_job(IDS, [1], GetJobExtraInfoKeyValue=refuse)
    logs = (finish(job), run_task(job, 1, 1, str(installed.folder)))
    text = "farmhaul: nothing is queued: RuntimeError: odd\\x1b[2J\\nforged line\\u202e"
    assert [*logs] == [[("warning", text)], [("warning", text)]]


@pytest.mark.parametrize("name", ["f.<frame>.exr", "f.%V.####.exr", "f.$F.####.exr"])
def test_a_mark_that_can_be_read_in_two_ways_is_refused_and_kept(
    installed: Installed, name: str
) -> None:
    ids = {"ftrack_version_id": VERSION}
    one = {"JobOutputDirectories": ["/mnt/p"], "JobOutputFileNames": [name]}
    [(level, text)] = finish(make_job(ids, [1, 2], **one))
    assert (level, f"/mnt/p/{name} [1-2]" in text, installed.queued) == ("warning", True, [])
    assert len(installed.lines()) == 1


def test_the_frames_of_a_job_are_not_the_tiles_of_a_texture(installed: Installed) -> None:
    job = make_job(
        {"ftrack_version_id": VERSION, "ftrack_each_frame": "1"}, [1, 2],
        JobOutputDirectories=["/mnt/p"], JobOutputFileNames=["t.<UDIM>.exr"],
        JobPostTaskScript="farmhaul_post_task.py",
    )  # fmt: skip
    whole = make_job({"ftrack_version_id": VERSION}, [1, 2], **{
        name: getattr(job, name) for name in ("JobOutputDirectories", "JobOutputFileNames")
    })  # fmt: skip
    for [(level, text)] in (finish(whole), finish(job)):
        assert (level, "/mnt/p/t.<UDIM>.exr names no tiles" in text) == ("warning", True)
    assert (installed.queued, len(installed.lines())) == ([], 2)


@pytest.mark.parametrize("frames", [None, []])
def test_a_job_without_frames_is_refused_and_kept(
    installed: Installed, frames: list[int] | None
) -> None:
    [(level, text)] = finish(make_job(IDS, [], JobFramesList=frames))
    assert (level, "set aside as" in text) == ("warning", True)
    assert installed.queued == []
    assert len(installed.lines()) == 2


def test_the_tiles_of_a_job_are_not_taken_for_frames(installed: Installed) -> None:
    [(level, text)] = finish(make_job(IDS, [0, 1, 2, 3], JobTileJob=True))
    assert (level, "give the ftrack ids to the job that assembles them" in text) == (
        "warning",
        True,
    )
    assert (installed.queued, installed.left[0].suffix) == ([], ".bad")


def test_without_the_hook_the_job_stays_done_and_the_log_warns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(DeadlineEventListener, "hook_folder", "/nowhere")
    [(level, text)] = finish(make_job(IDS, [1]))
    assert level == "warning"
    assert "/nowhere/farmhaul-hook.pyz is not on this host; install it" in text


def test_the_settings_page_has_the_states_that_deadline_asks_for() -> None:
    settings = configparser.ConfigParser()
    settings.optionxform = str  # type: ignore[assignment, method-assign]
    settings.read_string((EVENT / "Farmhaul.param").read_text())
    assert settings["State"]["Items"] == "Global Enabled;Opt-In;Disabled"
    assert settings["State"]["Default"] == "Disabled"
    plugin = load(EVENT / "Farmhaul.py")
    assert settings["HookFolder"]["Default"] == plugin.FOLDER
    assert settings["HookFolderWindows"]["Default"] == plugin.FOLDER_WINDOWS


EACH_FRAME = {**IDS, "ftrack_each_frame": "1"}
SCRIPT = {"JobPostTaskScript": "/mnt/tools/farmhaul_post_task.py"}


def test_the_frames_of_a_task_are_queued_singly_and_only_once(
    installed: Installed,
) -> None:
    job = make_job(EACH_FRAME, [1, 3, 5, 7], **SCRIPT)
    [(level, text)] = run_task(job, 3, 5, str(installed.folder))
    assert (level, text) == (
        "info",
        "farmhaul: /mnt/prod/sh 010/f.0003.exr and 3 more: 4 queued",
    )
    queued = [
        ("/mnt/prod/sh 010/f.0003.exr", "f.0003"),
        ("/mnt/prod/sh 010/f.0005.exr", "f.0005"),
        ("/mnt/prod/sh 010/depth/z_0003.exr", "depth_z_0003"),
        ("/mnt/prod/sh 010/depth/z_0005.exr", "depth_z_0005"),
    ]
    assert installed.queued == queued
    [(level, text)] = finish(job)
    assert (level, "the tasks of this job have queued their frames" in text) == ("info", True)
    assert installed.queued == queued


def test_a_movie_is_queued_when_the_job_is_done_and_its_frames_before(
    installed: Installed,
) -> None:
    outputs = {"JobOutputDirectories": ["/mnt/p"] * 2, "JobOutputFileNames": ["f.##.exr", "a.mov"]}
    job = make_job(EACH_FRAME, [1, 2], **outputs, **SCRIPT)
    for frame in (1, 2):
        assert run_task(job, frame, frame, str(installed.folder))[0][0] == "info"
    frames = ["/mnt/p/f.01.exr", "/mnt/p/f.02.exr"]
    assert sorted(path for path, _ in installed.queued) == frames
    assert finish(job)[0][0] == "info"
    assert sorted(path for path, _ in installed.queued) == ["/mnt/p/a.mov", *frames]
    # The only frame of a job is complete with its task.
    only = make_job(EACH_FRAME, [3], **outputs, **SCRIPT)
    run_task(only, 3, 3, str(installed.folder))
    finish(only)
    assert sorted(path for path, _ in installed.queued)[2:] == [*frames, "/mnt/p/f.03.exr"]


@pytest.mark.parametrize("word", ["0", "false", "no", "off", ""])
def test_a_flag_that_says_no_leaves_the_whole_job_to_the_event(
    installed: Installed, word: str
) -> None:
    job = make_job({**IDS, "ftrack_each_frame": word}, [1, 2], **SCRIPT)
    [(level, text)] = run_task(job, 1, 1, str(installed.folder))
    assert (level, "ftrack_each_frame is not set" in text) == ("info", True)
    assert installed.queued == []
    [(level, _)] = finish(job)
    assert (level, len(installed.queued)) == ("info", 2)


def test_a_flag_that_is_no_flag_is_said_and_keeps_the_uploads(installed: Installed) -> None:
    job = make_job({**IDS, "ftrack_each_frame": "maybe"}, [1, 2], **SCRIPT)
    [(level, text)] = run_task(job, 1, 1, str(installed.folder))
    assert (level, "ftrack_each_frame is 'maybe'" in text) == ("warning", True)
    [(level, text)] = finish(job)
    assert (level, "ftrack_each_frame is 'maybe'" in text) == ("warning", True)
    assert installed.queued == []
    assert [one["path"][-20:] for one in installed.lines()] == [
        "010/f.%04d.exr [1-2]",
        "pth/z_%04d.exr [1-2]",
    ]


def test_each_frame_without_the_script_is_queued_when_the_job_is_done(
    installed: Installed,
) -> None:
    for script in ("", "/mnt/tools/other.py"):
        [(level, text)] = finish(make_job(EACH_FRAME, [1, 2], JobPostTaskScript=script))
        assert level == "warning"
        assert f"set PostTaskScript ({script!r}) to farmhaul_post_task.py" in text
    assert len(installed.queued) == 4


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ({"ftrack_component_id": VERSION}, "frames need ftrack_version_id"),
        ({"ftrack_version_id": VERSION, "ftrack_publish": "x"}, "would replace the publish"),
    ],
)
def test_frames_that_would_replace_each_other_are_kept(
    installed: Installed, ids: dict[str, str], says: str
) -> None:
    job = make_job({**ids, "ftrack_each_frame": "1"}, [1, 2], **SCRIPT)
    [(level, text)] = run_task(job, 1, 2, str(installed.folder))
    assert (level, says in text, installed.queued) == ("warning", True, [])
    assert len(installed.lines()) == 4


@pytest.mark.parametrize(("first", "last"), [(8, 9), (9, 8)])
def test_a_task_that_its_job_does_not_list_has_its_own_frames(
    installed: Installed, first: int, last: int
) -> None:
    ids = {"ftrack_version_id": VERSION, "ftrack_each_frame": "1"}
    one = {"JobOutputDirectories": ["/mnt/p"], "JobOutputFileNames": ["f.##.exr"]}
    job = make_job(ids, [1, 2], **one, **SCRIPT)
    assert run_task(job, first, last, str(installed.folder))[0][0] == "info"
    assert [path for path, _ in installed.queued] == ["/mnt/p/f.08.exr", "/mnt/p/f.09.exr"]


def test_a_post_task_script_never_fails_its_task() -> None:
    [(level, text)] = run_task(make_job(EACH_FRAME, [1]), 1, 1, "/nowhere")
    assert level == "warning"
    assert text.startswith("farmhaul: nothing is queued: FileNotFoundError: /nowhere/")


def test_hooks_in_the_process_of_deadline_take_milliseconds(
    installed: Installed, tell_p95: TellP95
) -> None:
    one = {"JobOutputDirectories": ["/mnt/prod"], "JobOutputFileNames": ["f.####.exr"]}

    def timed(frames: int) -> float:
        job = make_job(IDS, [*range(1001, 1001 + frames)], **one)
        began = time.perf_counter()
        finish(job)
        return time.perf_counter() - began

    timed(1)  # the import
    for frames in (1, 240):
        p95 = tell_p95(f"{frames} frames, in process", [timed(frames) for _ in range(60)])
        assert p95 < 1  # 10 ms on a machine that does nothing else
