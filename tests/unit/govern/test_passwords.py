"""What is stored of passwords and tokens, and what is remembered of those that were right."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.govern.passwords import (
    TOKEN_PREFIX,
    Verified,
    hash_password,
    hash_token,
    is_hash,
    new_token,
    password_matches,
)


def test_a_password_matches_its_own_hash_and_no_other() -> None:
    stored = hash_password("Milvus", p=1)
    assert password_matches(stored, "Milvus")
    assert not password_matches(stored, "milvus")
    assert not password_matches(stored, "")
    assert not password_matches("", "")
    assert not password_matches("", "Milvus")


def test_two_hashes_of_one_password_differ_and_neither_holds_it() -> None:
    first, second = hash_password("a password", p=1), hash_password("a password", p=1)
    assert first != second
    assert "a password" not in first
    kind, n, r, p, salt, digest = first.split("$")
    assert (kind, int(n), int(r), int(p)) == ("scrypt", 1 << 14, 8, 1)
    assert len(salt) == 24
    assert len(digest) == 44
    assert int(hash_password("x").split("$")[3]) == 5


def test_unicode_passwords() -> None:
    stored = hash_password("пароль€", p=1)
    assert password_matches(stored, "пароль€")
    assert not password_matches(stored, "пароль")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "scrypt",
        "plain",
        "scrypt$1$8$1$AAAA$AAAA",
        "scrypt$16384$8$1$AAAA$AAAA",
        "scrypt$x$8$1$AAAA$AAAA",
        "scrypt$16384$8$1$%%$%%",
        "scrypt$1073741824$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
        "scrypt$16385$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
        "scrypt$16384$1000$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
        "scrypt$16384$8$0$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 43 + "=",
    ],
)
def test_what_is_no_hash_is_known_for_none(text: str) -> None:
    assert not is_hash(text)


def test_what_is_no_hash_matches_nothing_and_takes_as_long_as_one() -> None:
    stored = hash_password("Milvus")

    def worked_s(text: str, expected: bool) -> float:
        # Of this thread's core, and not by the clock: the machine may be busy with something else.
        started = time.thread_time()
        assert password_matches(text, "Milvus") is expected
        return time.thread_time() - started

    right = min(worked_s(stored, True) for _ in range(3))
    assert worked_s("scrypt$1073741824$8$1$AAAA$AAAA", False) > right / 4


@given(st.text(max_size=80))
def test_any_text_is_looked_at_without_failing(text: str) -> None:
    is_hash(text)
    is_hash(f"scrypt${text}")


def test_tokens_are_their_own() -> None:
    name, token = new_token()
    assert token.startswith(f"{TOKEN_PREFIX}{name}_")
    assert ":" not in token
    assert len(token) > 50
    assert new_token()[1] != token
    assert hash_token(token) == hash_token(token)
    assert token not in hash_token(token)


def test_what_was_right_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now, ahead_s = time.monotonic, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now() + ahead_s)
    held = Verified(limit=2, ttl_s=600)
    held.put("ann:secret", "ann", "hash of ann")
    assert held.get("ann:secret") == ("ann", "hash of ann")
    assert held.get("ann:other") is None
    ahead_s = 601.0
    assert held.get("ann:secret") is None


def test_no_more_is_remembered_than_there_may_be() -> None:
    held = Verified(limit=10, ttl_s=60)
    for number in range(1000):
        held.put(f"user{number}:secret", f"user{number}", "")
    assert len(held) == 10
    assert held.get("user999:secret") is not None
    assert held.get("user0:secret") is None
    held.clear()
    assert len(held) == 0


def test_no_credential_is_kept_in_memory() -> None:
    held = Verified(limit=10, ttl_s=60)
    held.put("ann:a secret", "ann", "the hash")
    assert "a secret" not in repr(vars(held))
    assert b"a secret" not in b"".join(held._held)
