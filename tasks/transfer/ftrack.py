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
from tasks.transfer.models import SERVER_LOCATION_ID, Transfer
from tasks.transfer.operations import (
    Operation,
    Result,
    locate_operations,
    parse_located,
    parse_signed,
    sign_operations,
)

Outcome = Transfer | UploadError
OperationsOf = Callable[[Transfer], list[Operation]]
Parse = Callable[[Transfer, Sequence[Result]], Outcome]

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
        return self._call_each(transfers, sign_operations, parse_signed, "sign the upload of")

    def locate(self, transfers: Sequence[Transfer]) -> dict[str, Outcome]:
        """Register stored files in ftrack.server, in one POST.

        Safe to repeat: ids are derived, and a location that is there already is
        looked up and accepted when it is ours. Gives the transfer, or the error of it
        alone, by transfer id.
        """
        return self._call_each(transfers, locate_operations, parse_located, "register")

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

    def _call_each(
        self,
        transfers: Sequence[Transfer],
        operations_of: OperationsOf,
        parse: Parse,
        what: str,
        *,
        looked: bool = False,
    ) -> dict[str, Outcome]:
        """Make one call for all; split it when refused, so that one bad upload is found.

        ``looked`` tells that none of them was found to be located already.
        """
        try:
            return self._call_or_split(transfers, operations_of, parse, what, looked=looked)
        except UploadError as error:
            return {transfer.transfer_id: error for transfer in transfers}

    def _call_or_split(
        self,
        transfers: Sequence[Transfer],
        operations_of: OperationsOf,
        parse: Parse,
        what: str,
        *,
        looked: bool,
    ) -> dict[str, Outcome]:
        if not transfers:
            return {}
        operations = [operations_of(transfer) for transfer in transfers]
        try:
            results = iter(self.call([one for several in operations for one in several]))
        except FtrackRefusal as refusal:
            if refusal.is_duplicate and not looked:
                left = self._not_located(transfers)
                if left != list(transfers):
                    there: dict[str, Outcome] = {one.transfer_id: one for one in transfers}
                    return there | self._call_each(left, operations_of, parse, what)
                looked = True
            if len(transfers) == 1:
                [transfer] = transfers
                why = f"{refusal.name}: {refusal.why}"
                error = RequestRefusedError(transfer.component_id, what, why)
                return {transfer.transfer_id: error}
            middle = len(transfers) // 2
            halves = (transfers[:middle], transfers[middle:])
            outcomes: dict[str, Outcome] = {}
            for half in halves:
                outcomes |= self._call_each(half, operations_of, parse, what, looked=looked)
            return outcomes
        return {
            transfer.transfer_id: parse(transfer, [next(results) for _ in own])
            for transfer, own in zip(transfers, operations, strict=True)
        }

    def is_located(self, transfer: Transfer) -> bool:
        """Tell whether the component is in ftrack.server, as we would have registered it."""
        return not self._not_located([transfer])

    def _not_located(self, transfers: Sequence[Transfer]) -> list[Transfer]:
        """Leave out the transfers whose location exists and is as we would have made it."""
        ids = ", ".join(f'"{transfer.component_id}"' for transfer in transfers)
        expression = (
            "select component_id, resource_identifier from ComponentLocation "  # noqa: S608 not SQL; the ids are checked UUIDs
            f'where component_id in ({ids}) and location_id is "{SERVER_LOCATION_ID}"'
        )
        try:
            [result] = self.call([{"action": "query", "expression": expression}])
        except FtrackRefusal:
            return list(transfers)
        data = result.get("data")
        rows = data if isinstance(data, list) else []
        ours = [
            row.get("component_id")
            for row in rows
            if isinstance(row, dict) and row.get("resource_identifier") == row.get("component_id")
        ]
        return [transfer for transfer in transfers if transfer.component_id not in ours]
