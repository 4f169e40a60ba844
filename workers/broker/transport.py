"""kombu's Redis transport, made to survive closed connections and foreign messages.

A task that finishes while Redis is unreachable is acknowledged on a closed connection. kombu 5.7
then raises AttributeError ("'NoneType' object has no attribute 'hostname'"), which Celery treats
as unrecoverable: the whole worker exits (measured: in 1 of 3 series of five Redis kills). Here it
becomes a connection error: the worker reconnects, the message is delivered again, and the record
shows that its work is done.

A Redis that refuses a command, because it has become a replica or cannot write to its disk, would
make the worker exit too. Here that is a connection error as well: the worker says why, and tries
again until Redis accepts it.

Anyone who can write to Redis can put anything into a queue. Foreign messages are dropped here,
before Celery sees them (``workers.broker.seal``), because they would make the worker exit.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.utils import json

from workers.broker import seal
from workers.broker.address import HEALTH_CHECK_S
from workers.broker.refused import Refused
from workers.broker.repair import repair_queues
from workers.broker.unacked import QoS
from workers.wording import redis_problem

#: When this process last asked Redis for tasks (time.monotonic), for ``workers.health``.
last_asked = time.monotonic()
#: How long one BRPOP waits for a task. It answers at once when there is one.
BRPOP_S = 13
#: How long a worker waits before it asks a Redis again that refuses to answer.
REFUSED_PAUSE_S = 1.0
#: What no channel of this process has delivered.
refused = Refused()


class _Guarded:
    """Part of a channel: messages are sealed, and Celery recovers from a closed connection."""

    connection: Any
    client: Any
    QoS = QoS
    #: In a worker, the client whose connections all channels share but for what they wait on.
    shared_redis: Any = None
    #: The client for all but waiting, while its connections are those of ``pool``.
    _commands: Any = None
    #: The socket of BRPOP, and the number by which Redis knows it; None if it does not say.
    _brpop_socket: Any = None
    _brpop_id: int | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # kombu has asked whether Redis answers, on a connection that most channels never use again.
        self.async_pool.disconnect()  # type: ignore[attr-defined]

    @property
    def pool(self) -> Any:
        """The connections for all but waiting."""
        if self.shared_redis is None:
            return super().pool  # type: ignore[misc]
        self._raise_if_closed()
        return self.shared_redis.connection_pool

    def _inplace_augment_message(self, message: Any, exchange: str, routing_key: str) -> None:
        super()._inplace_augment_message(message, exchange, routing_key)  # type: ignore[misc]
        seal.sign(message)

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            client = super()._create_client(asynchronous)  # type: ignore[misc]
            client.set_response_callback("BRPOP", self._readable)
            return client
        # kombu makes one for each command: 15 % of the CPU time of a worker's main process.
        pool = self.pool
        if self._commands is None or self._commands.connection_pool is not pool:
            self._commands = super()._create_client()  # type: ignore[misc]
        return self._commands

    def _queue_bind(self, *args: Any) -> None:
        try:
            super()._queue_bind(*args)  # type: ignore[misc]
        except redis.ResponseError:  # the first write of a new connection
            if self.shared_redis is not None:
                time.sleep(REFUSED_PAUSE_S)  # Celery connects again at once
            raise

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]
        except redis.ResponseError as error:
            if self.shared_redis is not None:
                with suppress(redis.RedisError):  # it may be a replica now, or away
                    self._repair_queues()
            time.sleep(REFUSED_PAUSE_S)  # Celery connects again at once
            raise redis.ConnectionError(redis_problem(error)) from None

    def _repair_queues(self) -> None:
        """Remove what somebody has put in the place of a queue that this worker waits on."""
        keys = [
            self._q_for_pri(queue, priority)  # type: ignore[attr-defined]
            for queue in self.active_queues  # type: ignore[attr-defined]
            for priority in self.priority_steps  # type: ignore[attr-defined]
        ]
        with self.conn_or_acquire() as client:  # type: ignore[attr-defined]
            repair_queues(client, keys)

    def _readable(self, response: Any, **_: Any) -> Any:
        # kombu reads the item right after this; None means that the queue is empty.
        return tuple(response) if response and self._is_json(response[1]) else None

    def _handle_message(self, client: Any, response: Any) -> Any:
        received = super()._handle_message(client, response)  # type: ignore[misc]
        # kombu reads the data right after this, and ignores a message without data.
        if received["type"].endswith(b"message") and not self._is_json(received["data"]):
            received["data"] = None
        return received

    def _is_json(self, text: bytes) -> bool:
        try:
            json.loads(text)
        except seal.MALFORMED:
            self.refuse("it is not JSON")
            return False
        return True

    def refuse(self, why: str, count: int = 1) -> None:
        """Note messages that were dropped, now or together with others."""
        refused.add(why, count)
        self.note_refused()

    def note_refused(self, at_once: bool = False) -> None:
        """Log and count what was dropped, if it is time to."""
        if refused.is_due(at_once):
            with self.conn_or_acquire() as client:  # type: ignore[attr-defined]
                refused.note(client)

    def _brpop_start(self, *args: Any, **options: Any) -> Any:
        global last_asked  # noqa: PLW0603 one time for the whole process
        last_asked = time.monotonic()
        connection = self.client.connection
        is_new = connection._sock is not self._brpop_socket  # noqa: SLF001 a new one has a new number
        if is_new and self.shared_redis is not None:
            self._brpop_socket, self._brpop_id = connection._sock, _client_id(connection)  # noqa: SLF001
        return super()._brpop_start(*args, **options)  # type: ignore[misc]

    def basic_consume(self, *args: Any, **options: Any) -> Any:
        tag = super().basic_consume(*args, **options)  # type: ignore[misc]
        self._end_brpop()
        return tag

    def _basic_cancel(self, consumer_tag: str) -> Any:
        answer = super()._basic_cancel(consumer_tag)  # type: ignore[misc]
        self._end_brpop()
        return answer

    def close(self) -> None:
        with suppress(redis.RedisError):  # a count is not worth an end that fails
            self.note_refused(at_once=True)
        self._end_brpop()  # kombu waits for its answer
        super().close()  # type: ignore[misc]

    def _end_brpop(self) -> None:
        """Have Redis answer a waiting BRPOP now: the queues have changed, or the worker stops."""
        if self._in_poll and self._brpop_id is not None:  # type: ignore[attr-defined]
            # If Redis is away or refuses, BRPOP ends by itself.
            with suppress(redis.RedisError), self.conn_or_acquire() as client:  # type: ignore[attr-defined]
                client.execute_command("CLIENT UNBLOCK", self._brpop_id)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        self._raise_if_closed()
        params: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]
        return params

    def _raise_if_closed(self) -> None:
        if getattr(self.connection, "client", None) is None:
            raise redis.ConnectionError("the connection to Redis is closed")


def share(client: Any) -> None:
    """Let all channels of this process use the connections of a client."""
    _Guarded.shared_redis = client


def _client_id(connection: Any) -> int | None:
    """Ask for the number by which Redis knows a connection that waits for nothing."""
    connection.send_command("CLIENT", "ID")
    try:
        return int(connection.read_response())
    except redis.ResponseError:
        return None  # its user may not know it


class Channel(_Guarded, kombu_redis.Channel):
    """A channel to one Redis."""


class SentinelChannel(_Guarded, kombu_redis.SentinelChannel):
    """A channel to the master that the sentinels name."""


class _Checked:
    """Part of a transport: only messages that pass the check are delivered to Celery."""

    channels: Any
    brpop_timeout = BRPOP_S

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cycle = _Poller()

    def _deliver(self, message: Any, queue: str) -> None:
        if why := seal.refusal(message, queue):
            next(iter(self.channels)).refuse(why)
            return
        super()._deliver(message, queue)  # type: ignore[misc]


class _Poller(kombu_redis.MultiChannelPoller):
    """Notices half-open subscriptions also in Flower, where no event loop has a timer for it."""

    def __init__(self) -> None:
        super().__init__()
        self._checked = time.monotonic()

    def maybe_check_subclient_health(self) -> None:
        """Send one PING on each subscription.

        By its own clock, redis-py may send none this time, or another one before it reads the
        answer to this one.
        """
        clients = [channel.__dict__.get("subclient") for channel in self._channels]
        connections = [client.connection for client in clients if client and client.connection]
        for connection in connections:
            connection.next_health_check = 0
        super().maybe_check_subclient_health()
        for connection in connections:
            connection.next_health_check = time.monotonic() + HEALTH_CHECK_S

    def get(self, callback: Any, timeout: float | None = None) -> None:
        if time.monotonic() - self._checked >= HEALTH_CHECK_S:
            self._checked = time.monotonic()
            self.maybe_check_subclient_health()
        super().get(callback, timeout)


class SentinelTransport(_Checked, kombu_redis.SentinelTransport):
    """The transport for sentinel://."""

    Channel = SentinelChannel


class Transport(_Checked, kombu_redis.Transport):
    """The transport for redis:// and rediss://."""

    Channel = Channel
