"""The process that answers one call and leaves: `python -m headwater.engine.on_demand.worker FD`.

The call comes on standard input, which stays open: when it ends, nobody waits for the answer any more, and the process
ends at once. The answer goes to the descriptor named, so that nothing that prints can be taken for it.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from headwater.engine.on_demand.answering import answer
from headwater.engine.on_demand.messages import failed, read_frame, write_batches, write_frame

__all__ = ["main"]

_FIRST_TO_GO = "800"
"""Of -1000 to 1000: where memory runs out, the system ends a worker before those who sent it."""


def _leave_with_caller(source: BinaryIO) -> None:
    source.read()
    os._exit(0)


def main(fd: int) -> None:
    """Answer the call on standard input, and end the process.

    Args:
        fd: where the answer goes.
    """
    status = 1
    try:
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
        with os.fdopen(fd, "wb", buffering=1 << 20) as to:
            _answer_to(to)
        status = 0
    except BrokenPipeError:
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        # Threads of libraries need not be waited for: nothing was written.
        sys.stderr.flush()
        os._exit(status)


def _answer_to(to: BinaryIO) -> None:
    call = pickle.loads(read_frame(sys.stdin.buffer).payload)  # noqa: S301 (our own caller's)
    threading.Thread(target=_leave_with_caller, args=(sys.stdin.buffer,), daemon=True).start()
    try:
        found = answer(call)
        write_frame(to, b"H", pickle.dumps(dict(found.header), protocol=5))
        write_batches(to, iter(found.batches or ()))
        write_frame(to, b".")
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 (it goes to the caller, whole)
        write_frame(to, b"E", failed(error))


if __name__ == "__main__":
    main(int(sys.argv[1]))
