"""One typed, frozen settings object.

Where a setting comes from, the later winning:

1. its default;
2. a TOML file, named by `--config` or `HEADWATER_CONFIG`, in which a group is a table: `[store]`, then `attempts = 8`;
3. the environment, as `HEADWATER_<GROUP>_<NAME>`, such as `HEADWATER_STORE_ATTEMPTS=8`;
4. a flag of the command.

A name that is no setting is an error, which names the nearest. `headwater settings` shows what holds, and from where.
"""

from __future__ import annotations

import difflib
import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from headwater.errors import InvalidArgument

__all__ = [
    "AccessSettings",
    "ImportSettings",
    "LakeSettings",
    "MaintenanceSettings",
    "ServerSettings",
    "Settings",
    "load_settings",
    "setting_meanings",
    "setting_value",
    "StoreSettings",
    "TierSettings",
    "WriteSettings",
]

_OTHER = ("HEADWATER_LAKE", "HEADWATER_CONFIG", "HEADWATER_TOKEN")
_CREDENTIALS = "HEADWATER_CREDENTIAL_"
"""How the variables begin that hold what functions show to services."""

_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class StoreSettings:
    """How often, and for how long, a request that a store fails is tried again.

    Attributes:
        attempts: at most so many requests for one read or write.
        deadline_s: no attempt starts later than this after the first.
        hedge: whether a read that is late is asked for a second time, of a store that is not a folder.
    """

    attempts: int = 8
    deadline_s: float = 60.0
    hedge: bool = True


@dataclass(frozen=True)
class LakeSettings:
    """How segments are sized and how long versions are kept.

    Attributes:
        target_segment_rows: rows of a full segment.
        target_segment_bytes: segments are merged until one is of about so many bytes, or of so many rows.
        shared_fragment_rows: smaller external files share a segment.
        retention_s: how long a version can be read.
        gc_grace_s: how old a file that no version names has to be before it is removed.
    """

    target_segment_rows: int = 1_000_000
    target_segment_bytes: int = 1 << 30
    shared_fragment_rows: int = 100_000
    retention_s: float = 7 * 24 * 3600.0
    gc_grace_s: float = 3600.0


@dataclass(frozen=True)
class ImportSettings:
    """Where bulk imports read from.

    Attributes:
        root: folder or URL that the paths of imports are relative to; empty for the lake itself.
    """

    root: str = ""


@dataclass(frozen=True)
class TierSettings:
    """Where bytes are wanted, unless a collection says, and how much of the lakes a process keeps near.

    Attributes:
        policy: auto, hot, warm, cold or on_demand.
        warmup: when what is loaded is brought to its tier, for fields and indexes that do not say: `sync` before a
            load is done, `async` after it, `disable` when it is first used.
        memory_bytes: for all that is decoded or opened, of all collections of a connection.
        high_watermark: share of a budget, of memory or disk, at which what was used longest ago begins to leave.
        low_watermark: share at which it stops.
        ttl_s: what nobody used for so long leaves memory; 0 for never.
        mapped_bytes: how much of the process's memory mapped files may take; beyond it, columns are read and not
            mapped, and what indexes touched is given back; 0 for no bound, as mapped memory is the page cache's.
        list_bytes: what the inverted lists of cold indexes may take of memory, in all of the process; those that
            a search holds stay.
        disk_path: folder of the disk cache of remote stores; empty for `headwater` in the user's cache folder.
        disk_bytes: what the disk cache may take, and never more than half of what is free; 0 for none.
        disk_ttl_s: objects that nobody used for so long leave the disk cache; 0 for never.
    """

    policy: str = "auto"
    warmup: str = "disable"
    memory_bytes: int = 4 << 30
    high_watermark: float = 0.95
    low_watermark: float = 0.85
    ttl_s: float = 3600.0
    mapped_bytes: int = 0
    list_bytes: int = 256 << 20
    disk_path: str = ""
    disk_bytes: int = 32 << 30
    disk_ttl_s: float = 30 * 24 * 3600.0


