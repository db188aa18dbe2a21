"""Whether all of an object's bytes are those that its writer wrote, as the manifest has their checksum."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import Any

from headwater.errors import Corrupt

__all__ = ["check_whole", "checksum_of"]

_FORM = re.compile(r"crc32:([0-9a-f]{8})")


def checksum_of(crc: int) -> str:
    """A CRC-32 as manifests have it: `crc32:` and eight hexadecimal digits."""
    return f"crc32:{crc:08x}"


def check_whole(checksum: str | None, parts: Iterable[Any], key: str) -> None:
    """Compare all bytes of an object that were fetched with their checksum; one of another kind says nothing.

    Args:
        checksum: as the manifest has it, see `checksum_of`.
        parts: buffers that are the object, in order.
        key: of the object.

    Raises:
        Corrupt: it differs.
    """
    expected = _FORM.fullmatch(checksum or "")
    if expected is None:
        return
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    if found != int(expected[1], 16):
        raise Corrupt(
            f"{key!r}: what the store gave has the checksum {checksum_of(found)}, the manifest says {checksum}",
            hint="run `headwater verify`; if it finds no damage the bytes were altered on their way",
            key=key,
        )
