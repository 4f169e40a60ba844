"""ftrack's API: one POST contains a list of operations. Either all of them happen, or none."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Sequence

import requests

from tasks.transfer.errors import (
    CredentialsRefusedError,
    InterceptedError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
)
from tasks.transfer.exchange import EXCHANGE_S, Exchange, ExchangeAdapter
from tasks.transfer.http import (
    TIMEOUT_S,
    PlainSession,
    body_of,
    is_outage,
    one_line,
    retry_after_s,
    send_raw,
    status_of,
    translated_errors,
)
from tasks.transfer.operations import Operation, Result
from tasks.transfer.pace import Pace, SlowCallError

CREDENTIALS_EXCEPTIONS = {"InvalidCredentialsError", "FTAuthenticationError"}
#: Names of errors that say nothing of the call: the server, or what it needs, is in trouble.
OUTAGE_EXCEPTION = re.compile(
    "server_?error|internal|timeout|connection|unavailable|operational|dbapi|toomany|throttl"
    "|maintenance|deadlock|stale",
    re.IGNORECASE,
)
#: The same in the words of boto3, by which ftrack calls its store.
STORE_OUTAGE = re.compile(
    r"\((?:InternalError|OperationAborted|ServiceUnavailable|SlowDown|50\d)\)"
)
#: Proxies often refuse requests above 1 MB (nginx: client_max_body_size 1m).
MAX_REQUEST_BYTES = 900_000
#: The response for a batch of 50 has about 100 kB, that for 10,000 parts 15 MB.
MAX_RESPONSE_BYTES = 16 << 20
#: The values of a response's JSON. That for 10,000 parts has 30,000; each takes up to 200 bytes.
MAX_VALUES = 500_000


class FtrackRefusal(Exception):
    """ftrack refused a POST as a whole, without naming the operation that is the reason.

    A POST that is too large, for us or for a proxy, is refused in the same way.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name = name
        self.why = why

    def __str__(self) -> str:
        return _told(self.name, self.why)

    @property
    def is_too_large(self) -> bool:
        """Whether the POST is larger than we, or a proxy before ftrack, allow."""
        return self.name == TOO_LARGE

    @property
    def is_duplicate(self) -> bool:
        """Whether an entity that the POST would create exists already."""
        why = self.why.lower()
        if "foreign key" in why:  # what it refers to does not exist
            return False
        return self.name == "IntegrityError" or self._says_duplicate

    @property
    def may_pass(self) -> bool:
        """Whether the same POST may succeed later.

        Servers have been seen to order the operations of a POST wrongly, so that one refers to what
        is not there yet (ftrack-python, ``source/ftrack_api/entity/component.py``).
        """
        return self.name == "IntegrityError" and not self._says_duplicate

    @property
    def _says_duplicate(self) -> bool:
        why = self.why.lower()
        return "duplicate key" in why or "already ex" in why


TOO_LARGE = "the call is too large"
#: What is unexpected, if it may be no answer of ftrack's at all.
API_CALL = "an API call"