@dataclass(frozen=True)
class WriteSettings:
    """How rows reach the lake: through the log at once, and into segments when enough of them, or time, have come.

    Attributes:
        deadline_s: how long a write may take before it fails with `Unavailable`.
        seal_entries: log entries that are sealed together, at most; a reader that opens the collection reads these.
        seal_bytes: rows in memory that are sealed together, in bytes.
        seal_age_s: an entry waits no longer than this.
        growing_bytes: of rows in memory and what searches derive from them; writers wait for sealing to keep within it.
        bulk_bytes: rows of a call that are more than this are written once, as segments that the log only names.
        takeover: whether a writer takes a shard back that another process took over; else it raises `Fenced`.
        staleness_s: how old an answer may be at the consistency level Bounded.
    """

    deadline_s: float = 60.0
    seal_entries: int = 10_000
    seal_bytes: int = 128 << 20
    seal_age_s: float = 300.0
    growing_bytes: int = 1 << 30
    bulk_bytes: int = 8 << 20
    takeover: bool = True
    staleness_s: float = 5.0


@dataclass(frozen=True)
class MaintenanceSettings:
    """What happens in the background: in a process that writes, or in one that does nothing else.

    Attributes:
        automatic: whether anything does; `flush`, `optimize` and `gc` do it when asked.
        elsewhere: whether another process indexes, compacts and collects garbage; one that writes then only seals.
        interval_s: how often a collection is looked at.
        window: hours of the day, UTC, in which compaction may start, such as ``22-6``; empty for any time.
        index_rows: segments of fewer rows are searched exactly and get no index by themselves.
        deleted_share: a segment that has lost more of its rows than this is rewritten.
        merge_segments: so many segments of about one size are merged.
        min_recall: `optimize` builds an index anew when its measured recall@10 is lower.
        priority: of a process for maintenance, for cores and disks: normal, low or idle.
        threads: that index builds use; 0 for all cores but one in a process for maintenance, and one in others.
        memory_bytes: what a process for maintenance may allocate for its work (Linux); 0 for no bound.
    """

    automatic: bool = True
    elsewhere: bool = False
    interval_s: float = 1.0
    window: str = ""
    index_rows: int = 10_000
    deleted_share: float = 0.2
    merge_segments: int = 8
    min_recall: float = 0.9
    priority: str = "low"
    threads: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True)
class ServerSettings:
    """How `headwater serve` listens, how much it takes on, and what it says.

    Attributes:
        host: address to listen on.
        port: for gRPC and HTTP alike; 0 for one that is free.
        http_port: a port of its own for HTTP, only gRPC is then answered on `port`; 0 for one.
        workers: processes that answer; one of them writes.
        writer: who writes: one of the workers, or a process of its own, which ingestion then keeps busy alone.
        analytics_workers: processes that answer heavy reads only.
        maintenance: who indexes, compacts and collects garbage: a process of its own, the worker that writes, or off.
        tls_cert: file of the server's certificate chain, PEM; with it every connection is encrypted.
        tls_key: file of its private key, PEM.
        tls_client_ca: file of the authorities whose certificates clients must show, PEM; empty for none.
        max_message_bytes: a larger request, or response, is refused.
        max_connections: open at a time; further ones wait to be accepted.
        max_concurrent_requests: calls that run or wait in one worker; further ones are refused.
        max_queue: of these, calls that wait for a thread of their lane.
        short_threads: threads for calls that take milliseconds.
        long_threads: threads for flushes, compactions and scans.
        heavy_rows: a read of many queries, or a scan, that compares more vectors than this is heavy; so is one that
            brings more than a megabyte.
        heavy_threads: heavy reads that run at a time in a process, at a lower priority; 0 for half as many as cores.
        heavy_bytes: what they may bring together, as estimated.
        heavy_wait_s: a heavy read that has not begun by then is refused.
        max_top_k: hits that a search may ask for, offset included.
        max_queries: vectors that one search may carry.
        write_rate_mb: megabytes a second that inserts, upserts and deletes may bring; 0 for no bound.
        search_rate_vectors: vectors a second that may be searched for in one worker; 0 for no bound.
        query_rate: queries a second in one worker; 0 for no bound.
        memory_bytes: calls that bring data are refused while a worker takes more than this; 0 for no bound.
        idle_exit_s: the server ends, with status 0, when nobody has called it for so long; 0 for never.
        shutdown_grace_s: how long running calls may take after a first signal.
        slow_query_s: a call that takes longer is logged with its steps; 0 for none.
        metrics: whether `/metrics` is answered.
        log_level: debug, info, warning or error.
        log_format: console, json, or auto for console on a terminal.
        traces: whether OpenTelemetry spans are sent, where OTEL_* variables say.
        uvloop: whether the event loop is uvloop's.
    """

    host: str = "127.0.0.1"
    port: int = 19530
    http_port: int = 0
    workers: int = 1
    writer: str = "worker"
    analytics_workers: int = 0
    maintenance: str = "process"
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    max_message_bytes: int = 256 << 20
    max_connections: int = 8192
    max_concurrent_requests: int = 1024
    max_queue: int = 512
    short_threads: int = 16
    long_threads: int = 8
    heavy_rows: int = 2_000_000
    heavy_threads: int = 0
    heavy_bytes: int = 1 << 30
    heavy_wait_s: float = 30.0
    max_top_k: int = 16384
    max_queries: int = 16384
    write_rate_mb: float = 0.0
    search_rate_vectors: float = 0.0
    query_rate: float = 0.0
    memory_bytes: int = 0
    idle_exit_s: float = 0.0
    shutdown_grace_s: float = 30.0
    slow_query_s: float = 5.0
    metrics: bool = True
    log_level: str = "info"
    log_format: str = "auto"
    traces: bool = False
    uvloop: bool = True


