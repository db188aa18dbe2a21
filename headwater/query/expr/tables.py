"""The filter language's parser, made ahead of time.

To make a parser of a grammar takes 80 ms, and a process that starts to answer one question waits for it; to read the
tables made of it takes 5. They are in a file beside the grammar, which names the grammar and the version of Lark that
they are of: where either is another, the parser is made of the grammar. `python -m headwater.query.expr.tables` writes
the file.
"""

from __future__ import annotations

import io
import zlib
from importlib import resources
from pathlib import Path

import lark

__all__ = ["made_parser", "parser", "stamp"]

_FILE = "grammar.tables"


def _grammar() -> str:
    return resources.files(__package__ or "headwater.query.expr").joinpath("grammar.lark").read_text()


def stamp(grammar: str) -> bytes:
    """What tables are of: 32 bytes."""
    return f"{lark.__version__} {zlib.crc32(grammar.encode()):08x}".encode().ljust(32)


def made_parser(grammar: str) -> lark.Lark:
    """A parser made of the grammar."""
    return lark.Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def parser() -> lark.Lark:
    """The parser of filters."""
    grammar = _grammar()
    found = resources.files(__package__ or "headwater.query.expr").joinpath(_FILE)
    if found.is_file():
        whole = found.read_bytes()
        if whole[:32] == stamp(grammar):
            return lark.Lark.load(io.BytesIO(zlib.decompress(whole[32:])))
    return made_parser(grammar)


def main() -> None:
    """Write the tables."""
    grammar, made = _grammar(), io.BytesIO()
    made_parser(grammar).save(made)
    Path(__file__).with_name(_FILE).write_bytes(stamp(grammar) + zlib.compress(made.getvalue(), 9))


if __name__ == "__main__":
    main()
