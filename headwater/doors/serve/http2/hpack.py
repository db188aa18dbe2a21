"""Headers as HTTP/2 compresses them (RFC 7541): read with the peer's table, written without one.

What is written is always the same few headers, so they are bytes made once, and no peer has to keep anything for us.
"""

from __future__ import annotations

from collections import deque

__all__ = ["HeaderReader", "HeadersTooLarge", "UnreadableHeaders", "literal"]

_NAMES = (
    ":authority :method :method :path :path :scheme :scheme :status :status :status :status :status :status :status "
    "accept-charset accept-encoding accept-language accept-ranges accept access-control-allow-origin age allow "
    "authorization cache-control content-disposition content-encoding content-language content-length "
    "content-location content-range content-type cookie date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards "
    "proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie "
    "strict-transport-security transfer-encoding user-agent vary via www-authenticate"
)
_FIRST = ("GET", "POST", "/", "/index.html", "http", "https", "200", "204", "206", "304", "400", "404", "500")
_VALUES = dict(enumerate(_FIRST, 1)) | {15: "gzip, deflate"}
_STATIC = tuple((name.encode(), _VALUES.get(at, "").encode()) for at, name in enumerate(_NAMES.split(" ")))
"""The entries that every connection has from the start."""

_TABLE_BYTES = 4096
_ENTRY_BYTES = 32
_LONGEST_NUMBER = 5
_END = 256

_LENGTHS = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCC"
    "CCDCDIOIJBKABABABBBACCBBBABCBAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRT"
    "QRSSQQRQSRSSPRRRSRRSVVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTPQRQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
)
"""How many bits Huffman's code has for each byte, and for the end: A is 5. It is canonical, so this is all of it."""


def _codes() -> dict[tuple[int, int], int]:
    found, code, last = {}, 0, 0
    for bits, symbol in sorted((ord(letter) - 60, symbol) for symbol, letter in enumerate(_LENGTHS)):
        code <<= bits - last
        found[bits, code] = symbol
        code, last = code + 1, bits
    return found


_CODES = _codes()
_SHORTEST = min(bits for bits, _ in _CODES)


class UnreadableHeaders(ValueError):
    """What came cannot be read, and neither can what follows: the connection is lost."""


class HeadersTooLarge(ValueError):
    """There are more headers than a call may have; the table is in order."""


class HeaderReader:
    """The headers that one peer sends.

    Args:
        most_bytes: of names and values that one call may have.
    """

    def __init__(self, most_bytes: int = 16 << 10) -> None:
        self._most_bytes = most_bytes
        self._table: deque[tuple[bytes, bytes]] = deque()
        self._used = 0
        self._limit = _TABLE_BYTES

    def read(self, block: bytes) -> dict[bytes, bytes]:
        """The headers of a block; the last one of a name holds.

        Raises:
            ValueError: `UnreadableHeaders`, the block breaks the rules; `HeadersTooLarge`, it holds too much.
        """
        try:
            return self._read(block)
        except IndexError as error:
            raise UnreadableHeaders("a header block ends early") from error

    def _read(self, block: bytes) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        at, end, size = 0, len(block), 0
        while at < end:
            first = block[at]
            if first & 0x80:
                if first < 0xFF:
                    number, at = first & 0x7F, at + 1
                else:
                    number, at = _number(block, at, 7)
                name, value = self._entry(number)
            elif first & 0x60 == 0x20:
                limit, at = _number(block, at, 5)
                if limit > _TABLE_BYTES or found:
                    raise UnreadableHeaders(f"a table of {limit} bytes was announced")
                self._shrink(limit)
                self._limit = limit
                continue
            else:
                kept = first & 0x40
                number, at = _number(block, at, 6 if kept else 4)
                if number:
                    name = self._entry(number)[0]
                else:
                    name, at = _text(block, at)
                value, at = _text(block, at)
                if kept:
                    self._keep(name, value)
            size += len(name) + len(value) + _ENTRY_BYTES
            if size <= self._most_bytes:
                found[name] = value
        if size > self._most_bytes:
            raise HeadersTooLarge(f"headers of {size} bytes, and {self._most_bytes} are allowed")
        return found

    def _entry(self, number: int) -> tuple[bytes, bytes]:
        if number == 0:
            raise UnreadableHeaders("there is no header 0")
        if number <= len(_STATIC):
            return _STATIC[number - 1]
        return self._table[number - len(_STATIC) - 1]

    def _keep(self, name: bytes, value: bytes) -> None:
        size = len(name) + len(value) + _ENTRY_BYTES
        self._shrink(max(0, self._limit - size))
        if size <= self._limit:
            self._table.appendleft((name, value))
            self._used += size

    def _shrink(self, limit: int) -> None:
        while self._used > limit:
            name, value = self._table.pop()
            self._used -= len(name) + len(value) + _ENTRY_BYTES


def literal(name: bytes, value: bytes) -> bytes:
    """A header that is written out, and kept by nobody."""
    return b"\0" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    if len(text) < 0x7F:
        return bytes((len(text),))
    rest, made = len(text) - 0x7F, bytearray((0x7F,))
    while rest > 0x7F:
        made.append(rest & 0x7F | 0x80)
        rest >>= 7
    made.append(rest)
    return bytes(made)


def _number(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number whose first bits are the last ones of a byte, and where it ends."""
    full = (1 << bits) - 1
    number = block[at] & full
    at += 1
    if number < full:
        return number, at
    for place in range(_LONGEST_NUMBER):
        byte = block[at]
        at += 1
        number += (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at
    raise UnreadableHeaders("a number is too long")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    coded = block[at] & 0x80
    size, at = _number(block, at, 7)
    end = at + size
    if end > len(block):
        raise UnreadableHeaders("a text ends after its block")
    raw = block[at:end]
    return (_spelt_out(raw) if coded else raw), end


def _spelt_out(raw: bytes) -> bytes:
    """A text in Huffman's code, as it was."""
    total = left = 0
    made = bytearray()
    for byte in raw:
        total = total << 8 | byte
        left += 8
        while (found := _first(total, left)) is not None:
            bits, symbol = found
            if symbol == _END:
                raise UnreadableHeaders("a text holds the end of a text")
            made.append(symbol)
            left -= bits
            total &= (1 << left) - 1
    # What is left is the beginning of the code of the end: ones, less than a byte.
    if left > 7 or total != (1 << left) - 1:
        raise UnreadableHeaders("a text does not end as it should")
    return bytes(made)


def _first(total: int, left: int) -> tuple[int, int] | None:
    """How many of some bits are the code of a symbol, and of which."""
    for bits in range(_SHORTEST, min(30, left) + 1):
        symbol = _CODES.get((bits, total >> (left - bits)))
        if symbol is not None:
            return bits, symbol
    return None
