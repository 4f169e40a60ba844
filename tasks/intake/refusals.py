"""What each refusal of Redis means, and what to do about it."""

from __future__ import annotations

from tasks.intake.resp import NOT_REDIS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.intake.resp import RefusalError

#: Refusals that end by themselves, or at another server: such a Redis is asked again once.
PASSING = frozenset({"READONLY", "LOADING", "MASTERDOWN"})

_LOGIN = "check the user and password in FARMHAUL_REDIS_URL"
RIGHTS = (
    "give FARMHAUL_REDIS_URL the user that is for this, such as hook for hooks and operator for "
    "people, or compare its rights with deploy/redis/users.acl"
)
#: The users of users.acl may not SELECT, and a connection to database 0 need not.
DATABASE = "write database 0 in FARMHAUL_REDIS_URL, or add +select to this user"
_MASTER = "set FARMHAUL_REDIS_URL to the master, or to the sentinels"
_CLUSTER = (
    "this is a Redis Cluster, which farmhaul does not support",
    "use a single Redis, or a master with sentinels",
)
UNKNOWN_COMMAND = (
    "this Redis lacks commands that farmhaul needs",
    "for a sentinel, write sentinel://host:26379/MASTER; otherwise look at the version of Redis",
)
#: What the code of an error means, and what to do.
MEANINGS = {
    "OOM": (
        "Redis is full and accepts nothing new",
        "raise maxmemory, or lower FARMHAUL_RECORD_DAYS",
    ),
    "MISCONF": ("Redis cannot write to its disk and accepts nothing new", "look at that disk"),
    "READONLY": ("this Redis is a replica and cannot be written", _MASTER),
    "MASTERDOWN": ("this Redis is a replica that has lost its master", _MASTER),
    "LOADING": ("Redis has just started and is loading its data", "try again later"),
    "NOREPLICAS": ("Redis has too few replicas to accept anything", "look at the replicas"),
    "BUSY": ("Redis is busy with a script", "an administrator may call SCRIPT KILL"),
    "WRONGTYPE": ("farmhaul:inbox is not a list", "delete that key in Redis"),
    "NOAUTH": ("Redis refuses access: it wants a password", _LOGIN),
    "WRONGPASS": ("Redis refuses access: it does not accept the login", _LOGIN),
    "DENIED": ("Redis refuses access: it is in protected mode", "set a password in Redis"),
    "MOVED": _CLUSTER,
    "ASK": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    "CLUSTERDOWN": _CLUSTER,
}
#: Errors without a code of their own, by the command that they answer.
_OTHERS = {
    "AUTH": MEANINGS["WRONGPASS"],
    "SELECT": ("Redis does not have this database", "correct its number in FARMHAUL_REDIS_URL"),
}
#: Words about a connection that failed, and what to do.
_STEPS = (
    (
        (NOT_REDIS, "not a socket"),
        "something else is there: name the address of Redis in FARMHAUL_REDIS_URL",
    ),
    (
        ("ostname mismatch", "address mismatch"),
        "name a host of the certificate in FARMHAUL_REDIS_URL, or set ssl_check_hostname=false",
    ),
    (
        ("certificate has expired", "certificate is not yet valid"),
        "renew the certificate of Redis, or correct the clock of this node",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        "name the authority of its certificate with ssl_ca_certs in FARMHAUL_REDIS_URL",
    ),
    (
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"),
        "name the port that takes TLS in FARMHAUL_REDIS_URL, or leave TLS out of it",
    ),
    (
        # "unknown ca", "certificate required": what a server says of the other side's certificate.
        ("ALERT", "EOF occurred"),
        (
            "if Redis wants a client certificate, give it as ssl_certfile in FARMHAUL_REDIS_URL, "
            "from an authority that Redis trusts"
        ),
    ),
    (("number of clients",), "raise maxclients in Redis"),
    (
        ("reset by peer", "closed by server"),
        "check FARMHAUL_REDIS_URL (with TLS it begins with rediss://), and Redis' log",
    ),
)


def explained(refusal: RefusalError, where: str) -> str:
    """Return one line: what Redis says, which one, and what to do.

    Redis' own text is left out, because it may repeat what it was asked, so also a password.
    """
    what, step = _meaning(refusal)
    return f"{what} ({where}); {step}"


def step_for(why: str) -> str:
    """Return what to do about a connection that failed, from what OpenSSL or the system says."""
    for words, step in _STEPS:
        if any(word in why for word in words):
            return step
    return "check FARMHAUL_REDIS_URL, and that Redis is running"


def _meaning(refusal: RefusalError) -> tuple[str, str]:
    if refusal.code in MEANINGS:
        return MEANINGS[refusal.code]
    if refusal.code == "NOPERM":
        step = DATABASE if refusal.command == "SELECT" else RIGHTS
        return f"Redis refuses access: this user may not {refusal.command}", step
    if "max number of clients" in refusal.text:
        return "Redis has no connection left", "raise maxclients in Redis"
    if "cluster mode" in refusal.text:
        return _CLUSTER
    unknown = f"Redis refuses {refusal.command}", "look at its log, and at FARMHAUL_REDIS_URL"
    lacks_it = "unknown command" in refusal.text
    return _OTHERS.get(refusal.command, UNKNOWN_COMMAND if lacks_it else unknown)
