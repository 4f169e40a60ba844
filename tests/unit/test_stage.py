"""What the stages share: batches within bounds, and outcomes for unexpected errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.records.delivery import Delivery, within_bounds
from tasks.records.record import CLAIM_BYTES
from tasks.stage.base import Outcomes, Stage
from tasks.stage.registration import located_components
from tasks.transfer.errors import FileChangedError, UnexpectedAnswerError
from tasks.transfer.models import LARGE_BYTES, Transfer
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


def sparse(folder: Path, name: str, size_bytes: int) -> Transfer:
    path = folder / name
    with path.open("wb") as file:
        file.truncate(size_bytes)
    return transfer(path)


def test_files_of_unknown_size_stay_within_the_bytes_of_a_claim(tmp_path: Path) -> None:
    third = CLAIM_BYTES // 5 - 1
    files = [sparse(tmp_path, f"{n}.exr", third) for n in range(7)]
    delivery = Delivery(files, [], {file.upload_id for file in files})
    fitting, others = within_bounds(delivery, CLAIM_BYTES)
    assert fitting == files[:5]
    assert [(left.transfer, left.outcome) for left in others] == [
        (file, "pending") for file in files[5:]
    ]
    assert others[0].fields == {"size": third}


def test_a_large_file_is_alone_in_its_batch(tmp_path: Path) -> None:
    large = sparse(tmp_path, "large.mov", LARGE_BYTES + 1)
    small = sparse(tmp_path, "small.exr", 10)
    fitting, others = within_bounds(Delivery([large, small], [], {large.upload_id}), CLAIM_BYTES)
    assert (fitting, [left.transfer for left in others]) == ([large], [small])
    fitting, others = within_bounds(Delivery([small, large], [], {large.upload_id}), CLAIM_BYTES)
    assert (fitting, [left.transfer for left in others]) == ([small], [large])


def test_a_missing_file_stays_in_its_batch() -> None:
    gone = transfer("/nowhere/1.exr")
    assert within_bounds(Delivery([gone], [], {gone.upload_id}), CLAIM_BYTES) == ([gone], [])


def test_the_event_hub_gets_every_component_with_a_new_location() -> None:
    container = Container(Target("sequence"), ".exr", 4)
    publish = replace(transfer("/mnt/shot"), upload_id="p", publish=Publish((container,)))
    frames = [replace(ONE, target=Target(f"frame {n}")) for n in range(2)]
    file = replace(ONE, target=Target("file"))
    outcomes: Outcomes = {"f": file, "p": publish, "x": FileChangedError("/mnt/x", "size")}

    found = located_components(outcomes, {"p": frames})

    assert list(found) == ["file", "sequence", "frame 0", "frame 1"]
