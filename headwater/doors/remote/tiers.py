"""Tiers of a server's collection, loading among them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.remote.core import RemoteCore
from headwater.doors.remote.raised import unsupported
from headwater.engine import CollectionTiers, WarmupReport
from headwater.engine.policies import (
    POLICY_PROPERTY,
    WARMUP_PARAM,
    WARMUP_PROPERTIES,
    tier_policy,
    warmup_mode,
)
from headwater.errors import InvalidArgument
from headwater.tiers import TierPolicy, TiersReport

__all__ = ["RemoteTiers", "ServerTiers"]

_POLL_S = 0.05


class ServerTiers:
    """What `Tiers` is, of a server: what the process that answers holds.

    Args:
        call: makes a call of the protocol.
    """

    def __init__(self, call: Callable[[str, Any], Any]) -> None:
        self._call = call

    def report(self) -> TiersReport:
        """See `Tiers.report`."""
        request = milvus_pb2.GetMetricsRequest(request=json.dumps({"metric_type": "tiers"}))
        return TiersReport.of(json.loads(self._call("GetMetrics", request).response))


class RemoteTiers(RemoteCore):
    """Where the bytes of a server's collection are wanted, and where they are."""

    def set_tier(
        self, policy: str | TierPolicy | None, *, field: str | None = None, index: str | None = None
    ) -> None:
        """See `Collection.set_tier`."""
        value = None if policy is None else tier_policy(policy, f"collection {self.name!r}").value
        self._alter({POLICY_PROPERTY: value}, field, index)

    def set_warmup(self, mode: str | None, *, field: str | None = None, index: str | None = None) -> None:
        """See `Collection.set_warmup`; refused of a collection that is loaded."""
        value = None if mode is None else warmup_mode(mode, f"collection {self.name!r}").value
        whole = field is None and index is None
        self._alter(dict.fromkeys(WARMUP_PROPERTIES if whole else (WARMUP_PARAM,), value), field, index)

    def _alter(self, values: Mapping[str, str | None], field: str | None, index: str | None) -> None:
        if field is not None and index is not None:
            raise InvalidArgument(
                f"expected a field or an index, got field={field!r} and index={index!r}",
                hint="call it once for each",
            )
        pairs = [
            common_pb2.KeyValuePair(key=key, value=value)
            for key, value in values.items()
            if value is not None
        ]
        dropped = [key for key, value in values.items() if value is None]
        if field is not None:
            self._schema.field(field)
            of_field = milvus_pb2.AlterCollectionFieldRequest(
                collection_name=self.name, field_name=field, properties=pairs, delete_keys=dropped
            )
            self._call("AlterCollectionField", of_field)
        elif index is not None:
            of_index = milvus_pb2.AlterIndexRequest(
                collection_name=self.name, index_name=index, extra_params=pairs, delete_keys=dropped
            )
            self._call("AlterIndex", of_index)
        else:
            request = milvus_pb2.AlterCollectionRequest(
                collection_name=self.name, properties=pairs, delete_keys=dropped
            )
            self._call("AlterCollection", request)

    def tiers(self) -> CollectionTiers:
        """See `Collection.tiers`; where the process that answers has the files."""
        asked = json.dumps({"metric_type": "tiers", "collection_name": self.name})
        told = self._call("GetMetrics", milvus_pb2.GetMetricsRequest(request=asked))
        return CollectionTiers.of(json.loads(told.response))

    def load(
        self, partitions: Sequence[str] | None = None, *, warmup: str | None = None, wait: bool = True
    ) -> None:
        """Make the collection ready for the searches of other clients; this door searches without.

        Args:
            partitions: names; all by default.
            warmup: see `Collection.load`.
            wait: return when everything that is `sync` is at its tier.
        """
        params = {} if warmup is None else {"warmup": warmup_mode(warmup, "load").value}
        if partitions is None:
            whole = milvus_pb2.LoadCollectionRequest(collection_name=self.name, load_params=params)
            self._call("LoadCollection", whole)
        else:
            some = milvus_pb2.LoadPartitionsRequest(
                collection_name=self.name, partition_names=list(partitions), load_params=params
            )
            self._call("LoadPartitions", some)
        if wait:
            self._loaded(None)

    def warm_up(
        self,
        *,
        fields: Sequence[str] | None = None,
        indexes: Sequence[str] | None = None,
        partitions: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> WarmupReport:
        """See `Collection.warm_up`; loads the collection, in the process that answers.

        Args:
            fields: refused: loading some fields takes the others from other clients.
            indexes: refused.
            partitions: names; all by default.
            progress: called with (percent done, 100).
        """
        if fields is not None or indexes is not None:
            raise unsupported("warming up some fields or indexes")
        started = time.perf_counter()
        self.load(partitions, warmup="sync", wait=False)
        self._loaded(progress)
        there = [one for one in self.tiers().files if one.tier is not None]
        return WarmupReport(len(there), sum(one.size_bytes for one in there), time.perf_counter() - started)

    def _loaded(self, progress: Callable[[int, int], None] | None) -> None:
        request = milvus_pb2.GetLoadingProgressRequest(collection_name=self.name)
        while True:
            percent = self._call("GetLoadingProgress", request).progress
            if progress is not None:
                progress(percent, 100)
            if percent >= 100:
                return
            time.sleep(_POLL_S)
