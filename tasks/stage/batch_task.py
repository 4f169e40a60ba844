"""How a task runs a step for each transfer of a batch: several at a time, and each by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tasks.log import log
from tasks.stage import threads
from tasks.stage.context import Clients, clients
from tasks.stage.redaction import RedactedTask, internal_error
from tasks.stage.threads import StoppedError, Unfinished
from tasks.stage.together import call_together
from tasks.transfer import errors
from tasks.transfer.errors import UploadError
from tasks.transfer.models import Outcomes, Transfer

T = TypeVar("T")
R = TypeVar("R")


class BatchTask(RedactedTask):
    """A task that runs steps for many transfers.

    What fails or hangs concerns its own transfer: it becomes the outcome of that one, and the
    others go on.
    """

    abstract = True

    @property
    def clients(self) -> Clients:
        """The connections of this process."""
        return clients()

    @property
    def stage(self) -> str:
        """The name of the stage, without Celery's prefix."""
        return str(self.name).rpartition(".")[2]

    def each(self, transfers: Sequence[Transfer], step: Callable[[Transfer], Transfer]) -> Outcomes:
        """Run a step for each transfer, several at a time; a failure does not stop the others."""
        outcomes = self.clients.threads.run(transfers, lambda file: self.attempt(file, step))
        return self._by_upload(transfers, outcomes)

    def each_file(
        self,
        transfers: Sequence[Transfer],
        step: Callable[[Transfer], Transfer],
        go_on: Callable[[Outcomes], None] | None = None,
    ) -> Outcomes:
        """Do as ``each``; what hangs in a file is left behind, see ``tasks.stage.threads``.

        A file on a mount that does not answer is not tried, see ``tasks.stage.mounts``. ``go_on``
        gets the outcomes so far, if the others take much longer.
        """
        mounts = self.clients.mounts
        dead = mounts.dead([file.path for file in transfers if file.publish is None])
        tried = [file for file in transfers if file.path not in dead]

        def by_upload(places: dict[int, Transfer | UploadError]) -> None:
            if go_on:
                go_on({tried[place].upload_id: outcome for place, outcome in places.items()})

        ended = self.in_threads(
            tried, lambda file: self.attempt(file, step), by_upload if go_on else None
        )
        outcomes = self._by_upload(tried, ended)
        answers = {
            file.path: isinstance(outcome, errors.FileHungError)
            for file in tried
            if isinstance(outcome := outcomes[file.upload_id], Transfer | errors.FileHungError)
            and file.publish is None
        }
        mounts.note(answers)
        for file in transfers:
            if mount := dead.get(file.path):
                why = f"other files of {mount} hang, too"
                outcomes[file.upload_id] = errors.FileHungError(file.path, why)
        return outcomes

    def call_once(
        self,
        call: Callable[[Sequence[Transfer]], Outcomes],
        transfers: Sequence[Transfer],
        *,
        writes: bool = True,
    ) -> Outcomes:
        """Make one call for all transfers; after an unexpected error, make one for each of them.

        In a call that writes nothing, one transfer that makes ftrack slow holds up no other, see
        ``tasks.stage.together``.
        """
        try:
            if writes:
                return call(transfers)
            return call_together(call, transfers, self.clients.threads)
        except Exception as error:  # noqa: BLE001 the other uploads go on
            if len(transfers) == 1:
                return {transfers[0].upload_id: self._log_unexpected(transfers[0], error)}
            return {
                upload_id: outcome
                for transfer in transfers
                for upload_id, outcome in self.call_once(call, [transfer]).items()
            }

    def in_threads(
        self,
        items: Sequence[T],
        act: Callable[[T], R],
        go_on: Callable[[dict[int, R]], None] | None = None,
    ) -> list[R | Unfinished]:
        """Act on each item, FARMHAUL_CONNECTIONS of them at a time.

        Far from the store and on network file systems, most of the time is spent waiting. MD5
        takes no more CPU time with 8 threads than with 1 (measured 2026-11).
        """
        limit_s, begin_limit_s = threads.STALLED_S, threads.task_share_s()
        return self.clients.threads.run(items, act, lambda _: limit_s, begin_limit_s, go_on)

    def attempt(
        self, transfer: Transfer, step: Callable[[Transfer], Transfer]
    ) -> Transfer | errors.UploadError:
        """Run a step, and return its result or its error."""
        try:
            return step(transfer)
        except errors.UploadError as error:
            return error
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 the other uploads go on
            return self._log_unexpected(transfer, error)

    def outcome_of(
        self, transfer: Transfer, outcome: Transfer | UploadError | Unfinished
    ) -> Transfer | UploadError:
        """Return the outcome of a step, also if it has not ended."""
        if not isinstance(outcome, Unfinished):
            return outcome
        error: UploadError = errors.GivenBackError(transfer.upload_id)
        silence = f"nothing has moved for {outcome.silent_s:.0f} s"
        if outcome.why == "file":
            error = errors.FileHungError(transfer.path, silence)
        elif outcome.why != "given back":
            error = errors.ServiceUnavailableError(outcome.why, silence)
        error.is_running = outcome.is_running
        return error

    def _by_upload(
        self,
        transfers: Sequence[Transfer],
        outcomes: Sequence[Transfer | UploadError | Unfinished],
    ) -> Outcomes:
        return {
            transfer.upload_id: self.outcome_of(transfer, outcome)
            for transfer, outcome in zip(transfers, outcomes, strict=True)
        }

    def _log_unexpected(self, transfer: Transfer, error: Exception) -> errors.UploadError:
        """Log an error that nobody foresaw, and return the one that the record may show."""
        log.error(
            "unexpected_error", upload_id=transfer.upload_id, stage=self.stage, exc_info=error
        )
        return internal_error(self.stage, error)
