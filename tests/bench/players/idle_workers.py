"""Idle workers, played: ``python -m tests.bench.players.idle_workers RECORDING PORT FIRST COUNT``.

Each has the connections of the worker that was recorded and sends on each of them what that one
has sent, at the same distances, but begins at any place. A command waits for the answer to the one
before. It says "ready" when all of them run; SIGTERM ends it, and it says how late it was.
"""

from __future__ import annotations

import heapq
import json
import random
import resource
import select
import signal
import socket
import sys
import time
from bisect import bisect
from pathlib import Path

from tests.bench.recording import Line, Recording, to_bytes

#: How many of them start in a second.
RAMP = 100
#: How long those that run are served before the next one starts, at least.
SERVED_S = 0.002
#: A connection is a local port, of which Linux has 28,232 for each address.
PER_ADDRESS = 2000


class Player:
    """A connection of a played worker."""

    def __init__(self, line: Line, port: int, source: str, base: float, phase: float) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), source_address=(source, 0))
        self.loop = [(at, to_bytes(group)) for at, group in line.loop]
        self.number = bisect([at for at, _ in line.loop], phase)
        self.base = base - phase
        self.is_waiting = bool(line.start)
        self.is_due = False
        if line.start:
            self.socket.sendall(to_bytes(line.start))


class Players:
    """All connections of this process, served by one loop."""

    def __init__(self, recording: Recording, port: int) -> None:
        self.recording = recording
        self.port = port
        self.poll = select.epoll()
        self.players: dict[int, Player] = {}
        self.due: list[tuple[float, int]] = []
        self.late: list[float] = []
        self.began = time.monotonic()
        self.is_over = False

    def add(self, number: int) -> None:
        """Start the worker of this number."""
        phase = random.uniform(0, self.recording.period_s)
        source = f"127.0.1.{1 + number // PER_ADDRESS}"
        for line in self.recording.of_node(number):
            player = Player(line, self.port, source, time.monotonic(), phase)
            fd = player.socket.fileno()
            self.players[fd] = player
            self.poll.register(fd, select.EPOLLIN)
            self._plan(fd, player)

    def run(self, until: float | None = None) -> None:
        """Play until this time, or until told to end."""
        while not self.is_over and (until is None or time.monotonic() < until):
            now = time.monotonic()
            while self.due and self.due[0][0] <= now:
                at, fd = heapq.heappop(self.due)
                self.late.append(now - at)
                player = self.players[fd]
                player.is_due = True
                self._send(fd, player)
            next_at = min(self.due[0][0] if self.due else now + 0.1, until or now + 0.1)
            for fd, _ in self.poll.poll(min(max(next_at - time.monotonic(), 0), 0.1)):
                player = self.players[fd]
                if not player.socket.recv(65_536):
                    raise ConnectionError("Redis has closed a connection")
                player.is_waiting = False
                self._send(fd, player)

    def _send(self, fd: int, player: Player) -> None:
        if player.is_waiting or not player.is_due:
            return
        player.is_due, player.is_waiting = False, True
        player.socket.sendall(player.loop[player.number][1])
        player.number += 1
        self._plan(fd, player)

    def _plan(self, fd: int, player: Player) -> None:
        if not player.loop:
            return
        if player.number == len(player.loop):
            player.number = 0
            player.base += self.recording.period_s
        heapq.heappush(self.due, (player.base + player.loop[player.number][0], fd))


def main() -> None:
    path, port, first, count = sys.argv[1:]
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    players = Players(Recording.read(Path(path)), int(port))

    def end(*_: object) -> None:
        players.is_over = True

    signal.signal(signal.SIGTERM, end)
    for number in range(int(first), int(first) + int(count)):
        if players.is_over:
            break
        players.add(number)
        # Also where this process is behind, those that run are served meanwhile.
        at = players.began + (number + 1 - int(first)) / RAMP
        players.run(max(at, time.monotonic() + SERVED_S))
    players.late.clear()
    print("ready", flush=True)
    players.run()
    late = sorted(players.late) or [0.0]
    print(json.dumps({"late_s": late[len(late) * 99 // 100]}), flush=True)


if __name__ == "__main__":
    main()
