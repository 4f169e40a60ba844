"""The firewall and forwarding of this machine, restored after dockerd has changed them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
#: The content of an untouched table: iptables-save leaves such a table out, and
#: iptables-restore would then keep all of Docker's rules in it.
_UNTOUCHED = {
    "filter": "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n",
    "nat": "*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n",
}


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Restore firewall and forwarding at the end.

    A dockerd that has ended leaves a firewall that forwards nothing. To run it with
    --iptables=false is no way around it: where another dockerd has ever been, its rules
    drop the packets between our containers (tried: Redis timed out).
    """
    saved = _iptables("iptables-save")
    forwarding = _FORWARDING.read_text()
    try:
        yield
    finally:
        for table, untouched in _UNTOUCHED.items():
            if f"*{table}\n" not in saved:
                saved += untouched
        _iptables("iptables-restore", saved)
        _FORWARDING.write_text(forwarding)


def _iptables(command: str, rules: str = "") -> str:
    done = subprocess.run(
        [command], input=rules, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout
