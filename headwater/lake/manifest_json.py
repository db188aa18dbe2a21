"""A manifest's stored bytes: one JSON document under zstd, in frames that the next version can use again.

The document is `{head..., "segments": [...], "builds": [...]}`. Its text is cut after every `PAGE_ITEMS` segments or
builds, and each piece is a zstd frame with its own checksum, so `zstd -dc` shows one document. A commit changes a few
segments of many: `ManifestEncoder` keeps the frames of the last version and compresses again only what differs, which
makes a commit's time follow the change, not the collection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import zstandard

from headwater.errors import Corrupt
from headwater.lake.manifest import (
    ColumnGroup,
    ExternalSource,
    FieldStats,
    FileRef,
    Fragment,
    IndexBuild,
    IndexSpec,
    Manifest,
    Segment,
    SnapshotEntry,
)
from headwater.lake.shards import Shard
from headwater.schema import Schema

__all__ = [
    "FORMAT_VERSION",
    "PAGE_ITEMS",
    "ManifestEncoder",
    "decode_manifest",
    "segment_from_json",
    "segment_json",
    "shard_from_json",
    "shard_json",
]

FORMAT_VERSION = 2
"""Of what this release reads. Version 2 may keep row ids in files, and is written only where a segment does."""

PAGE_ITEMS = 32
"""Segments or builds to a frame: few enough to write again, enough to compress well."""

T = TypeVar("T")


class ManifestEncoder:
    """Encodes the versions of one collection, each from what it shares with the one before.

    Holds the frames of the last version that it encoded. Safe between threads: a frame is kept or made again.
    """

    def __init__(self) -> None:
        self._frames: dict[tuple[str, int], tuple[tuple[Any, ...], bytes]] = {}

    def encode(self, manifest: Manifest) -> bytes:
        """The manifest's stored bytes."""
        head = json.dumps(_head(manifest), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        parts = [_frame(head[:-1] + ',"segments":[')]
        parts += self._pages("segments", manifest.segments, segment_json)
        parts.append(_frame('],"builds":['))
        parts += self._pages("builds", manifest.builds, _build_json)
        parts.append(_frame("]}"))
        return b"".join(parts)

    def _pages(self, name: str, items: tuple[T, ...], plain: Callable[[T], Any]) -> list[bytes]:
        frames, starts = [], range(0, len(items), PAGE_ITEMS)
        for start in starts:
            page = items[start : start + PAGE_ITEMS]
            held = self._frames.get((name, start))
            # Tuples compare their members by identity first: equal pages cost nothing.
            if held is None or held[0] != page:
                text = ",".join(
                    json.dumps(plain(one), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
                    for one in page
                )
                held = self._frames[name, start] = page, _frame(text if start == 0 else "," + text)
            frames.append(held[1])
        for key in [key for key in list(self._frames) if key[0] == name and key[1] not in starts]:
            self._frames.pop(key, None)
        return frames


def _frame(text: str) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(text.encode())


def _kept(members: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is absent or empty."""
    return {name: member for name, member in members.items() if member not in (None, (), {}, [], "")}


def _head(manifest: Manifest) -> dict[str, Any]:
    source = manifest.source
    return {
        "format": 2 if any(one.row_id_file is not None for one in manifest.segments) else 1,
        "version": manifest.version,
        "commit_id": manifest.commit_id,
        "created_ms": manifest.created_ms,
        "schema": manifest.schema.to_json(),
        "next_row_id": manifest.next_row_id,
        **_kept(
            {
                "indexes": [_spec_json(spec) for spec in manifest.indexes],
                "properties": dict(manifest.properties),
                "source": None if source is None else {"urls": source.urls, "format": source.format},
                "tags": dict(manifest.tags),
                "operation": manifest.operation,
                "parent": manifest.parent,
                "shards": [shard_json(shard) for shard in manifest.shards],
                "partitions": dict(manifest.partitions),
                "snapshots": {name: asdict(one) for name, one in manifest.snapshots.items()},
            }
        ),
    }


def _spec_json(spec: IndexSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "field_id": spec.field_id,
        "kind": spec.kind,
        "metric": spec.metric,
        **_kept({"options": spec.options, "declared": dict(spec.declared)}),
    }


def _file_json(file: FileRef | None) -> dict[str, Any] | None:
    if file is None:
        return None
    opening = {"opening_bytes": file.opening_bytes} if file.opening_bytes else {}
    return {"key": file.key, "size_bytes": file.size_bytes, "checksum": file.checksum, **opening}


def _build_json(build: IndexBuild) -> dict[str, Any]:
    return {
        "index": build.index,
        "segment": build.segment,
        "file": _file_json(build.file),
        "num_rows": build.num_rows,
    }


def shard_json(shard: Shard) -> dict[str, Any]:
    """A shard's form in a manifest."""
    return asdict(shard)


def shard_from_json(data: Mapping[str, Any]) -> Shard:
    """The inverse of `shard_json`."""
    return Shard(**{**data, "owns": tuple(data["owns"])})


def segment_json(segment: Segment) -> dict[str, Any]:
    """A segment's form in a manifest."""
    return {
        "id": segment.id,
        "num_rows": segment.num_rows,
        "column_groups": [_group_json(group) for group in segment.column_groups],
        **_kept(
            {
                "row_ids": segment.row_ids,
                "stats": {
                    str(number): {"null_count": one.null_count, **_bounds(one)}
                    for number, one in segment.stats.items()
                },
                "key_bloom": segment.key_bloom,
                "delete_vector": _file_json(segment.delete_vector),
                "num_deleted": segment.num_deleted or None,
                "partition": segment.partition or None,
                "row_id_file": _file_json(segment.row_id_file),
            }
        ),
    }


def _bounds(stats: FieldStats) -> dict[str, Any]:
    return {name: one for name, one in (("min", stats.min), ("max", stats.max)) if one is not None}


def _group_json(group: ColumnGroup) -> dict[str, Any]:
    return {
        "format": group.format,
        "field_ids": group.field_ids,
        **_kept(
            {"file": _file_json(group.file), "fragments": [_fragment_json(one) for one in group.fragments]}
        ),
    }


def _fragment_json(fragment: Fragment) -> dict[str, Any]:
    return {
        "path": fragment.path,
        "size_bytes": fragment.size_bytes,
        "modified_ms": fragment.modified_ms,
        "num_rows": fragment.num_rows,
        **_kept({"etag": fragment.etag, "row_groups": fragment.row_groups}),
    }


def decode_manifest(data: bytes, key: str) -> Manifest:
    """The inverse of `ManifestEncoder.encode`.

    Args:
        data: the object's bytes.
        key: its name, for errors.

    Raises:
        Corrupt: the bytes are torn or not a manifest, or of a later format; names the file.
    """
    try:
        document = json.loads(_text(data))
        if document["format"] > FORMAT_VERSION:
            raise Corrupt(
                f"{key!r} has manifest format {document['format']}, this release reads up to {FORMAT_VERSION}",
                hint="upgrade headwater",
                key=key,
            )
        return _manifest(document)
    except (zstandard.ZstdError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(
            f"{key!r} is not a readable manifest: {error}",
            hint="older versions are still readable: at(version=...), or restore the file",
            key=key,
        ) from error


def _text(data: bytes) -> bytes:
    """Every frame, one after another.

    Raises:
        ValueError: the last frame is cut short.
    """
    parts, rest = [], data
    while rest:
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(rest))
        if not frame.eof:
            raise ValueError("the file ends inside a zstd frame")
        rest = frame.unused_data
    return b"".join(parts)


def _manifest(data: Mapping[str, Any]) -> Manifest:
    source = data.get("source")
    return Manifest(
        version=data["version"],
        commit_id=data["commit_id"],
        created_ms=data["created_ms"],
        schema=Schema.from_json(data["schema"]),
        segments=tuple(segment_from_json(one) for one in data.get("segments", ())),
        indexes=tuple(_index_spec(one) for one in data.get("indexes", ())),
        builds=tuple(
            IndexBuild(one["index"], one["segment"], FileRef(**one["file"]), one["num_rows"])
            for one in data.get("builds", ())
        ),
        properties=data.get("properties", {}),
        source=None if source is None else ExternalSource(tuple(source["urls"]), source["format"]),
        next_row_id=data.get("next_row_id", 0),
        tags=data.get("tags", {}),
        operation=data.get("operation", ""),
        shards=tuple(shard_from_json(one) for one in data.get("shards", ())),
        partitions=data.get("partitions", {}),
        parent=data.get("parent", ""),
        snapshots={name: _snapshot_entry(one) for name, one in data.get("snapshots", {}).items()},
    )


def _snapshot_entry(data: Mapping[str, Any]) -> SnapshotEntry:
    return SnapshotEntry(**{**data, "pins": tuple((pin, until) for pin, until in data["pins"])})


def segment_from_json(data: Mapping[str, Any]) -> Segment:
    """The inverse of `segment_json`."""
    vector, row_ids = data.get("delete_vector"), data.get("row_id_file")
    return Segment(
        id=data["id"],
        num_rows=data["num_rows"],
        row_ids=tuple((first, count) for first, count in data.get("row_ids", ())),
        column_groups=tuple(_column_group(one) for one in data.get("column_groups", ())),
        stats={
            int(number): FieldStats(one.get("min"), one.get("max"), one["null_count"])
            for number, one in data.get("stats", {}).items()
        },
        key_bloom=data.get("key_bloom"),
        delete_vector=None if vector is None else FileRef(**vector),
        num_deleted=data.get("num_deleted", 0),
        partition=data.get("partition", 0),
        row_id_file=None if row_ids is None else FileRef(**row_ids),
    )


def _column_group(data: Mapping[str, Any]) -> ColumnGroup:
    file = data.get("file")
    return ColumnGroup(
        format=data["format"],
        field_ids=tuple(data.get("field_ids", ())),
        file=None if file is None else FileRef(**file),
        fragments=tuple(
            Fragment(
                path=one["path"],
                size_bytes=one["size_bytes"],
                etag=one.get("etag"),
                modified_ms=one["modified_ms"],
                num_rows=one["num_rows"],
                row_groups=tuple(one.get("row_groups", ())),
            )
            for one in data.get("fragments", ())
        ),
    )


def _index_spec(data: Mapping[str, Any]) -> IndexSpec:
    options = tuple((name, value) for name, value in data.get("options", ()))
    return IndexSpec(
        data["name"], data["field_id"], data["kind"], data["metric"], options, data.get("declared", {})
    )
