"""Ending when nobody calls, and starting on a socket that somebody else holds: how a server scales to zero and back.

Nothing of importance lives in a server, so one that nobody calls may end; whoever holds its socket, such as systemd,
starts it again when a connection comes, which waits in the socket meanwhile. A call is one of Milvus's over gRPC or
HTTP: probes and scrapes keep no server alive. Upkeep that is at work does.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, MutableMapping

from headwater.errors import InvalidArgument

__all__ = ["TELL_S", "given_socket", "tell_when_busy"]

TELL_S = 0.5
"""How often a process of the server tells the front that it has something to do."""

_FIRST_FD = 3


def tell_when_busy(busy: Callable[[], bool], say: Callable[[], None]) -> None:
    """Tell the front while work goes on that takes longer than a look; on a thread of its own.

    Args:
        busy: whether something is done now.
        say: tells the front.
    """

    def run() -> None:
        before = False
        while True:
            time.sleep(2 * TELL_S)
            now = busy()
            if now and before:
                say()
            before = now

    threading.Thread(target=run, name="headwater-activity", daemon=True).start()


def given_socket(environment: MutableMapping[str, str] | None = None) -> socket.socket | None:
    """The listening socket that this process was started with, as systemd hands it over; None where there is none.

    The variables are taken away, so that no process that is started from here takes them for its own.

    Raises:
        InvalidArgument: there are several, or it is no stream.
    """
    found = os.environ if environment is None else environment
    number, pid = found.pop("LISTEN_FDS", ""), found.pop("LISTEN_PID", "")
    found.pop("LISTEN_FDNAMES", None)
    if not number or pid != str(os.getpid()):
        return None
    if number != "1":
        raise InvalidArgument(
            f"LISTEN_FDS={number}: expected one socket, for gRPC and HTTP alike",
            hint="one ListenStream= in the unit of the socket",
        )
    given = socket.socket(fileno=_FIRST_FD)
    given.set_inheritable(False)
    if given.type != socket.SOCK_STREAM or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise InvalidArgument(f"descriptor {_FIRST_FD}: expected a listening stream socket, found {given!r}")
    return given
