"""Who asks: the environment says it, or else the system, which may hang."""

from __future__ import annotations

import _thread
import os
import pwd
import threading
from types import SimpleNamespace

import pytest

from tasks.intake import deliver
from tasks.intake.deliver import user_name


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["USER", "LOGNAME", "USERNAME"])
def test_the_environment_says_who_asks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "ada")
    assert user_name() == "ada"


def test_without_it_the_system_says_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ben"))
    monkeypatch.setattr(deliver, "NAME_S", 30)  # a machine that stalls runs the thread late
    assert user_name() == "ben"


def test_a_user_whom_the_system_does_not_know_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(user_id: int) -> None:
        raise KeyError(user_id)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert user_name() == f"uid {os.getuid()}"


def test_a_directory_of_users_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def hang(user_id: int) -> None:
        answers.wait(60)
        raise KeyError(user_id)

    monkeypatch.setattr(pwd, "getpwuid", hang)
    assert user_name() == f"uid {os.getuid()}"
    answers.set()


def test_a_user_who_may_run_no_more_threads_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ben"))
    assert user_name() == "ben"
