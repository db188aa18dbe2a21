"""The route about tiers, which is ours."""

from __future__ import annotations

import json

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.rest.ask import Ask
from headwater.doors.rest.fields import Field
from headwater.doors.rest.route import Answer, Route, route

__all__ = ["ROUTES"]


async def _describe(ask: Ask) -> Answer:
    asked = json.dumps({"metric_type": "tiers", "collection_name": ask["collectionName"] or ""})
    told = await ask.call("GetMetrics", milvus_pb2.GetMetricsRequest(request=asked))
    return {"data": json.loads(told.response)}


ROUTES: tuple[Route, ...] = (
    route(
        "tiers/describe",
        "GetMetrics",
        "Where the files of a collection are wanted, and where they are; without one, budgets and counts.",
        (
            Field(
                "collectionName", about="a collection, or an alias of one; what the server holds, if absent"
            ),
        ),
        _describe,
        data={"type": "object"},
        example={},
    ),
)
