"""What becomes of an upload in each hook, whatever is in the way.

It is queued, kept on disk, or named in the manager's log; and the render stays done. The table in
deploy/farm/README.md lists these tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.farm_hooks.conftest import Installed
from tests.farm_hooks.managers import ALL, LIBRARY, NEXT_TO, TASKS, Job, Ran, run
from tests.farm_hooks.stand import HOOKS
from tests.sandbox.process import CHECKOUT, NO_REDIS

each_hook = pytest.mark.parametrize("hook", ALL)


@pytest.fixture
def job(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # of Deadline's process
    installed.configure(FARMHAUL_STORAGE_ROOTS=str(tmp_path))
    return render(Job(installed, folder))


def render(job: Job) -> Job:
    for name in ("render.exr", "f.0001.exr"):
        (job.folder / name).write_bytes(b"frame")
    return job


def unsettled(job: Job) -> Job:
    """Let the environment name a spool, because hook.env is not to tell it."""
    return job._replace(env={"FARMHAUL_SPOOL": str(job.installed.spool)})


def change(job: Job, **settings: str) -> None:
    job.installed.configure(**{"FARMHAUL_STORAGE_ROOTS": str(job.folder.parent), **settings})


def is_about(job: Job, path: str) -> bool:
    """Return whether a path is that of the file, or of the only frame as a sequence."""
    return path in {job.file, f"{job.folder}/f.0001.exr", f"{job.folder}/f.%04d.exr [1]"}


def check_exit(hook: str, ran: Ran, code: int) -> None:
    """Check that a task fails if it has to be tried again, or looked at, and else does not."""
    assert ran.code == (None if hook in NEXT_TO or hook.startswith("Deadline") else code), ran.log
    if hook.startswith("Deadline"):
        assert ran.log.startswith("warning " if code else "info "), ran.log


def names(ran: Ran, path: Path) -> bool:
    """Return whether the log has a path, as it is or in ASCII."""
    return str(path) in ran.log or ascii(str(path))[1:-1] in ran.log


def check_kept(job: Job, hook: str, ran: Ran, says: str) -> None:
    """Check that the upload is on disk alone, and that the log names the reason and the place."""
    assert job.installed.queued == []
    [kept] = job.installed.left
    assert f"{job.folder}/" in kept.read_text()
    assert says in ran.log
    assert names(ran, job.installed.spool)


@each_hook
def test_a_file_is_queued(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(hook, job, monkeypatch)
    check_exit(hook, ran, 0)
    [(path, name)] = job.installed.queued
    assert is_about(job, path)
    # AYON names its files; all others have the name that farmhaul gives them.
    frame = f"{job.folder}/f.0001.exr"
    named = {job.file: "exr" if hook == "AYON" else "render", frame: "f.0001"}
    assert name == named.get(path, "f")
    assert job.installed.left == []


@pytest.mark.parametrize("name", ["sh 010 'v1' \"x\"", "ü $HOME `id` ; & (1)", "a\\b"])
@each_hook
def test_odd_characters_of_a_path_arrive(
    job: Job, hook: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job.folder / name
    folder.mkdir()
    job = render(job._replace(folder=folder))
    check_exit(hook, run(hook, job, monkeypatch), 0)
    [(path, _)] = job.installed.queued
    assert is_about(job, path)


@pytest.mark.parametrize(
    "hook", ["OpenJD, a step", "OpenJD, frame by frame", "OpenCue", "Flamenco", "Tractor"]
)
def test_a_path_of_a_job_is_never_an_option(
    job: Job, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = job.folder / "--manifest=x"
    folder.mkdir()
    render(job._replace(folder=folder))
    monkeypatch.chdir(job.folder)
    ran = run(hook, job._replace(folder=Path("--manifest=x")), monkeypatch)
    check_exit(hook, ran, 0)
    [(path, _)] = job.installed.queued
    assert is_about(job._replace(folder=folder), path)


@each_hook
def test_redis_is_away(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change(job, FARMHAUL_REDIS_URL=NO_REDIS)
    ran = run(hook, job, monkeypatch)
    check_exit(hook, ran, 0)
    check_kept(job, hook, ran, "Redis is not reachable")


@each_hook
def test_redis_is_away_and_the_spool_cannot_be_written(
    job: Job, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job._replace(env={"TMPDIR": str(job.folder)})
    monkeypatch.setattr("tempfile.tempdir", str(job.folder))
    spool = job.installed.folder / "file"
    spool.touch()
    change(job, FARMHAUL_REDIS_URL=NO_REDIS, FARMHAUL_SPOOL=str(spool))
    ran = run(hook, job, monkeypatch)
    check_exit(hook, ran, 3)
    assert "cannot be written" in ran.log
    # The library has a last resort. A command is tried again, or its log has the upload.
    kept = [path.read_text() for path in job.folder.glob("farmhaul-*.jsonl")]
    assert [job.file in text for text in kept] == ([True] if hook in LIBRARY else [])


@each_hook
def test_the_spool_cannot_be_written(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = job.installed.folder / "file"
    spool.touch()
    change(job, FARMHAUL_SPOOL=str(spool))
    check_exit(hook, run(hook, job, monkeypatch), 0)
    assert len(job.installed.queued) == 1


@each_hook
def test_hook_env_is_missing(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (job.installed.folder / "hook.env").unlink()
    ran = run(hook, unsettled(job), monkeypatch)
    check_exit(hook, ran, 3)
    check_kept(job, hook, ran, "FARMHAUL_STORAGE_ROOTS is not set")


@each_hook
def test_hook_env_cannot_be_read(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (job.installed.folder / "hook.env").unlink()
    (job.installed.folder / "hook.env").mkdir()
    ran = run(hook, unsettled(job), monkeypatch)
    check_exit(hook, ran, 3)
    check_kept(job, hook, ran, "hook.env cannot be read by the user")


@pytest.mark.parametrize("content", [b"FARMHAUL_PATH_MAP='\xfc'\n", b"\xff\xfeF"])
@each_hook
def test_hook_env_is_not_utf_8(
    job: Job, hook: str, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (job.installed.folder / "hook.env").open("wb") as file:
        file.write(content)
    ran = run(hook, unsettled(job), monkeypatch)
    check_exit(hook, ran, 3)
    check_kept(job, hook, ran, "is not UTF-8 text; save the file as UTF-8")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"FARMHAUL_REDIS_URL": "nonsense"}, "FARMHAUL_REDIS_URL: is not a Redis URL"),
        ({"FARMHAUL_HOOK_KEY_FILE": "/nowhere"}, "FARMHAUL_HOOK_KEY_FILE: cannot read /nowhere"),
    ],
)
@each_hook
def test_a_setting_is_wrong(
    job: Job, hook: str, settings: Mapping[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(job, **settings)
    ran = run(hook, job, monkeypatch)
    check_exit(hook, ran, 3)
    check_kept(job, hook, ran, says)


@each_hook
def test_the_hook_is_not_installed(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job.installed.file.unlink()
    ran = run(hook, job, monkeypatch)
    check_exit(hook, ran, 3 if hook in LIBRARY else 2)
    assert names(ran, job.installed.file)
    remedy = r"install (it|/.*farmhaul-hook\.pyz)" if hook in LIBRARY else "No such file"
    assert re.search(remedy, ran.log)


@each_hook
def test_the_hook_is_broken(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when somebody replaces the file while a job ends."""
    job.installed.file.write_bytes(b"PK")
    ran = run(hook, job, monkeypatch)
    if hook in TASKS:
        assert ran.code
    else:
        check_exit(hook, ran, 3)
    assert "farmhaul" in ran.log
    assert job.installed.queued == []


