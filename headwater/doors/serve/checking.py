"""Settings that a server cannot run by are refused before it opens anything."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import replace
from pathlib import Path

from headwater.engine import check_settings
from headwater.errors import InvalidArgument
from headwater.settings import ServerSettings, Settings

__all__ = ["check_exposure", "checked_for_serving"]

_AT_LEAST_ONE = (
    "workers",
    "max_message_bytes",
    "max_connections",
    "max_concurrent_requests",
    "short_threads",
    "long_threads",
    "max_top_k",
    "max_queries",
)


def checked_for_serving(settings: Settings, given: socket.socket | None, *, insecure: bool) -> Settings:
    """The settings, with what it means for each process who maintains the lake.

    Args:
        settings: all of them.
        given: the socket that the server was started with; None where it opens its own.
        insecure: listen on other addresses than loopback although everyone who reaches them may do everything.

    Raises:
        InvalidArgument: they do not go together, or one of them says what there is not; names it.
    """
    settings = _with_roles(settings)
    server = settings.server
    if given is not None and server.http_port:
        raise InvalidArgument("server.http_port has no effect on a socket that the server was given")
    host = server.host if given is None or given.family == socket.AF_UNIX else given.getsockname()[0]
    check_exposure(settings, insecure=insecure, host=host)
    if server.idle_exit_s < 0:
        raise InvalidArgument(f"server.idle_exit_s={server.idle_exit_s:g}: expected 0 for never, or seconds")
    _check_tls(server)
    _check_logs(server)
    _check_counts(server)
    return settings


def _with_roles(settings: Settings) -> Settings:
    """The settings, with what it means for each process who maintains the lake.

    Raises:
        InvalidArgument: it is said in words that are not known.
    """
    who = settings.server.maintenance
    if who not in ("process", "worker", "off"):
        raise InvalidArgument(f"server.maintenance={who!r}: expected one of process, worker, off")
    if settings.server.writer not in ("worker", "process"):
        raise InvalidArgument(f"server.writer={settings.server.writer!r}: expected one of worker, process")
    check_settings(settings)
    if who == "worker" or not settings.maintenance.automatic:
        # Where nothing happens by itself, what clients ask for is done by who is asked.
        return replace(settings, server=replace(settings.server, maintenance="worker"))
    return replace(settings, maintenance=replace(settings.maintenance, elsewhere=True))


def check_exposure(settings: Settings, *, insecure: bool, host: str | None = None) -> None:
    """Refuse to let the world in without asking who it is.

    Args:
        settings: all of them.
        insecure: let it in.
        host: where the server listens; where the settings say by default.

    Raises:
        InvalidArgument: the address is not loopback, and nobody needs to say who he is.
    """
    host = settings.server.host if host is None else host
    if insecure or settings.access.authorization or _loopback(host):
        return
    raise InvalidArgument(
        f"listening on {host} without authorization: everyone who reaches it may read and drop everything",
        hint="set HEADWATER_ACCESS_AUTHORIZATION=true, listen on 127.0.0.1, or say --insecure",
    )


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_tls(server: ServerSettings) -> None:
    """See that the files of certificates are there.

    Raises:
        InvalidArgument: one is missing, or only one of a pair is named.
    """
    if bool(server.tls_cert) != bool(server.tls_key):
        raise InvalidArgument("server.tls_cert and server.tls_key go together", hint="name both, or neither")
    if server.tls_client_ca and not server.tls_cert:
        raise InvalidArgument("server.tls_client_ca needs server.tls_cert and server.tls_key")
    for name in ("tls_cert", "tls_key", "tls_client_ca"):
        path = getattr(server, name)
        if path and not Path(path).is_file():
            raise InvalidArgument(f"server.{name}={path!r}: there is no such file")


def _check_logs(server: ServerSettings) -> None:
    """See that logs are asked for in words that are known.

    Raises:
        InvalidArgument: they are not.
    """
    words = {"log_level": ("debug", "info", "warning", "error"), "log_format": ("auto", "json", "console")}
    for name, known in words.items():
        value = getattr(server, name)
        if value.lower() not in known:
            raise InvalidArgument(f"server.{name}={value!r}: expected one of {', '.join(known)}")


def _check_counts(server: ServerSettings) -> None:
    """See that nothing is allowed none of what no call is answered without.

    Raises:
        InvalidArgument: a setting is 0; names it.
    """
    for name in _AT_LEAST_ONE:
        if getattr(server, name) < 1:
            raise InvalidArgument(f"server.{name}={getattr(server, name)}: expected 1 or more")
