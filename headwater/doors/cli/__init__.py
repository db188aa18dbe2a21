"""The command line: tables for people, `--json` for programs."""

from __future__ import annotations

import sys

from headwater.doors.cli.app import app
from headwater.errors import HeadwaterError

# Each registers its commands, in the order in which `--help` lists them.
# isort: off
from headwater.doors.cli import commands as _commands  # noqa: F401
from headwater.doors.cli import access as _access  # noqa: F401
from headwater.doors.cli import asking as _asking  # noqa: F401
from headwater.doors.cli import cost as _cost  # noqa: F401
from headwater.doors.cli import serve as _serve  # noqa: F401
from headwater.doors.cli import maintain as _maintain  # noqa: F401
from headwater.doors.cli import tiers as _tiers  # noqa: F401
from headwater.doors.cli import upkeep as _upkeep  # noqa: F401
# isort: on

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; an error is one clear line and exit status 1."""
    try:
        app()
    except HeadwaterError as error:
        sys.stderr.write(f"error {error.code}: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"  hint: {error.hint}\n")
        raise SystemExit(1) from None
