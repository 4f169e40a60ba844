"""ftrack's API: one POST carries a list of operations, which all happen or none."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Sequence

import requests

from tasks.transfer.errors import (
    CredentialsRefusedError,
    RequestRefusedError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
    UploadError,
)
from tasks.transfer.http import (
    HTTP_ERRORS,
    TIMEOUT_S,
    PlainSession,
    body_of,
    is_outage,
    retry_after_s,
    status_of,
    without_secrets,
    words,
)
from tasks.transfer.models import Transfer
from tasks.transfer.signing import (
    Operation,
    Result,
    parse_signed,
    sign_operations,
    version_operations,
)

Outcome = Transfer | UploadError
OperationsOf = Callable[[Transfer], list[Operation]]
Parse = Callable[[Transfer, Sequence[Result], Sequence[Result]], Outcome]

CREDENTIALS_EXCEPTIONS = {"InvalidCredentialsError", "FTAuthenticationError"}
#: The answer for a batch of 50 has some 100 kB.
MAX_ANSWER_BYTES = 16 << 20
OUTAGE_EXCEPTIONS = {"ServerError", "InternalError", "TimeoutError", "OperationalError"}


class FtrackRefusal(Exception):
    """ftrack refused a POST as a whole; which operation it was, it does not tell."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name = name
        self.why = why

    @property
    def is_duplicate(self) -> bool:
        """Tell whether something that was to be created is there already."""
        words = self.why.lower()
        return self.name == "IntegrityError" or "duplicate key" in words or "already ex" in words


class AlreadyThereError(RequestRefusedError):
    """Something that was to be created exists: look it up, and go on from there."""


class FtrackClient:
    """The part of ftrack's API that uploads need; it tries once and raises."""

    def __init__(
        self,
        server_url: str,
        api_user: str,
        api_key: str,
        before_call: Callable[[], None] = lambda: None,
    ) -> None:
        self._before_call = before_call
        self.server_url = server_url.rstrip("/")
        self._api_key = api_key
        self.session = PlainSession()
        # As bytes: a name beyond latin-1 could not be sent otherwise.
        self.session.headers.update(
            {
                "ftrack-user": api_user.encode(),
                "ftrack-api-key": api_key.encode(),
                "Accept": "application/json",
            }
        )

    def __repr__(self) -> str:
        return f"FtrackClient({self.server_url!r})"

    def sign(self, transfers: Sequence[Transfer]) -> dict[str, Outcome]:
        """Ask for a signed PUT for each transfer, in one POST.

        Gives the transfer with its SignedPut, or the error of it alone, by transfer id.
        """
        return self.call_each(
            transfers, sign_operations, parse_signed, "sign the upload of", version_operations
        )

    def call(self, operations: Sequence[Operation]) -> list[Result]:
        """POST operations and give their results, in the same order.

        Raises:
            FtrackRefusal: ftrack said no, and nothing of the list has happened.
            CredentialsRefusedError, ServiceUnavailableError, UnexpectedAnswerError
        """
        self._before_call()
        try:
            answer = self.session.post(
                f"{self.server_url}/api",
                json=list(operations),
                timeout=TIMEOUT_S,
                allow_redirects=False,
                stream=True,
            )
            body = body_of(answer, MAX_ANSWER_BYTES)
        except HTTP_ERRORS as error:
            raise ServiceUnavailableError("ftrack", without_secrets(error)) from None
        return self._results(answer, body, len(operations))

    def _results(self, answer: requests.Response, body: bytes, expected: int) -> list[Result]:
        status = answer.status_code
        try:
            results = json.loads(body)
        except (ValueError, RecursionError):
            # A proxy's HTML page, or an answer cut off; a 4xx of that kind is no verdict
            # of ftrack's either.
            why = f"{status_of(answer)}, not JSON"
            raise ServiceUnavailableError("ftrack", why, retry_after_s(answer)) from None
        if isinstance(results, dict) and "exception" in results:
            raise self._refusal(results, answer)
        if is_outage(status):
            raise ServiceUnavailableError("ftrack", status_of(answer), retry_after_s(answer))
        if status == requests.codes.unauthorized:
            raise CredentialsRefusedError(self.server_url, status_of(answer))
        fits = (
            status == requests.codes.ok
            and isinstance(results, list)
            and len(results) == expected
            and all(isinstance(result, dict) for result in results)
        )
        if not fits:
            why = f"HTTP {status} and JSON that is not {expected} results"
            raise UnexpectedAnswerError("ftrack", "an API call", why)
        return list(results)

    def _refusal(self, error: Result, answer: requests.Response) -> Exception:
        # Errors mostly come as HTTP 200, with this object in place of the results.
        name = self._words(error.get("exception"))
        why = self._words(error.get("content", ""))
        code = error.get("error_code")
        if code == "api_credentials_invalid" or name in CREDENTIALS_EXCEPTIONS:
            return CredentialsRefusedError(self.server_url, why or name)
        if is_outage(answer.status_code) or name in OUTAGE_EXCEPTIONS:
            return ServiceUnavailableError("ftrack", f"{name}: {why}", retry_after_s(answer))
        return FtrackRefusal(name, why)

    def _words(self, value: object) -> str:
        # ftrack may repeat the key that it refuses; what is not text may be nested deeply.
        text = value if isinstance(value, str) else reprlib.repr(value)
        return words(text.replace(self._api_key, "***"))

    def call_each(
        self,
        transfers: Sequence[Transfer],
        operations_of: OperationsOf,
        parse: Parse,
        what: str,
        lead_of: Callable[[Sequence[Transfer]], list[Operation]] = lambda _: [],
        *,
        looked: bool = True,
    ) -> dict[str, Outcome]:
        """Make one call for all; split it when refused, so that one bad upload is found.

        ``lead_of`` gives operations that go before all others in a POST. With ``looked`` false,
        a call that meets what is there already is not split: all of it is AlreadyThereError.
        """
        if not transfers:
            return {}
        lead = lead_of(transfers)
        operations = [operations_of(transfer) for transfer in transfers]
        flat = [*lead, *(one for several in operations for one in several)]
        try:
            results = self.call(flat) if flat else []
        except UploadError as error:
            return {transfer.upload_id: error for transfer in transfers}
        except FtrackRefusal as refusal:
            there = refusal.is_duplicate and not looked
            if there or len(transfers) == 1:
                kind = AlreadyThereError if there else RequestRefusedError
                why = f"{refusal.name}: {refusal.why}"
                return {one.upload_id: kind(one.component_id, what, why) for one in transfers}
            middle = len(transfers) // 2
            outcomes: dict[str, Outcome] = {}
            for half in (transfers[:middle], transfers[middle:]):
                outcomes |= self.call_each(half, operations_of, parse, what, lead_of, looked=looked)
            return outcomes
        rest = iter(results[len(lead) :])
        return {
            transfer.upload_id: parse(transfer, [next(rest) for _ in own], results[: len(lead)])
            for transfer, own in zip(transfers, operations, strict=True)
        }
