"""Single vectors found among those of struct arrays by unmodified clients, against numpy over all elements."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from pymilvus import AnnSearchRequest, DataType, MilvusClient, MilvusException, RRFRanker
from pymilvus.client.embedding_list import EmbeddingList
from rest_serving import both
from serving import Address
from structs import add_structs

import headwater as hw

DIM, ROWS = 8, 60
RNG = np.random.default_rng(17)
CLIPS = {
    i: [
        {"size": (i + 2 * j) % 10, "emb": RNG.normal(size=DIM).astype(np.float32)} for j in range((i * 7) % 5)
    ]
    for i in range(ROWS)
}
ALTS = {i: [{"alt": -one["emb"] * (1 + j)} for j, one in enumerate(own)] for i, own in CLIPS.items()}
FLAT = RNG.normal(size=(ROWS, DIM)).astype(np.float32)
QUERY, OTHER = RNG.normal(size=(2, DIM)).astype(np.float32)


def clips_of(key: int) -> list[dict[str, Any]]:
    return [
        {**one, "emb": one["emb"].tolist(), "alt": other["alt"].tolist()}
        for one, other in zip(CLIPS[key], ALTS[key], strict=True)
    ]


class Place(NamedTuple):
    key: int
    offset: int
    size: int
    score: float


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def nearest(query: np.ndarray, keep: Callable[[int, int], bool] = lambda key, size: True) -> list[Place]:
    places = [
        Place(i, j, one["size"], cosine(query, one["emb"]))
        for i, own in CLIPS.items()
        for j, one in enumerate(own)
        if keep(i, one["size"])
    ]
    return sorted(places, key=lambda one: -one.score)


def listed(hits: Any) -> list[tuple[int, int]]:
    return [(hit["id"], hit["offset"]) for hit in hits]


def named(places: list[Place]) -> list[tuple[int, int]]:
    return [(one.key, one.offset) for one in places]


@pytest.fixture(scope="module")
def clips(address: str) -> Iterator[str]:
    """Two thirds of the rows are sealed, in two segments; the others are in the log."""
    client = MilvusClient(address)
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("year", DataType.INT32)
    schema.add_field("flat", DataType.FLOAT_VECTOR, dim=DIM)
    vector = (DataType.FLOAT_VECTOR, {"dim": DIM})
    clip = {"size": (DataType.INT32, {}), "emb": vector, "alt": vector}
    add_structs(schema, "clips", clip, nullable=True)
    add_structs(schema, "notes", {"emb": vector}, nullable=True)
    index = client.prepare_index_params()
    index.add_index("flat", index_type="FLAT", metric_type="COSINE")
    for path in ("clips[emb]", "clips[alt]", "notes[emb]"):
        index.add_index(path, index_type="HNSW", metric_type="COSINE", params={"M": 8, "efConstruction": 40})
    client.create_collection(name, schema=schema, index_params=index)
    rows = [
        {
            "id": i,
            "year": i % 6,
            "flat": FLAT[i].tolist(),
            "clips": [
                {**one, "emb": one["emb"].tolist(), "alt": ALTS[i][j]["alt"].tolist()}
                for j, one in enumerate(own)
            ]
            if own or i % 2
            else None,
            "notes": [{"emb": FLAT[i].tolist()}],
        }
        for i, own in CLIPS.items()
    ]
    for start in range(0, ROWS, 20):
        client.insert(name, rows[start : start + 20])
        if start < 40:
            client.flush(name)
    yield name
    client.drop_collection(name)
    client.close()


def search(client: MilvusClient, name: str, **words: Any) -> Any:
    asked = {"data": [QUERY.tolist()], "anns_field": "clips[emb]", "limit": 10, "consistency_level": "Strong"}
    return client.search(name, **{**asked, **words})


def test_hits_are_elements_with_their_offsets(client: MilvusClient, clips: str) -> None:
    found = search(
        client, clips, data=[QUERY.tolist(), OTHER.tolist()], limit=20, output_fields=["clips[size]"]
    )
    for query, hits in zip((QUERY, OTHER), found, strict=True):
        want = nearest(query)[:20]
        assert listed(hits) == named(want)
        assert [hit["distance"] for hit in hits] == pytest.approx([one.score for one in want], abs=1e-5)
        assert [hit["entity"]["clips"][hit["offset"]]["size"] for hit in hits] == [one.size for one in want]
    words = {"search_params": {"metric_type": "COSINE", "params": {"ef": 64}}, "limit": 20}
    assert listed(search(client, clips, **words)[0]) == named(nearest(QUERY)[:20])


def test_filters_choose_rows_and_elements(client: MilvusClient, clips: str) -> None:
    for text, keep in (
        ("year == 3", lambda key, size: key % 6 == 3),
        ("element_filter(clips, $[size] > 5)", lambda key, size: size > 5),
        (
            "year != 2 && element_filter(clips, $[size] >= 2 && $[size] < 7)",
            lambda k, s: k % 6 != 2 and 2 <= s < 7,
        ),
        ("element_filter(clips, $[size] > 99)", lambda key, size: False),
    ):
        [hits] = search(client, clips, filter=text, limit=200)
        assert listed(hits) == named(nearest(QUERY, keep)), text


def test_pages_go_on_inside_a_row(client: MilvusClient, clips: str) -> None:
    want = named(nearest(QUERY))
    pages = [search(client, clips, limit=7, offset=start)[0] for start in range(0, len(want), 7)]
    assert [place for page in pages for place in listed(page)] == want


@pytest.mark.parametrize("size", [1, 4, 50])
def test_iterators_bring_every_element_once(client: MilvusClient, clips: str, size: int) -> None:
    text = "element_filter(clips, $[size] != 3)"
    iterator = client.search_iterator(
        clips,
        data=[QUERY.tolist()],
        anns_field="clips[emb]",
        batch_size=size,
        filter=text,
        search_params={"metric_type": "COSINE"},
    )
    found: list[Any] = []
    while batch := iterator.next():
        found += batch
    iterator.close()
    assert listed(found) == named(nearest(QUERY, lambda key, size: size != 3))


def test_bounds_leave_out_elements(client: MilvusClient, clips: str) -> None:
    params = {"metric_type": "COSINE", "params": {"radius": 0.1, "range_filter": 0.5}}
    [hits] = search(client, clips, search_params=params, limit=100)
    want = [one for one in nearest(QUERY) if 0.1 < one.score <= 0.5]
    assert want
    assert listed(hits) == named(want)


def test_grouped_by_key_each_row_comes_once(client: MilvusClient, clips: str) -> None:
    best: dict[int, Place] = {}
    for one in nearest(QUERY):
        best.setdefault(one.key, one)
    [hits] = search(client, clips, group_by_field="id", limit=15)
    assert listed(hits) == named(list(best.values())[:15])
    text = "element_filter(clips, $[size] > 4)"
    best = {}
    for one in nearest(QUERY, lambda key, size: size > 4):
        best.setdefault(one.key, one)
    [hits] = search(client, clips, group_by_field="id", limit=50, filter=text)
    assert listed(hits) == named(list(best.values()))


def leg(data: np.ndarray, field: str, limit: int, **params: Any) -> AnnSearchRequest:
    return AnnSearchRequest([data.tolist()], field, {"metric_type": "COSINE", "params": params}, limit)


def fused(*legs: list[Any]) -> dict[Any, float]:
    scores: dict[Any, float] = {}
    for one in legs:
        for rank, name in enumerate(one):
            scores[name] = scores.get(name, 0.0) + 1 / (60 + rank + 1)
    return scores


def test_hybrid_searches_of_one_array_find_elements(client: MilvusClient, clips: str) -> None:
    first = named(nearest(QUERY)[:30])
    # Vectors of the other member point the other way.
    second = named(nearest(-OTHER)[:30])
    [hits] = client.hybrid_search(
        clips, [leg(QUERY, "clips[emb]", 30), leg(OTHER, "clips[alt]", 30)], RRFRanker(), limit=100
    )
    want = fused(first, second)
    assert dict(zip(listed(hits), [hit["distance"] for hit in hits], strict=True)) == pytest.approx(want)
    assert len(hits) == len(want)
    assert [hit["distance"] for hit in hits] == sorted([hit["distance"] for hit in hits], reverse=True)
    [grouped] = client.hybrid_search(
        clips,
        [leg(QUERY, "clips[emb]", 30), leg(OTHER, "clips[alt]", 30)],
        RRFRanker(),
        limit=10,
        group_by_field="id",
    )
    assert len({hit["id"] for hit in grouped}) == 10


@pytest.mark.parametrize("strategy", [None, "max", "sum", "avg", "topk_sum", "topk_avg"])
def test_beside_a_field_the_elements_of_a_row_are_one_hit(
    client: MilvusClient, clips: str, strategy: str | None
) -> None:
    grouped: dict[int, list[float]] = {}
    for one in nearest(QUERY)[:30]:
        grouped.setdefault(one.key, []).append(one.score)
    cut = 2 if strategy and strategy.startswith("topk") else None
    how: Callable[[list[float]], float] = max
    if strategy and strategy != "max":
        how = sum if strategy.endswith("sum") else lambda some: sum(some) / len(some)
    values = {key: how(scores[:cut]) for key, scores in grouped.items()}
    rows = sorted(values, key=lambda key: -values[key])
    flat = sorted(range(ROWS), key=lambda i: -cosine(OTHER, FLAT[i]))[:20]
    collapse = {"strategy": strategy, **({"topk": 2} if cut else {})}
    params = {"element_scope": {"collapse": collapse}} if strategy else {}
    for other in ("flat", "notes[emb]"):
        [hits] = client.hybrid_search(
            clips, [leg(QUERY, "clips[emb]", 30, **params), leg(OTHER, other, 20)], RRFRanker(), limit=100
        )
        want = fused(rows, flat)
        assert {hit["id"]: hit["distance"] for hit in hits} == pytest.approx(want)
        assert len(hits) == len(want)
        assert all("offset" not in hit for hit in hits)


def test_what_milvus_refuses_is_refused_in_its_words(client: MilvusClient, clips: str) -> None:
    lists = EmbeddingList()
    lists.add(QUERY)
    late = {"data": [lists], "search_params": {"metric_type": "MAX_SIM_COSINE"}}
    ranged = {"metric_type": "MAX_SIM_COSINE", "params": {"radius": 0.1}}
    on_lists = "not supported for multi-search-multi on embedding list fields"
    scope = {"element_scope": {"collapse": {"strategy": "max"}}}
    for words, said in (
        ({**late, "search_params": ranged}, f"range search is {on_lists}"),
        ({**late, "group_by_field": "id"}, f"group by is {on_lists}"),
        ({"group_by_field": "year"}, "only group by primary key is supported for element-level search"),
        (
            {"filter": "element_filter(clips, $[size] > 1)", **late},
            "metric type not match",
        ),
        (
            {"filter": "element_filter(clips, $[size] > 1)", "anns_field": "flat"},
            "use MATCH_ANY/MATCH_* for row-level vector search",
        ),
        (
            {"filter": "element_filter(clips, $[size] > 1)", "anns_field": "notes[emb]"},
            "element_filter is only supported for element-level search on vector sub-fields of the same struct",
        ),
    ):
        with pytest.raises(MilvusException) as raised:
            search(client, clips, **words)
        assert raised.value.code == 1100
        assert said in raised.value.message
    of_lists = AnnSearchRequest([lists], "clips[emb]", ranged, 5)
    plain = AnnSearchRequest([lists], "clips[emb]", {"metric_type": "MAX_SIM_COSINE"}, 5)
    flat = leg(QUERY, "flat", 5)
    for legs, words, said in (
        (
            [of_lists, flat],
            {},
            "range search is not supported for vector array (embedding-list) fields in hybrid",
        ),
        (
            [plain, flat],
            {"group_by_field": "id"},
            "group by search is not supported for vector array (embedding-list)",
        ),
        (
            [leg(QUERY, "clips[emb]", 5), flat],
            {"group_by_field": "id"},
            "group by search is only supported for same-struct element-level vector array fields",
        ),
        (
            [leg(QUERY, "clips[emb]", 5), leg(QUERY, "clips[alt]", 5)],
            {"group_by_field": "year"},
            "only group by primary key is supported for same-struct",
        ),
        (
            [leg(QUERY, "clips[emb]", 5, **scope), leg(QUERY, "clips[alt]", 5)],
            {},
            "element_scope is not allowed for same-struct element-level hybrid search",
        ),
        (
            [leg(QUERY, "flat", 5, **scope), leg(QUERY, "clips[alt]", 5)],
            {},
            "element_scope is only supported for",
        ),
    ):
        with pytest.raises(MilvusException) as raised:
            client.hybrid_search(clips, legs, RRFRanker(), limit=3, **words)
        assert raised.value.code == 1100
        assert said in raised.value.message


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("element_filter(clips, $[size] > 1) && year > 1", "and"),
        ("element_filter(clips, $[size] > 1) || year > 1", "or"),
        ("year > 1 || element_filter(clips, $[size] > 1)", "or"),
        ("!element_filter(clips, $[size] > 1)", "and"),
        ("id > 1 && (element_filter(clips, $[size] > 1) && year > 1)", "and"),
    ],
)
def test_an_element_filter_stands_last(client: MilvusClient, clips: str, text: str, word: str) -> None:
    said = f"element filter expression can only be the last expression in the logical {word} expression"
    for call in (
        lambda: search(client, clips, filter=text),
        lambda: client.query(clips, filter=text, limit=5),
        lambda: client.hybrid_search(
            clips,
            [AnnSearchRequest([QUERY.tolist()], "clips[emb]", {"metric_type": "COSINE"}, 5, expr=text)],
            RRFRanker(),
            limit=5,
        ),
    ):
        with pytest.raises(MilvusException, match="cannot parse expression") as raised:
            call()
        assert raised.value.code == 1100
        assert said in raised.value.message
    inside = "id > 1 && (year > 1 && element_filter(clips, $[size] > 1))"
    assert search(client, clips, filter=inside, limit=5)[0]


def entries(keep: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    return [(i, j) for i, own in CLIPS.items() for j, one in enumerate(own) if keep(i, one["size"])]


def test_queries_answer_an_entry_for_each_element(client: MilvusClient, clips: str) -> None:
    text = "id > 4 && element_filter(clips, $[size] > 3)"
    want = entries(lambda key, size: key > 4 and size > 3)
    words = {"output_fields": ["id", "clips[size]"], "consistency_level": "Strong"}
    found = client.query(clips, filter=text, limit=1000, **words)
    assert sorted(listed(found)) == want
    assert all(row["clips"][row["offset"]]["size"] > 3 for row in found)
    pages = [client.query(clips, filter=text, limit=7, offset=at, **words) for at in range(0, len(want), 7)]
    assert [len(page) for page in pages[:-1]] == [7] * (len(pages) - 1)
    assert sorted(place for page in pages for place in listed(page)) == want
    ordered = client.query(clips, filter=text, limit=9, offset=4, order_by_fields=["id:desc"], **words)
    assert listed(ordered) == sorted(want, key=lambda at: (-at[0], at[1]))[4:13]
    rows = client.query(clips, filter="match_any(clips, $[size] > 3)", limit=1000, **words)
    assert all("offset" not in row for row in rows)
    [counted] = client.query(clips, filter=text, output_fields=["count(*)"], consistency_level="Strong")
    assert counted["count(*)"] == len({key for key, _ in want})
    assert client.query(clips, filter=text, limit=5, offset=len(want), **words) == []


@pytest.mark.parametrize("size", [1, 3, 8, 500])
def test_iterators_of_queries_go_on_inside_a_row(client: MilvusClient, clips: str, size: int) -> None:
    iterator = client.query_iterator(
        clips, batch_size=size, filter="element_filter(clips, $[size] > 3)", output_fields=["id"]
    )
    found: list[Any] = []
    while batch := iterator.next():
        assert len(batch) <= size
        found += batch
    iterator.close()
    assert listed(found) == entries(lambda key, size: size > 3)


def test_single_vectors_are_lists_of_one_by_max_sim(client: MilvusClient, clips: str) -> None:
    words = {"search_params": {"metric_type": "MAX_SIM_COSINE"}, "limit": 5}
    found = search(client, clips, data=[QUERY.tolist(), OTHER.tolist()], **words)
    for query, hits in zip((QUERY, OTHER), found, strict=True):
        best = list(dict.fromkeys(one.key for one in nearest(query)))
        assert [hit["id"] for hit in hits] == best[:5]
        assert all("offset" not in hit for hit in hits)
    lists = EmbeddingList()
    lists.add(QUERY)
    with pytest.raises(MilvusException, match="metric type not match"):
        search(client, clips, data=[lists], search_params={"metric_type": "COSINE"})


def test_the_python_door_on_a_server_answers_as_a_lake_does(
    address: Address, lake_path: Path, clips: str
) -> None:
    text = "element_filter(clips, $[size] > 3)"
    with hw.connect(str(address)) as db:
        col = db.collection(clips)
        params = {"metric_type": "COSINE"}
        found = col.search(QUERY, anns_field="clips[emb]", top_k=9, params=params, filter=text)
        want = nearest(QUERY, lambda key, size: size > 3)
        assert listed(found[0]) == named(want[:9])
        assert found.element_indices == [[one.offset for one in want[:9]]]
        batches = col.search_iterator(
            QUERY, anns_field="clips[emb]", batch_size=4, params=params, filter=text
        )
        assert [place for batch in batches for place in listed(batch)] == named(want)
        [late] = col.search([np.stack([QUERY, OTHER])], anns_field="clips[emb]", top_k=3)
        assert len(late) == 3
        assert "offset" not in late[0]
        nothing = col.search(QUERY, anns_field="clips[emb]", params=params, filter="id < 0")
        assert (nothing[0], nothing.element_indices) == ([], [[]])
        grouped = col.search(QUERY, anns_field="clips[emb]", top_k=9, params=params, group_by_field="year")[0]
        assert len({hit["id"] % 6 for hit in grouped}) == len(grouped) == 6
        legs = [
            hw.AnnSearchRequest(QUERY, "clips[emb]", params, 30),
            hw.AnnSearchRequest(OTHER, "clips[alt]", params, 30),
        ]
        assert col.hybrid_search(legs, limit=5).element_indices is not None
        rows = col.query(text, output_fields=["id"], limit=6, order_by=["id"])
        places = {}
        for key, offset in entries(lambda key, size: size > 3):
            places.setdefault(key, []).append(offset)
        assert [row["id"] for row in rows] == list(places)[:6]
        assert rows.element_indices == list(places.values())[:6]


@pytest.mark.parametrize("kind", ["half", "brain", "bytes", "bits"])
@pytest.mark.parametrize("flushed", [False, True], ids=["growing", "sealed"])
def test_elements_of_every_kind_are_found(client: MilvusClient, kind: str, flushed: bool) -> None:
    floats = RNG.integers(-100, 100, size=(30, 3, DIM)).astype(np.float32)
    bits = RNG.integers(0, 256, size=(30, 3, DIM // 8), dtype=np.uint8)
    data_type, base, sent, metric = {
        "half": (DataType.FLOAT16_VECTOR, floats, lambda one: one.astype(np.float16), "L2"),
        "brain": (DataType.BFLOAT16_VECTOR, floats, lambda one: one.astype(ml_dtypes.bfloat16), "L2"),
        "bytes": (DataType.INT8_VECTOR, floats, lambda one: one.astype(np.int8), "L2"),
        "bits": (DataType.BINARY_VECTOR, bits, lambda one: one.tobytes(), "HAMMING"),
    }[kind]
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("flat", DataType.FLOAT_VECTOR, dim=2)
    add_structs(schema, "clips", {"emb": (data_type, {"dim": DIM})})
    index = client.prepare_index_params()
    index.add_index("flat", metric_type="L2")
    index.add_index("clips[emb]", index_type="BIN_FLAT" if kind == "bits" else "HNSW", metric_type=metric)
    client.create_collection(name, schema=schema, index_params=index)
    rows = [
        {"id": i, "flat": [0.0, 1.0], "clips": [{"emb": sent(one)} for one in own]}
        for i, own in enumerate(base)
    ]
    client.insert(name, rows)
    if flushed:
        client.flush(name)
    query = base[4, 1]
    found = client.search(name, [sent(query)], anns_field="clips[emb]", limit=90, consistency_level="Strong")
    apart = (
        np.bitwise_count(base ^ query).sum(axis=2) if kind == "bits" else ((base - query) ** 2).sum(axis=2)
    )
    got = {(hit["id"], hit["offset"]): hit["distance"] for hit in found[0]}
    assert got == pytest.approx({at: float(v) for at, v in np.ndenumerate(apart)}, rel=1e-3)
    assert [hit["distance"] for hit in found[0]] == sorted(got.values())
    client.drop_collection(name)


def test_elements_of_one_key_and_place_come_once(client: MilvusClient) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, max_length=10, is_primary=True)
    schema.add_field("flat", DataType.FLOAT_VECTOR, dim=2)
    add_structs(schema, "clips", {"emb": (DataType.FLOAT_VECTOR, {"dim": 2})})
    index = client.prepare_index_params()
    index.add_index("flat", metric_type="L2")
    index.add_index("clips[emb]", index_type="HNSW", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index)
    for x in (3.0, 1.0):
        rows = [
            {"id": key, "flat": [0.0, 0.0], "clips": [{"emb": [x + i, 0.0]}, {"emb": [x + i, 9.0]}]}
            for i, key in enumerate("ab")
        ]
        client.insert(name, rows)
        client.flush(name)
    found = client.search(
        name,
        [[0.0, 0.0]],
        anns_field="clips[emb]",
        limit=8,
        consistency_level="Strong",
        output_fields=["flat"],
    )
    assert [(hit["id"], hit["offset"], hit["distance"]) for hit in found[0]] == [
        ("a", 0, 1.0),
        ("b", 0, 4.0),
        ("a", 1, 82.0),
        ("b", 1, 85.0),
    ]
    client.drop_collection(name)


def test_rest_has_the_offsets_too(tmp_path: Path) -> None:
    with both(tmp_path) as rest:
        inner = [
            {"fieldName": "size", "dataType": "Array", "elementDataType": "Int64"},
            {
                "fieldName": "emb",
                "dataType": "ArrayOfVector",
                "elementDataType": "FloatVector",
                "elementTypeParams": {"dim": DIM},
            },
        ]
        struct = {"fieldName": "clips", "typeParams": {"max_capacity": 10}, "fields": inner}
        fields = [
            {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
            {"fieldName": "flat", "dataType": "FloatVector", "elementTypeParams": {"dim": DIM}},
        ]
        indexes = [
            {"fieldName": "flat", "metricType": "L2"},
            {"fieldName": "clips[emb]", "metricType": "COSINE", "indexType": "HNSW"},
        ]
        rest.get(
            "collections/create",
            collectionName="clips",
            schema={"fields": fields, "structFields": [struct]},
            indexParams=indexes,
        )
        rows = [
            {
                "id": i,
                "flat": FLAT[i].tolist(),
                "clips": [{"size": one["size"], "emb": one["emb"].tolist()} for one in own],
            }
            for i, own in CLIPS.items()
        ]
        rest.get("entities/insert", collectionName="clips", data=rows)
        text = "element_filter(clips, $[size] > 3)"
        body = {"collectionName": "clips", "annsField": "clips[emb]", "data": [QUERY.tolist()], "limit": 12}
        want = named(nearest(QUERY, lambda key, size: size > 3))

        def shown(hits: list[dict[str, Any]]) -> list[tuple[int, int]]:
            return [(int(hit["id"]), hit["offset"]) for hit in hits]

        level = {"consistencyLevel": "Strong"}
        assert shown(rest.get("entities/search", **body, **level, filter=text)) == want[:12]
        paged = rest.get("entities/search", **body, **level, filter=text, offset=12)
        assert shown(paged) == want[12:24]
        grouped = rest.get("entities/search", **body, **level, groupingField="id")
        assert len({hit["id"] for hit in grouped}) == 12
        found = rest.get(
            "entities/query", collectionName="clips", filter=text, limit=9, outputFields=["id"], **level
        )
        assert shown(found) == entries(lambda key, size: size > 3)[:9]
        flat = {"annsField": "flat", "data": [QUERY.tolist()], "limit": 10}
        legs = [{"annsField": "clips[emb]", "data": [QUERY.tolist()], "limit": 20}, flat]
        rerank = {"strategy": "rrf", "params": {"k": 60}}
        hits = rest.get("entities/hybrid_search", collectionName="clips", search=legs, rerank=rerank, limit=5)
        assert len(hits) == 5
        assert all("offset" not in hit for hit in hits)
