"""The examples of the OpenAPI document run, each after those that made what it names; answers are as documented."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pymilvus
import pytest
from rest_serving import Caller, both

from headwater.doors.rest.app import PREFIX
from headwater.doors.rest.openapi import document
from headwater.doors.rest.routes import ROUTES
from headwater.store import open_store
from headwater.testing.s3_server import S3Server, s3_server

BY_PATH = {route.path: route for route in ROUTES}
DOCUMENT = document(ROUTES, PREFIX)


class Story:
    """Examples, one after the other."""

    def __init__(self, rest: Caller, lake: Path) -> None:
        self.rest = rest
        self.lake = lake
        self.told: dict[str, Any] = {}
        self.run: set[str] = set()

    def tell(self, *paths: str, **changes: Any) -> Any:
        """The data of the last of some routes; a change is a value that only an earlier answer knows."""
        data: Any = None
        for path in paths:
            answer = self.rest.ask(path, **{**BY_PATH[path].example, **changes})
            self.check(path, answer)
            assert answer["code"] == 0, (path, answer)
            data = self.told[path] = answer["data"]
        return data

    def refused(self, path: str, code: int, **changes: Any) -> None:
        """An example that a collection of this kind does not allow."""
        answer = self.rest.ask(path, **{**BY_PATH[path].example, **changes})
        assert answer["code"] == code, (path, answer)
        self.check(path, answer)

    def check(self, path: str, answer: dict[str, Any]) -> None:
        self.run.add(path)
        place = f"{PREFIX}{path}".replace("/", "~1")
        shape = f"#/paths/{place}/post/responses/200/content/application~1json/schema"
        jsonschema.Draft202012Validator({**DOCUMENT, "$ref": shape}).validate(answer)

    def wait(self, path: str, done: Callable[[Any], bool], **changes: Any) -> Any:
        for _ in range(600):
            data = self.tell(path, **changes)
            if done(data):
                return data
            time.sleep(0.05)
        raise AssertionError(f"{path}: {data}")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    lake = tmp_path_factory.mktemp("lake")
    with both(lake) as rest:
        yield Story(rest, lake)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server("data") as found:
        yield found


def _keys(**more: str) -> str:
    keys = {"access_key_id": "test", "access_key_value": "test", "region": "us-east-1"}
    return json.dumps({"extfs": {"cloud_provider": "minio", **keys}, **more})


def _all(prefix: str) -> list[str]:
    return [path for path in BY_PATH if path.startswith(prefix)]


def test_the_document_is_one() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert len(DOCUMENT["paths"]) == len(ROUTES) == 115
    jsonschema.Draft202012Validator.check_schema({"$defs": DOCUMENT["components"]["schemas"]})
    names = [operation["post"]["operationId"] for operation in DOCUMENT["paths"].values()]
    assert len(set(names)) == len(names)
    for path, operation in DOCUMENT["paths"].items():
        body = operation["post"]["requestBody"]["content"]["application/json"]
        validator = jsonschema.Draft202012Validator({**DOCUMENT, **body["schema"]})
        validator.validate(body["example"]), path


def _databases(story: Story) -> None:
    story.tell(*_all("databases/"))
    assert "shop" in story.told["databases/list"]
    assert {"key": "database.max.collections", "value": "10"} in story.told["databases/describe"][
        "properties"
    ]


def _rows_are_written_and_found(story: Story) -> None:
    story.tell("collections/create", "collections/list", "collections/has", "collections/describe")
    assert story.told["collections/describe"]["load"] == "LoadStateLoaded"
    story.tell("collections/get_load_state", "entities/insert", "entities/upsert", "entities/get")
    assert [row["shelf"] for row in story.told["entities/get"]] == ["A", "B"]
    story.tell("entities/query", "entities/search", "entities/hybrid_search", "entities/advanced_search")
    assert {row["year"] for row in story.told["entities/query"]} == {2001, 2012}
    assert [row["id"] for row in story.told["entities/search"]] == [1, 3]
    assert story.told["entities/hybrid_search"] == story.told["entities/advanced_search"]
    story.tell("entities/delete", "collections/flush", "collections/get_stats")
    assert story.told["collections/get_stats"] == {"rowCount": 2}


def _segments_are_told_and_merged(story: Story) -> None:
    number = story.told["collections/describe"]["collectionID"]
    told = story.tell("segments/describe", collectionID=number)
    assert sum(info["numRows"] for info in told["segmentInfos"]) >= 2
    job = story.tell("collections/compact")["compactionID"]
    state = story.wait(
        "collections/get_compaction_state", lambda data: data["state"] == "Completed", jobID=job
    )
    assert state["compactionID"] == job
    story.tell("quotacenter/describe", "server/version", "common/run_analyzer")
    tokens = [each["token"] for each in story.told["common/run_analyzer"]["results"][0]["tokens"]]
    assert tokens == ["walk", "tree"]


def _properties_partitions_and_aliases(story: Story) -> None:
    story.tell("collections/alter_properties")
    properties = story.tell("collections/describe")["properties"]
    assert {"key": "collection.ttl.seconds", "value": "86400"} in properties
    story.tell("collections/drop_properties")
    assert all(
        pair["key"] != "collection.ttl.seconds" for pair in story.tell("collections/describe")["properties"]
    )
    story.tell(*_all("partitions/"))
    assert story.told["partitions/list"] == ["_default", "old"]
    story.tell(*_all("aliases/"))
    assert story.told["aliases/describe"]["collectionName"] == "books"


def _indexes_are_dropped_and_built_again(story: Story) -> None:
    story.tell("collections/release", "indexes/drop", "indexes/create", "indexes/list", "indexes/describe")
    assert story.told["indexes/list"] == ["by_vector"]
    story.tell("indexes/alter_properties", "indexes/drop_properties")
    story.tell("collections/load", "collections/refresh_load")


def _the_schema_changes(story: Story) -> None:
    story.tell("collections/fields/add", "collections/fields/alter_properties")
    fields = {field["name"]: field for field in story.tell("collections/describe")["fields"]}
    assert {"key": "max_length", "value": "128"} in fields["shelf"]["params"]
    story.tell("collections/fields/drop")
    assert "shelf" not in {field["name"] for field in story.tell("collections/describe")["fields"]}
    story.tell("collections/struct_fields/add")
    assert story.tell("collections/describe")["structFields"][0]["fields"][0]["name"] == "title"
    story.tell("collections/add_function_field")
    assert story.tell("collections/describe")["functions"][0]["name"] == "words"
    story.tell("collections/drop_function_field")
    assert story.tell("collections/describe")["functions"] == []
    for path in ("add_function", "alter_function", "drop_function"):
        story.refused(f"collections/{path}", 1100)


def _who_may_do_what(story: Story) -> None:
    story.tell(
        *_all("users/create"), *[path for path in BY_PATH if path.startswith(("users/", "roles/"))][1:]
    )
    assert "ann" in story.told["users/list"]
    assert story.told["users/describe"] == ["reader"]
    assert {grant["privilege"] for grant in story.told["roles/describe"]} == {"Search", "Query"}
    story.tell(*_all("privilege_groups/"))
    groups = {
        each["privilegeGroupName"]: each["privileges"]
        for each in story.told["privilege_groups/list"]["privilegeGroups"]
    }
    assert groups["browsing"] == "Search"


def _snapshots_are_kept_restored_and_exported(story: Story, server: S3Server) -> None:
    story.tell("snapshots/create", "snapshots/list", "snapshots/describe")
    assert story.told["snapshots/list"] == ["spring"]
    story.tell("snapshots/unpin", pinId=story.tell("snapshots/pin")["pinId"])
    job = story.tell("snapshots/restore")["jobId"]
    done = "RestoreSnapshotCompleted"
    story.wait("jobs/snapshot/describe", lambda data: data["state"] == done, jobId=str(job))
    assert story.tell("jobs/snapshot/list")["records"][0]["jobId"] == job
    place = {"targetS3Path": f"s3://127.0.0.1:{server.port}/data/exported", "externalSpec": _keys()}
    job = story.tell("jobs/snapshot/export", **place)["jobId"]
    done = "ExportSnapshotCompleted"
    told = story.wait("jobs/snapshot/export/describe", lambda data: data["state"] == done, jobId=str(job))
    job = story.tell(
        "jobs/snapshot/restore_external",
        targetCollectionName="again",
        snapshotMetadataURI=told["snapshotMetadataURI"],
        externalSpec=_keys(),
    )["jobId"]
    done = "RestoreSnapshotCompleted"
    story.wait("jobs/snapshot/describe", lambda data: data["state"] == done, jobId=str(job))
    story.tell("snapshots/drop")
    story.tell("collections/rename", "collections/truncate", "collections/drop")
    assert "articles" not in story.tell("collections/list")


def _files_are_imported_and_committed(story: Story) -> None:
    folder = story.lake / "imports"
    folder.mkdir(exist_ok=True)
    rows = [{"id": n, "text": f"imported {n}", "year": 2020, "vector": [0, 0, 0, n]} for n in (10, 11)]
    (folder / "books.json").write_text(json.dumps(rows))
    first, second = (story.tell("jobs/import/create")["jobId"] for _ in range(2))
    for job in (first, second):
        story.wait("jobs/import/describe", lambda data: data["state"] == "Uncommitted", jobId=job)
    count = {"collectionName": "books", "filter": "id >= 10", "outputFields": ["count(*)"]}
    assert story.rest.get("entities/query", **count) == [{"count(*)": 0}]
    story.tell("jobs/import/commit", jobId=first)
    story.tell("jobs/import/abort", jobId=second)
    assert story.tell("jobs/import/get_progress", jobId=first)["state"] == "Completed"
    assert story.rest.get("entities/query", **count) == [{"count(*)": 2}]
    records = story.tell("jobs/import/list", collectionName="books", pageSize=1, currentPage=2)["records"]
    assert [record["jobId"] for record in records] == [first]
    story.refused("jobs/import/commit", 2100, jobId=second)


def _the_client_librarys_bulk_functions_work(story: Story) -> None:
    place = Path(pymilvus.__file__).parent / "bulk_writer/bulk_import.py"
    spec = importlib.util.spec_from_file_location("bulk_import", place)
    assert spec is not None
    assert spec.loader is not None
    library = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(library)
    found = library.bulk_import(story.rest.url, "books", files=[["imports/books.json"]])
    job = found.json()["data"]["jobId"]
    for _ in range(200):
        state = library.get_import_progress(story.rest.url, job).json()["data"]
        if state["state"] in ("Completed", "Failed"):
            break
        time.sleep(0.05)
    assert (state["state"], state["progress"], state["totalRows"]) == ("Completed", 100, 2)
    jobs = library.list_import_jobs(story.rest.url, collection_name="books").json()["data"]["records"]
    assert job in [each["jobId"] for each in jobs]


def _groups_of_machines_and_files(story: Story) -> None:
    story.tell("resource_groups/create", "resource_groups/list", "resource_groups/describe")
    story.tell("resource_groups/alter")
    story.tell("resource_groups/transfer_replica")
    back = {"sourceRgName": "fast", "targetRgName": "__default_resource_group"}
    story.tell("resource_groups/transfer_replica", **back)
    story.tell("resource_groups/drop")
    (story.lake / "words.txt").write_text("the\n")
    story.tell(*_all("file_resources/"))


def _tiers_are_told(story: Story) -> None:
    story.tell("tiers/describe")
    assert story.told["tiers/describe"]["memory"]["budget_bytes"] > 0


def _external_collections_are_refreshed(story: Story, server: S3Server) -> None:
    sink = pa.BufferOutputStream()
    vectors = pa.array([[float(n), 0.0] for n in range(20)], pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": list(range(20)), "vector": vectors}), sink)
    open_store(server.url, server.options).put("outside/a.parquet", sink.getvalue().to_pybytes())
    schema = {
        "fields": [
            {"fieldName": "id", "dataType": "Int64", "externalField": "id"},
            {
                "fieldName": "vector",
                "dataType": "FloatVector",
                "externalField": "vector",
                "elementTypeParams": {"dim": 2},
            },
        ],
        "externalSource": f"s3://127.0.0.1:{server.port}/data/outside/",
        "externalSpec": _keys(format="parquet"),
    }
    index = [{"fieldName": "vector", "metricType": "L2"}]
    story.tell("collections/create", collectionName="outside", schema=schema, indexParams=index)
    job = story.tell("jobs/external_collection/refresh")["jobId"]
    done = "RefreshCompleted"
    told = story.wait("jobs/external_collection/describe", lambda data: data["state"] == done, jobId=job)
    assert told["collectionName"] == "outside"
    assert story.tell("jobs/external_collection/list")["records"][0]["jobId"] == job
    story.tell("collections/release", "collections/load", collectionName="outside")
    body = {"collectionName": "outside", "data": [[7.0, 0.0]], "limit": 1, "outputFields": ["id"]}
    [hit] = story.rest.get("entities/search", **body)
    assert hit["id"] == 7


def test_every_example_runs_after_those_that_make_what_it_names(story: Story, server: S3Server) -> None:
    _databases(story)
    _rows_are_written_and_found(story)
    _segments_are_told_and_merged(story)
    _properties_partitions_and_aliases(story)
    _indexes_are_dropped_and_built_again(story)
    _the_schema_changes(story)
    _who_may_do_what(story)
    _snapshots_are_kept_restored_and_exported(story, server)
    _files_are_imported_and_committed(story)
    _the_client_librarys_bulk_functions_work(story)
    _groups_of_machines_and_files(story)
    _tiers_are_told(story)
    _external_collections_are_refreshed(story, server)
    assert set(BY_PATH) - story.run == set()
