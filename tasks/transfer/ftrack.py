"""ftrack's API: one POST contains a list of operations. Either all of them happen, or none."""

from __future__ import annotations

import json
import reprlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import requests

from tasks.transfer.errors import (
    CredentialsRefusedError,
    InterceptedError,
    OwnSettingsError,
    RequestRefusedError,
    ServiceUnavailableError,
    UnexpectedAnswerError,
    UploadError,
)
from tasks.transfer.exchange import EXCHANGE_S, Exchange, ExchangeAdapter
from tasks.transfer.http import (
    TIMEOUT_S,
    PlainSession,
    body_of,
    check_proxy,
    is_outage,
    one_line,
    retry_after_s,
    status_of,
    translated_errors,
)
from tasks.transfer.models import Transfer
from tasks.transfer.operations import Operation
from tasks.transfer.pace import Pace, SlowCallError
from tasks.transfer.targets import QUOTES, is_uuid

Result = Mapping[str, Any]
#: For each upload id: the transfer after a step, or the error that it failed with.
Outcomes = dict[str, Transfer | UploadError]

CREDENTIALS_EXCEPTIONS = {"InvalidCredentialsError", "FTAuthenticationError"}
OUTAGE_EXCEPTIONS = {"ServerError", "InternalError", "TimeoutError", "OperationalError"}
#: Proxies often refuse requests above 1 MB (nginx: client_max_body_size 1m).
MAX_REQUEST_BYTES = 900_000
#: A call that took longer before it failed is not repeated for its halves: if ftrack answers
#: nothing in time, that would take minutes.
SPLIT_WITHIN_S = 10.0
#: The response for a batch of 50 has about 100 kB, that for 10,000 parts 15 MB.
MAX_RESPONSE_BYTES = 16 << 20
#: Rows of a query that comes page by page: a component has no more files than that.
MAX_ROWS = 200_000
#: The most digits that a frame number is padded to, and the largest size that ftrack can store.
MAX_PADDING = 32
MAX_SIZE_BYTES = 2**63 - 1
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
        return f"{self.name}: {self.why}"

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


#: What is asked of ftrack for several transfers at once. It may raise UploadError or FtrackRefusal.
Call: TypeAlias = Callable[[Sequence[Transfer]], Outcomes]
_Result: TypeAlias = "Outcomes | UploadError | FtrackRefusal"


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
        self.session.headers.update(
            {
                "ftrack-user": api_user.encode(),
                "ftrack-api-key": api_key.encode(),
                "Accept": "application/json",
            }
        )

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
        check_proxy(response, "ftrack", url)
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
                response = self.session.post(
                    url,
                    data=request,
                    headers={"Content-Type": "application/json"},
                    timeout=(TIMEOUT_S[0], read_timeout_s),
                    allow_redirects=False,
                    stream=True,
                )
                body = body_of(response, MAX_RESPONSE_BYTES + 1)
        except ServiceUnavailableError as error:
            raise (late if exchange.is_over else error) from None
        if len(body) > MAX_RESPONSE_BYTES or _count_values(body) > MAX_VALUES:
            # It is no outage: ftrack may answer all others well.
            raise UnexpectedAnswerError("ftrack", "an API call", "an answer that is too large")
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
        if isinstance(results, dict) and "exception" in results:
            raise self._error_in(results, response)
        if is_outage(status):
            raise ServiceUnavailableError("ftrack", status_of(response), retry_after_s(response))
        if status == requests.codes.unauthorized:
            raise CredentialsRefusedError(self.server_url, status_of(response))
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

    def _error_in(self, error: Result, response: requests.Response) -> Exception:
        # Most errors come with HTTP 200, as this object in place of the results.
        name = self._printable(error.get("exception"))
        why = self._printable(error.get("content", ""))
        code = error.get("error_code")
        if code == "api_credentials_invalid" or name in CREDENTIALS_EXCEPTIONS:
            return CredentialsRefusedError(self.server_url, why or name)
        if is_outage(response.status_code) or name in OUTAGE_EXCEPTIONS:
            return ServiceUnavailableError("ftrack", f"{name}: {why}", retry_after_s(response))
        return FtrackRefusal(name, why)

    def _printable(self, value: object) -> str:
        # ftrack may repeat the key that it refuses. A value that is not text may be nested deeply.
        text = value if isinstance(value, str) else reprlib.repr(value)
        return one_line(text.replace(self._api_key, "***"))


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
    if status == requests.codes.request_entity_too_large:
        return FtrackRefusal(TOO_LARGE, f"a proxy before ftrack answers {status_of(response)}")
    if status >= requests.codes.bad_request and not is_outage(status):
        return InterceptedError("ftrack", why)
    return ServiceUnavailableError("ftrack", why, retry_after_s(response))


