"""open_store: each url to its store, and a clear error for each that is not one."""

from __future__ import annotations

import socket

import pytest

from headwater.errors import InvalidArgument, ObjectNotFound, StoreUnavailable, UnsupportedOption
from headwater.store import LocalObjectStore, open_store


def test_paths_and_file_urls_are_one_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_store(tmp_path / "a b").put("k", b"x")
    for same in (str(tmp_path / "a b"), "./a b", "a b/", (tmp_path / "a b").as_uri()):
        store = open_store(same)
        assert isinstance(store, LocalObjectStore)
        assert store.get("k") == b"x"
        assert store.url == (tmp_path / "a b").as_uri()
    assert open_store(store.url).get("k") == b"x"


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/lake").root == tmp_path / "lake"


def test_opening_touches_nothing(tmp_path):
    store = open_store(tmp_path / "absent")
    assert list(store.list()) == []
    assert store.list_prefixes() == []
    assert not (tmp_path / "absent").exists()


def test_memory_is_shared_by_name():
    open_store("memory://shared-by-name").put("a/k", b"x")
    assert open_store("memory://shared-by-name/a").get("k") == b"x"
    with pytest.raises(ObjectNotFound):
        open_store("memory://another-name").get("a/k")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "unknown scheme 'ftp'"),
        ("memory://", "expected a name"),
        ("file://host/x", "file:///"),
        ("s3://", "s3://BUCKET/FOLDER"),
        ("s3://bucket/x?versionId=1", "s3://BUCKET/FOLDER"),
    ],
)
def test_bad_urls(url, message):
    with pytest.raises(InvalidArgument, match=message):
        open_store(url)


def test_secrets_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(InvalidArgument) as caught:
        open_store("s3://id:secret@bucket/x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [("s3://bucket", {"bogus": 1}), ("memory://m", {"region": "x"}), ("/tmp/x", {"region": "x"})],
)
def test_options_without_effect_are_refused(url, options):
    with pytest.raises(UnsupportedOption, match=next(iter(options))):
        open_store(url, options)


def test_options_are_not_changed_and_the_url_holds_no_secret():
    options = {
        "access_key_id": "id",
        "secret_access_key": "hush",
        "region": "x",
        "max_retries": 1,
        "timeout": "1s",
    }
    before = dict(options)
    store = open_store("s3://bucket/folder/", options)
    assert options == before
    assert store.url == "s3://bucket/folder"
    assert "hush" not in repr(store)


def test_nobody_listening_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        options = {
            "endpoint": f"http://127.0.0.1:{unused.getsockname()[1]}",
            "region": "us-east-1",
            "access_key_id": "x",
            "secret_access_key": "x",
            "max_retries": 0,
        }
        store = open_store("s3://bucket", options)
        for call in (lambda: store.get("k"), lambda: store.put("k", b""), lambda: list(store.list())):
            with pytest.raises(StoreUnavailable, match="s3://bucket") as caught:
                call()
            assert "Debug source" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("gs://bucket/x", {"skip_signature": True}),
        ("az://c/x", {"account_name": "a", "skip_signature": True}),
    ],
)
def test_other_clouds_open(url, options):
    assert open_store(url, options).url == url
