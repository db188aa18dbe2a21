"""What a collection is, in numbers, and how many bytes that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["Shape", "Sizes", "build_core_s", "default_lists", "default_probes", "sizes"]

TARGET_SEGMENT_ROWS = 1_000_000

_FILE_BYTES = 1_200
"""Header, footer and alignment of a file of vectors."""

_ARTIFACT_BYTES = 1_000
"""Header, footer and properties of an index file."""

_ROUNDED_NUMBER_BYTES = 1
_CENTROID_NUMBER_BYTES = 4
"""Of a centroid in a graph, and without one."""

_GRAPH_LISTS = 256
_GRAPH_LIST_BYTES = 272
"""A list's node in the graph over the centroids: 64 neighbours of 4 bytes, and where they begin."""

_DIRECTORY_BYTES = 24
_LENGTH_BYTES = 4
_PACKED = 1.05
_PAYS = 0.9
"""Bits for a bit of entropy, and the share of the plain size below which packing is kept."""

_ROW_NUMBER_BYTES = 8
_CODE_BITS = 2
_CODE_FACTORS_BYTES = 20
_ALIGNED_BYTES = 32
"""Half of the 64 that each list begins at a multiple of."""

_MANIFEST_BYTES = 850
_SEGMENT_BYTES = 69
_FILE_REF_BYTES = 29
_FIELD_STATS_BYTES = 4
"""A manifest's bytes, compressed: of its head, of a segment, of a file's name and checksum, of a field's bounds."""

_BLOOM_KEYS = 20_000
"""A larger segment has no bloom filter of its keys in the manifest."""

_PAGE_SUMMARY_BYTES = 200
"""Of a page of segments in a directory of two levels: its name, checksum, and bounds of its fields."""


