"""Bulk import of what the client's own writers write, and of files that cannot be imported."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk import BulkFileType, LocalBulkWriter
from pymilvus import DataType, MilvusClient, MilvusException, connections, utility
from rest_serving import both

import headwater as hw
from headwater.lake import JobState
from headwater.store import open_store
from headwater.testing.s3_server import s3_server

pytestmark = pytest.mark.filterwarnings("ignore::pymilvus.decorators.PyMilvusDeprecationWarning")

DIM = 8
ROWS = 60


@pytest.fixture(scope="module")
def lake(lake_path: Path) -> Iterator[hw.Database]:
    """The Python door on the lake that the server serves: the oracle."""
    with hw.connect(lake_path) as found:
        yield found


@pytest.fixture
def orm(address: str) -> Iterator[str]:
    """A connection of the older client."""
    alias = f"c{uuid.uuid4().hex[:8]}"
    connections.connect(alias, uri=str(address))
    yield alias
    connections.disconnect(alias)


def schema_of(*, sparse: bool = True, arrays: bool = True, nullable: bool = True) -> Any:
    schema = MilvusClient.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("flag", DataType.BOOL)
    schema.add_field("small", DataType.INT8)
    schema.add_field("weight", DataType.DOUBLE)
    schema.add_field("ratio", DataType.FLOAT)
    schema.add_field("text", DataType.VARCHAR, max_length=200)
    schema.add_field("note", DataType.VARCHAR, max_length=200, nullable=nullable)
    schema.add_field("doc", DataType.JSON)
    if arrays:
        schema.add_field(
            "tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=10, max_length=20
        )
        schema.add_field("counts", DataType.ARRAY, element_type=DataType.INT32, max_capacity=10)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("bits", DataType.BINARY_VECTOR, dim=16)
    schema.add_field("half", DataType.FLOAT16_VECTOR, dim=DIM)
    schema.add_field("tiny", DataType.INT8_VECTOR, dim=DIM)
    if sparse:
        schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    return schema


def rows_of(*, sparse: bool = True, arrays: bool = True, nullable: bool = True) -> list[dict[str, Any]]:
    rng = np.random.default_rng(11)
    rows = []
    for i in range(ROWS):
        row: dict[str, Any] = {
            "id": i,
            "flag": i % 2 == 0,
            "small": i % 100 - 50,
            "weight": i / 7,
            "ratio": i / 4,
            "text": f'text, "{i}"\nline',
            "note": None if nullable and i % 3 == 0 else f"n{i}",
            "doc": {"a": i, "b": [1, "x"]},
            "vec": rng.random(DIM).astype(np.float32).tolist(),
            "bits": rng.integers(0, 2, 16).tolist(),
            "half": rng.random(DIM).astype(np.float16),
            "tiny": rng.integers(-128, 128, DIM).tolist(),
            "color": f"c{i}",
        }
        if arrays:
            row |= {"tags": [f"t{i}", "all"], "counts": [i, i + 1]}
        if sparse:
            row["words"] = {i: 0.5, i + 100: 0.25}
        rows.append(row)
    return rows


def plain(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column; JSON as what it says."""
    values = column.to_pylist()
    texts = all(isinstance(one, str) and one.startswith("{") for one in values)
    return [json.loads(one) for one in values] if texts else values


def as_inserted(row: dict[str, Any]) -> dict[str, Any]:
    """The row as `insert` takes it, under another key."""
    bits = np.packbits(np.array(row["bits"], np.uint8)).tobytes()
    return {**row, "id": row["id"] + 10_000, "bits": bits, "tiny": np.array(row["tiny"], np.int8)}


def written(lake_path: Path, kind: BulkFileType, schema: Any, rows: list[dict[str, Any]], **config: Any):
    """Files of a local writer in the lake's folder, as paths relative to it."""
    writer = LocalBulkWriter(schema, str(lake_path / "default" / "uploads.dir"), file_type=kind, **config)
    for row in rows:
        writer.append_row(dict(row))
    writer.commit()
    return [[str(Path(path).relative_to(lake_path)) for path in batch] for batch in writer.batch_files]


