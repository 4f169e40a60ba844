"""What the outcomes of a stage mean: settlements for the record, and who continues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tasks.config.remedies import explained
from tasks.log import log
from tasks.records.delivery import Outcome, Settlement, final_verdict
from tasks.records.form import RecordForm
from tasks.records.states import STAGES
from tasks.stage.retry_policy import FIELDS_AFTER, is_refused_here, own_fault, retry_plan
from tasks.transfer import errors
from tasks.transfer.asked import difference
from tasks.transfer.models import Batch, Outcomes, Transfer

#: Outcomes that prove that the service is up: only it can have caused them.
PROVES_SERVICE_UP = (
    Transfer,
    errors.RequestRefusedError,
    errors.TargetRefusedError,
    errors.StoreRefusedError,
    errors.DigestMismatchError,
)


@dataclass(frozen=True, slots=True)
class Settling:
    """How a node settles the outcomes of a stage."""

    stage: str
    node: str
    form: RecordForm

    def settlements(self, batch: Batch, outcomes: Outcomes) -> list[Settlement]:
        """Return a settlement for each upload; one without an outcome is as it was."""
        together = _failed_together(outcomes)
        return [
            self._settlement(
                transfer,
                outcomes.get(transfer.upload_id, transfer),
                together.get(transfer.upload_id, ()),
            )
            for transfer in batch.transfers
        ]

    def _settlement(
        self,
        transfer: Transfer,
        outcome: Transfer | errors.UploadError,
        failed_together: Sequence[str],
    ) -> Settlement:
        if isinstance(outcome, Transfer) and outcome.gone:
            return Settlement(transfer, "reopened", {}, {"gone": outcome.gone})
        if isinstance(outcome, Transfer):
            done = self._done(outcome)
            if done == "located":
                outcome = replace(outcome, was_located=True)
            differs = self.stage == STAGES[0] and _differs(outcome)
            retry = {"differs": True} if differs else None
            return Settlement(transfer, done, self.fields(transfer, outcome), retry)
        if isinstance(outcome, errors.GivenBackError):
            apart: dict[str, str | int] = {"exclusive": 1} if outcome.alone else {}
            return Settlement(transfer, "pending", apart, {"is_running": outcome.is_running})
        kind = type(outcome).__name__
        if not isinstance(outcome, errors.RetryableError):
            if own := own_fault(outcome):
                verdict = final_verdict(outcome, own, self.node)
                return Settlement(transfer, "retrying", {}, verdict)
            return Settlement(transfer, "failed", {"error": explained(outcome), "error_kind": kind})
        fields = dict(FIELDS_AFTER.get(type(outcome), {}))
        if isinstance(outcome, errors.DigestMismatchError):
            fields["file"] = self._to_read_again(transfer)
        if isinstance(outcome, errors.UrlRefusedError) and outcome.status:
            # One call signs for a batch, so one upload can spoil the URLs of all.
            fields["exclusive"] = 1
        plan = retry_plan(outcome, failed_together, self.node)
        return Settlement(transfer, "retrying", fields, plan)

    def _to_read_again(self, transfer: Transfer) -> str:
        """Return the field ``file`` for a file that is read again even if it looks unchanged."""
        unlike_any = replace(transfer.known_identity, mtime_ns=-1)
        return self.form.file_field(replace(transfer, identity=unlike_any, checksum=None))

    def _done(self, transfer: Transfer) -> Outcome:
        is_last = self.stage == STAGES[-1] or transfer.is_confirmed
        # The store is asked for it in the next stage.
        is_stored = transfer.stored and not (transfer.doubted and self.stage == STAGES[0])
        # The parts of a large file become one in the last stage only.
        if transfer.is_member and (is_last or (is_stored and not transfer.is_large)):
            return "stored"
        return "located" if is_last else "advanced"

    def fields(self, before: Transfer, after: Transfer) -> dict[str, str | int]:
        """Return the fields of the record that a stage has changed."""
        fields: dict[str, str | int] = {}
        if after.job_ids:
            fields |= self.form.job_fields(after)
        if after.publish is not None:
            return fields
        if any(
            getattr(after, name) != getattr(before, name)
            for name in ("identity", "checksum", "component_id")
        ):
            fields["file"] = self.form.file_field(after)
        fields |= {"size": after.size_bytes, **self.form.stored_fields(after)}
        if before.doubted and not after.doubted and after.stored:
            fields["seen"] = 1
        is_gone = (before.was_located or before.doubted) and not after.stored
        return fields | ({"joined": "", "joined_seal": "", "located": ""} if is_gone else {})


def _differs(file: Transfer) -> bool:
    return file.identity is not None and bool(difference(file.asked, file.identity))


def continuing_of(batch: Batch, outcomes: Outcomes, states: Mapping[str, str]) -> list[Transfer]:
    """Return the transfers that the message for the next stage names.

    After the last stage they are the located ones: no stage follows, but the message is also the
    task's result, whose summary Flower and the logs show.
    """
    return [
        transfer
        for transfer in without_failed(batch.transfers, outcomes)
        if not transfer.is_confirmed and states[transfer.upload_id] in {"active", "located"}
    ]


def without_failed(transfers: Sequence[Transfer], outcomes: Outcomes) -> list[Transfer]:
    """Return the transfers as a step has left them, without those that it failed for."""
    latest = [outcomes.get(transfer.upload_id, transfer) for transfer in transfers]
    return [outcome for outcome in latest if isinstance(outcome, Transfer)]


def still_of(batch: Batch, outcomes: Outcomes) -> Outcomes:
    """Return the outcomes of those that are still in a batch, of which some may have gone on."""
    still = {transfer.upload_id for transfer in batch.transfers}
    return {upload_id: outcome for upload_id, outcome in outcomes.items() if upload_id in still}


def proves_service_up(outcome: Transfer | errors.UploadError) -> bool:
    """Return whether only a service that is up can have caused this outcome."""
    if isinstance(outcome, errors.StoreRefusedError):
        return outcome.by == "store"
    return isinstance(outcome, PROVES_SERVICE_UP) and not is_refused_here(outcome)


def is_url_refused(outcome: Transfer | errors.UploadError | None) -> bool:
    """Return whether the store itself refused a URL."""
    return (
        isinstance(outcome, errors.UrlRefusedError)
        and outcome.status != 0
        and outcome.by == "store"
    )


def given_back(outcomes: Outcomes) -> dict[str, errors.GivenBackError]:
    """Return the outcomes of uploads that are given back without a fault of their own."""
    return {
        k: outcome for k, outcome in outcomes.items() if isinstance(outcome, errors.GivenBackError)
    }


def log_errors(stage: str, outcomes: Outcomes, states: Mapping[str, str]) -> None:
    """Log a line for each upload that a stage has failed for, and one for all given back."""
    if given := given_back(outcomes):
        # One line: on a slow line, most of a batch goes back again and again.
        text = explained(next(iter(given.values())))
        log.info("uploads_given_back", count=len(given), stage=stage, text=text)
    for upload_id, outcome in outcomes.items():
        if isinstance(outcome, Transfer) or upload_id in given:
            continue
        details: dict[str, Any] = {
            "upload_id": upload_id,
            "stage": stage,
            "text": explained(outcome),
        }
        if states[upload_id] == "failed":
            log.warning("upload_failed", **details)
        elif states[upload_id] == "retrying":
            log.warning("upload_retrying", **details)
        elif states[upload_id] == "pending":
            log.warning("upload_handed_over", **details)
        else:
            log.warning("upload_taken_over", **details)


def failed_lines(outcomes: Outcomes, states: Mapping[str, str]) -> list[str]:
    """Return a line for each upload that has failed for good."""
    return [
        f"{upload_id}: {explained(outcome)}"
        for upload_id, outcome in outcomes.items()
        if not isinstance(outcome, Transfer) and states[upload_id] == "failed"
    ]


def _failed_together(outcomes: Outcomes) -> dict[str, Sequence[str]]:
    """Return for each upload those that failed with it in one call: they share its error."""
    by_outcome: dict[int, list[str]] = {}
    for upload_id, outcome in outcomes.items():
        by_outcome.setdefault(id(outcome), []).append(upload_id)
    return {upload_id: uploads for uploads in by_outcome.values() for upload_id in uploads}
