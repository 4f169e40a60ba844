"""What the sandbox's own server processes are told at their start."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self, TypeVar

T = TypeVar("T", bound="_Stored")

#: The front asks by it for a lifetime of the URLs of one call.
LIFETIME_HEADER = "Sandbox-Url-Lifetime-S"


@dataclass(frozen=True)
class _Stored:
    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: str) -> Self:
        return cls(**json.loads(Path(path).read_text()))


@dataclass(frozen=True)
class FtrackConfig(_Stored):
    port: int
    store_endpoint: str
    signed_endpoint: str
    url_lifetime_s: float
    encode_s: float
    schemas: str | None
    threads: int


@dataclass(frozen=True)
class FrontConfig(_Stored):
    ftrack_port: int
    ftrack_upstream: int
    store_port: int
    store_upstream: int
