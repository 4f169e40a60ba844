"""FARMHAUL_REDIS_URL: read strictly, and never repeated in an error."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.redis_url import RedisUrl, parse_redis_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("redis://localhost", RedisUrl("redis", (("localhost", 6379),))),
        ("redis://localhost/", RedisUrl("redis", (("localhost", 6379),))),
        ("redis://10.0.0.7:6380/2", RedisUrl("redis", (("10.0.0.7", 6380),), db=2)),
        ("redis://[::1]:6380/2", RedisUrl("redis", (("::1", 6380),), db=2)),
        ("redis://:pw@redis_1", RedisUrl("redis", (("redis_1", 6379),), password="pw")),
        (
            "redis://hook:p%2Fw%23%25@redis.studio/0",
            RedisUrl("redis", (("redis.studio", 6379),), user="hook", password="p/w#%"),
        ),
        ("redis://:a:b@h", RedisUrl("redis", (("h", 6379),), password="a:b")),
        ("redis://:p%C3%A4@h", RedisUrl("redis", (("h", 6379),), password="pä")),
        ("redis://:pä@h", RedisUrl("redis", (("h", 6379),), password="pä")),
        ("redis://:a+b@h", RedisUrl("redis", (("h", 6379),), password="a+b")),
        ("rediss://h", RedisUrl("rediss", (("h", 6379),))),
        (
            (
                "rediss://h/1?ssl_ca_certs=/etc/ca%201.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem"
                "&ssl_check_hostname=false&ssl_cert_reqs=required"
            ),
            RedisUrl(
                "rediss",
                (("h", 6379),),
                db=1,
                ssl_ca_certs="/etc/ca 1.pem",
                ssl_certfile="/c.pem",
                ssl_keyfile="/k.pem",
                ssl_check_hostname=False,
            ),
        ),
        ("rediss://h?ssl_check_hostname=True", RedisUrl("rediss", (("h", 6379),))),
        ("rediss://h?ssl_cert_reqs=CERT_REQUIRED", RedisUrl("rediss", (("h", 6379),))),
        ("unix:///run/redis.sock", RedisUrl("unix", path="/run/redis.sock")),
        ("unix:///run/redis@1.sock?db=3", RedisUrl("unix", path="/run/redis@1.sock", db=3)),
        (
            "unix://hook:pw@/run/redis.sock",
            RedisUrl("unix", path="/run/redis.sock", user="hook", password="pw"),
        ),
        ("sentinel://one/farm", RedisUrl("sentinel", (("one", 26379),), master="farm")),
        (
            (
                "sentinel://us%40er:p%2Fw%3A@one:1,two,[::1]:3,[::2]/farm.1/2"
                "?sentinel_username=watch&sentinel_password=s%26p"
            ),
            RedisUrl(
                "sentinel",
                (("one", 1), ("two", 26379), ("::1", 3), ("::2", 26379)),
                db=2,
                user="us@er",
                password="p/w:",
                master="farm.1",
                sentinel_user="watch",
                sentinel_password="s&p",
            ),
        ),
        (
            "sentinel://one/farm?sentinel_password=pw",
            RedisUrl("sentinel", (("one", 26379),), master="farm", sentinel_password="pw"),
        ),
        (
            "sentinel://one/farm?ssl=true&ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem",
            RedisUrl(
                "sentinel",
                (("one", 26379),),
                master="farm",
                ssl=True,
                ssl_ca_certs="/ca.pem",
                ssl_certfile="/c.pem",
            ),
        ),
        ("sentinel://one/farm?ssl=False", RedisUrl("sentinel", (("one", 26379),), master="farm")),
    ],
)
def test_a_url_is_read(text: str, url: RedisUrl) -> None:
    assert parse_redis_url(text) == url


@given(st.text(), st.text(min_size=1), st.sampled_from(["redis://{}h", "sentinel://{}h/farm"]))
def test_any_login_can_be_written_in_percent_encoding(user: str, password: str, form: str) -> None:
    user, password = (
        text.encode("utf-8", "ignore").decode().replace("\0", "") for text in (user, f"-{password}")
    )

    url = parse_redis_url(form.format(f"{quote(user, '')}:{quote(password, '')}@"))

    assert (url.user, url.password) == (user, password)


@pytest.mark.parametrize(
    "raw", ["#", "?", "[", "]", "/", "@", "%", "%4-", "%zz", " ", "?x=", "#/0@"]
)
@pytest.mark.parametrize(
    "form",
    [
        "redis://:s3{}cr3t@host:6379/0",
        "rediss://s3{}cr3t:pw@host:6379/0",
        "unix://:s3{}cr3t@/run/redis.sock",
        "sentinel://:s3{}cr3t@one:1,two:2/farm",
        "sentinel://one/farm?sentinel_password=s3{}cr3t",
        "redis://:s3cr3t{}@host",
    ],
)
def test_an_unescaped_character_is_refused_and_its_escape_named(form: str, raw: str) -> None:
    with pytest.raises(ValueError, match="write %23 for #, %25 for %") as refusal:
        parse_redis_url(form.format(raw))

    assert "s3" not in str(refusal.value)
    assert "cr3t" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not a Redis URL; write redis://"),
        ("localhost:6379", "is not a Redis URL"),
        ("redis:/s3cr3t", "is not a Redis URL"),
        ("http://s3cr3t", "is not a Redis URL"),
        ("REDIS://host", "is not a Redis URL"),
        ("redis://", "is not a Redis URL"),
        ("redis://:6379", "is not a Redis URL"),
        ("redis://:s3cr3t@", "is not a Redis URL"),
        ("redis://host:s3cr3t/0", "is not a Redis URL"),
        ("redis://host/s3cr3t", "is not a Redis URL"),
        ("redis://host/0/1", "is not a Redis URL"),
        ("redis://one,two/0", "is not a Redis URL"),
        ("redis://::1/0", "is not a Redis URL"),
        ("redis://[s3cr3t]/0", "is not a Redis URL"),
        ("redis://host:0", "has a port that is not from 1 to 65535"),
        ("redis://host:65536", "has a port that is not from 1 to 65535"),
        ("redis://host/\n", "contains a space or an unprintable character"),
        ("redis://:%FFs3cr3t@host", "has escapes that are not UTF-8"),
        ("redis://:s3cr3t%00@host", "contains %00"),
        ("redis://:s3cr3t%41@host", "contains a % with the code of a letter or digit; in a user"),
        ("sentinel://:s3cr3t%7a@one/farm", "contains a % with the code of a letter or digit"),
        ("redis://s3cr3t@host", "has a user without a password"),
        ("redis://s3cr3t:@host", "has a user without a password"),
        ("redis://host#s3cr3t", "contains a #"),
        ("redis://host?db=1", "unknown parameter db; a redis:// URL may have no parameters"),
        ("redis://host?socket_timeout=5", "unknown parameter socket_timeout"),
        ("redis://host?ssl_ca_certs=/ca", "unknown parameter ssl_ca_certs"),
        ("rediss://host?ssl_cert_reqs=none", "has another ssl_cert_reqs than required"),
        ("rediss://host?ssl_cert_reqs=CERT_NONE", "a certificate that is not verified protects"),
        ("rediss://host?ssl_cert_reqs=optional", "has another ssl_cert_reqs than required"),
        ("rediss://host?ssl_check_hostname=no", "has another ssl_check_hostname than true or"),
        ("sentinel://one/farm?ssl=1", "has another ssl than true or false"),
        ("sentinel://one/farm?ssl_ca_certs=/ca", "has parameters of TLS without ssl=true"),
        ("sentinel://one/farm?ssl_cert_reqs=required&ssl=false", "of TLS without ssl=true"),
        ("sentinel://one/farm?ssl=true&ssl_cert_reqs=none", "has another ssl_cert_reqs than"),
        ("rediss://host?ssl=true", "unknown parameter ssl; a rediss:// URL may have ssl_ca_certs"),
        ("rediss://host?ssl_keyfile=/k", "has ssl_keyfile without ssl_certfile"),
        ("rediss://host?ssl_ca_certs=", "has the parameter ssl_ca_certs without a value"),
        ("rediss://host?ssl_ca_certs", "has the parameter ssl_ca_certs without a value"),
        ("rediss://host?ssl_ca_certs=/a&ssl_ca_certs=/b", "has the parameter ssl_ca_certs twice"),
        ("unix://", "has no path of a socket"),
        ("unix:///", "has no path of a socket"),
        ("unix://run/redis.sock", "has no path of a socket"),
        ("unix:///run/r.sock?db=x", "has a db that is not a number"),
        ("unix:///run/r.sock/0?x=1", "unknown parameter x; a unix:// URL may have db"),
        ("sentinel://", "is not a Sentinel URL; write sentinel://"),
        ("sentinel://one", "is not a Sentinel URL"),
        ("sentinel://one/", "is not a Sentinel URL"),
        ("sentinel://:s3cr3t@/farm", "is not a Sentinel URL"),
        ("sentinel://one/farm/db", "is not a Sentinel URL"),
        ("sentinel://one:port/farm", "is not a Redis URL"),
        ("sentinel://one,,two/farm", "is not a Redis URL"),
        ("sentinel://one/farm?sentinel_username=u", "has sentinel_username without"),
        ("sentinel://one/farm?sentinel_password=a&s3cr3t=b", "has an unknown parameter; in a"),
    ],
)
def test_a_malformed_url_is_refused_without_its_text(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has|contains) ") as refusal:
        parse_redis_url(text)

    assert reason in str(refusal.value)
    assert "s3cr3t" not in str(refusal.value)


@given(st.text(), st.sampled_from(["", "redis://", "rediss://", "unix://", "sentinel://"]))
def test_any_text_is_read_or_refused_with_one_line(text: str, scheme: str) -> None:
    try:
        parse_redis_url(scheme + text)
    except ValueError as error:
        assert "\n" not in str(error)  # noqa: PT017 some texts fit


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("redis://user:s3cr3t@host/1", "host:6379"),
        ("redis://:s3cr3t@[::1]:1", "[::1]:1"),
        ("unix://:s3cr3t@/run/redis.sock", "/run/redis.sock"),
        (
            "sentinel://:s3cr3t@one:1,two/farm?sentinel_username=w&sentinel_password=s3cr3t",
            "one:1,two:26379",
        ),
    ],
)
def test_messages_name_the_place_and_no_text_has_a_password(text: str, where: str) -> None:
    url = parse_redis_url(text)

    assert url.where == where
    assert "s3cr3t" not in f"{url} {url!r} {[url]}"


@pytest.mark.parametrize(
    ("text", "has_tls"),
    [
        ("redis://h", False),
        ("rediss://h", True),
        ("unix:///r.sock", False),
        ("sentinel://one/farm", False),
        ("sentinel://one/farm?ssl=true", True),
    ],
)
def test_tls_is_what_the_url_says(text: str, has_tls: bool) -> None:
    assert parse_redis_url(text).has_tls is has_tls