def bisect_failures(call: Call, transfers: Sequence[Transfer], action: str) -> Outcomes:
    """Call once for all transfers; if that fails, bisect until the reason is found.

    One transfer among 50 that ftrack refuses, or has no usable answer for, costs about a dozen
    calls, and the others succeed. If ftrack answers neither of two halves, it may be down: they
    are not split further, and the transfers of each share one error object. ``action`` names the
    call in the error of a refused transfer, such as "register".
    """
    return _bisect(call, transfers, action, _attempt(call, transfers)) if transfers else {}


def _bisect(call: Call, transfers: Sequence[Transfer], action: str, result: _Result) -> Outcomes:
    """Return the outcomes of transfers for which one call had this result."""
    if isinstance(result, dict):
        return result
    if len(transfers) == 1:
        [transfer] = transfers
        if isinstance(result, FtrackRefusal) and result.may_pass:
            result = UnexpectedAnswerError("ftrack", f"a call to {action} it", str(result))
        elif isinstance(result, FtrackRefusal):
            result = RequestRefusedError(transfer.component_id, action, str(result))
        return {transfer.upload_id: result}
    middle = len(transfers) // 2
    halves = [transfers[:middle], transfers[middle:]]
    results = [_attempt(call, half) for half in halves]
    outcomes: Outcomes = {}
    may_be_down = all(isinstance(one, UploadError) for one in (result, *results))
    for half, half_result in zip(halves, results, strict=True):
        if may_be_down and isinstance(half_result, UploadError):
            outcomes |= _same_for_all(half, half_result)
        else:
            outcomes |= _bisect(call, half, action, half_result)
    return outcomes


def _attempt(call: Call, transfers: Sequence[Transfer]) -> _Result:
    begun = time.monotonic()
    try:
        return call(transfers)
    except FtrackRefusal as refusal:
        return refusal
    except UploadError as error:
        is_slow = time.monotonic() - begun > SPLIT_WITHIN_S
        if is_slow or isinstance(error, OwnSettingsError):
            return _same_for_all(transfers, error)
        return error


def _same_for_all(transfers: Sequence[Transfer], error: UploadError) -> Outcomes:
    return {transfer.upload_id: error for transfer in transfers}


def encoded(operations: Sequence[Operation]) -> bytes:
    """Return the body of a POST with these operations."""
    return json.dumps(list(operations), separators=(",", ":")).encode()


def query(columns: str, entity_type: str, where: str) -> Operation:
    """Return the operation for a query in ftrack's query language."""
    expression = f"select {columns} from {entity_type} where {where}"  # noqa: S608 not SQL; ids are checked UUIDs
    return {"action": "query", "expression": expression}


def quoted(ids: Iterable[str]) -> str:
    """Return ids as the list in an ``in (…)`` of a query.

    Raises:
        ValueError: one of them would end its text there.
    """
    listed = [*ids]
    if not QUOTES.isdisjoint("".join(listed)):
        raise ValueError("what is listed in a query contains a quote")
    return ", ".join(f'"{entity_id}"' for entity_id in listed)


def rows_of(result: Result) -> list[Result]:
    """Return the rows in the result of a query.

    Raises:
        UnexpectedAnswerError: an id is not a UUID; it would become part of a path or a query.
    """
    data = result.get("data")
    listed = data if isinstance(data, list) else []
    rows: list[Result] = [row for row in listed if isinstance(row, dict)]
    for row in rows:
        for name, value in row.items():
            if (name == "id" or name.endswith("_id")) and not _is_id(value):
                raise UnexpectedAnswerError("ftrack", "a query", f"{name} is not a UUID")
    return rows


def number_of(row: Result, column: str, most: int) -> int:
    """Return a number of a row, from 0 to ``most``; 0 if it has none."""
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 <= value <= most else 0  # a size is a float, and may be infinite


def _is_id(value: object) -> bool:
    return value is None or (isinstance(value, str) and is_uuid(value))
