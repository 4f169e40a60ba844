"""Uploads are found by paths, words, names, ids, hosts and versions, through hashes alone."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tasks.config.sealing import Codec
from tasks.intake.errors import BadInputError
from tasks.intake.request import PublishRequest, UploadRequest
from tasks.records import index, keys, search
from tasks.records.commands import Commands
from tasks.records.query import parsed
from tasks.records.scripts import Scripts
from tasks.records.search import Search
from tasks.records.terms import Hasher, Term
from tasks.transfer.targets import Container, Publish, Target
from tests.unit.records import Farm

SHOT = "/mnt/proj/sq010/sh020/comp/v003"
OTHER = "/mnt/proj/sq010/sh030/comp/v001"
VERSION, OTHER_VERSION = str(uuid.uuid4()), str(uuid.uuid4())

Find = Callable[..., list[str]]


def file(path: str, version: str = VERSION, name: str = "", host: str = "node7") -> UploadRequest:
    target = Target.under_version(version, name or path.rpartition("/")[2])
    return UploadRequest(path, target, 700, 1, asked_host=host, asked_user="ada")


def frames(folder: str) -> PublishRequest:
    target = Target.under_version(VERSION, "beauty")
    container = Container(target, ".exr", 4, f"{folder}/beauty.%d.exr")
    files = tuple(
        UploadRequest(
            f"{folder}/beauty.{number}.exr", Target.frame(target, str(number)), 9, 1, is_member=True
        )
        for number in (1001, 1002)
    )
    path = f"{folder}/beauty.1001-1002#.exr"
    return PublishRequest(path, target.component_id, Publish((container,)), files)


@pytest.fixture
def find(farm: Farm) -> Find:
    """Returns the paths of what a typed text finds."""
    one = Search(farm.client, farm.record.scripts.codec, farm.record.scripts.hasher)

    def paths(text: str, *states: str) -> list[str]:
        query = parsed(text, states, now=farm.now())
        return sorted(upload.path for upload in one.page(query, 0, 100).uploads)

    return paths


FITTING = [
    SHOT,
    f"{SHOT}/",
    "/mnt/proj/sq010/sh020",
    f"{SHOT}/plate.1001.exr",
    f"{SHOT}/pl*.exr",
    "/mnt/proj/*/sh020/*",
    "sh020",
    "SH020 plate",
    "plate.1001.exr",
    "plate.1001",
    "sh020 1001",
    f"version:{VERSION}",
    VERSION,
    "name:main.1001",
    "main.1001",
    "host:node7",
    "node7",
    "sh020 host:node7 user:ada state:pending",
    "sh020 since:2h",
    "since:2020-01-01 host:node7",
    "since:2020-01-01T14:00+02:00 node7",
]


def test_a_file_is_found_by_what_people_know(farm: Farm, find: Find) -> None:
    wanted = file(f"{SHOT}/plate.1001.exr", name="main.1001")
    farm.enqueue(wanted, file(f"{OTHER}/grade.1002.exr", OTHER_VERSION, host="node8"))

    assert [text for text in FITTING if find(text) != [wanted.path]] == []


def test_a_record_of_another_type_hides_no_other(farm: Farm, find: Find) -> None:
    requests = [file(f"{SHOT}/{name}.exr") for name in ("a", "b", "c")]
    odd, gone, _ = farm.enqueue(*requests)
    farm.client.hset(keys.upload_key(odd), "updated", "x")
    farm.client.delete(keys.upload_key(gone))
    farm.client.rpush(keys.upload_key(gone), "x")

    # It is shown as what is broken.
    assert find("sh020") == ["", requests[0].path, requests[2].path]


def test_an_index_of_another_type_is_no_error(farm: Farm, find: Find) -> None:
    wanted = file(f"{SHOT}/a.exr")
    farm.enqueue(wanted)
    for pattern in (f"{keys.TERM}*", f"{keys.GROUP}*"):
        for key in farm.client.scan_iter(pattern):
            farm.client.delete(key)
            farm.client.hset(key, "a", "b")
            find("sh020 a.exr")
            find("host:node7")

    farm.enqueue(again := file(f"{SHOT}/b.exr"))
    assert find(f"{SHOT}/b.exr") == [again.path]


#: Each finds the same file, whatever the form in which a person or a program writes its path.
ODD_PATHS = {
    "/mnt/proj/Möbel/[old]/Sofa_é.1001.exr": (
        "möbel",
        "MÖBEL",
        "mo\u0308bel",
        "/mnt/proj/Mo\u0308bel",
        "/mnt/PROJ/möbel/",
        "//mnt//proj/x/../Möbel",
        "file:///mnt/proj/Möbel",
        "/mnt/proj/Möbel/[old]",
        "/mnt/proj/Möbel/[old]/Sofa_é.1001.exr",
        "/mnt/proj/**/sofa*",
        "…[old]/Sofa_e\u0301.1001.exr",
        "/mnt/proj/Möbel/[old]/Sofa_é.%04d.exr [1001-1002]",
        "Sofa_é.####.exr",
        "'sofa'",
        "möbel /",
        "HOST:node7 STATE:Pending möbel",
    ),
    "P:/Show/sh010/main.exr": (
        "P:\\Show\\sh010",
        "p:\\show\\SH010\\",
        "P:/show/sh010/MAIN.exr",
        '"P:\\show"',
    ),
    "\\\\nas/Show/sh011/a b.exr": (
        "\\\\NAS\\show",
        '"\\\\nas\\show\\sh011\\a b.exr"',
        '"sh011 show"',
    ),
}


@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_path_is_found_in_each_form_that_people_write(farm: Farm, find: Find, path: str) -> None:
    # The record has the form that the disk of its host has.
    decomposed = unicodedata.normalize("NFD", path)
    farm.enqueue(file(decomposed), file(f"{OTHER}/b.exr", host="node8"))

    assert [text for text in ODD_PATHS[path] if find(text) != [decomposed]] == []


def test_a_sequence_is_found_by_the_path_that_a_list_shows(farm: Farm, find: Find) -> None:
    publish = frames(SHOT)
    farm.enqueue(publish)

    names = ("beauty.1001-1002#.exr", "beauty.%04d.exr", "beauty.$F4.exr", "beauty.####.exr")
    for text in (publish.path, *names, *(f"{SHOT}/{name}" for name in names)):
        assert find(text) == [publish.path], text


def test_of_several_paths_one_has_to_fit(farm: Farm, find: Find) -> None:
    both = [file(f"{SHOT}/a.exr"), file(f"{OTHER}/b.exr")]
    farm.enqueue(*both, file("/mnt/proj/c.exr"))

    assert find(f"{SHOT} {OTHER}/b.exr") == [one.path for one in both]
    assert find(f"{SHOT} {OTHER} sh030") == [both[1].path]


def test_the_start_of_an_id_is_enough(farm: Farm, find: Find) -> None:
    wanted = file(f"{SHOT}/a.exr")
    farm.enqueue(wanted, file(f"{SHOT}/b.exr"))

    for text in (wanted.upload_id[:8], f"{wanted.upload_id[:13].upper()}…"):
        assert find(text) == [wanted.path], text
    assert find("00000000") == []


UNFITTING = [
    "/mnt/proj/sq010/sh02",
    "/mnt/proj/sq010/sh02*/roto/*",
    "sh0200",
    "plate.1003.exr",
    "sh020 1003",
    "host:node9",
    "sh020 state:failed",
    "sh020 user:bob",
    "sh020 since:2200-01-01",
    "since:2200-01-01T14:00",
    "name:main.1002",
    str(uuid.uuid4()),
]


def test_what_does_not_fit_is_not_found(farm: Farm, find: Find) -> None:
    farm.enqueue(file(f"{SHOT}/plate.1001.exr", name="main.1001"))

    assert [text for text in UNFITTING if find(text)] == []


@pytest.mark.parametrize("text", ["since:2", "since:noon", "state:fail", "state:x,failed"])
def test_what_is_no_time_and_no_state_is_said(text: str) -> None:
    with pytest.raises(BadInputError, match=r"since:\w+ is no time: write 2h|is none of pending"):
        parsed(text)


def test_times_are_in_utc_unless_they_say_otherwise() -> None:
    noon = 1_795_780_800.0  # 2026-11-27T12:00Z

    for text in ("2026-11-27T12:00", "2026-11-27T14:00+02:00", "2026-11-27T12:00Z"):
        assert parsed(f"since:{text}").since == noon
    for text, hours in {
        "90m": 1.5,
        "1h30m": 1.5,
        "2H": 2,
        "90min": 1.5,
        "2hours": 2,
        "1w": 168,
        "-2h": 2,
        "today": 12,
        "yesterday": 36,
        "10:30": 1.5,
        "22:00": 14,
        "1795777200": 1,
    }.items():
        assert parsed(f"since:{text}", now=noon).since == noon - hours * 3600, text


def test_a_sequence_is_found_by_any_of_its_frames(farm: Farm, find: Find) -> None:
    publish = frames(SHOT)
    farm.enqueue(publish)

    for text in ("sh020", SHOT, "beauty.1002.exr", f"{SHOT}/beauty.1002.exr", VERSION, "beauty"):
        assert find(text) == [publish.path], text


def test_an_upload_is_found_by_its_id_and_its_component(farm: Farm, find: Find) -> None:
    wanted = file(f"{SHOT}/plate.1001.exr")
    farm.enqueue(wanted)

    assert find(wanted.upload_id) == find(wanted.component_id.upper()) == [wanted.path]


def test_active_uploads_are_found_by_their_worker(farm: Farm, find: Find) -> None:
    farm.enqueue(file(f"{SHOT}/plate.1001.exr"))
    farm.deliver(worker="celery@node3")
    farm.enqueue(file(f"{SHOT}/plate.1002.exr"))

    assert find("celery@node3") == find("worker:node3") == [f"{SHOT}/plate.1001.exr"]


def test_the_uploads_of_a_task_are_found_when_they_have_ended(farm: Farm, find: Find) -> None:
    farm.enqueue(file(f"{SHOT}/plate.1001.exr"))
    [transfer] = farm.pass_stages("create_component_location", claim="first-task")
    farm.settle(transfer, "located")
    farm.enqueue(file(f"{SHOT}/plate.1002.exr"))

    assert find("task:first-task") == [f"{SHOT}/plate.1001.exr"]
    assert find("task:other") == []
    for odd in ("[" * 100_000, '["\\ud800"]', "{}", "[[1]]"):
        farm.client.set(keys.carried_key("other"), odd)
        assert find("task:other") == []


def test_a_list_is_paged_and_counted_by_its_states(farm: Farm) -> None:
    farm.enqueue(*(file(f"{SHOT}/plate.{number}.exr") for number in range(1001, 1008)))
    for transfer in farm.pass_stages("create_component_location")[:3]:
        farm.settle(transfer, "located")
    one = Search(farm.client, Codec([]), Hasher(()))

    pages = [one.page(parsed(""), start, 3) for start in (0, 3, 6)]

    assert [page.total for page in pages] == [7] * 3
    assert pages[0].counts["located"] == 3
    seen = [upload for page in pages for upload in page.uploads]
    assert [upload.state for upload in seen] == ["active"] * 4 + ["located"] * 3
    assert len({upload.upload_id for upload in seen}) == 7
    assert one.page(parsed("", since=farm.now() + 60), 0, 9).total == 0


def test_a_version_is_counted_in_all_states_and_alone(farm: Farm) -> None:
    farm.enqueue(*(file(f"{SHOT}/plate.{number}.exr") for number in range(1001, 1004)))
    farm.settle(farm.deliver()[0], "located")
    farm.enqueue(file(f"{OTHER}/plate.1001.exr", OTHER_VERSION))
    one = Search(farm.client, Codec([]), Hasher(()))

    page = one.page(parsed("", ["located"], version=VERSION), 0, 9)

    counts = {state: count for state, count in page.counts.items() if count}
    assert (counts, page.total, len(page.uploads)) == ({"located": 1, "active": 2}, 1, 1)
    assert page.counts["failed"] == 0
    # Of what no term leads to, only uploads in the state were looked at.
    assert one.page(parsed("100", ["located"]), 0, 9).counts == {"located": 1}


def test_the_frames_of_a_shot_write_their_terms_once(farm: Farm) -> None:
    hosts = ("node1", "node2")
    farm.enqueue(file(f"{SHOT}/plate.1001.exr", host=hosts[0]))
    before = sorted(farm.client.keys(f"{keys.TERM}*"))

    farm.enqueue(*(file(f"{SHOT}/plate.{1002 + n}.exr", host=hosts[n % 2]) for n in range(50)))

    # A group for the shot, one for each of the hosts, and one for who asked.
    sizes = sorted(farm.client.zcard(group) for group in farm.client.keys(f"{keys.GROUP}*"))
    assert sizes == [25, 26, 51, 51]
    assert sorted(farm.client.keys(f"{keys.TERM}*")) == before


def test_the_index_expires_after_its_records(farm: Farm) -> None:
    farm.enqueue(file(f"{SHOT}/plate.1001.exr"))

    lives = [farm.client.ttl(key) for key in farm.client.keys(f"{keys.PREFIX}index:*")]

    assert len(lives) > 8
    assert all(farm.ttl_s < one <= farm.ttl_s + 14 * 86400 for one in lives)


def test_what_has_expired_leaves_the_index_and_is_not_shown(farm: Farm, find: Find) -> None:
    old, new = file(f"{SHOT}/plate.1001.exr"), file(f"{SHOT}/plate.1002.exr")
    farm.enqueue(old)
    groups = farm.client.keys(f"{keys.GROUP}*")
    farm.client.delete(keys.upload_key(old.upload_id))
    for group in groups:
        farm.client.zadd(group, {old.upload_id: 1.0})
        farm.client.expire(group, farm.ttl_s)  # due for its next refresh

    farm.enqueue(new)

    assert [farm.client.zrange(group, 0, -1) for group in groups] == [[new.upload_id]] * 3
    assert find("sh020") == find("host:node7") == [new.path]


def test_a_retried_upload_is_found_when_the_index_had_expired(farm: Farm, find: Find) -> None:
    single, publish = file(f"{SHOT}/plate.1001.exr"), frames(OTHER)
    movie = file(f"{OTHER}/review.mov")._replace(is_member=True)
    publish = publish._replace(files=(*publish.files, movie))
    farm.enqueue(single, publish)
    for request in (single, publish):
        assert farm.commands.cancel(request.upload_id) == "cancelled"
    index = f"{keys.PREFIX}index:*"
    before = sorted(farm.client.keys(index))
    farm.client.delete(*before)
    assert find("sh020") == find("sh030") == []

    for request in (single, publish):
        assert farm.commands.retry(request.upload_id).is_new

    assert sorted(farm.client.keys(index)) == before
    assert find("sh020 host:node7") == [single.path]
    for text in ("sh030", "beauty.1002.exr", "review.mov"):
        assert find(text) == [publish.path], text
    lives = [farm.client.ttl(key) for key in before]
    assert all(one > farm.ttl_s for one in lives)


def test_a_sealed_index_names_nothing_and_opens_with_each_key(farm: Farm) -> None:
    secrets = [Fernet.generate_key().decode() for _ in range(2)]
    old, new = (Hasher([secret.encode()]) for secret in secrets)
    commands = Commands(Scripts(farm.client, Codec(secrets[:1]), hasher=old))
    wanted = file(f"{SHOT}/plate.1001.exr")
    commands.enqueue([wanted])

    both = Hasher([secret.encode() for secret in reversed(secrets)])
    found = Search(farm.client, Codec(secrets), both).page(parsed("sh020"), 0, 9)
    assert [upload.path for upload in found.uploads] == [wanted.path]
    assert not Search(farm.client, Codec(secrets), new).page(parsed("sh020"), 0, 9).uploads
    written = b"\n".join(
        [
            value.encode()
            for key in farm.client.keys(f"{keys.PREFIX}index:*")
            for value in (key, *farm.client.zrange(key, 0, -1))
        ]
    )
    for word in (b"sh020", b"plate", b"node7", VERSION.encode(), b"mnt"):
        assert word not in written
    # Without the key, nobody can try a word.
    assert Hasher(()).hashes(Term("word", "sh020"))[0].encode() not in written


def test_all_that_somebody_asked_for_is_paged_through(farm: Farm) -> None:
    # Two hosts and two users take turns at the frames of two shots.
    for number in range(60):
        folder, host = (SHOT, OTHER)[number % 2], f"node{number // 2 % 2}"
        request = file(f"{folder}/plate.{1001 + number}.exr", host=host)
        farm.enqueue(request._replace(asked_user=("ada", "ben")[number % 3 == 0]))
    one = Search(farm.client, Codec([]), Hasher(()))

    def all_of(text: str) -> set[str]:
        pages = [one.page(parsed(text), start, 7) for start in range(0, 60, 7)]
        found = [upload.upload_id for page in pages for upload in page.uploads]
        assert len(found) == len({*found}) == pages[0].total == pages[0].counts["pending"], text
        return {*found}

    for text, expected in {
        "host:node1": 30,
        "HOST:NODE1".casefold(): 30,
        "node1": 30,
        "user:ben": 20,
        "host:node1 user:ada": 20,
        "sh020 host:node0": 15,
        "node0 sh020": 15,
        "host:node9": 0,
    }.items():
        assert len(all_of(text)) == expected, text


def test_a_host_whose_name_is_a_word_is_found_with_the_word(farm: Farm, find: Find) -> None:
    both = [file(f"{SHOT}/plate.1001.exr"), file("/mnt/proj/plate.exr", host="sh020")]
    farm.enqueue(*both)

    assert find("sh020") == sorted(one.path for one in both)
    assert find("sh020 plate") == sorted(one.path for one in both)
    assert find("sh020 comp") == [both[0].path]


def test_two_words_that_are_hosts_too_find_what_has_both(farm: Farm, find: Find) -> None:
    wanted = file("/mnt/proj/comp/plate.exr", host="ws12")
    others = [file(f"/mnt/proj/ws12/{number}.exr", host="comp") for number in range(3)]
    farm.enqueue(
        wanted, *others, *(file(f"/mnt/x/{number}.exr", host="ws12") for number in "abcde")
    )

    assert find("ws12 comp") == sorted(one.path for one in (wanted, *others))
    assert find("comp ws12") == sorted(one.path for one in (wanted, *others))


def test_a_path_finds_no_file_of_its_name_in_a_folder_below(farm: Farm, find: Find) -> None:
    farm.enqueue(file(f"{SHOT}/plate.mov"))

    assert find("/mnt/proj/sq010/plate.mov") == []


def test_only_a_page_is_read_of_what_the_index_knows(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm.enqueue(*(file(f"{SHOT}/plate.{number}.exr") for number in range(1001, 1031)))
    one = Search(farm.client, Codec([]), Hasher(()))
    read: list[str] = []

    def note(ids: list[str]) -> Iterator[Any]:
        read.extend(ids)
        return iter(())

    monkeypatch.setattr(one, "_read", note)
    for text in ("sh020", "host:node7", "user:ada", SHOT, f"version:{VERSION}", "plate sh020"):
        page = one.page(parsed(text), 10, 5)
        assert (page.total, len(page.uploads), read) == (30, 5, []), text

    one.page(parsed("plate.1001.exr"), 0, 5)
    assert len(read) == 30


def test_one_query_reads_a_bounded_number_of_records(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "MAX_FOUND", 10)
    farm.enqueue(*(file(f"{SHOT}/plate.{number}.exr") for number in range(30)))
    one = Search(farm.client, Codec([]), Hasher(()))

    for text in ("sh020", "host:node7", "user:ada"):
        page = one.page(parsed(text), 0, 5)
        assert (page.total, page.is_cut, len(page.uploads)) == (10, True, 5), text
    monkeypatch.setattr(index, "MAX_FOUND", 100)
    monkeypatch.setattr(search, "MAX_READ", 10)
    assert one.page(parsed("sh020"), 0, 5).total == 30
    # Numbers are compared with what is read: 1, 10 and so on.
    assert one.page(parsed("plate.25.exr"), 0, 5).is_cut
