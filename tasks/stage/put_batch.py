"""How a batch is sent: what the store refuses is signed again, apart from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.stage.base import Stage
from tasks.stage.heartbeat import Heartbeat
from tasks.stage.outcomes import is_url_refused
from tasks.stage.sending import send_file
from tasks.stage.together import call_in_groups
from tasks.transfer.models import Batch, Outcomes, Transfer
from tasks.transfer.signing import sign, sign_alone


@dataclass
class PutBatch:
    """Sends the small files of a batch.

    ``batch`` is what has not gone on yet. ``outcomes`` are the answers of the store by upload id,
    and ``refused`` those of ftrack, where it would not sign.
    """

    stage: Stage
    heartbeat: Heartbeat
    batch: Batch
    outcomes: Outcomes = field(default_factory=dict)
    refused: Outcomes = field(default_factory=dict)

    def send_all(self) -> None:
        """Send each file that is not stored yet.

        One call signs for a batch, so one upload may have spoiled the URLs of all.
        """
        files = self.batch.not_stored
        given: Outcomes = {file.upload_id: file for file in files}
        # While a key is changed, this node may not be able to open what another one had signed.
        unsigned = [file for file in files if file.signed is None]
        # The batch has waited for long, or one upload has spoiled the URLs of its call.
        over = self._are_over(files)
        self._send(given | self._sign(unsigned) | (self._sign_again(over) if over else {}))
        spoiled = self._url_refused(self.batch.not_stored)
        if len(spoiled) > 1:
            self._send_again(spoiled)

    def _send_again(self, spoiled: Sequence[Transfer]) -> None:
        tried, others = spoiled[:2], spoiled[2:]  # one of two may be that upload
        self._send(self._sign_each(tried))
        if any(isinstance(self.outcomes[file.upload_id], Transfer) for file in tried):
            self._send(self._sign_in_groups(others))
            self._send(self._sign_each(self._url_refused(others)))

    def _send(self, signed: Outcomes) -> None:
        files = [outcome for outcome in signed.values() if isinstance(outcome, Transfer)]
        self.refused |= {
            k: outcome for k, outcome in signed.items() if not isinstance(outcome, Transfer)
        }
        clients, heartbeat = self.stage.clients, self.heartbeat
        self.outcomes |= self.stage.each_file(
            files, lambda file: send_file(clients, file, heartbeat), self._go_on
        )

    def _go_on(self, stored: Outcomes) -> None:
        self.batch = self.stage.hand_on_early(self.batch, stored, service="store")
        self.heartbeat.keep(self.batch)

    def _url_refused(self, files: Sequence[Transfer]) -> list[Transfer]:
        """Return those whose last URL the store has refused."""
        return [
            file
            for file in files
            if file.upload_id not in self.refused
            and is_url_refused(self.outcomes.get(file.upload_id))
        ]

    def _are_over(self, files: Sequence[Transfer]) -> list[Transfer]:
        """Return those whose URLs the store will refuse because of their dates."""
        dates = self.stage.clients.url_dates
        return [file for file in files if file.signed and dates.is_over(file.signed)]

    def _sign_again(self, over: Sequence[Transfer]) -> Outcomes:
        """Sign files whose URLs have bad dates; those that one upload has spoiled again, alone."""
        signed = self._sign_in_groups(over)
        left = self._are_over([one for one in signed.values() if isinstance(one, Transfer)])
        if left and len(left) * 2 <= len(over):  # if most are left, this node's clock is wrong
            signed |= self._sign_each(left)
        return signed

    def _sign(self, files: Sequence[Transfer]) -> Outcomes:
        ftrack = self.stage.clients.ftrack
        return self.stage.call_once(lambda some: sign(ftrack, some), files, writes=False)

    def _sign_each(self, files: Sequence[Transfer]) -> Outcomes:
        ftrack = self.stage.clients.ftrack
        return self.stage.each(files, lambda file: sign_alone(ftrack, file))

    def _sign_in_groups(self, files: Sequence[Transfer]) -> Outcomes:
        """Sign in several calls: that finds the upload that spoils the URLs of its call.

        It takes fewer calls than one for each file.
        """
        ftrack, threads = self.stage.clients.ftrack, self.stage.clients.threads
        return self.stage.call_once(
            lambda some: call_in_groups(lambda group: sign(ftrack, group), some, threads), files
        )