@dataclass(frozen=True)
class AccessSettings:
    """Who may use a server, and what is written down about it.

    Attributes:
        authorization: whether callers must say who they are, and may do what their roles allow.
        root_password: of the user root when a lake is first served with authorization; `Milvus` where it is empty.
        refresh_s: a change of users and roles by another process is known after at most so long.
        verified: credentials that are remembered, so that not every call pays for a password's check.
        verified_s: how long.
        scrypt_p: how dear it is to check a password: each step is about 50 ms.
        max_failed_logins: different wrong passwords of a user from one address, or tokens, after which further ones are
            refused for a while; 0 for any number.
        failed_login_s: how long they count, from the first one.
        max_users: users there may be, root included.
        max_roles: roles there may be, the built-in two included.
        max_resource_groups: resource groups there may be, the default one included.
        audit_path: file that gets a line of JSON for each call; empty for none.
        audit_rotate_bytes: a file larger than this is put aside and a new one begun.
        audit_keep: files that are kept aside.
        audit_queue: lines that may wait to be written; more are counted and dropped.
    """

    authorization: bool = False
    root_password: str = ""
    refresh_s: float = 2.0
    verified: int = 4096
    verified_s: float = 300.0
    scrypt_p: int = 5
    max_failed_logins: int = 10
    failed_login_s: float = 60.0
    max_users: int = 100
    max_roles: int = 10
    max_resource_groups: int = 1024
    audit_path: str = ""
    audit_rotate_bytes: int = 64 << 20
    audit_keep: int = 8
    audit_queue: int = 10_000