KINDS = {
    "parquet": (BulkFileType.PARQUET, {}),
    "json": (BulkFileType.JSON, {}),
    "jsonl": (BulkFileType.JSONL, {}),
    "csv": (BulkFileType.CSV, {}),
    "numpy": (BulkFileType.NUMPY, {"sparse": False, "arrays": False, "nullable": False}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_local_writer_writes_is_imported_as_it_was(
    client: MilvusClient, lake: hw.Database, lake_path: Path, kind: str
) -> None:
    file_type, choice = KINDS[kind]
    schema, rows = schema_of(**choice), rows_of(**choice)
    name = f"import_{kind}"
    client.create_collection(name, schema=schema)
    files = written(lake_path, file_type, schema, rows)
    job = lake.jobs.wait(lake.imports.start(name, files).id)
    assert (job.state, job.reason) == (JobState.COMPLETED, "")
    assert job.details["rows"] == ROWS
    collection = lake.collection(name)
    client.insert(name, [as_inserted(row) for row in rows])
    fields = [one for one in collection.schema.names if one != "id"]
    got = collection.query("id < 10000", output_fields=["id", *fields]).to_arrow().sort_by("id")
    inserted = collection.query("id >= 10000", output_fields=["id", *fields]).to_arrow().sort_by("id")
    assert got.num_rows == inserted.num_rows == ROWS
    for field in fields:
        assert plain(got[field]) == plain(inserted[field]), field


def test_the_older_client_imports_and_watches(
    client: MilvusClient, lake: hw.Database, lake_path: Path, orm: str
) -> None:
    client.create_collection("orm_import", schema=schema_of())
    rows = rows_of()
    (files,) = written(lake_path, BulkFileType.PARQUET, schema_of(), rows)
    task = utility.do_bulk_insert("orm_import", files, using=orm)
    lake.jobs.wait(task)
    state = utility.get_bulk_insert_state(task, using=orm)
    assert (state.state_name, state.row_count, state.progress) == ("Completed", ROWS, 100)
    assert state.collection_name == "orm_import"
    assert [
        one.task_id for one in utility.list_bulk_insert_tasks(collection_name="orm_import", using=orm)
    ] == [task]
    assert lake.collection("orm_import").count() == ROWS
    with pytest.raises(MilvusException, match="collection not found"):
        utility.do_bulk_insert("nowhere", files, using=orm)
    with pytest.raises(MilvusException, match="unexpected file type"):
        utility.do_bulk_insert("orm_import", ["a.xls"], using=orm)
    with pytest.raises(MilvusException, match="partition not found"):
        utility.do_bulk_insert("orm_import", files, partition_name="p9", using=orm)
    with pytest.raises(MilvusException, match="does not exist"):
        utility.get_bulk_insert_state(99, using=orm)


def small(client: MilvusClient, name: str, **options: Any) -> None:
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True, **options)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection(name, schema=schema)


def put(lake_path: Path, name: str, content: bytes | str) -> str:
    folder = lake_path / "default" / "uploads.dir"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path.relative_to(lake_path))


def test_a_bad_file_fails_with_a_reason_and_nothing_is_imported(
    client: MilvusClient, lake: hw.Database, lake_path: Path
) -> None:
    small(client, "bad_files")
    good = put(lake_path, "good.json", json.dumps([{"id": i, "vec": [0, 1]} for i in range(20)]))
    cases = {
        "torn.json": ('{"rows": [{"id": 1,', "not readable JSON, unexpected EOF"),
        "odd.json": ('[{"id": 1 "vec": [1, 2]}]', "not readable JSON: Expecting"),
        "torn.jsonl": ('{"id": 1, "vec": [1, 2]}\n{"id": 2, "vec": [', "not readable JSON, unexpected EOF"),
        "short.csv": ('id,vec\n1,"[1, 2]"\n2\n', "wrong number of fields: expected 2 columns, got 1"),
        "dim.json": ('[{"id": 1, "vec": [1, 2, 3]}]', "vec"),
        "type.json": ('[{"id": "x", "vec": [1, 2]}]', "id"),
        "extra.json": ('[{"id": 1, "vec": [1, 2], "more": 1}]', "more"),
        "missing.csv": ("id\n1\n", "vec"),
        "text.csv": ('id,vec\nx,"[1, 2]"\n', "id"),
        "vector.csv": ("id,vec\n1,oops\n", "vec"),
        "torn.parquet": ("PAR1 no", "not readable as parquet"),
        "vec.npy": ("nothing", "not a readable numpy array"),
    }
    for name, (content, words) in cases.items():
        put(lake_path, name, content)
        bad = f"default/uploads.dir/{name}"
        job = lake.jobs.wait(lake.imports.start("bad_files", [[good], [bad]]).id)
        assert job.state is JobState.FAILED, name
        assert words in job.reason, (name, job.reason)
    gone = lake.jobs.wait(lake.imports.start("bad_files", [["default/uploads.dir/none.json"]]).id)
    assert "does not exist" in gone.reason
    collection = lake.collection("bad_files")
    assert collection.count() == 0
    staged = [meta.key for meta in collection._lake.store.list(f"{collection.root}/staged")]
    assert [key for key in staged if "/keys/" not in key] == []


