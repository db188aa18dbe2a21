"""OpenTelemetry traces: a span for each call, and one for each step inside it, made after the call was answered."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from queue import Full, Queue
from typing import Any

from headwater import __version__
from headwater.doors.milvus.record import Record
from headwater.doors.serve.slow import asked
from headwater.extras import load_extra
from headwater.trace import Step

__all__ = ["Spans", "wanted"]

_log = logging.getLogger("headwater.server")
_MOST_WAITING = 4096
_SIGNS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")


def wanted(setting: bool, env: Mapping[str, str] | None = None) -> bool:
    """Whether spans are to be sent: the setting says so, or the usual variables name somewhere to send them."""
    env = os.environ if env is None else env
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return setting or any(env.get(name) for name in _SIGNS)


class Spans:
    """Makes spans of calls on a thread of its own; what it cannot keep up with is dropped.

    Args:
        exporter: where spans go; OTLP over HTTP, as OTEL_* variables say, by default.
    """

    def __init__(self, exporter: Any = None) -> None:
        need = "sending traces"
        self._api = load_extra("opentelemetry.trace", "telemetry", need=need)
        sdk = load_extra("opentelemetry.sdk.trace", "telemetry", need=need)
        export = load_extra("opentelemetry.sdk.trace.export", "telemetry", need=need)
        resources = load_extra("opentelemetry.sdk.resources", "telemetry", need=need)
        propagation = load_extra("opentelemetry.trace.propagation.tracecontext", "telemetry", need=need)
        if exporter is None:
            otlp = load_extra("opentelemetry.exporter.otlp.proto.http.trace_exporter", "telemetry", need=need)
            exporter = otlp.OTLPSpanExporter()
        resource = resources.Resource.create(
            {"service.name": os.environ.get("OTEL_SERVICE_NAME", "headwater"), "service.version": __version__}
        )
        self._provider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(export.BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("headwater", __version__)
        self._propagator = propagation.TraceContextTextMapPropagator()
        self._waiting: Queue[Record | None] = Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="spans", daemon=True)
        self._thread.start()

    def observe(self, record: Record) -> None:
        """Take a call that was answered."""
        try:
            self._waiting.put_nowait(record)
        except Full:
            return

    def close(self) -> None:
        """Send what is left."""
        self._waiting.put(None)
        self._thread.join()
        self._provider.shutdown()

    def _work(self) -> None:
        while (record := self._waiting.get()) is not None:
            try:
                self._spans(record)
            except Exception:  # noqa: BLE001 (a background loop: a call is no worse for a lost span)
                _log.exception("a span was lost")

    def _spans(self, record: Record) -> None:
        parent = self._propagator.extract({"traceparent": record.traceparent}) if record.traceparent else None
        attributes = {
            "rpc.system": "grpc",
            "rpc.service": "milvus.proto.milvus.MilvusService",
            "rpc.method": record.name,
            "rpc.milvus.code": record.code,
            "headwater.request_id": record.request_id,
            **{f"headwater.{name}": _plain(value) for name, value in asked(record.request).items()},
        }
        if record.database:
            attributes["db.namespace"] = record.database
        began, kind = record.began_ns, self._api.SpanKind.SERVER
        span = self._tracer.start_span(
            record.name, context=parent, kind=kind, attributes=attributes, start_time=began
        )
        if record.code:
            span.set_status(self._api.StatusCode.ERROR, record.reason)
        inside = self._api.set_span_in_context(span)
        at = began
        for name in ("queue", "parse", "run", "serialise"):
            seconds = getattr(record, f"{name}_s")
            if seconds == 0:
                continue
            step = self._tracer.start_span(name, context=inside, start_time=at)
            if name == "run" and record.step is not None:
                for inner in record.step.steps:
                    self._step(inner, record, self._api.set_span_in_context(step))
            at += int(seconds * 1e9)
            step.end(end_time=at)
        span.end(end_time=began + int(record.total_s * 1e9))

    def _step(self, step: Step, record: Record, context: Any) -> None:
        start = record.began_ns + int((step.began - record.began) * 1e9)
        attributes = {f"headwater.{name}": _plain(value) for name, value in step.details.items()}
        span = self._tracer.start_span(step.name, context=context, start_time=start, attributes=attributes)
        for inner in step.steps:
            self._step(inner, record, self._api.set_span_in_context(span))
        span.end(end_time=start + int(step.seconds * 1e9))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float) else str(value)
