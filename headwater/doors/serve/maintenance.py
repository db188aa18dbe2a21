"""The process that maintains the lake of a server, so that its workers only answer: started by the front.

The front sends lines of JSON, the first with the settings: which collections have changed, and that it is to stop. The
process answers when it is ready, and when an index that a client waits for cannot be built. When the front is gone, it
ends too. It may be killed at any moment: what there is to do is in the lake.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from headwater.doors.serve.ending import leave_within
from headwater.doors.serve.idle import tell_when_busy
from headwater.doors.serve.logs import configure_logs
from headwater.engine import Upkeep, connect, make_way
from headwater.errors import HeadwaterError
from headwater.settings import Settings

__all__ = ["main", "stopped_within"]

_log = logging.getLogger("headwater.maintenance")

_LEAVE_S = 10.0
"""For threads of libraries to end, once the work has."""


def stopped_within(work: Callable[[], None], stop: Callable[[], None], told: Callable[[], float]) -> None:
    """Work on a thread until somebody says to stop; and end the process when the work does not end in time.

    Args:
        work: returns soon after `stop` was called.
        stop: may be called from any thread.
        told: waits until the work is to stop; returns how many seconds it may take.
    """

    def run() -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 (the process ends with its thread, and is started again)
            _log.exception("maintenance ended")
            os._exit(1)

    thread = threading.Thread(target=run, name="headwater-maintenance", daemon=True)
    thread.start()
    grace_s = told()
    stop()
    thread.join(grace_s)
    if thread.is_alive():
        # Training takes no word; its files are nobody's yet, and its work is done again.
        sys.stderr.flush()
        os._exit(0)


class _Maintenance:
    def __init__(self, control: socket.socket, start: Mapping[str, Any], rest: bytes) -> None:
        self._control = control
        self._buffer = rest
        self._grace_s = 0.0
        settings = make_way(Settings.from_values(start["settings"], "the front's settings"))
        self._idle_exit = settings.server.idle_exit_s > 0
        self._shutdown_s = settings.server.shutdown_grace_s
        lake = connect(start["lake"], start["options"], settings=settings)
        self._upkeep = Upkeep(lake, failed=self._failed)

    def run(self) -> None:
        self._say({"ready": True})
        if self._idle_exit:
            tell_when_busy(lambda: self._upkeep.busy, lambda: self._say({"active": True}))
        stopped_within(self._upkeep.run, self._upkeep.stop, self._listen)
        leave_within(_LEAVE_S)

    def _listen(self) -> float:
        """Take what the front says until it says to stop, or is gone; the seconds there are to do so."""
        while True:
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "stop" in message:
                    return float(message["stop"])
                if "tend" in message:
                    database, collection = message["tend"]
                    self._upkeep.look_at((database, collection), asked=message["asked"])
            data = b""
            with suppress(OSError):
                data = self._control.recv(65536)
            if not data:
                return self._shutdown_s
            self._buffer += data

    def _failed(self, root: str, why: str) -> None:
        self._say({"build_failed": root, "why": why})

    def _say(self, message: Mapping[str, Any]) -> None:
        with suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n")


def main() -> int:
    """Maintain the lake until told to stop."""
    control = socket.socket(fileno=int(sys.argv[1]))
    data = b""
    while b"\n" not in data:
        more = control.recv(65536)
        if not more:
            return 0
        data += more
    line, _, rest = data.partition(b"\n")
    start = json.loads(line)
    for number in (signal.SIGINT, signal.SIGTERM):
        # The front says when to stop; a signal to the whole group is for the front.
        signal.signal(number, signal.SIG_IGN)
    configure_logs(Settings.from_values(start["settings"]).server, start["index"])
    try:
        _Maintenance(control, start, rest).run()
    except HeadwaterError as error:
        control.sendall(json.dumps({"failed": error.message}).encode() + b"\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