@pytest.mark.parametrize("told", ['{"x": 1}', '"{\\"x\\": 1}"'])
def test_a_dynamic_key_stands_once_in_a_row(
    client: MilvusClient, lake: hw.Database, lake_path: Path, told: str
) -> None:
    name = f"once_{len(told)}"
    schema = MilvusClient.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection(name, schema=schema)
    row = f'[{{"id": 1, "vec": [1, 2], "$meta": {told}, "%s": 2}}]'
    job = lake.jobs.wait(lake.imports.start(name, [[put(lake_path, "twice.json", row % "x")]]).id)
    assert (job.state, "duplicated key 'x' in dynamic field" in job.reason) == (JobState.FAILED, True)
    job = lake.jobs.wait(lake.imports.start(name, [[put(lake_path, "odd.json", row.replace(told, "3"))]]).id)
    assert "expected an object, got int" in job.reason
    job = lake.jobs.wait(lake.imports.start(name, [[put(lake_path, "once.json", row % "y")]]).id)
    assert job.state is JobState.COMPLETED, job.reason
    client.create_index(name, client.prepare_index_params("vec", metric_type="L2"))
    client.load_collection(name)
    [found] = client.query(name, "id == 1", output_fields=["x", "y"])
    assert (found["x"], found["y"]) == (1, 2)


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
def test_no_array_of_a_file_holds_a_null(
    client: MilvusClient, lake: hw.Database, lake_path: Path, kind: str
) -> None:
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("counts", DataType.ARRAY, element_type=DataType.INT64, max_capacity=4, nullable=True)
    name = f"null_in_{kind}"
    client.create_collection(name, schema=schema)
    rows = [{"id": i, "vec": [i, 1], "counts": counts} for i, counts in enumerate([[1, 2], None, [3, None]])]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    lines = [f'{row["id"]},"{row["vec"]}","{json.dumps(row["counts"])}"' for row in rows]
    content = {
        "json": json.dumps(rows).encode(),
        "csv": "\n".join(["id,vec,counts", *lines]).encode(),
        "parquet": sink.getvalue().to_pybytes(),
    }[kind]
    job = lake.jobs.wait(lake.imports.start(name, [[put(lake_path, f"nulls.{kind}", content)]]).id)
    assert job.state is JobState.FAILED
    assert 'field "counts": an array of a file may hold no null' in job.reason
    assert lake.collection(name).count() == 0


@pytest.mark.parametrize("order", ["<", ">"])
def test_numpy_files_of_either_byte_order_are_read(
    client: MilvusClient, lake: hw.Database, lake_path: Path, order: str
) -> None:
    name = f"order_{ord(order)}"
    small(client, name)
    folder = lake_path / "default" / "uploads.dir" / name
    folder.mkdir(parents=True)
    np.save(folder / "id.npy", np.arange(9).astype(f"{order}i8") + 2**53)
    np.save(folder / "vec.npy", np.array([[i / 8, i] for i in range(9)], f"{order}f8"))
    files = [str((folder / f"{column}.npy").relative_to(lake_path)) for column in ("id", "vec")]
    assert lake.jobs.wait(lake.imports.start(name, [files]).id).reason == ""
    rows = lake.collection(name).query(output_fields=["id", "vec"]).to_arrow().sort_by("id")
    assert rows["id"].to_pylist() == [2**53 + i for i in range(9)]
    assert rows["vec"].to_pylist() == [[i / 8, i] for i in range(9)]
    np.save(folder / "vec.npy", np.zeros((8, 2), np.float32))
    assert "not aligned" in lake.jobs.wait(lake.imports.start(name, [files]).id).reason


