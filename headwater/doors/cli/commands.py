"""Each command opens the lake, makes one call into the engine, and shows what came back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import DownloadColumn, MofNCompleteColumn, TimeRemainingColumn

from headwater.doors.cli.app import (
    AsJson,
    Fields,
    Filter,
    Name,
    Output,
    app,
    chosen_names,
    open_database,
)
from headwater.doors.cli.demo import run_demo
from headwater.doors.cli.rows import json_text, queries_of, write_rows
from headwater.doors.cli.showing import console, counted, plain, progress_bar, share, show
from headwater.engine import AnnSearchRequest, Collection
from headwater.errors import InvalidArgument
from headwater.jobs.embedders import EMBEDDER_PROPERTY, embedder
from headwater.query import SearchResult
from headwater.schema import Field, Schema

__all__ = [
    "demo",
    "describe",
    "gc",
    "history",
    "index",
    "ls",
    "query",
    "refresh",
    "search",
    "verify",
]

_LEG_HITS = 50


@app.command()
def ls(as_json: AsJson = False) -> None:
    """List the collections."""
    db = open_database()
    rows = []
    for name in db.list_collections():
        about = db.collection(name).describe()
        shown = ("name", "num_rows", "num_segments", "version", "external")
        rows.append({key: about[key] for key in shown if key in about})
    if not rows and not as_json:
        console.print(f"no collections in {db.url}", soft_wrap=True, highlight=False)
        return
    show(rows, as_json=as_json)


def _field_row(field: Field, schema: Schema) -> dict[str, str]:
    """A field as people read it: its type, and what is said of it."""
    function = schema.outputs.get(field.name)
    told = [
        "primary key" if field.name == schema.primary_key else "",
        "nullable" if field.nullable else "",
        "" if field.default is None else f"default {field.default!r}",
        f"column {field.source!r}" if field.source else "",
        f"{function.type} of {', '.join(function.inputs)}" if function else "",
    ]
    return {"name": field.name, "type": repr(field.type)[1:-1], "": ", ".join(filter(None, told))}


@app.command()
def describe(name: Name, as_json: AsJson = False) -> None:
    """Show a collection's schema and indexes."""
    collection = open_database().collection(name)
    about = collection.describe()
    if as_json:
        typer.echo(json_text(about, plain))
        return
    where = (
        f" in {counted(about['num_segments'], 'segment')}, version {about['version']}"
        if "version" in about
        else ""
    )
    console.print(
        f"[bold]{name}[/]: {about['num_rows']:,} rows{where}{', external' if about['external'] else ''}, "
        f"primary key {about['primary_key'] or 'row_id'}"
    )
    schema = collection.schema
    show([_field_row(field, schema) for field in schema.fields], as_json=False, title="fields")
    if about["indexes"]:
        show(about["indexes"], as_json=False, title="indexes")


@app.command()
def search(  # noqa: PLR0913 (the options of a command)
    name: Name,
    vector: Annotated[
        str, typer.Option(help="Query vector, or several, as JSON; @FILE for one of JSON or .npy.")
    ] = "",
    text: Annotated[str, typer.Option(help="Query text, embedded as the collection's texts are.")] = "",
    field: Annotated[
        str,
        typer.Option(help="Field to search, or several, comma-separated, whose answers to --text are fused."),
    ] = "",
    filter: Filter = "",
    fields: Fields = "",
    top_k: Annotated[int, typer.Option("--top-k", "--limit", "-k", help="Hits to return.")] = 10,
    output: Output = "",
    as_json: AsJson = False,
) -> None:
    """Find the nearest neighbours of a vector or a text, by one field or by several at once."""
    collection = open_database().collection(name)
    if bool(vector) == bool(text):
        raise InvalidArgument("search needs either --vector or --text")
    shown = chosen_names(fields) or []
    chosen: Sequence[str | None] = chosen_names(field) or (None,)
    if vector and len(chosen) > 1:
        raise InvalidArgument("search by several fields needs --text; one vector fits one field")
    given, several = queries_of(vector) if vector else ([], False)
    queries = given or [_text_query(collection, text, one) for one in chosen]
    if len(chosen) == 1:
        result = collection.search(
            queries, anns_field=chosen[0], top_k=top_k, filter=filter, output_fields=shown
        )
    else:
        legs = [
            AnnSearchRequest([query], str(one), limit=max(top_k, _LEG_HITS), filter=filter)
            for query, one in zip(queries, chosen, strict=True)
        ]
        result = collection.hybrid_search(legs, limit=top_k, output_fields=shown)
    if output:
        write_rows(result.to_arrow().to_batches(), output, plain)
        return
    if as_json:
        hits = list(result) if several else result[0]
        typer.echo(json_text({"hits": hits, "info": result.info.to_dict()}, plain))
        return
    _show_hits(result, numbered=several)


def _show_hits(result: SearchResult, *, numbered: bool) -> None:
    """Hits as a table, with the number of their query where there are several, and what was read for them."""
    rows = [
        ({"query": number} if numbered else {})
        | {"id": hit["id"], "distance": hit["distance"], **hit["entity"]}
        for number, hits in enumerate(result)
        for hit in hits
    ]
    show(rows, as_json=False)
    info = result.info
    known = "" if info.version < 0 else f"version {info.version}, {share(info.index_coverage)} indexed, "
    console.print(f"{known}{info.elapsed_s * 1000:.1f} ms")


