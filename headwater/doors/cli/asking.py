"""Commands that read as programs do: counts, exports, requests in JSON; and `run`, which says where they compute."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import pyarrow as pa
import typer

from headwater.doors.cli.app import (
    AsJson,
    Fields,
    Filter,
    Name,
    Output,
    app,
    chosen_names,
    compute_with,
    lake_url,
    open_database,
)
from headwater.doors.cli.rows import json_text, text_of, write_rows
from headwater.doors.cli.showing import plain, show
from headwater.engine import AnnSearchRequest, Collection, connect, open_on_demand
from headwater.errors import HeadwaterError, InvalidArgument
from headwater.query.rerank import RRFRanker, WeightedRanker

__all__ = ["ask", "count", "export", "run"]

_READING = ("ask", "count", "describe", "export", "history", "ls", "query", "search")
_CALLS = ("count", "get", "hybrid_search", "query", "search")
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


@app.command()
def count(name: Name, filter: Filter = "", as_json: AsJson = False) -> None:
    """Count the rows that a filter selects."""
    show([{"count": open_database().collection(name).count(filter or None)}], as_json=as_json)


@app.command()
def export(name: Name, output: Output, filter: Filter = "", fields: Fields = "*") -> None:
    """Write the rows that a filter selects to a file, as they are read."""
    collection = open_database().collection(name)
    number = write_rows(_batches(collection, chosen_names(fields), filter), output, plain)
    if not output.startswith("-"):
        typer.echo(f"{number} rows in {output}", err=True)


def _batches(collection: Collection, names: list[str] | None, filter: str) -> Iterator[pa.RecordBatch]:
    """The rows, and where there are none a batch that says of what."""
    some = False
    for batch in collection.scan(names, filter or None):
        some = True
        yield batch
    if not some:
        shape = collection.query(filter or None, output_fields=names, limit=0).to_arrow().schema
        yield pa.RecordBatch.from_arrays([pa.array([], one.type) for one in shape], schema=shape)


@app.command()
def ask(
    file: Annotated[
        str, typer.Argument(help="File of requests, a JSON object a line; - for standard input.")
    ] = "-",
) -> None:
    """Answer requests in JSON, a line of JSON for each; exit status 1 where one failed.

    A request names a call (search, hybrid_search, query, get or count), a collection, and the call's arguments:
    {"call": "search", "collection": "docs", "data": [[0.1, 0.2]], "top_k": 10, "filter": "year > 2020"}
    """
    database, failed = open_database(), False
    for line in text_of(file).splitlines():
        if not line.strip():
            continue
        try:
            told = _answer(database, line)
        except HeadwaterError as error:
            failed = True
            told = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
        except TypeError as error:
            failed = True
            told = {"error": {"code": InvalidArgument.code, "message": str(error), "hint": None}}
        typer.echo(json_text(told, plain))
    if failed:
        raise typer.Exit(1)


def _answer(database: Any, line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise InvalidArgument(f"a request is not JSON: {error}", hint="one object a line") from error
    if not isinstance(request, dict) or not {"call", "collection"} <= request.keys():
        raise InvalidArgument(
            'a request is an object with "call" and "collection"', hint="see headwater ask --help"
        )
    call, collection = request.pop("call"), database.collection(request.pop("collection"))
    if call not in _CALLS:
        raise InvalidArgument(f'"call": {call!r}: expected one of {", ".join(_CALLS)}')
    if call == "hybrid_search":
        request["reqs"] = [_leg(one) for one in request.get("reqs", ())]
        request["ranker"] = _ranker(request.get("ranker"))
    found = getattr(collection, call)(**request)
    if call == "count":
        return {"count": found}
    rows = "hits" if call.endswith("search") else "rows"
    return {rows: list(found), "info": found.info.to_dict()}


def _leg(given: Any) -> AnnSearchRequest:
    if not isinstance(given, Mapping):
        raise InvalidArgument(f'"reqs": expected objects with "data" and "anns_field", found {given!r}')
    return AnnSearchRequest(**given)


def _ranker(given: Any) -> RRFRanker | WeightedRanker | None:
    if given is None:
        return None
    known = isinstance(given, Mapping) and len(given) == 1
    if known and "rrf" in given:
        return RRFRanker(given["rrf"])
    if known and "weighted" in given:
        return WeightedRanker(*given["weighted"])
    raise InvalidArgument(f'"ranker": {given!r}', hint='expected {"rrf": 60} or {"weighted": [0.3, 0.7]}')


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)
def run(
    context: typer.Context,
    command: Annotated[str, typer.Argument(help="A command that reads, and then its arguments.")],
    on_demand: Annotated[
        bool, typer.Option("--on-demand", help="Keep nothing of the lake, write nothing, tend nothing.")
    ] = False,
    executor: Annotated[
        str,
        typer.Option(
            help="here, subprocess or ray; subprocess by default where there is a bound, else here."
        ),
    ] = "",
    memory: Annotated[str, typer.Option(help="Memory that it may hold, such as 2GB.")] = "",
    timeout_s: Annotated[float | None, typer.Option("--timeout", help="Seconds that it may take.")] = None,
) -> None:
    """Run a command that reads, and say where and within what bounds it computes."""
    if not on_demand:
        raise InvalidArgument(
            "run needs to know where the command computes",
            hint=f"headwater run --on-demand {command} ...; or headwater {command} ... for the tiers of the settings",
        )
    if command not in _READING:
        raise InvalidArgument(f"run {command}: expected one of {', '.join(_READING)}")
    bound = bool(memory) or timeout_s is not None
    chosen = executor or ("subprocess" if bound else "here")
    if chosen == "here" and bound:
        raise InvalidArgument(
            "--executor here takes no bounds: nobody would enforce them", hint="leave it out"
        )
    opened: Any
    if chosen == "here":
        opened = open_on_demand(lake_url())
    else:
        opened = connect(lake_url()).on_demand(
            executor=chosen, memory_bytes=_size(memory) if memory else None, timeout_s=timeout_s
        )
    compute_with(opened)
    parent = context.parent
    assert parent is not None
    group: Any = parent.command
    found = group.get_command(parent, command)
    with found.make_context(command, list(context.args), parent=parent) as inner:
        found.invoke(inner)


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match.group(2) not in _UNITS:
        raise InvalidArgument(f"--memory {text!r}: expected a size such as 500MB or 2GiB")
    return int(float(match.group(1)) * _UNITS[match.group(2)])