def test_each_group_of_files_tells_its_own_rows(tmp_path: Path) -> None:
    with both(tmp_path) as caller:
        small(caller.client, "told")
        groups = []
        for number, count in enumerate((3, 0, 5)):
            rows = [{"id": 10 * number + i, "vec": [i, 1]} for i in range(count)]
            groups.append([put(tmp_path, f"part{number}.json", json.dumps(rows))])
        for column, values in (("id", np.arange(100, 104)), ("vec", np.zeros((4, 2), np.float32))):
            np.save(tmp_path / "default" / "uploads.dir" / f"{column}.npy", values)
        groups.append([f"default/uploads.dir/{column}.npy" for column in ("id", "vec")])
        job = caller.get("jobs/import/create", collectionName="told", files=groups)["jobId"]
        while caller.get("jobs/import/describe", jobId=job)["state"] in ("Pending", "Importing"):
            time.sleep(0.02)
        told = caller.get("jobs/import/get_progress", jobId=job)
        assert (told["state"], told["importedRows"], told["totalRows"]) == ("Completed", 12, 12)
        lengths = [sum((tmp_path / path).stat().st_size for path in group) for group in groups]
        assert [one["fileSize"] for one in told["details"]] == lengths
        assert told["fileSize"] == sum(lengths)
        assert [(one["fileName"], one["importedRows"], one["totalRows"]) for one in told["details"]] == [
            (",".join(group), count, count) for group, count in zip(groups, (3, 0, 5, 4), strict=True)
        ]


def test_imports_over_json_commit_once_or_more_and_tell_their_times(tmp_path: Path) -> None:
    with both(tmp_path) as caller:
        small(caller.client, "two")
        path = put(tmp_path, "a.json", json.dumps([{"id": i, "vec": [i, 1]} for i in range(4)]))

        def started(**options: str) -> str:
            made = caller.get("jobs/import/create", collectionName="two", files=[[path]], options=options)
            while caller.get("jobs/import/describe", jobId=made["jobId"])["state"] in (
                "Pending",
                "Importing",
            ):
                time.sleep(0.02)
            job: str = made["jobId"]
            return job

        kept = started(auto_commit="FALSE", timeout="1h5m0.5s", skip_disk_quota_check="true")
        assert "completeTime" not in caller.get("jobs/import/describe", jobId=kept)
        for _ in range(2):
            caller.get("jobs/import/commit", jobId=kept)
        told = caller.get("jobs/import/describe", jobId=kept)
        assert told["state"] == "Completed"
        assert told["createTime"] <= told["completeTime"]
        # Only false makes an import wait.
        assert caller.get("jobs/import/describe", jobId=started(auto_commit="no"))["state"] == "Completed"
        code, message = caller.refused("jobs/import/abort", jobId=kept)
        assert (code, "expected Uncommitted" in message) == (2100, True)
        for verb in ("commit", "abort"):
            assert "not found" in caller.refused(f"jobs/import/{verb}", jobId="77")[1]
        for wrong in ("not-a-duration", "5", "5 s", "1h-3m", "s"):
            code, message = caller.refused(
                "jobs/import/create", collectionName="two", files=[[path]], options={"timeout": wrong}
            )
            assert (code, f"parse timeout failed, invalid duration: {wrong}" in message) == (1100, True)


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd.json", "file:///etc/x.json", "../x.json", "default/../../x.json", "memory://a/x.json"],
)
def test_no_path_leads_out_of_the_lake(client: MilvusClient, lake: hw.Database, path: str) -> None:
    if not lake.has_collection("fenced"):
        small(client, "fenced")
    with pytest.raises(hw.errors.InvalidArgument, match="import path"):
        lake.imports.start("fenced", [[path]])


