"""Routes of bulk imports."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import UNSUPPORTED, MilvusError
from headwater.doors.rest.ask import Ask
from headwater.doors.rest.errors import Refused, invalid_value
from headwater.doors.rest.fields import ANY, INT32, TEXT, TEXTS, Field, Listed, Mapped, need
from headwater.doors.rest.ids import JOB_ID
from headwater.doors.rest.route import COLLECTION, Answer, Route, pairs, route, shape

__all__ = ["ROUTES"]

_JOB = need("jobId", JOB_ID)
_CLOUD = (
    *("objectUrl", "objectUrls", "clusterId", "projectId", "regionId"),
    *("accessKey", "secretKey", "token", "volumeName", "dataPaths"),
)
_CLOUD_FIELDS = tuple(Field(name, ANY, about="empty here; for a service in the cloud") for name in _CLOUD)
"""What the client library sends whether or not it means anything."""


async def _import(ask: Ask) -> Answer:
    _for_clouds(ask)
    groups = ask["files"]
    if not groups or not all(groups):
        raise invalid_value("files: expected groups of paths, got an empty one")
    options = {**(ask["options"] or {})}
    for name in ("commit", "abort", "file_groups"):
        if name in options:
            raise invalid_value(f"import option {name} is not supported")
    options["file_groups"] = ",".join(str(len(group)) for group in groups)
    request = milvus_pb2.ImportRequest(
        collection_name=ask["collectionName"],
        partition_name=ask["partitionName"],
        files=[path for group in groups for path in group],
        options=pairs(options),
    )
    response = await ask.call("Import", request)
    return {"data": {"jobId": str(response.tasks[0])}}


def _for_clouds(ask: Ask) -> None:
    for name in _CLOUD:
        if name in ask.body and ask[name]:
            raise Refused.because(
                MilvusError(UNSUPPORTED, f"{name}: files are those of the lake's own store, or of a URL")
            )


_STATES = {
    "ImportPending": "Pending",
    "ImportStarted": "Importing",
    "ImportPersisted": "Uncommitted",
    "ImportFlushed": "Importing",
    "ImportCompleted": "Completed",
    "ImportFailed": "Failed",
    "ImportFailedAndCleaned": "Failed",
}
"""The states of older clients, which the protocol has, in the words of the JSON routes."""


def _imported(task: milvus_pb2.GetImportStateResponse) -> dict[str, Any]:
    infos = {pair.key: pair.value for pair in task.infos}
    state = common_pb2.ImportState.Name(task.state)
    found: dict[str, Any] = {
        "jobId": str(task.id),
        "collectionName": infos.get("collection", ""),
        "state": _STATES[state],
        "progress": int(infos.get("progress_percent", "0")),
    }
    reason = "aborted" if state == "ImportFailedAndCleaned" else infos.get("failed_reason", "")
    return {**found, "reason": reason} if reason else found


async def _list_imports(ask: Ask) -> Answer:
    _for_clouds(ask)
    size, page = ask["pageSize"], ask["currentPage"]
    if (size is not None and size <= 0) or page <= 0:
        raise invalid_value("pageSize and currentPage must be positive")
    request = milvus_pb2.ListImportTasksRequest(collection_name=ask["collectionName"])
    response = await ask.call("ListImportTasks", request)
    records = [_imported(each) for each in response.tasks]
    return {"data": {"records": records[(page - 1) * size :][:size] if size else records}}


async def _import_progress(ask: Ask) -> Answer:
    _for_clouds(ask)
    task = await ask.call("GetImportState", milvus_pb2.GetImportStateRequest(task=ask["jobId"]))
    found = _imported(task) | {"importedRows": task.row_count, "totalRows": task.row_count}
    infos = {pair.key: pair.value.split(",") for pair in task.infos}
    rest, rows = iter(infos["files"]), dict(enumerate(infos["file_rows"]))
    sizes = {place: int(length or 0) for place, length in enumerate(infos["file_bytes"])}
    details = [
        {
            "fileName": ",".join(islice(rest, int(size))),
            "fileSize": sizes.get(place, 0),
            "state": found["state"],
            "progress": found["progress"],
            "importedRows": int(rows.get(place) or 0),
            "totalRows": int(rows.get(place) or 0),
        }
        for place, size in enumerate(infos["file_groups"])
    ]
    ended = int(infos["complete_time"][0])
    times = {"createTime": _moment(task.create_ts), **({"completeTime": _moment(ended)} if ended else {})}
    return {"data": {**found, **times, "fileSize": sum(sizes.values()), "details": details}}


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _settle(verb: str) -> Any:
    async def run(ask: Ask) -> Answer:
        task = await ask.call("GetImportState", milvus_pb2.GetImportStateRequest(task=ask["jobId"]))
        infos = {pair.key: pair.value for pair in task.infos}
        request = milvus_pb2.ImportRequest(
            collection_name=infos["collection"], options=pairs({verb: str(ask["jobId"])})
        )
        await ask.call("Import", request)
        return {"data": {}}

    return run


_PROGRESS = shape(
    ("reason",), jobId="string", collectionName="string", state="string", progress="integer", reason="string"
)
_EXAMPLE_JOB = {"jobId": "1"}

ROUTES: tuple[Route, ...] = (
    route(
        "jobs/import/create",
        "Import",
        "Load files into a collection, in the background.",
        (
            COLLECTION,
            Field("partitionName", default=""),
            need("files", Listed(TEXTS), "paths in the lake, or URLs; each inner list is one table"),
            Field(
                "options",
                Mapped(TEXT, nulls=False),
                about="auto_commit: whether the rows are there when the job is done; timeout, as 300s; sep, nullkey",
            ),
            *_CLOUD_FIELDS,
        ),
        _import,
        data=shape(jobId="string"),
        example={
            "collectionName": "books",
            "files": [["imports/books.json"]],
            "options": {"auto_commit": "false"},
        },
    ),
    route(
        "jobs/import/list",
        "ListImportTasks",
        "The imports of a collection, or of all.",
        (
            Field("collectionName", default=""),
            Field("pageSize", INT32),
            Field("currentPage", INT32, default=1),
            *_CLOUD_FIELDS,
        ),
        _list_imports,
        data=shape(records={"type": "array", "items": _PROGRESS}),
    ),
    *(
        route(
            f"jobs/import/{word}",
            "GetImportState",
            "How far an import is.",
            (_JOB, *_CLOUD_FIELDS),
            _import_progress,
            data=_PROGRESS,
            example=_EXAMPLE_JOB,
        )
        for word in ("get_progress", "describe")
    ),
    *(
        route(f"jobs/import/{verb}", "Import", about, (_JOB,), _settle(verb), example=_EXAMPLE_JOB)
        for verb, about in (
            ("commit", "Let the rows of an import that waits be there."),
            ("abort", "Throw the rows of an import that waits away."),
        )
    ),
)
"""The routes under `jobs/import/`."""
