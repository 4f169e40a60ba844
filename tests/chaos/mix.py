"""A mix of all troubles over a few hundred uploads; then all is healed and checked."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.chaos.healing import let_time_pass
from tests.chaos.invariants import live_count, processes_left, queues, records, violations
from tests.chaos.renders import SIZES, Hooks
from tests.chaos.sequences import SequenceHooks, wrong_sequences
from tests.chaos.troubles import Troubles, add_faults
from tests.farm import Farm
from tests.sandbox import Sandbox

#: What hooks do, with its relative frequency.
HOOKS = {
    "manifest": 32,
    "storm": 18,
    "again_four_at_once": 15,
    "rewrite": 15,
    "overtake": 10,
    "cancel": 5,
    "retry": 5,
    "sequence": 12,
    "sequence_again": 12,
}
HEALED_WITHIN_S = 240.0


@dataclass(frozen=True)
class Plan:
    """The parameters of a mix; the seed decides what happens, the machine when."""

    seed: str
    seconds: float = 60
    workers: int = 3
    lease_s: float = 4
    fault_percent: float = 3
    large: bool = True
    pool: str = "prefork"

    @property
    def summary(self) -> str:
        """The plan in one line."""
        workers = f"{self.workers} workers ({self.pool}), lease {self.lease_s:g} s"
        return f"{self.seconds:.0f} s, {workers}, {self.fault_percent:g} % of each fault"


class Mix:
    """Runs a plan in a folder; ``run`` returns the violations."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.hooked: Counter[str] = Counter()
        self.outcome: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._began = time.monotonic()
        self._log = (folder / "mix.log").open("w", encoding="utf-8")

    def run(self) -> list[str]:
        """Run the plan; return the violations, none if all is well."""
        plan = self.plan
        with Sandbox.start(self.folder / "sandbox") as sandbox:
            self.farm = Farm(
                sandbox,
                self.folder / "workers",
                plan.workers,
                options=(
                    f"--pool={plan.pool}",
                    "--concurrency=2",
                    "--without-gossip",
                    "--without-mingle",
                ),
                env={
                    "FARMHAUL_LEASE_SECONDS": str(plan.lease_s),
                    "FARMHAUL_SPOOL": str(self.folder / "spool"),
                },
            )
            with self.farm:
                self.hooks = Hooks(self.farm, f"{plan.seed} hooks", large=plan.large)
                self.sequences = SequenceHooks(self.farm, f"{plan.seed} sequences")
                self.troubles = Troubles(self.farm, f"{plan.seed} troubles", plan.lease_s)
                self._trouble()
                self._heal()
                sequences = self.sequences.sequences
                frames = [component_id for made in sequences for component_id, _ in made.files()]
                others = [*frames, *(made.component_id for made in sequences)]
                self.wrong += violations(self.farm, self.hooks.renders, others)
                self.wrong += wrong_sequences(self.farm, sequences)
                self.journal = Counter(
                    f"{request['service']} {fault}"
                    for request in [*sandbox.ftrack.calls(), *sandbox.store.requests()]
                    for fault in request["faults"]
                )
                if self.wrong:
                    self._keep_records()
            self.wrong += processes_left(self.troubles.groups)
        return self.wrong

    def _trouble(self) -> None:
        add_faults(self.farm, f"{self.plan.seed} faults", self.plan.fault_percent)
        end = time.monotonic() + self.plan.seconds
        hooking = threading.Thread(target=self._hook_until, args=(end,), name="hooks")
        hooking.start()
        dice = self.troubles.dice
        while time.monotonic() < end:
            self._note(f"trouble {self.troubles.make()}")
            time.sleep(dice.uniform(0.3, 2.5))
            self.troubles.supervise()
        hooking.join()

    def _hook_until(self, end: float) -> None:
        dice = self.hooks.dice
        with ThreadPoolExecutor(4) as pool:
            while time.monotonic() < end:
                [name] = dice.choices(list(HOOKS), list(HOOKS.values()))
                self._note(f"hook {name}")
                try:
                    self._hook(name, pool)
                    self.hooked[name] += 1
                except Exception as error:  # noqa: BLE001 - reported with the violations
                    self.wrong.append(f"the hook {name} broke: {type(error).__name__}: {error}")
                time.sleep(dice.uniform(0.1, 1))

    def _hook(self, name: str, pool: ThreadPoolExecutor) -> None:
        hooks, dice = self.hooks, self.hooks.dice
        if name == "manifest":
            hooks.enqueue_all(hooks.make_renders(dice.randint(1, 12)))
            return
        if name == "storm":
            list(pool.map(hooks.enqueue, hooks.make_renders(4)))
            return
        if name == "sequence":
            self.sequences.make()
            return
        if name == "sequence_again":
            pool.submit(self.sequences.again).add_done_callback(self._see)
            return
        render = hooks.pick()
        if render is None:
            return
        if name == "again_four_at_once":
            with render.busy:
                list(pool.map(hooks.enqueue, [render] * 4))
        elif name == "rewrite":
            way = dice.choice(["renamed over", "in place"])
            pool.submit(
                hooks.rewrite, render, way, dice.choice(SIZES), dice.getrandbits(32)
            ).add_done_callback(self._see)
        elif name == "overtake":
            pool.submit(hooks.overtake, render, dice.getrandbits(32)).add_done_callback(self._see)
        else:  # while Redis is down these exit with 3, which is right
            self.farm.cli(name, render.upload_ids[-1])

    def _see(self, done: object) -> None:
        error = getattr(done, "exception")()  # noqa: B009 a Future of any kind
        if error is not None:
            self.wrong.append(f"a rewrite broke: {type(error).__name__}: {error}")

    def _heal(self) -> None:
        """End all troubles, wait for the uploads, then retry failed and cancelled ones."""
        self._note("healing")
        self.farm.sandbox.faults.clear()
        self.troubles.end()
        self.wrong += self.hooks.refusals + self.sequences.refusals
        self.wrong += self.troubles.died_alone
        self.farm.cli("flush-spool")
        self._wait_ended()
        for _, fields in records(self.farm.redis):
            self.outcome[fields.get("state", "")] += 1
            if fields.get("state") == "failed":
                self.reasons[fields.get("error_kind", "?")] += 1
                self._note(f"failed: {fields.get('error', '')}")
        components = [
            *(render.component_id for render in self.hooks.renders),
            *(sequence.component_id for sequence in self.sequences.sequences),
        ]
        again = [
            current
            for component_id in components
            if (current := self.farm.redis.hget(f"farmhaul:component:{component_id}", "current"))
            and self.farm.states([current])[0] in {"failed", "cancelled"}
        ]
        self.outcome["retried at the end"] = len(again)
        if again:
            self.farm.cli("retry", *again)
            self._wait_ended()

    def _wait_ended(self) -> None:
        began = time.monotonic()
        while time.monotonic() - began < HEALED_WITHIN_S:
            with suppress(redis.ConnectionError):
                client = self.farm.redis
                if not live_count(client) and not queues(client) and not client.hlen("unacked"):
                    self._note(f"all ended after {time.monotonic() - began:.1f} s")
                    return
                if time.monotonic() - began > 20:
                    let_time_pass(client)
            time.sleep(0.5)
        self.wrong.append(f"not all had ended {HEALED_WITHIN_S:.0f} s after all was healed")

    def _keep_records(self) -> None:
        with (self.folder / "records.txt").open("w", encoding="utf-8") as file:
            for upload_id, fields in sorted(records(self.farm.redis)):
                fields.pop("request", None)
                file.write(f"{upload_id} {fields}\n")

    def _note(self, what: str) -> None:
        self._log.write(f"{time.monotonic() - self._began:7.2f} {time.time():.2f} {what}\n")
        self._log.flush()

    def table(self) -> str:
        """Return a table of what was done, and of its results."""
        renders = [render for render in self.hooks.renders if render.asked_for]
        size_bytes = sum(render.path.stat().st_size for render in renders)
        uploads = {upload_id for render in renders for upload_id in render.upload_ids}
        rows = [
            ("seed", self.plan.seed),
            ("plan", self.plan.summary),
            ("took", f"{time.monotonic() - self._began:.0f} s"),
            ("files", f"{len(renders)}, {size_bytes / 1e6:.0f} MB"),
            ("uploads", str(len(uploads))),
            ("slowest hook", f"{self.hooks.slowest_s:.1f} s"),
            *(("hooks", f"{count:4} {name}") for name, count in self.hooked.most_common()),
            *(("trouble", f"{count:4} {name}") for name, count in self.troubles.made.most_common()),
            *(("fault", f"{count:4} {name}") for name, count in self.journal.most_common()),
            *(("after healing", f"{count:4} {name}") for name, count in self.outcome.most_common()),
            *(("failed by", f"{count:4} {name}") for name, count in self.reasons.most_common()),
            ("violations", str(len(self.wrong))),
        ]  # fmt: skip
        return "\n".join(f"{name:14} {value}" for name, value in rows)
