"""What every object store must do, as tests: subclass `ObjectStoreTests` and give it a `store` fixture.

    class TestMine(ObjectStoreTests):
        @pytest.fixture
        def store(self, tmp_path):
            return MyStore(tmp_path)

The fixture gives an empty store to each test, or one whose leftovers lie outside the keys used here.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headwater.errors import AlreadyExists, Corrupt, InvalidArgument, ObjectNotFound, SourceChanged
from headwater.store import ObjectStore, put_if_absent
from headwater.types import ByteRange

__all__ = ["ObjectStoreTests"]

_RACERS = 8


class ObjectStoreTests:
    """The suite; every test takes the fixture `store`."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """The store to test; subclasses say which."""
        raise NotImplementedError("define a fixture `store` in the subclass")

    def test_satisfies_the_protocol(self, store: ObjectStore) -> None:
        """The class has every method of `ObjectStore`, and a url."""
        assert isinstance(store, ObjectStore)
        assert "://" in store.url

    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 64], ids=len)
    def test_what_was_put_is_got(self, store: ObjectStore, data: bytes) -> None:
        """Bytes come back as they were, empty ones too, and `put` reports their size."""
        meta = store.put("round/trip", data)
        assert (meta.key, meta.size_bytes) == ("round/trip", len(data))
        got = store.get("round/trip")
        assert type(got) is bytes
        assert got == data

    def test_put_takes_a_memoryview(self, store: ObjectStore) -> None:
        """A slice of a larger buffer is stored without its surroundings."""
        store.put("view", memoryview(b"0123456789")[2:5])
        assert store.get("view") == b"234"

    def test_put_replaces(self, store: ObjectStore) -> None:
        """A second put wins, and the etag changes."""
        store.put("twice", b"first")
        before = store.head("twice").etag
        store.put("twice", b"second!")
        assert store.get("twice") == b"second!"
        assert before is None or store.head("twice").etag != before

    @pytest.mark.parametrize("size_bytes", [0, 1000, 9 * 1024 * 1024])
    def test_put_file_stores_the_file(self, store: ObjectStore, tmp_path: Path, size_bytes: int) -> None:
        """Small and multipart-sized files arrive whole, the source stays, and removing it harms nothing."""
        source = tmp_path / "source.bin"
        source.write_bytes(bytes(1000) * (size_bytes // 1000) + b"e" * (size_bytes % 1000))
        expected = source.read_bytes()
        assert store.put_file("files/one", source).size_bytes == size_bytes
        assert source.read_bytes() == expected
        source.unlink()
        assert store.get("files/one") == expected
        assert store.head("files/one").size_bytes == size_bytes

    def test_put_file_replaces(self, store: ObjectStore, tmp_path: Path) -> None:
        """As `put`, a file takes the place of an older object."""
        (tmp_path / "new").write_bytes(b"new")
        store.put("files/two", b"old one")
        store.put_file("files/two", tmp_path / "new")
        assert store.get("files/two") == b"new"

    def test_put_file_of_an_absent_file(self, store: ObjectStore, tmp_path: Path) -> None:
        """The error names the file, and nothing is stored."""
        with pytest.raises(ObjectNotFound, match="no-such-file"):
            store.put_file("files/three", tmp_path / "no-such-file")
        with pytest.raises(ObjectNotFound):
            store.head("files/three")

    def test_create_fails_on_a_taken_key(self, store: ObjectStore) -> None:
        """The first bytes stay."""
        store.create("taken", b"first")
        with pytest.raises(AlreadyExists, match="taken"):
            store.create("taken", b"second")
        assert store.get("taken") == b"first"

    def test_create_works_again_after_delete(self, store: ObjectStore) -> None:
        """Absence is what counts, not history."""
        store.create("again", b"1")
        store.delete(["again"])
        store.create("again", b"2")
        assert store.get("again") == b"2"

    def test_one_winner_among_racing_writers(self, store: ObjectStore) -> None:
        """Of several put-if-absent calls at once exactly one returns True, and its bytes are there."""
        with ThreadPoolExecutor(_RACERS) as threads:
            for round_number in range(5):
                key = f"race/{round_number:020}"
                bids = [f"writer {n} of {key}".encode() for n in range(_RACERS)]
                won = list(threads.map(lambda bid, key=key: put_if_absent(store, key, bid), bids))
                assert won.count(True) == 1
                assert store.get(key) == bids[won.index(True)]

    def test_absent_objects(self, store: ObjectStore) -> None:
        """Every read of an absent key says so, and names it; deleting it is fine."""
        with pytest.raises(ObjectNotFound, match="no/such"):
            store.get("no/such")
        with pytest.raises(ObjectNotFound, match="no/such"):
            store.head("no/such")
        with pytest.raises(ObjectNotFound, match="no/such"):
            store.get_ranges("no/such", [ByteRange(0, 1)])
        store.delete(["no/such", "nor/this"])

    def test_a_folder_is_not_an_object(self, store: ObjectStore) -> None:
        """A key that only other keys start with does not exist."""
        store.put("dir/leaf", b"x")
        for read in (store.get, store.head):
            with pytest.raises(ObjectNotFound):
                read("dir")

    def test_head_tells_size_and_time(self, store: ObjectStore) -> None:
        """The time has a zone and is about now."""
        store.put("headed", b"12345")
        meta = store.head("headed")
        assert (meta.key, meta.size_bytes) == ("headed", 5)
        assert abs(datetime.now(UTC) - meta.modified) < timedelta(minutes=5)

    def test_ranges_come_in_the_order_asked(self, store: ObjectStore) -> None:
        """Near, far, overlapping, equal and empty ranges, unsorted."""
        data = bytes(i * i % 251 for i in range(400_000))
        store.put("ranged", data)
        spans = [(399_999, 400_000), (0, 10), (5, 20), (5, 20), (7, 7), (200_000, 300_000), (30, 40), (0, 0)]
        found = store.get_ranges("ranged", [ByteRange(*span) for span in spans])
        assert [bytes(view) for view in found] == [data[start:stop] for start, stop in spans]
        assert store.get_ranges("ranged", []) == []

    @pytest.mark.parametrize("size_bytes", [200_000, 300_000, 10])
    def test_ranges_of_an_object_that_is_another_by_now(self, store: ObjectStore, size_bytes: int) -> None:
        """Are not its ranges, whether it is as long, longer or shorter; near and far ones alike."""
        data = bytes(i % 251 for i in range(200_000))
        store.put("same", data)
        etag = store.head("same").etag
        assert etag is not None
        for spans in ([(0, 10), (20, 30)], [(150_000, 150_010), (5, 9)]):
            ranges = [ByteRange(*span) for span in spans]
            found = store.get_ranges("same", ranges, etag=etag)
            assert [bytes(view) for view in found] == [data[start:stop] for start, stop in spans]
            store.put("same", b"x" * size_bytes)
            with pytest.raises(SourceChanged):
                store.get_ranges("same", ranges, etag=etag)
            store.put("same", data)
            etag = store.head("same").etag

    @pytest.mark.parametrize("span", [(3, 11), (10, 11), (500, 600)])
    def test_a_range_past_the_end_is_corrupt(self, store: ObjectStore, span: tuple[int, int]) -> None:
        """Never fewer bytes than asked for; the error names the key and the size."""
        store.put("short", b"0123456789")
        with pytest.raises(Corrupt, match=r"short.*ends at 10"):
            store.get_ranges("short", [ByteRange(0, 2), ByteRange(*span)])

    def test_list_is_in_key_order(self, store: ObjectStore) -> None:
        """By code point over whole keys: `-` sorts before `/`, `/` before letters."""
        keys = ["l/a-b", "l/a/z", "l/a/b/c", "l/ab", "l/a.txt", "l/Z", "l/\u00fc"]
        for key in keys:
            store.put(key, key.encode())
        found = list(store.list("l"))
        assert [meta.key for meta in found] == sorted(keys)
        assert [meta.size_bytes for meta in found] == [len(key.encode()) for key in sorted(keys)]
        assert [meta.etag for meta in found] == [store.head(key).etag for key in sorted(keys)]

    def test_list_prefix_is_a_folder(self, store: ObjectStore) -> None:
        """With and without the closing slash; siblings that start alike are not in it."""
        for key in ("p/a/1", "p/a/2/3", "p/ab", "p/a.x"):
            store.put(key, b"")
        for prefix in ("p/a", "p/a/"):
            assert [meta.key for meta in store.list(prefix)] == ["p/a/1", "p/a/2/3"]
        assert list(store.list("p/none")) == []
        assert {"p/a/1", "p/ab"} <= {meta.key for meta in store.list()}

    def test_list_starts_after(self, store: ObjectStore) -> None:
        """Exclusive, whether the key exists or not, and across folders."""
        keys = ["s/1", "s/2/a", "s/2/b", "s/3"]
        for key in keys:
            store.put(key, b"")
        for after in ("s/1", "s/2", "s/2/a", "s/2/aa", "s/3", "s/0", "t"):
            found = [meta.key for meta in store.list("s/", start_after=after)]
            assert found == [key for key in keys if key > after]

    def test_list_prefixes_is_one_level(self, store: ObjectStore) -> None:
        """Folder names without objects' names, and without folders whose objects are gone."""
        for key in ("t/b/1", "t/a/x/2", "t/file", "t/gone/3"):
            store.put(key, b"")
        store.delete(["t/gone/3"])
        assert store.list_prefixes("t") == store.list_prefixes("t/") == ["a", "b"]
        assert store.list_prefixes("t/none") == []
        assert "t" in store.list_prefixes()

    def test_delete_removes(self, store: ObjectStore) -> None:
        """Present and absent keys together; others stay."""
        for key in ("d/1", "d/2", "d/3"):
            store.put(key, b"")
        store.delete(["d/1", "d/none", "d/2"])
        store.delete([])
        assert [meta.key for meta in store.list("d")] == ["d/3"]

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\0b"])
    def test_bad_keys_are_refused(self, store: ObjectStore, key: str) -> None:
        """Before anything is touched, by every method that takes a key."""
        for call in (
            lambda: store.put(key, b""),
            lambda: store.create(key, b""),
            lambda: store.get(key),
            lambda: store.head(key),
            lambda: store.get_ranges(key, [ByteRange(0, 1)]),
            lambda: store.delete([key]),
            lambda: store.local_path(key),
        ):
            with pytest.raises(InvalidArgument, match="object key"):
                call()

    @pytest.mark.parametrize("key", ["sp ace/a=b", "100%/x%20y", "q?#&+*~", "\u6c34/\u00e9"])
    def test_unusual_keys_survive(self, store: ObjectStore, key: str) -> None:
        """Characters that urls escape come back from listings as they went in."""
        store.put(f"odd/{key}", b"odd")
        assert store.get(f"odd/{key}") == b"odd"
        assert [meta.key for meta in store.list("odd")] == [f"odd/{key}"]
        store.delete([f"odd/{key}"])
        assert list(store.list("odd")) == []

    def test_local_path_is_the_object(self, store: ObjectStore) -> None:
        """When there is a file, it holds the bytes."""
        store.put("mapped", b"bytes")
        path = store.local_path("mapped")
        assert path is None or path.read_bytes() == b"bytes"