def _text_query(collection: Collection, text: str, field: str | None) -> Any:
    """A text as a field is asked: as it is where a function fills the field, else embedded as its texts are."""
    vectors = [one for one in collection.schema.vector_fields if field is None or one.name == field]
    if field in collection.schema.outputs or (vectors and vectors[0].name in collection.schema.outputs):
        return text
    named = collection.describe()["properties"].get(EMBEDDER_PROPERTY)
    if named is None or not vectors:
        raise InvalidArgument(
            f"--text: no function of collection {collection.name!r} makes the vectors of "
            f"{repr(vectors[0].name) if vectors else 'a field'} from texts",
            hint="give --vector, or --field of a field that a BM25 or TEXT_EMBEDDING function fills",
        )
    return embedder(named, vectors[0].type.dim or 256).embed([text])[0].tolist()


@app.command()
def query(
    name: Name,
    filter: Filter = "",
    fields: Fields = "*",
    order_by: Annotated[str, typer.Option(help="Fields, comma-separated; -field for descending.")] = "",
    limit: Annotated[int, typer.Option(help="Most rows.")] = 20,
    offset: Annotated[int, typer.Option(help="Rows to skip.")] = 0,
    output: Output = "",
    as_json: AsJson = False,
) -> None:
    """Show the rows that a filter selects."""
    result = open_database().query(
        name,
        filter,
        output_fields=chosen_names(fields),
        order_by=chosen_names(order_by),
        limit=limit,
        offset=offset,
    )
    if output:
        write_rows(result.to_arrow().to_batches(), output, plain)
        return
    show(list(result), as_json=as_json)


def _parameter(text: str) -> tuple[str, Any]:
    """`nlist=64` as a name and a value; what is no number or truth value is text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"--param {text!r}: expected NAME=VALUE, such as nlist=64 or json_path=/a/b")
    try:
        parsed = json.loads(value)
    except ValueError:
        return name, value
    return name, parsed if isinstance(parsed, int | float) else value


@app.command()
def index(
    name: Name,
    field: Annotated[str, typer.Argument(help="The field.")],
    index_type: Annotated[
        str, typer.Option("--type", help="AUTOINDEX, HNSW, IVF_RABITQ, INVERTED, NGRAM, ...")
    ] = "AUTOINDEX",
    metric: Annotated[str, typer.Option(help="Of vectors: L2, IP, COSINE, HAMMING or JACCARD.")] = "",
    param: Annotated[list[str], typer.Option(help="NAME=VALUE of a build parameter; may be repeated.")] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Declare an index and build what it does not cover yet."""
    figures = MofNCompleteColumn(), TimeRemainingColumn()
    with progress_bar("indexing", *figures, as_json=as_json) as progress:
        report = open_database().create_index(
            name,
            field,
            index_type,
            metric_type=metric or None,
            params=dict(_parameter(one) for one in param),
            progress=progress,
        )
    show([asdict(report)], as_json=as_json)


@app.command()
def refresh(name: Name, as_json: AsJson = False) -> None:
    """Look at an external collection's source again; only files that changed are read."""
    figures = MofNCompleteColumn(), TimeRemainingColumn()
    with progress_bar("looking into files", *figures, as_json=as_json) as progress:
        report = open_database().refresh(name, progress=progress)
    row = asdict(report)
    if not as_json:
        row.update({key: len(row[key]) for key in ("added", "changed", "removed")})
    show([row], as_json=as_json)


@app.command()
def history(name: Name, as_json: AsJson = False) -> None:
    """Show the versions that are kept."""
    rows = [asdict(entry) for entry in open_database().collection(name).history()]
    show(rows, as_json=as_json)


@app.command()
def gc(
    name: Name,
    retention_s: Annotated[
        float | None, typer.Option(min=0, help="Keep replaced versions this long.")
    ] = None,
    grace_s: Annotated[
        float | None, typer.Option(min=0, help="Never delete objects younger than this.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget old versions and delete what no kept version names."""
    report = open_database().collection(name).gc(retention_s=retention_s, grace_s=grace_s, dry_run=dry_run)
    show([asdict(report)], as_json=as_json)


@app.command()
def verify(name: Name, as_json: AsJson = False) -> None:
    """Read every file of the newest version and compare it with its checksum; exit status 1 where one differs."""
    with progress_bar("reading", DownloadColumn(), TimeRemainingColumn(), as_json=as_json) as progress:
        report = open_database().collection(name).verify(progress=progress)
    show([asdict(report)], as_json=as_json)
    if report.damaged:
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[
        Path,
        typer.Option(help="Where the demo's files go: new, empty, or an earlier demo's, which is replaced."),
    ] = Path("demo-lake"),
    limit: Annotated[int, typer.Option(min=1000, help="Most texts.")] = 40_000,
) -> None:
    """Run the main job on real texts."""
    run_demo(folder, console, limit=limit)
