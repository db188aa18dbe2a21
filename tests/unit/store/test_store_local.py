"""The local store: durable before it answers, whole or absent after a failure at any step."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

import pytest

from headwater.errors import (
    InvalidArgument,
    ObjectNotFound,
    PermissionDenied,
    QuotaExceeded,
    StoreUnavailable,
    UnsupportedOption,
)
from headwater.store import LocalObjectStore, local
from headwater.store.write_back import names_follow_bytes, write_back
from headwater.types import ByteRange


@pytest.fixture
def store(tmp_path):
    return LocalObjectStore(tmp_path / "root")


@pytest.fixture
def calls(monkeypatch):
    """What the store asks of the disk, in order."""
    made = []

    def record(name, real):
        def spy(first, *rest, **options):
            made.append(
                (name, os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else str(rest[0]))
            )
            return real(first, *rest, **options)

        monkeypatch.setattr(os, name, spy)

    for name in ("fsync", "link", "replace"):
        record(name, getattr(os, name))
    return made


def files(store):
    return sorted(path.name for path in store.root.rglob("*") if path.is_file())


def failing(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(("write", "step"), [("put", "replace"), ("create", "link")])
def test_bytes_are_synced_before_they_are_visible_and_the_folder_after(
    store, calls, write, step, monkeypatch
):
    monkeypatch.setattr(local, "names_follow_bytes", lambda device: False)
    store.put("dir/earlier", b"")
    calls.clear()
    getattr(store, write)("dir/new", b"data")
    folder = str(store.root / "dir")
    (first, temporary), *rest = calls
    assert first == "fsync"
    # A file under a passing name, or one without a name until it is linked.
    assert temporary.startswith((f"{folder}/.hwtmp-", f"{folder}/#"))
    assert rest == [(step, f"{folder}/new"), ("fsync", folder)]


def test_bytes_are_on_their_way_before_the_name_where_one_sync_does_for_both(store, calls, monkeypatch):
    monkeypatch.setattr(local, "names_follow_bytes", lambda device: True)
    written = []

    def write_back(descriptor):
        written.append(os.fstat(descriptor).st_size)
        calls.append(("write back", os.readlink(f"/proc/self/fd/{descriptor}")))

    monkeypatch.setattr(local, "write_back", write_back)
    store.put("dir/earlier", b"")
    calls.clear()
    store.create("dir/new", b"data")
    (first, nameless), *rest = calls
    assert first == "write back"
    assert written == [4]
    assert rest == [("link", str(store.root / "dir/new")), ("fsync", nameless)]


@pytest.mark.parametrize(
    ("kind", "journal", "expected"),
    [
        ("ext4", "jbd2/loop4-8", True),
        ("ext4", "<none>", False),
        ("btrfs", "jbd2/loop4-8", False),
        ("overlay", "jbd2/loop4-8", False),
    ],
)
def test_one_sync_is_for_file_systems_that_are_known_to_keep_the_order(monkeypatch, kind, journal, expected):
    mounts = [
        "27 1 254:0 / / rw,relatime shared:1 - vfat /dev/vda rw",
        f"28 27 7:4 / /lake rw,relatime - {kind} /dev/loop4 rw",
        f"29 27 7:4 /part /mnt/part rw - {kind} /dev/loop4 rw",
    ]
    files = {"mountinfo": "\n".join(mounts), "journal_task": journal}
    monkeypatch.setattr(Path, "read_text", lambda path: files[path.name])
    names_follow_bytes.cache_clear()
    assert names_follow_bytes(os.makedev(7, 4)) == expected
    assert not names_follow_bytes(os.makedev(254, 0))
    assert not names_follow_bytes(os.makedev(9, 9))
    names_follow_bytes.cache_clear()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sync_file_range is Linux's")
def test_bytes_are_written_back(tmp_path):
    with (tmp_path / "x").open("wb", buffering=0) as file:
        file.write(b"x" * 10_000)
        write_back(file.fileno())
    with pytest.raises(OSError, match="Bad file descriptor"):
        write_back(1 << 20)


def test_new_folders_are_synced_into_their_parents(store, calls):
    store.put("a/b/c", b"")
    synced = [path for name, path in calls if name == "fsync"]
    assert [str(p) for p in (store.root.parent, store.root, store.root / "a", store.root / "a/b")] == [
        path for path in synced if ".hwtmp-" not in path
    ]


def test_put_file_is_synced_and_shares_blocks(store, calls, tmp_path):
    source = tmp_path / "built"
    source.write_bytes(b"index")
    os.utime(source, (1, 1))
    meta = store.put_file("i/x", source)
    assert store.local_path("i/x").stat().st_ino == source.stat().st_ino
    assert time.time() - meta.modified.timestamp() < 60
    assert [name for name, _ in calls][-3:] == ["fsync", "replace", "fsync"]


def test_put_file_copies_where_it_cannot_link(store, tmp_path, monkeypatch):
    source = tmp_path / "built"
    source.write_bytes(b"index" * 1000)
    monkeypatch.setattr(os, "link", failing(errno.EXDEV))
    store.put_file("i/x", source)
    assert store.get("i/x") == source.read_bytes()
    assert store.local_path("i/x").stat().st_ino != source.stat().st_ino


def test_put_file_of_a_symbolic_link_stores_the_bytes(store, tmp_path):
    (tmp_path / "real").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("real")
    store.put_file("x", tmp_path / "link")
    assert not store.local_path("x").is_symlink()
    assert store.get("x") == b"bytes"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("write", ["put", "create"])
def test_full_disk_is_quota_exceeded_and_leaves_nothing(store, monkeypatch, write, code):
    store.put("dir/old", b"old")
    for owner, name in ((os, "fsync"), (local, "write_back")):
        monkeypatch.setattr(owner, name, failing(code))
    with pytest.raises(QuotaExceeded, match=r"dir/new.*disk is full"):
        getattr(store, write)("dir/new", b"data")
    assert files(store) == ["old"]


def test_full_disk_during_put_file_leaves_nothing(store, tmp_path, monkeypatch):
    (tmp_path / "built").write_bytes(b"index")
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(QuotaExceeded):
        store.put_file("x", tmp_path / "built")
    assert files(store) == []


def test_failed_rename_keeps_the_old_object(store, monkeypatch):
    store.put("k", b"old")
    monkeypatch.setattr(os, "replace", failing(errno.EIO))
    with pytest.raises(StoreUnavailable, match="put 'k'"):
        store.put("k", b"new")
    assert store.get("k") == b"old"
    assert files(store) == ["k"]


def test_file_system_without_hard_links_says_so(store, monkeypatch):
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    with pytest.raises(UnsupportedOption, match="hard link"):
        store.create("k", b"")


def test_refused_folder_is_permission_denied(store, monkeypatch):
    monkeypatch.setattr(os, "replace", failing(errno.EACCES))
    with pytest.raises(PermissionDenied, match="'k'"):
        store.put("k", b"")


def test_object_under_an_object_is_refused(store):
    store.put("a", b"")
    with pytest.raises(InvalidArgument, match="a/b"):
        store.put("a/b", b"")
    with pytest.raises(ObjectNotFound):
        store.get("a/b")
    store.put("c/d", b"")
    with pytest.raises(InvalidArgument):
        store.put("c", b"")


def test_temporary_files_are_hidden_refused_and_swept(store):
    store.put("dir/kept", b"")
    stale = store.root / "dir" / ".hwtmp-dead"
    fresh = store.root / "dir" / ".hwtmp-alive"
    stale.write_bytes(b"torn")
    fresh.write_bytes(b"being written")
    os.utime(stale, (1, 1))
    assert [meta.key for meta in store.list()] == ["dir/kept"]
    with pytest.raises(InvalidArgument, match="hwtmp"):
        store.get("dir/.hwtmp-dead")
    assert store.sweep("dir", older_than_s=3600) == 1
    assert files(store) == [".hwtmp-alive", "kept"]


def test_delete_removes_empty_folders_up_to_the_root(store):
    store.put("a/b/c/1", b"")
    store.put("a/2", b"")
    store.delete(["a/b/c/1"])
    assert sorted(path.name for path in (store.root / "a").iterdir()) == ["2"]
    store.delete(["a/2"])
    assert list(store.root.iterdir()) == []


def test_write_survives_the_removal_of_its_folder(store, monkeypatch):
    """A delete of the folder's last object may strike between making the folder and writing into it."""
    real = os.fsync
    struck = []

    def strike(descriptor):
        real(descriptor)
        if not struck and (store.root / "dir").is_dir():
            struck.append((store.root / "dir").rmdir())

    monkeypatch.setattr(os, "fsync", strike)
    store.put("dir/k", b"v")
    assert struck
    assert store.get("dir/k") == b"v"


def test_linked_folders_are_followed_and_loops_are_not(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_bytes(b"")
    store.put("dir/y", b"")
    (store.root / "dir" / "big").symlink_to(tmp_path / "elsewhere")
    (store.root / "dir" / "loop").symlink_to(store.root)
    assert [meta.key for meta in store.list()] == ["dir/big/x", "dir/y"]


def test_empty_folders_are_not_prefixes(store):
    (store.root / "empty" / "deeper").mkdir(parents=True)
    store.put("full/x", b"")
    assert store.list_prefixes() == ["full"]


def test_many_far_ranges_are_read_in_parallel_and_in_order(store):
    data = os.urandom(1 << 20) * 20
    store.put("big", data)
    spans = [ByteRange(start, start + (1 << 20) - 100_000) for start in range(0, len(data), 1 << 20)][::-1]
    assert [bytes(view) for view in store.get_ranges("big", spans)] == [data[s.start : s.stop] for s in spans]


def test_etag_follows_the_bytes(store):
    first = store.put("k", b"a").etag
    assert store.head("k").etag == first
    assert store.put("k", b"b").etag != first
