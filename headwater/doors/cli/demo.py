"""The main job on real texts, told as a short report: register, index, search, refresh, add a column, look back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import track
from rich.table import Table

from headwater.doors.cli.texts import Docstring, docstrings
from headwater.engine import Collection, connect
from headwater.jobs.embedders import EMBEDDER_PROPERTY, Embedder, best_embedder
from headwater.schema import Field, FloatVector, Int32, Int64, String, Text

__all__ = ["QUESTIONS", "run_demo"]

QUESTIONS = (
    "how to parse command line arguments",
    "compress bytes with zlib",
    "open a url and read the response",
    "thread safe queue with a timeout",
    "convert a string to a datetime",
)
_FILES = 12


def run_demo(folder: Path, console: Console, *, limit: int = 40_000) -> None:
    """Run the demo and leave its lake behind.

    Args:
        folder: where the source and the lake go; replaced if it is there.
        console: where the report goes.
        limit: most texts.
    """
    started = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    source, lake = folder / "source", folder / "lake"
    source.mkdir(parents=True)
    embedder = best_embedder()

    console.rule("[bold]Headwater: one lake table, indexed once, searched in place")
    with console.status("gathering docstrings"):
        texts = docstrings(limit)
    held_back, texts = texts[-500:], texts[:-500]
    parts = np.array_split(np.arange(len(texts)), _FILES)
    for number, part in enumerate(
        track(parts, f"embedding texts ({embedder.name})", console=console, transient=True)
    ):
        _write_part(source / f"part-{number:02d}.parquet", [texts[i] for i in part], int(part[0]), embedder)
    size = sum(path.stat().st_size for path in source.iterdir())
    console.print(
        f"A Parquet lake: [bold]{len(texts):,}[/] docstrings in {_FILES} files, {size / 1e6:,.0f} MB, "
        f"embedded by [bold]{embedder.name}[/].\n"
    )

    db = connect(lake)
    clock = time.perf_counter()
    docs = db.create_external_collection(
        "docstrings",
        src=str(source),
        schema={
            "id": Int64,
            "package": String,
            "name": String,
            "text": Text,
            "line": Int32,
            "embedding": Field("embedding", FloatVector(embedder.dim)),
        },
        primary_key="id",
        properties={EMBEDDER_PROPERTY: embedder.name},
    )
    _say(console, "registered in place, nothing copied", clock, f"{docs.num_rows:,} rows")
    clock = time.perf_counter()
    report = docs.create_index("embedding")
    _say(
        console, "indexed (IVF, 1-bit RaBitQ codes)", clock, f"{report.bytes_written / 1e6:,.1f} MB of index"
    )
    _search(console, docs, embedder)
    _refresh(console, docs, source, held_back, len(texts), embedder)
    _add_column(console, docs, lake)
    console.print(
        f"\nDone in {time.perf_counter() - started:.0f} s. The lake stays in [bold]{lake}[/]. Next:\n"
    )
    for command in (
        "describe docstrings",
        "query docstrings --filter 'package == \"json\"' --limit 5 --fields name,line",
        "search docstrings --text 'walk a directory tree' --filter 'words < 40' --fields name,words",
        "history docstrings",
    ):
        console.print(f"  .venv/bin/headwater --lake {lake} {command}", highlight=False, soft_wrap=True)


def _say(console: Console, what: str, clock: float, figure: str) -> None:
    elapsed = time.perf_counter() - clock
    console.print(
        f"  [green]✓[/] {what:<37} {elapsed * 1000:>6,.0f} ms  {figure}", highlight=False, soft_wrap=True
    )


def _write_part(path: Path, texts: Sequence[Docstring], first: int, embedder: Embedder) -> None:
    vectors = embedder.embed(
        [f"{one.name.replace('.', ' ').replace('_', ' ')} {one.text[:400]}" for one in texts]
    )
    table = pa.table(
        {
            "id": pa.array(range(first, first + len(texts)), pa.int64()),
            "package": [one.package for one in texts],
            "name": [one.name for one in texts],
            "kind": [one.kind for one in texts],
            "line": pa.array([one.line for one in texts], pa.int32()),
            "text": [one.text for one in texts],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), embedder.dim),
        }
    )
    pq.write_table(table, path)


def _search(console: Console, docs: Collection, embedder: Embedder) -> None:
    table = Table(title="\nNatural questions, filtered to functions and classes")
    table.add_column("question", overflow="fold")
    table.add_column("best answers", overflow="fold")
    table.add_column("ms", justify="right")
    for question in QUESTIONS:
        [query] = embedder.embed([question])
        docs.search([query], top_k=3, output_fields=["name"])
        clock = time.perf_counter()
        result = docs.search([query], top_k=3, filter='kind != "module"', output_fields=["name"])
        elapsed = (time.perf_counter() - clock) * 1000
        names = "\n".join(f"{hit['distance']:.2f}  {hit['entity']['name']}" for hit in result[0])
        table.add_row(question, names, f"{elapsed:.1f}")
    console.print(table)
    info = result.info
    console.print(
        f"  version {info.version}, {info.age_s:.0f} s old, {info.index_coverage:.0%} of rows indexed, "
        f"{info.segments_pruned} of {info.segments_total} segments pruned\n",
        highlight=False,
    )


def _refresh(
    console: Console,
    docs: Collection,
    source: Path,
    texts: Sequence[Docstring],
    first: int,
    embedder: Embedder,
) -> None:
    _write_part(source / f"part-{_FILES:02d}.parquet", texts, first, embedder)
    clock = time.perf_counter()
    report = docs.refresh()
    figure = f"{len(report.added)} file read, {report.unchanged} not; {report.bytes_read / 1e3:,.1f} KB"
    _say(console, "a file added, collection refreshed", clock, figure)
    clock = time.perf_counter()
    [built] = docs.build_indexes()
    _say(
        console, "index extended", clock, f"{built.segments_built} new segment, {built.segments_covered} kept"
    )


def _add_column(console: Console, docs: Collection, lake: Path) -> None:
    before = {path for path in lake.rglob("*") if path.is_file()}
    version = docs.version
    clock = time.perf_counter()
    words = [len(text.split()) for text in docs.to_arrow(["text"]).column("text").to_pylist()]
    written = docs.add_column("words", words, type=Int32)
    new = [path for path in lake.rglob("*") if path.is_file() and path not in before]
    share = written / (4 * len(words))
    _say(
        console,
        "a column added",
        clock,
        f"{written / 1e3:,.1f} KB in {len(new)} new files, {share:.2f} x the column",
    )
    clock = time.perf_counter()
    old = docs.at(version=version)
    kept = "words" not in old.schema.names
    figure = f"version {version}: {old.num_rows:,} rows, {'without' if kept else 'with'} the column"
    _say(console, "an older version read", clock, figure)