@each_hook
def test_the_job_names_no_id(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(hook, job._replace(version_id=""), monkeypatch)
    assert re.search("nothing is queued|nothing will be uploaded|no ftrack id|not a UUID", ran.log)
    assert job.installed.queued == []


@each_hook
def test_an_id_is_no_uuid(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run(hook, job._replace(version_id="v003"), monkeypatch)
    check_exit(hook, ran, 2)
    assert "version_id 'v003' is not a UUID" in ran.log.replace("--version-id", "version_id")
    if hook in LIBRARY:
        check_kept(job, hook, ran, "set aside as")
    else:
        assert (job.installed.queued, job.installed.left) == ([], [])


@each_hook
def test_a_file_is_outside_of_the_storage_roots(
    job: Job, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(job, FARMHAUL_STORAGE_ROOTS="/mnt/prod")
    ran = run(hook, job, monkeypatch)
    check_exit(hook, ran, 2)
    assert "FARMHAUL_STORAGE_ROOTS" in ran.log
    if hook in LIBRARY:
        check_kept(job, hook, ran, "set aside as")


@each_hook
def test_a_path_of_windows_is_mapped(job: Job, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change(job, FARMHAUL_PATH_MAP=f"W:\\={job.folder}")
    ran = run(hook, job._replace(folder=Path("W:")), monkeypatch)
    check_exit(hook, ran, 0)
    [(path, _)] = job.installed.queued
    assert is_about(job, path)


def rows() -> list[list[str]]:
    """The rows of the two tables that name tests."""
    text = (HOOKS / "README.md").read_text()
    section = text.partition("### Each case, and its test\n")[2].partition("\n### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines if "| test |" not in line]


def test_each_case_of_the_page_names_a_test_that_exists() -> None:
    sources = [*Path(__file__).parent.glob("test_*.py"), *(CHECKOUT / "tests/unit").glob("*.py")]
    known = set(re.findall(r"(?m)^def (test_\w+)", "\n".join(map(Path.read_text, sources))))
    named = [re.findall(r"`(test_\w+)`", row[-1]) for row in rows()]
    assert all(named)
    assert {name for names in named for name in names} - known == set()
    assert len(named) > 40


def test_each_test_of_all_hooks_is_on_the_page() -> None:
    own = re.findall(r"@each_hook\ndef (test_\w+)", Path(__file__).read_text())
    assert len(own) > 14
    assert {*own} - {
        name for row in rows() for name in re.findall(r"`(test_\w+)`", row[-1])
    } == set()


def test_all_folders_of_hooks_are_tried() -> None:
    folders = {path.parent.name for path in HOOKS.glob("*/README.md")}
    tried = " ".join(ALL).lower().replace(" ", "-")
    assert {name for name in folders if name not in tried} == set()
