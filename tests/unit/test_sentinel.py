"""The URL of a Redis behind Sentinel, for redis-py and for kombu."""

from __future__ import annotations

import pytest

from tasks.config.sentinel import Sentinel


def test_a_url_names_sentinels_master_and_database() -> None:
    assert Sentinel.from_url("sentinel://one:1,two,three:3/farm/2") == Sentinel(
        (("one", 1), ("two", 26379), ("three", 3)), "farm", 2
    )


def test_defaults_are_port_26379_and_database_0() -> None:
    assert Sentinel.from_url("sentinel://one/farm") == Sentinel((("one", 26379),), "farm", 0)


def test_a_login_may_have_any_character_in_percent_encoding() -> None:
    sentinel = Sentinel.from_url("sentinel://us%40er:p%2Fw%3A@one/farm")

    assert (sentinel.user, sentinel.password) == ("us@er", "p/w:")
    assert "p/w" not in repr(sentinel)


def test_kombu_gets_login_and_database_for_every_sentinel() -> None:
    sentinel = Sentinel.from_url("sentinel://user:p%2Fw@one:1,two:2/farm/3")

    assert sentinel.kombu_url() == ("sentinel://user:p%2Fw@one:1/3;sentinel://user:p%2Fw@two:2/3")
    assert Sentinel.from_url("sentinel://one/farm").kombu_url() == "sentinel://one:26379/0"


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://",
        "sentinel://one",
        "sentinel://one/",
        "sentinel://one:port/farm",
        "sentinel://:s3cr3t@/farm",
        "sentinel://one,,two/farm",
        "sentinel://one/farm/db",
        "redis://one/farm",
    ],
)
def test_a_url_without_a_master_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(ValueError, match="write sentinel://") as refusal:
        Sentinel.from_url(url)

    assert "s3cr3t" not in str(refusal.value)