def test_keys_are_made_where_the_lake_makes_them(
    client: MilvusClient, lake: hw.Database, lake_path: Path
) -> None:
    small(client, "auto", auto_id=True)
    path = put(lake_path, "auto.json", json.dumps([{"vec": [i, 1]} for i in range(30)]))
    for _ in range(2):
        job = lake.jobs.wait(lake.imports.start("auto", [[path]]).id)
        assert job.state is JobState.COMPLETED, job.reason
    client.insert("auto", [{"vec": [0, 0]}])
    keys = lake.collection("auto").query(output_fields=["id"]).to_arrow()["id"].to_pylist()
    assert len(keys) == len(set(keys)) == 61
    client.delete("auto", ids=keys[:10])
    assert lake.collection("auto").count() == 51


def test_an_import_waits_for_its_commit(client: MilvusClient, lake: hw.Database, lake_path: Path) -> None:
    small(client, "two_phase")
    path = put(lake_path, "two.json", json.dumps([{"id": i, "vec": [i, 1]} for i in range(30)]))
    collection = lake.collection("two_phase")
    kept, dropped = (
        lake.jobs.wait(lake.imports.start("two_phase", [[path]], auto_commit=False).id) for _ in range(2)
    )
    assert kept.state is JobState.READY
    assert kept.details["rows"] == 30
    assert collection.count() == 0
    collection.gc(retention_s=0, grace_s=0)
    assert lake.imports.commit(kept.id).state is JobState.COMPLETED
    assert lake.imports.abort(dropped.id).state is JobState.ABORTED
    assert collection.count() == 30
    assert lake.imports.commit(kept.id).state is JobState.COMPLETED
    assert collection.count() == 30
    for again, job in (
        (lake.imports.abort, kept),
        (lake.imports.abort, dropped),
        (lake.imports.commit, dropped),
    ):
        with pytest.raises(hw.errors.Conflict, match="expected Uncommitted"):
            again(job.id)


def test_rows_of_an_import_live_from_their_commit(
    client: MilvusClient, lake: hw.Database, lake_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(client, "living")
    collection = lake.collection("living")
    collection.set_ttl(3600)
    path = put(lake_path, "living.json", json.dumps([{"id": i, "vec": [i, 1]} for i in range(30)]))
    job = lake.jobs.wait(lake.imports.start("living", [[path]], auto_commit=False).id)
    ahead_s, now, now_ns = 7200, time.time, time.time_ns
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: now() + ahead_s)
        later.setattr(time, "time_ns", lambda: now_ns() + ahead_s * 10**9)
        lake.imports.commit(job.id)
        assert collection.count() == 30
        ahead_s += 3590
        assert collection.count() == 30
        ahead_s += 20
        assert collection.count() == 0


def test_an_import_that_waits_follows_its_collection(
    client: MilvusClient, lake: hw.Database, lake_path: Path, orm: str
) -> None:
    path = put(lake_path, "follow.json", json.dumps([{"id": i, "vec": [i, 1]} for i in range(30)]))

    def waiting(name: str, **more: Any) -> int:
        job = lake.jobs.wait(lake.imports.start(name, [[path]], auto_commit=False, **more).id)
        assert job.state is JobState.READY
        return job.id

    for name in ("moving", "parted", "leaving"):
        small(client, name)
    client.create_partition("parted", "p")
    moved, lost, gone = waiting("moving"), waiting("parted", partition="p"), waiting("leaving")
    client.rename_collection("moving", "moved")
    assert utility.get_bulk_insert_state(moved, using=orm).collection_name == "moved"
    assert lake.imports.commit(moved).state is JobState.COMPLETED
    assert lake.collection("moved").count() == 30
    client.release_partitions("parted", ["p"])
    client.drop_partition("parted", "p")
    with pytest.raises(hw.errors.Conflict, match="partition 'p' was dropped"):
        lake.imports.commit(lost)
    client.drop_collection("leaving")
    small(client, "leaving")
    for job, reason in ((lost, "partition 'p' was dropped"), (gone, "collection 'leaving' was dropped")):
        state = utility.get_bulk_insert_state(job, using=orm)
        assert (state.state_name, state.failed_reason) == ("Failed", reason)
        with pytest.raises(hw.errors.Conflict, match="is failed, and cannot commit"):
            lake.imports.commit(job)
    assert lake.collection("leaving").count() == lake.collection("parted").count() == 0


