"""Commands about users and tokens. Whoever holds the lake may give them; a server need not run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from headwater.doors.cli.app import AsJson, app, open_database
from headwater.doors.cli.showing import show
from headwater.errors import NotFound

__all__ = ["create_token", "drop_token", "set_password", "tokens", "users"]

User = Annotated[str, typer.Argument(help="The user.")]


@app.command()
def users(as_json: AsJson = False) -> None:
    """List the users of servers on this lake, and their roles."""
    access = open_database().access
    found = [one for name in access.users.names() if (one := access.users.get(name)) is not None]
    rows = [{"user": one.name, "roles": ", ".join(one.roles), "about": one.description} for one in found]
    show(rows, as_json=as_json)


@app.command()
def set_password(
    user: User,
    password: Annotated[
        str,
        typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for by default."),
    ],
) -> None:
    """Give a user another password, without the one until now: also the way back in for root."""
    open_database().access.users.set_password(user, None, password)
    typer.echo(f"{user} has another password; servers know within seconds")


@app.command()
def tokens(as_json: AsJson = False) -> None:
    """List the tokens by which programs act for users."""
    rows = [
        {
            "token": one.name,
            "user": one.user,
            "about": one.description,
            "created": _when(one.created_ms),
            "expires": _when(one.expires_ms) if one.expires_ms else "never",
        }
        for one in open_database().access.tokens.list()
    ]
    show(rows, as_json=as_json)


@app.command()
def create_token(
    user: User,
    about: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[float, typer.Option(help="Days until it stops working; 0 for never.")] = 0,
) -> None:
    """Make a token by which a program acts for a user; it is shown now and never again."""
    typer.echo(open_database().access.tokens.create(user, description=about, expires_s=days * 86_400))


@app.command()
def drop_token(token: Annotated[str, typer.Argument(help="The token's name, as `tokens` lists it.")]) -> None:
    """Let a token work no more."""
    access = open_database().access
    names = [one.name for one in access.tokens.list()]
    if token not in names:
        raise NotFound(f"no token {token!r}", hint=f"there are: {', '.join(names) or 'none'}")
    access.tokens.drop(token)


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
