"""What the stages share: batches within bounds, and outcomes for unexpected errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app.task import Context

from tasks.config.sealing import Codec, Signer
from tasks.records.delivery import Settlement
from tasks.records.form import RecordForm
from tasks.records.record import Settled
from tasks.stage.base import Stage, with_size
from tasks.stage.outcomes import Settling
from tasks.stage.registration import located_components
from tasks.stage.threads import Threads
from tasks.transfer.errors import FileChangedError, GivenBackError, UnexpectedAnswerError
from tasks.transfer.models import Batch, FileIdentity, Outcomes, Transfer
from tasks.transfer.pace import FEWEST, Pace
from tasks.transfer.targets import Container, Publish, Target


class Probe(Stage):
    name = "farmhaul.probe"


def transfer(path: Path | str) -> Transfer:
    return Transfer(str(path), Target("2c5e0000-0000-4000-8000-000000000001"), str(path))


ONE, OTHER = transfer("/mnt/1.exr"), transfer("/mnt/2.exr")


def test_an_unexpected_error_of_a_joint_call_retries_each_upload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_transfers: Sequence[Transfer]) -> Outcomes:
        raise KeyError("a bug of farmhaul")

    outcomes = Probe().call_once(broken, [ONE, OTHER])
    assert set(outcomes) == {"/mnt/1.exr", "/mnt/2.exr"}
    assert all(isinstance(outcome, UnexpectedAnswerError) for outcome in outcomes.values())
    assert "KeyError, see the log" in str(outcomes["/mnt/1.exr"])
    assert "unexpected_error upload_id=/mnt/2.exr stage=probe" in caplog.text
    assert "a bug of farmhaul" in caplog.text


def test_an_unexpected_error_leaves_the_others_of_its_call_alone() -> None:
    def broken(transfers: Sequence[Transfer]) -> Outcomes:
        if OTHER in transfers:
            raise KeyError("a bug of farmhaul")
        return {transfer.upload_id: transfer for transfer in transfers}

    outcomes = Probe().call_once(broken, [ONE, OTHER])

    assert outcomes["/mnt/1.exr"] is ONE
    assert isinstance(outcomes["/mnt/2.exr"], UnexpectedAnswerError)


def test_only_a_call_that_writes_nothing_is_hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "clients", SimpleNamespace(threads=Threads(1)), raising=False)
    pace = Pace()
    for _ in range(FEWEST):
        with pace.of(1):
            pass
    limits: list[float] = []

    def call(transfers: Sequence[Transfer]) -> Outcomes:
        with pace.of(len(transfers)) as limit_s:
            limits.append(limit_s)
        return {transfer.upload_id: transfer for transfer in transfers}

    Probe().call_once(call, [ONE, OTHER])
    Probe().call_once(call, [ONE, OTHER], writes=False)

    assert math.isinf(limits[0])
    assert not math.isinf(limits[1])


class Recorder:
    """A record in which each upload is as its settlement says."""

    scripts = SimpleNamespace(client=None)

    def settle(self, settlements: Sequence[Settlement], *_: object, **__: object) -> Settled:
        return Settled({one.transfer.upload_id: one.outcome for one in settlements})


@pytest.mark.parametrize(
    ("given_back", "wakes"),
    [
        ({}, []),
        ({"1": False, "2": False}, ["host"]),
        ({"1": True, "2": True, "3": True}, ["host"] * 3),
        ({"1": True, "2": True, "3": False}, ["host"] * 3),
    ],
    ids=str,
)
def test_each_upload_that_goes_on_alone_gets_a_wake_up(
    given_back: dict[str, bool], wakes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr("tasks.stage.base.wake", lambda _, n, host="": sent.extend([host] * n))
    monkeypatch.setattr(
        "tasks.stage.base.wake_if_few", lambda _app, _redis, host: sent.append(host)
    )
    asked = replace(ONE.asked, host="host")
    whole = replace(ONE, asked=asked, identity=FileIdentity(5, 1, 2, 3))
    files = [replace(whole, upload_id=str(number)) for number in range(5)]
    outcomes: Outcomes = {file.upload_id: file for file in files}
    outcomes |= {one: GivenBackError(one, alone) for one, alone in given_back.items()}
    stage = Probe()
    settling = Settling("put_file", "w1", RecordForm(Codec([]), (), Signer(())))
    monkeypatch.setattr(Probe, "clients", SimpleNamespace(record=Recorder()), raising=False)
    monkeypatch.setattr(Probe, "settling", settling, raising=False)
    monkeypatch.setattr(Probe, "worker", "w1", raising=False)

    stage._settle(Batch("a claim", tuple(files)), outcomes, "")

    assert sent == wakes


def test_a_stage_that_breaks_settles_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Stage):
        name = "farmhaul.put_file"

        def run(self) -> None:
            self.hold(Batch("a claim", (ONE, OTHER)))
            raise ImportError("No module named 'idna'")

    settled: list[str] = []

    class Settles(Recorder):
        def settle(self, settlements: Sequence[Settlement], *args: object, **more: object) -> Any:
            settled.extend(f"{one.outcome} {(one.retry or {})['own']}" for one in settlements)
            return super().settle(settlements, *args, **more)

    settling = Settling("put_file", "w1", RecordForm(Codec([]), (), Signer(())))
    monkeypatch.setattr(Broken, "clients", SimpleNamespace(record=Settles()), raising=False)
    monkeypatch.setattr(Broken, "settling", settling, raising=False)
    monkeypatch.setattr(Broken, "request", Context(), raising=False)

    with pytest.raises(UnexpectedAnswerError, match="ImportError, see the log"):
        Broken()()

    assert settled == ["retrying put_file"] * 2


def test_each_step_ends_with_its_own_result_or_error() -> None:
    def step(file: Transfer) -> Transfer:
        if file is ONE:
            raise ZeroDivisionError
        if file is OTHER:
            raise FileChangedError(file.path, "size 1 → 2")
        return file

    assert isinstance(Probe().attempt(ONE, step), UnexpectedAnswerError)
    assert isinstance(Probe().attempt(OTHER, step), FileChangedError)
    third = transfer("/mnt/3.exr")
    assert Probe().attempt(third, step) is third


def test_a_claim_looks_at_a_file_of_unknown_size(tmp_path: Path) -> None:
    path = tmp_path / "1.exr"
    path.write_bytes(b"pixels")
    assert with_size(transfer(path)).size_bytes == 6


def test_a_missing_file_stays_in_its_batch() -> None:
    gone = transfer("/nowhere/1.exr")
    assert with_size(gone) is gone


def test_the_event_hub_gets_every_component_with_a_new_location() -> None:
    container = Container(Target("sequence"), ".exr", 4)
    publish = replace(transfer("/mnt/shot"), upload_id="p", publish=Publish((container,)))
    frames = [replace(ONE, target=Target(f"frame {n}")) for n in range(2)]
    file = replace(ONE, target=Target("file"))
    outcomes: Outcomes = {"f": file, "p": publish, "x": FileChangedError("/mnt/x", "size")}

    found = located_components(outcomes, {"p": frames})

    assert [one for one, _ in found] == ["file", "sequence", "frame 0", "frame 1"]
