"""The names of farmhaul's variables, so that one that is misspelt does not go unnoticed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

START = "FARMHAUL_"
#: What the processes of farmhaul read; each but the last two may also be NAME_FILE.
READ = (
    "FARMHAUL_REDIS_URL",
    "FARMHAUL_STORAGE_ROOTS",
    "FARMHAUL_PATH_MAP",
    "FARMHAUL_SECRET_KEY",
    "FARMHAUL_HOOK_KEY",
    "FARMHAUL_SPOOL",
    "FARMHAUL_LEASE_SECONDS",
    "FARMHAUL_RECORD_DAYS",
    "FARMHAUL_CONNECTIONS",
    "FARMHAUL_BANDWIDTH",
    "FARMHAUL_API_RATE",
    "FARMHAUL_LOG_FORMAT",
    "FARMHAUL_FTRACK_EVENTS",
    "FARMHAUL_NOTIFY_URL",
    "FARMHAUL_ALSO_IN",
    "FARMHAUL_LOCATIONS",
    "FARMHAUL_HOOK_ENV",
    "FARMHAUL_FLOWER_OPEN",
)
#: What docker-compose.yml reads. A command that runs in the same shell has these too.
OF_COMPOSE = frozenset(
    {
        "FARMHAUL_CA_BUNDLE",
        "FARMHAUL_CA_FOLDER",
        "FARMHAUL_GID",
        "FARMHAUL_IMAGE",
        "FARMHAUL_SANDBOX_IMAGE",
        "FARMHAUL_SECRETS",
        "FARMHAUL_STORAGE",
        "FARMHAUL_STORAGE_PROPAGATION",
        "FARMHAUL_UID",
    }
)
#: The ends of the names that docker-compose.yml has for each service, and Kubernetes' links.
_ENDS = ("_PORT", "_BIND", "_SERVICE_HOST")
_PARTS = ("_SERVICE_PORT", "_PORT_")


def faults(names: Iterable[str]) -> list[str]:
    """Return a line for each name that begins as farmhaul's do and is none of them."""
    return [_fault(name) for name in sorted(names) if name.startswith(START) and not _known(name)]


def _known(name: str) -> bool:
    if name in READ or (name.endswith("_FILE") and name[: -len("_FILE")] in READ):
        return True
    return name in OF_COMPOSE or name.endswith(_ENDS) or any(part in name for part in _PARTS)


def _fault(name: str) -> str:
    from difflib import get_close_matches

    rests = [variable[len(START) :] for variable in READ]
    rests += [f"{rest}_FILE" for rest in rests]
    found = get_close_matches(name[len(START) :].upper(), rests, n=1, cutoff=0.55)
    step = f"did you mean {START}{found[0]}?" if found else "unset it"
    # Not the value: it may be a secret.
    return f"{name} is not a variable of farmhaul; {step}"
