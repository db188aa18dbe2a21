"""Options of the command line as a whole, wherever on the line they stand."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["AnywhereGroup"]

_TAKING_A_VALUE = ("--lake", "--token")
_ALONE = ("--explain",)


class AnywhereGroup(TyperGroup):
    """Takes `--lake`, `--token` and `--explain` after a command too, where the command has no option of that name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click; the options are moved before the command."""
        at = self._command_at(args)
        if at is None:
            return list(super().parse_args(ctx, args))
        command = self.commands[args[at]]
        own = {word for parameter in command.params for word in parameter.opts}
        moved, left = _taken(args[at + 1 :], own)
        return list(super().parse_args(ctx, [*args[:at], *moved, args[at], *left]))

    def _command_at(self, args: list[str]) -> int | None:
        """Where the command's name is, past the options before it."""
        at = 0
        while at < len(args) and args[at].startswith("-"):
            at += 2 if args[at] in _TAKING_A_VALUE else 1
        return at if at < len(args) and args[at] in self.commands else None


def _taken(args: list[str], own: set[str]) -> tuple[list[str], list[str]]:
    """The options of the whole among a command's arguments, and the other arguments."""
    moved: list[str] = []
    left: list[str] = []
    at = 0
    while at < len(args):
        word = args[at].partition("=")[0]
        if args[at] == "--":
            return moved, [*left, *args[at:]]
        count = 2 if args[at] in _TAKING_A_VALUE else 1
        ours = word in (*_TAKING_A_VALUE, *_ALONE) and word not in own
        if ours and at + count > len(args):
            raise typer.BadParameter("a value is missing", param_hint=word)
        (moved if ours else left).extend(args[at : at + count])
        at += count
    return moved, left
