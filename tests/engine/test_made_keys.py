"""Keys that the lake makes: numbers and texts, new ones for rows that are replaced; and dynamic keys merged."""

from __future__ import annotations

from pathlib import Path

import headwater as hw


def test_texts_are_made_as_keys_too(tmp_path: Path) -> None:
    fields = {"id": hw.VarChar(32), "n": hw.Int64}
    made = hw.connect(tmp_path).create_collection("c", fields, "id", auto_id=True, num_shards=3)
    written = [key for _ in range(4) for key in made.insert({"n": [1, 2]}).keys.to_pylist()]
    assert all(isinstance(key, str) and key.isdigit() for key in written)
    assert len(set(written)) == 8
    made.delete(written[:3])
    made.flush()
    left = {row["id"] for row in made.query("n > 0", output_fields=["id"])}
    assert left == set(written[3:])


def test_replaced_rows_get_new_keys_where_asked_told_in_the_order_of_the_rows(tmp_path: Path) -> None:
    fields = {"id": hw.Int64, "n": hw.Int64}
    made = hw.connect(tmp_path).create_collection("c", fields, "id", auto_id=True, num_shards=4)
    old = made.insert({"n": list(range(40))}).keys.to_pylist()
    rows = [{"id": key, "n": 100 + place} for place, key in enumerate(old[:30])]
    done = made.upsert(rows, new_keys=True)
    new = done.keys.to_pylist()
    assert done.count == 30
    assert not set(new) & set(old)
    found = {row["id"]: row["n"] for row in made.query("n >= 0", output_fields=["id", "n"])}
    assert found == dict(zip([*new, *old[30:]], [*range(100, 130), *range(30, 40)], strict=True))


def test_a_partial_upsert_keeps_dynamic_keys_that_it_does_not_name(tmp_path: Path) -> None:
    made = hw.connect(tmp_path).create_collection("c", {"id": hw.Int64, "n": hw.Int64}, "id", dynamic=True)
    made.insert([{"id": 1, "n": 1, "a": 1, "b": {"c": 2}}, {"id": 2, "n": 2}])
    made.upsert([{"id": 1, "b": 3}, {"id": 2, "a": 9}], partial=True)
    made.upsert([{"id": 1, "n": 7}], partial=True)
    rows = made.query("id > 0", output_fields=["id", "n", "$meta"])
    assert {row["id"]: (row["n"], row["$meta"]) for row in rows} == {
        1: (7, {"a": 1, "b": 3}),
        2: (2, {"a": 9}),
    }