@dataclass(frozen=True)
class Settings:
    """Every setting, by group."""

    store: StoreSettings = field(default_factory=StoreSettings)
    lake: LakeSettings = field(default_factory=LakeSettings)
    tiers: TierSettings = field(default_factory=TierSettings)
    write: WriteSettings = field(default_factory=WriteSettings)
    maintenance: MaintenanceSettings = field(default_factory=MaintenanceSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    imports: ImportSettings = field(default_factory=ImportSettings)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Defaults, overridden by the file that `HEADWATER_CONFIG` names, overridden by `HEADWATER_*` variables.

        Raises:
            InvalidArgument: a variable or a key names no setting, or its value is not of its type.
        """
        return load_settings(env=env)[0]

    @classmethod
    def from_values(cls, values: Mapping[str, Mapping[str, Any]], source: str = "values") -> Settings:
        """Defaults, overridden by values of groups, such as those of `dataclasses.asdict`."""
        return _with_values(cls(), values, source)


def load_settings(
    file: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """The settings that hold, and where each that is no default came from.

    Args:
        file: TOML; the one that `HEADWATER_CONFIG` names by default.
        env: the process's environment by default.
        flags: values by dotted name, such as `server.port`; one that is None was not given.

    Raises:
        InvalidArgument: a name is no setting, or a value is not of its type, or the file cannot be read.
    """
    env = os.environ if env is None else env
    settings, sources = Settings(), {}
    path = file or env.get("HEADWATER_CONFIG")
    if path:
        values = _read_toml(Path(path))
        settings = _with_values(settings, values, str(path))
        sources.update({f"{group}.{name}": str(path) for group, found in values.items() for name in found})
    named = {f"HEADWATER_{dotted.replace('.', '_')}".upper(): dotted for dotted in _names(settings)}
    for variable, text in env.items():
        if not variable.startswith("HEADWATER_") or variable in _OTHER or variable.startswith(_CREDENTIALS):
            continue
        if variable not in named:
            raise _unknown(f"environment variable {variable}", variable, named)
        settings = _with_value(
            settings, named[variable], _parsed(settings, named[variable], text, variable), variable
        )
        sources[named[variable]] = variable
    for dotted, value in (flags or {}).items():
        if value is not None:
            settings = _with_value(settings, dotted, value, "the flags")
            sources[dotted] = "flag"
    return settings, sources


def setting_meanings() -> dict[str, str]:
    """What each setting means, by its dotted name."""
    found: dict[str, str] = {}
    for group in fields(Settings()):
        text = inspect.getdoc(type(getattr(Settings(), group.name))) or ""
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)$", text, re.MULTILINE)
        found.update({f"{group.name}.{name}": " ".join(meaning.split()) for name, meaning in entries})
    return found


def setting_value(dotted: str, text: str, source: str) -> Any:
    """The value of a setting that was given as text.

    Args:
        dotted: its name, such as `server.port`.
        text: the value.
        source: where it stands, for the message.

    Raises:
        InvalidArgument: the name is no setting, or the text is not of its type.
    """
    if dotted not in _names(Settings()):
        raise _unknown(f"{dotted} in {source}", dotted, _names(Settings()))
    return _parsed(Settings(), dotted, text, source)


def _read_toml(path: Path) -> dict[str, dict[str, Any]]:
    import tomllib

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(
            f"settings file {path}: {error}", hint="TOML, such as [server] and port = 19530"
        ) from error
    for name, group in values.items():
        if not isinstance(group, dict):
            raise InvalidArgument(
                f"settings file {path}: {name!r} stands outside a table", hint="such as [server]"
            )
    return values


def _names(settings: Settings) -> list[str]:
    return [
        f"{group.name}.{one.name}"
        for group in fields(settings)
        for one in fields(getattr(settings, group.name))
    ]


def _unknown(what: str, name: str, known: Mapping[str, Any] | list[str]) -> InvalidArgument:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"settings: {', '.join(sorted(known))}"
    return InvalidArgument(f"{what} names no setting", hint=hint)


def _with_values(settings: Settings, values: Mapping[str, Mapping[str, Any]], source: str) -> Settings:
    for group, found in values.items():
        for name, value in found.items():
            settings = _with_value(settings, f"{group}.{name}", value, source)
    return settings


def _with_value(settings: Settings, dotted: str, value: Any, source: str) -> Settings:
    if dotted not in _names(settings):
        raise _unknown(f"{dotted} in {source}", dotted, _names(settings))
    group, name = dotted.split(".")
    held = getattr(settings, group)
    kind = type(getattr(held, name))
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise InvalidArgument(f"{dotted}={value!r} in {source}: expected {kind.__name__}")
    if isinstance(value, int | float) and not value >= 0:
        raise InvalidArgument(f"{dotted}={value:g} in {source}: expected 0 or more")
    return replace(settings, **{group: replace(held, **{name: value})})


def _parsed(settings: Settings, dotted: str, text: str, variable: str) -> Any:
    group, name = dotted.split(".")
    kind = type(getattr(getattr(settings, group), name))
    try:
        return _BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError) as error:
        raise InvalidArgument(f"{variable}={text!r}: expected {kind.__name__}") from error