@dataclass(frozen=True)
class Shape:
    """A collection, as the cost model sees it: segments of one size, hits at random rows.

    Attributes:
        rows: deleted ones included.
        dim: numbers of a vector.
        number_bytes: of each.
        kind: of the vector index; empty for none.
        segments: sealed ones.
        nlist: lists of a segment's index; 0 for the default of its rows.
        nprobe: lists probed in a segment; 0 for the usual one of its rows.
        refine_k: candidates whose vectors are read, as a multiple of the hits wanted.
        top_k: hits wanted.
        scalar_row_bytes: of a row's numbers and keys, as stored.
        text_row_bytes: of a row's texts and JSON, as stored.
        scalar_fields: how many fields have bounds in the manifest.
        output_scalar_bytes: of a row's key and of its numbers that are output fields, as stored.
        output_text_bytes: of a row's texts that are output fields, as stored.
        filter_row_bytes: of the fields that the filter reads; 0 for no filter.
        selectivity: share of the rows that the filter selects.
        extra_index_bytes: of indexes on other fields.
        probed_segments: segments that a query looks into; 0 for all.
        page_segments: segments of a page of a two-level directory of segments; 0 for one file that names all.
        lengths: whether the index holds the length of each vector: of COSINE, where they are not all one.
    """

    rows: int
    dim: int = 768
    number_bytes: int = 4
    kind: str = "ivf_rabitq"
    segments: int = 1
    nlist: int = 0
    nprobe: int = 0
    refine_k: float = 5.0
    top_k: int = 10
    scalar_row_bytes: float = 12.0
    text_row_bytes: float = 0.0
    scalar_fields: int = 2
    output_scalar_bytes: float = 12.0
    output_text_bytes: float = 0.0
    filter_row_bytes: float = 0.0
    selectivity: float = 1.0
    extra_index_bytes: int = 0
    probed_segments: int = 0
    page_segments: int = 0
    lengths: bool = False

    @property
    def segment_rows(self) -> int:
        """Rows of a segment."""
        return -(-self.rows // max(1, self.segments))

    @property
    def vector_bytes(self) -> int:
        """Of one vector, as stored."""
        return self.dim * self.number_bytes

    @property
    def lists(self) -> int:
        """Lists of a segment's index."""
        return min(self.nlist or default_lists(self.segment_rows), max(1, self.segment_rows))

    @property
    def probes(self) -> int:
        """Lists probed in a segment."""
        return min(self.nprobe or default_probes(self.segment_rows), self.lists)

    @property
    def looked_at(self) -> int:
        """Segments that a query looks into."""
        return min(self.probed_segments or self.segments, self.segments)

    @property
    def indexed(self) -> bool:
        """Whether inverted lists serve a query."""
        return self.kind.startswith("ivf")

    @classmethod
    def of_rows(
        cls, rows: int, *, segment_rows: int = TARGET_SEGMENT_ROWS, **others: int | float | str
    ) -> Shape:
        """A collection of full segments."""
        return replace(cls(rows, segments=max(1, -(-rows // segment_rows))), **others)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sizes:
    """Bytes of a collection.

    Attributes:
        vectors: files of vectors.
        scalars: files of numbers and keys.
        texts: files of texts and JSON.
        index: files of the vector index.
        other_indexes: files of other indexes.
        manifest: the newest manifest's one file, or its root page.
        manifest_read_on_commit: bytes of manifest that each reader fetches after a commit.
        opened: memory that a process holds of the indexes before any list is read: centroids, graphs, directories.
        lists: of the index, the part that is read list by list.
        objects: files, the newest manifest included.
        kept: what is stored besides: the log, older versions, garbage.
    """

    vectors: int
    scalars: int
    texts: int
    index: int
    other_indexes: int
    manifest: int
    manifest_read_on_commit: int
    opened: int
    lists: int
    objects: int
    kept: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.data + self.manifest + self.kept

    @property
    def data(self) -> int:
        """What the newest version's rows and indexes take."""
        return self.vectors + self.scalars + self.texts + self.index + self.other_indexes


def default_lists(rows: int) -> int:
    """Lists of an index over so many rows, where nothing is said."""
    return max(1, min(65_536, int(4 * math.sqrt(rows)), rows // 39 or 1))


def default_probes(rows: int) -> int:
    """Lists that a search usually probes for a recall of .98; each build measures its own."""
    return max(1, round(8 * math.sqrt(math.sqrt(max(1, rows) / 20_000))))


def _code_bytes(shape: Shape) -> float:
    """Of one row in a list, its number left out."""
    codes: dict[str, float] = {
        "ivf_rabitq": shape.dim * _CODE_BITS / 8 + _CODE_FACTORS_BYTES,
        "ivf_sq8": shape.dim,
        "ivf_pq": max(1, shape.dim // 4),
        "ivf_flat": 4 * shape.dim,
    }
    return codes.get(shape.kind, 0.0)


def list_bytes(shape: Shape) -> float:
    """Of one list's block."""
    rows = shape.segment_rows / shape.lists
    return rows * (_code_bytes(shape) + _ROW_NUMBER_BYTES) + _ALIGNED_BYTES


def opened_bytes(shape: Shape) -> int:
    """Of a segment's index that a search needs before it can choose lists."""
    if not shape.indexed:
        return 0
    each = float(shape.dim * _CENTROID_NUMBER_BYTES + _DIRECTORY_BYTES)
    if shape.lists >= _GRAPH_LISTS:
        each = shape.dim * _ROUNDED_NUMBER_BYTES + _GRAPH_LIST_BYTES + _DIRECTORY_BYTES
    return int(shape.lists * each + _ARTIFACT_BYTES)


def owner_bytes(shape: Shape) -> int:
    """Of the section that says which list each row is in, which filtered searches read; compressed to its entropy."""
    width = 16 if shape.lists <= 1 << 16 else 32
    packed = _PACKED * math.log2(max(2, shape.lists))
    return int(shape.segment_rows * (packed if packed < _PAYS * width else width) / 8)


def segment_index_bytes(shape: Shape) -> int:
    """Of a segment's vector index."""
    rows = shape.segment_rows
    if shape.indexed:
        lengths = rows * _LENGTH_BYTES if shape.lengths else 0
        return int(opened_bytes(shape) + owner_bytes(shape) + lengths + shape.lists * list_bytes(shape))
    if shape.kind.startswith("hnsw"):
        codes = shape.dim if shape.kind == "hnsw_sq" else 0
        return int(rows * (_GRAPH_LIST_BYTES + codes) + _ARTIFACT_BYTES)
    return 0


def segment_files(shape: Shape) -> int:
    """Files of a segment: of vectors, numbers, texts, and of its index."""
    return 1 + sum(map(bool, (shape.scalar_row_bytes, shape.text_row_bytes, shape.kind)))


def manifest_bytes(shape: Shape) -> tuple[int, int]:
    """Of the file that a reader begins with, and of what it reads of the manifest after a commit of one segment."""
    each = _SEGMENT_BYTES + segment_files(shape) * _FILE_REF_BYTES + shape.scalar_fields * _FIELD_STATS_BYTES
    if shape.segment_rows <= _BLOOM_KEYS:
        each += bloom_bytes(shape.segment_rows)
    whole = _MANIFEST_BYTES + shape.segments * each
    if not shape.page_segments:
        return whole, whole
    pages = -(-shape.segments // shape.page_segments)
    root = _MANIFEST_BYTES + pages * _PAGE_SUMMARY_BYTES
    return root, root + min(shape.segments, shape.page_segments) * each


def bloom_bytes(rows: int) -> int:
    """Of a segment's bloom filter of keys: its bits; base64 of them compresses back to about as many."""
    return max(64, 1 << (rows * 10 - 1).bit_length()) // 8 if rows else 0


def sizes(shape: Shape) -> Sizes:
    """Bytes of a collection, its older versions and its log left out."""
    index = segment_index_bytes(shape) * shape.segments
    manifest, read = manifest_bytes(shape)
    opened = opened_bytes(shape) * shape.segments
    return Sizes(
        vectors=shape.rows * shape.vector_bytes + shape.segments * _FILE_BYTES,
        scalars=int(shape.rows * shape.scalar_row_bytes),
        texts=int(shape.rows * shape.text_row_bytes),
        index=index,
        other_indexes=shape.extra_index_bytes,
        manifest=manifest,
        manifest_read_on_commit=read,
        opened=opened,
        lists=max(0, index - opened),
        objects=segment_files(shape) * shape.segments + 1,
    )


_TRAINED_PER_LIST = 50
_TRAIN_ROUNDS = 6
_CORE_FLOPS_S = 4.0e10
"""What a core does of the matrix products that assign rows to centroids."""

_MEASURING_S = 0.7
"""The graph over the centroids, and the searches that say how many lists to probe."""

_ROW_S = 6.0e-9
"""A core's time for encoding and writing a number of a vector."""


def build_core_s(shape: Shape) -> float:
    """Core seconds of building the vector index of every segment."""
    if not shape.indexed:
        # A graph: each row is compared with some 300 others on its way in.
        return shape.rows * shape.dim * 300 * 2 / 4e9 if shape.kind else 0.0
    pair = 2 * shape.dim / _CORE_FLOPS_S
    sample = min(shape.segment_rows, max(20_000, shape.lists * _TRAINED_PER_LIST))
    trained = sample * shape.lists * pair * _TRAIN_ROUNDS
    assigned = shape.segment_rows * shape.lists * pair
    written = shape.segment_rows * shape.dim * _ROW_S
    return shape.segments * (_MEASURING_S + trained + assigned + written)