def test_an_import_that_takes_too_long_fails(
    client: MilvusClient, lake: hw.Database, lake_path: Path
) -> None:
    small(client, "late")
    path = put(lake_path, "late.json", json.dumps([{"id": i, "vec": [i, 1]} for i in range(30)]))
    job = lake.jobs.wait(lake.imports.start("late", [[path]], timeout_s=1e-6).id)
    assert job.state is JobState.FAILED
    assert "import timeout" in job.reason
    assert lake.collection("late").count() == 0
    assert lake.jobs.wait(lake.imports.start("late", [[path]], timeout_s=300).id).state is JobState.COMPLETED


def test_imported_rows_go_to_their_partitions_and_shards(
    client: MilvusClient, lake: hw.Database, lake_path: Path
) -> None:
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("group", DataType.INT64, is_partition_key=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection("spread", schema=schema, num_shards=3)
    path = put(
        lake_path, "spread.json", json.dumps([{"id": i, "group": i % 5, "vec": [i, 1]} for i in range(100)])
    )
    job = lake.jobs.wait(lake.imports.start("spread", [[path]]).id)
    assert job.state is JobState.COMPLETED, job.reason
    collection = lake.collection("spread")
    client.delete("spread", ids=list(range(0, 50)))
    assert collection.count("group == 3") == 10
    with pytest.raises(hw.errors.InvalidArgument, match="partition key"):
        lake.imports.start("spread", [[path]], partition="p")
    small(client, "named_parts")
    client.create_partition("named_parts", "p1")
    plain = put(lake_path, "plain.json", json.dumps([{"id": i, "vec": [i, 1]} for i in range(9)]))
    lake.jobs.wait(lake.imports.start("named_parts", [[plain]], partition="p1").id)
    named = lake.collection("named_parts")
    assert named.count(partitions=["p1"]) == 9
    assert named.count(partitions=["_default"]) == 0


def test_files_on_another_store_are_imported(client: MilvusClient, lake: hw.Database) -> None:
    small(client, "remote")
    with s3_server("uploads") as server:
        store = open_store(server.url, server.options)
        sink = pa.BufferOutputStream()
        vectors = pa.array([[float(i), 1.0] for i in range(40)], pa.list_(pa.float32()))
        pq.write_table(pa.table({"id": list(range(40)), "vec": vectors}), sink)
        store.put("bulk/a.parquet", sink.getvalue().to_pybytes())
        job = lake.imports.start("remote", [[f"{server.url}/bulk/a.parquet"]], source_options=server.options)
        assert lake.jobs.wait(job.id).state is JobState.COMPLETED
    assert lake.collection("remote").count() == 40


def test_an_option_that_is_not_known_is_refused(client: MilvusClient, lake: hw.Database, orm: str) -> None:
    small(client, "options")
    with pytest.raises(MilvusException, match="backup is not supported"):
        utility.do_bulk_insert("options", ["a.json"], using=orm, backup="true")
    with pytest.raises(hw.errors.InvalidArgument, match="nope"):
        lake.imports.start("options", [["a.json"]], options={"nope": "1"})
    with pytest.raises(hw.errors.InvalidArgument, match="import request is empty"):
        lake.imports.start("options", [])


def test_csv_takes_another_separator_and_null(
    client: MilvusClient, lake: hw.Database, lake_path: Path
) -> None:
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("note", DataType.VARCHAR, max_length=20, nullable=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=2)
    client.create_collection("separated", schema=schema)
    path = put(lake_path, "semi.csv", 'id;note;vec\n1;NIL;"[1, 2]"\n2;x;"[3, 4]"\n')
    job = lake.imports.start("separated", [[path]], options={"sep": ";", "nullkey": "NIL"})
    assert lake.jobs.wait(job.id).reason == ""
    rows = lake.collection("separated").query(output_fields=["id", "note"]).to_arrow().sort_by("id")
    assert rows["note"].to_pylist() == [None, "x"]
