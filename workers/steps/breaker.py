"""Sets this worker aside while it can do nothing right, and lets it go on by itself.

A worker is set aside when it finds a fault with itself (``workers.self_check``), or when it fails
what others manage (``tasks/records/lua/includes/breaker.lua``). It then takes no tasks from the
queue that all share, not even to find that it may claim nothing: another worker would miss these
wake-ups. Now and then it tries one upload, and what it has failed (``tasks.probe``), by messages in
the queue of its own host. The first success lets it go on. Without other workers that take tasks,
it goes on whatever is wrong.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import redis
from celery.worker import state

from tasks.chain import FETCH_PRIORITY, QUEUE, queue_of, upload_chain
from tasks.log import log
from tasks.records.keys import OWN_QUEUES, PAUSED, WORKERS
from tasks.records.nodes import NodeFault, heard_lately, noted_fault
from workers import self_check
from workers.steps import pulse
from workers.steps.periodic import PeriodicStep
from workers.wording import redis_problem

#: The worker starts to take tasks after this time, even if a check has not ended.
FIRST_LOOK_S = 5.0
#: How often the checks are made; by a worker without tasks, which harms nobody, less often.
CHECK_S, IDLE_CHECK_S = 30.0, 120.0
#: The pause before the first probe; it doubles with each, until the worker was right for as long as
#: the longest one: what its probes do not show would set it aside again and again.
PROBE_S, MAX_PROBE_S = 10.0, 300.0


class Breaker(PeriodicStep):
    """Takes the shared queue off this worker, and gives it back."""

    interval_s = 2.0

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.client = self.record.scripts.client
        self.name = str(worker.hostname)
        self.own_queue = queue_of(socket.gethostname())
        self.fault: self_check.Fault | None = None
        self.aside: NodeFault | None = None
        #: Held while this worker looks at itself.
        self._looking = threading.Lock()
        self._has_asked_ftrack = self._has_warned = self._is_alone = False
        self._check_at = self._idle_check_at = self._probe_at = 0.0
        self._tasks_seen = 0
        self._probe_pause_s = PROBE_S
        self._right_since = 0.0
        #: The pulse by which Redis did not know this worker any more.
        self._new_at = 0.0

    def start(self, worker: Any) -> None:
        """Look before the first task is taken, then now and then."""
        look = threading.Thread(target=self._first_look, name="first look", daemon=True)
        look.start()
        look.join(FIRST_LOOK_S)
        super().start(worker)

    def _first_look(self) -> None:
        try:
            # Before it was started, somebody may have repaired what was wrong.
            self.record.scripts.run("let_go_on", node=self.name)
            self.act()
        except redis.RedisError as error:
            log.warning("redis_away", step=type(self).__name__, text=redis_problem(error))

    def act(self) -> None:
        """Set this worker aside, or let it go on."""
        # With "celery worker -Q", it may not take what all nodes see anyway.
        shares = QUEUE in self.worker.app.amqp.queues.consume_from or self.aside
        now = time.monotonic()
        if not shares or not (self.aside or self._has_tasks() or self._is_to_look(now)):
            return
        # The first look may still wait for ftrack.
        if self._looking.acquire(blocking=False):
            try:
                self._look(now)
            finally:
                self._looking.release()

    def _has_tasks(self) -> bool:
        """Return whether this worker has tasks, or had some since this was last asked."""
        before, self._tasks_seen = self._tasks_seen, state.all_total_count[0]
        return bool(state.reserved_requests) or self._tasks_seen != before

    def _is_to_look(self, now: float) -> bool:
        """Return whether a worker without tasks has a reason to look."""
        last = pulse.latest()
        if last.is_new and last.at > self._new_at:  # Redis has lost what this worker had noted
            self._new_at, self._check_at = last.at, 0.0
            return True
        return last.is_aside or now >= self._idle_check_at

    def _look(self, now: float) -> None:
        note = self.client.hget(PAUSED, self.name)
        if now >= self._check_at:
            self._check_at = now + CHECK_S
            self.fault = self._find_fault()
            # Alone, it has not compared its keys yet, and would refuse what it cannot open.
            self._idle_check_at = now + (CHECK_S if self._is_alone else IDLE_CHECK_S)
        if note is not None or self.fault is not None:
            fault = self.fault._asdict() if self.fault else None
            note = self.record.scripts.run("check_node", node=self.name, fault=fault)
        self._obey(noted_fault(self.name, note, self.record.scripts.codec) if note else None)
        if self.aside and not self.aside.known and now >= self._probe_at:
            self._probe(now)

    def _find_fault(self) -> self_check.Fault | None:
        pipeline = self.client.pipeline(transaction=False)
        self_check.note_keys(self.settings, pipeline, self.name)
        self._note_queue(pipeline)
        pipeline.execute()
        self._is_alone = not {*heard_lately(self.client, WORKERS, most=2)} - {self.name}
        if self._is_alone:
            self._warn()
            return None  # nobody can do better
        fault = self_check.key_fault(self.settings, self.client, self.name)
        fault = fault or self_check.clock_fault(self.client, self.settings.lease_s)
        # ftrack is asked when the worker starts, and for as long as it is set aside.
        if fault is None and (self.aside or not self._has_asked_ftrack):
            self._has_asked_ftrack = True
            fault = self_check.ftrack_fault(self.settings)
        return fault

    def _note_queue(self, pipeline: Any) -> None:
        """Note the queue of this host, so that other nodes send here what they cannot do."""
        if self.own_queue in self.worker.app.amqp.queues.consume_from:
            pipeline.hset(OWN_QUEUES, self.name, self.own_queue)
            pipeline.expire(OWN_QUEUES, 86400)
        else:
            pipeline.hdel(OWN_QUEUES, self.name)

    def _warn(self) -> None:
        """Log, once, why this worker cannot call ftrack; alone, it still takes tasks."""
        # Only loopback may be called by http, and needs neither network nor certificates.
        is_near = self.settings.require_ftrack().server_url.startswith("http:")
        if is_near or self._has_warned:
            return
        self._has_warned = True
        if fault := self_check.ftrack_fault(self.settings):
            log.error("cannot_call_ftrack", text=fault.error)

    def _obey(self, aside: NodeFault | None) -> None:
        """Take tasks from the shared queue unless this worker is set aside."""
        if aside and not self.aside:
            log.error("set_aside", text=aside.why)
            now = time.monotonic()
            if now - self._right_since > MAX_PROBE_S:
                self._probe_pause_s = PROBE_S
            self._probe_at = now + self._probe_pause_s
            self._call(self._leave_queue)
        elif self.aside and not aside:
            log.warning("set_aside_no_more", text=self.aside.why)
            self._right_since = time.monotonic()
            self._call(self._join_queue)
        self.aside = aside
        # A worker with another key would refuse the requests that hooks have signed.
        if aside and aside.known and aside.what == "records":
            self_check.KEY_IS_WRONG.set()
        else:
            self_check.KEY_IS_WRONG.clear()

    def _call(self, act: Any) -> None:
        """Act in the worker's main loop, which alone may change what it consumes."""
        consumer = getattr(self.worker, "consumer", None)
        if consumer is None or consumer.task_consumer is None:
            act(None)  # it connects later, to the queues that are selected then
        else:
            consumer.call_soon(act, consumer)

    def _leave_queue(self, consumer: Any) -> None:
        self.worker.app.amqp.queues.deselect(QUEUE)
        if consumer is not None and consumer.task_consumer is not None:
            consumer.task_consumer.cancel_by_queue(QUEUE)

    def _join_queue(self, consumer: Any) -> None:
        queues = self.worker.app.amqp.queues
        if consumer is None or consumer.task_consumer is None:
            queues.select_add(queues[QUEUE])
        else:
            consumer.add_task_queue(QUEUE)

    def _probe(self, now: float) -> None:
        """Try one upload, from the first stage to the last, and what has failed."""
        self._probe_at = now + self._probe_pause_s
        self._probe_pause_s = min(2 * self._probe_pause_s, MAX_PROBE_S)
        if self.own_queue in self.worker.app.amqp.queues.consume_from:
            upload_chain(self.worker.app, queue=self.own_queue).apply_async(retry=False)
            probe = self.worker.app.signature("farmhaul.probe_node", args=(self.name,))
            probe.apply_async(queue=self.own_queue, priority=FETCH_PRIORITY, retry=False)
        else:  # with "celery worker -Q": it takes from the shared queue what it gets
            self.record.scripts.run("let_go_on", node=self.name)