class FtrackClient:
    """The part of ftrack's API that uploads need. It tries once, and raises.

    ``before_call`` is called before each POST; it may wait, as a rate limit does.
    """

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
        self._pace = Pace()
        self.session = PlainSession()
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, ExchangeAdapter())
        # As bytes: requests cannot send a str with characters outside latin-1.
        self._headers: dict[str, str | bytes] = {
            **self.session.headers,
            "ftrack-user": api_user.encode(),
            "ftrack-api-key": api_key.encode(),
            "Accept": "application/json",
            "Content-Type": "application/json",
        }

    def __repr__(self) -> str:
        return f"FtrackClient({self.server_url!r})"

    def call(
        self, operations: Sequence[Operation], read_timeout_s: float | None = None
    ) -> list[Result]:
        """POST operations and return their results, in the same order.

        ``read_timeout_s`` is for a call that takes ftrack longer than others.

        Raises:
            FtrackRefusal: ftrack refused, and none of the operations has happened.
            CredentialsRefusedError: ftrack does not accept the API user or key.
            ServiceUnavailableError: there was no usable response.
            OwnSettingsError: a setting or the network of this node is wrong.
            UnexpectedAnswerError: the response is not a list of results.
            InterceptedError: a proxy or firewall has refused the call.
            SlowCallError: only of a hurried call, see ``tasks.transfer.pace``.
        """
        request = encoded(operations)
        if len(request) > MAX_REQUEST_BYTES:
            raise FtrackRefusal(TOO_LARGE, f"{len(request)} bytes; at most {MAX_REQUEST_BYTES}")
        self._before_call()
        url = f"{self.server_url}/api"
        with self._pace.of(len(operations)) as limit_s:
            response, body = self._exchange(url, request, read_timeout_s or TIMEOUT_S[1], limit_s)
        return self._results(response, body, len(operations))

    def _exchange(
        self, url: str, request: bytes, read_timeout_s: float, limit_s: float
    ) -> tuple[requests.Response, bytes]:
        within_s = max(EXCHANGE_S, read_timeout_s)
        exchange = Exchange(min(within_s, limit_s))
        late: Exception = SlowCallError()
        if limit_s >= within_s:
            why = f"no whole answer within {within_s:.0f} s"
            late = ServiceUnavailableError("ftrack", why)
        try:
            with exchange, translated_errors("ftrack", url):
                headers = {**self._headers, "Content-Length": str(len(request))}
                response = send_raw(
                    self.session,
                    "POST",
                    url,
                    headers,
                    request,
                    service="ftrack",
                    timeout_s=(TIMEOUT_S[0], read_timeout_s),
                )
                body = body_of(response, MAX_RESPONSE_BYTES + 1)
        except ServiceUnavailableError as error:
            raise (late if exchange.is_over else error) from None
        if len(body) > MAX_RESPONSE_BYTES or _count_values(body) > MAX_VALUES:
            # It is no outage: ftrack may answer all others well.
            raise UnexpectedAnswerError("ftrack", API_CALL, "an answer that is too large")
        if exchange.is_over and not _is_json(body):  # cut, a body without a length just ends
            raise late
        return response, body

    def call_in_groups(self, groups: Sequence[Sequence[Operation]]) -> list[list[Result]]:
        """POST all groups in one call; return the results of each group.

        Without any operation, no call is made.

        Raises:
            FtrackRefusal, UploadError: see ``call``.
        """
        operations = [operation for group in groups for operation in group]
        results = iter(self.call(operations) if operations else [])
        return [[next(results) for _ in group] for group in groups]

    def _results(self, response: requests.Response, body: bytes, expected: int) -> list[Result]:
        status = response.status_code
        try:
            results = json.loads(body)
        except (ValueError, RecursionError):
            raise _not_ftracks(response) from None
        # The error stands for all results; one in their place is believed, too.
        for result in results if isinstance(results, list) else [results]:
            if isinstance(result, dict) and "exception" in result:
                raise self._error_in(result, response)
        if status == requests.codes.request_entity_too_large:
            raise _too_large(response)
        if is_outage(status):
            raise ServiceUnavailableError("ftrack", status_of(response), retry_after_s(response))
        if status == requests.codes.unauthorized:
            raise CredentialsRefusedError(self.server_url, status_of(response))
        if status >= requests.codes.bad_request:
            why = f"{status_of(response)}, and JSON that is not ftrack's"
            raise InterceptedError("ftrack", why)
        fits = (
            status == requests.codes.ok
            and isinstance(results, list)
            and len(results) == expected
            and all(isinstance(result, dict) for result in results)
        )
        if not fits:
            why = f"HTTP {status} and JSON that is not {expected} results"
            raise UnexpectedAnswerError("ftrack", API_CALL, why)
        return list(results)

    def _error_in(self, error: Result, response: requests.Response) -> Exception:
        # Most errors come with HTTP 200, as this object in place of the results.
        code = error.get("error_code")
        name = self._printable(error.get("exception")) or self._printable(code)
        why = self._printable(error.get("content"))
        if code == "api_credentials_invalid" or name in CREDENTIALS_EXCEPTIONS:
            return CredentialsRefusedError(self.server_url, why or name)
        is_theirs = OUTAGE_EXCEPTION.search(name) or STORE_OUTAGE.search(why)
        if is_outage(response.status_code) or is_theirs:
            return ServiceUnavailableError("ftrack", _told(name, why), retry_after_s(response))
        return FtrackRefusal(name, why)

    def _printable(self, value: object) -> str:
        # ftrack may repeat the key that it refuses. A value that is not text may be nested deeply.
        text = value if isinstance(value, str) else reprlib.repr(value) if value else ""
        return one_line(text.replace(self._api_key, "***"))


def _told(name: str, why: str) -> str:
    """Return what an error of ftrack's says: it may lack its name, its text, or both."""
    return ": ".join(filter(None, (name, why))) or "an error without a name or text"


def _count_values(body: bytes) -> int:
    """Return how many values a JSON text has at most. Millions of empty lists fill the memory."""
    return sum(map(body.count, (b"[", b"{", b",")))


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _not_ftracks(response: requests.Response) -> Exception:
    """Return the error for a response that is not JSON: a proxy's page, or one that was cut off."""
    status, why = response.status_code, f"{status_of(response)}, not JSON"
    if status < requests.codes.bad_request:
        why += ": perhaps a page of a proxy or portal in ftrack's place"
    if status == requests.codes.request_entity_too_large:
        return _too_large(response)
    if status >= requests.codes.bad_request and not is_outage(status):
        return InterceptedError("ftrack", why)
    return ServiceUnavailableError("ftrack", why, retry_after_s(response))


def _too_large(response: requests.Response) -> FtrackRefusal:
    return FtrackRefusal(TOO_LARGE, f"a proxy before ftrack answers {status_of(response)}")


def encoded(operations: Sequence[Operation]) -> bytes:
    """Return the body of a POST with these operations."""
    return json.dumps(list(operations), separators=(",", ":")).encode()
