"""The main job on real texts, told as a short report: register, index, search, refresh, add a column, look back."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from headwater.doors.cli.texts import Docstring, docstrings
from headwater.engine import AnnSearchRequest, Collection, Database, connect
from headwater.errors import InvalidArgument
from headwater.jobs.embedders import EMBEDDER_PROPERTY, Embedder, best_embedder
from headwater.query import Hit, explain
from headwater.schema import FloatVector, Function, Int32, Int64, SparseFloatVector, String, Text

__all__ = ["QUESTIONS", "run_demo"]

QUESTIONS = (
    "how to parse command line arguments",
    "compress bytes with zlib",
    "open a url and read the response",
    "thread safe queue with a timeout",
    "convert a string to a datetime",
)
_MARK = ".headwater-demo"
"""A file by which a folder of the demo is known, which alone is replaced."""

_FILES = 12
_CODE = 'kind != "module"'
_NEXT = (
    "describe docstrings",
    "query docstrings --filter 'package == \"json\"' --limit 5 --fields name,line",
    "search docstrings --text 'walk a directory tree' --field terms,embedding --filter 'words < 40' --fields name",
    "history docstrings",
)
"""Commands that are worth a look afterwards."""


def run_demo(folder: Path, console: Console, *, limit: int = 40_000) -> None:
    """Run the demo and leave its lake behind.

    Args:
        folder: where the source and the lake go; an earlier demo's is replaced.
        console: where the report goes.
        limit: most texts, at least 1,000.

    Raises:
        InvalidArgument: the folder holds something else.
    """
    started = time.perf_counter()
    _empty(folder)
    stage = _Stage(console, folder / "source", folder / "lake", best_embedder())
    console.rule("[bold]Headwater: one lake table, indexed once, searched in place")
    with console.status("gathering docstrings"):
        texts = docstrings(limit)
    held_back, texts = texts[-500:], texts[:-500]
    _write_source(stage, texts)
    db = connect(stage.lake)
    docs = _register(stage, db)
    _index(stage, docs)
    _search(stage, docs)
    _refresh(stage, docs, held_back, len(texts))
    _add_column(stage, docs)
    console.print(
        f"\nDone in {time.perf_counter() - started:.0f} s. The lake stays in [bold]{stage.lake}[/]. Next:\n"
    )
    for command in _NEXT:
        console.print(f"  {_own_name()} --lake {stage.lake} {command}", highlight=False, soft_wrap=True)


class _Stage(NamedTuple):
    """What every act of the demo needs.

    Attributes:
        console: where the report goes.
        source: folder of the Parquet files.
        lake: folder of the lake.
        embedder: makes the vectors of texts and of questions.
    """

    console: Console
    source: Path
    lake: Path
    embedder: Embedder

    def say(self, what: str, clock: float, figure: str) -> None:
        """A line of the report: what was done, how long it took since `clock`, and a figure of it."""
        elapsed = time.perf_counter() - clock
        self.console.print(
            f"  [green]✓[/] {what:<37} {elapsed * 1000:>6,.0f} ms  {figure}", highlight=False, soft_wrap=True
        )


def _empty(folder: Path) -> None:
    """An empty folder with the mark of the demo, where there was none, or one with that mark."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / _MARK).is_file():
            raise InvalidArgument(
                f"--folder {folder}: something is there that is no earlier demo's, and would be lost",
                hint="name a folder that is new or empty",
            )
        for name in ("source", "lake"):
            shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()


def _own_name() -> str:
    """What to type for the command that runs: its path below this folder, else its name where a shell finds it."""
    own = Path(sys.argv[0]).absolute()
    if own.name != "headwater":
        return "python -m headwater"
    if own.is_relative_to(Path.cwd()):
        return str(own.relative_to(Path.cwd()))
    return own.name if shutil.which(own.name) else str(own)


def _write_source(stage: _Stage, texts: Sequence[Docstring]) -> None:
    stage.source.mkdir()
    name = stage.embedder.name
    parts = np.array_split(np.arange(len(texts)), _FILES)
    shown = track(parts, f"embedding texts ({name})", console=stage.console, transient=True)
    for number, part in enumerate(shown):
        _write_part(stage, number, [texts[i] for i in part], int(part[0]))
    size = sum(path.stat().st_size for path in stage.source.iterdir())
    stage.console.print(
        f"A Parquet lake: [bold]{len(texts):,}[/] docstrings in {_FILES} files, {size / 1e6:,.0f} MB, "
        f"embedded by [bold]{name}[/].\n"
    )


def _write_part(stage: _Stage, number: int, texts: Sequence[Docstring], first: int) -> None:
    """One file of the source, whose rows are numbered from `first`."""
    vectors = stage.embedder.embed(
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
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), stage.embedder.dim),
        }
    )
    pq.write_table(table, stage.source / f"part-{number:02d}.parquet")


def _register(stage: _Stage, db: Database) -> Collection:
    clock = time.perf_counter()
    docs = db.create_external_collection(
        "docstrings",
        src=str(stage.source),
        schema={
            "id": Int64,
            "package": String,
            "name": String,
            "text": Text.analyzed("english"),
            "line": Int32,
            "embedding": FloatVector(stage.embedder.dim),
            "terms": SparseFloatVector,
        },
        primary_key="id",
        functions=[Function("bm25", "BM25", "text", "terms")],
        properties={EMBEDDER_PROPERTY: stage.embedder.name},
    )
    stage.say("registered in place, nothing copied", clock, f"{docs.num_rows:,} rows")
    return docs


def _index(stage: _Stage, docs: Collection) -> None:
    kinds = {"embedding": "indexed (IVF, 2-bit RaBitQ codes)", "terms": "texts indexed (english, BM25)"}
    for field, what in kinds.items():
        clock = time.perf_counter()
        report = docs.create_index(field)
        stage.say(what, clock, f"{report.bytes_written / 1e6:,.1f} MB of index")


def _search(stage: _Stage, docs: Collection) -> None:
    console, embedder = stage.console, stage.embedder
    table = Table(title="\nQuestions to functions and classes: by meaning, by words, and by both at once")
    for name in ("question", "vectors", "BM25", "hybrid"):
        table.add_column(name, overflow="fold")
    table.add_column("ms", justify="right")
    for question in QUESTIONS:
        legs = [
            AnnSearchRequest(embedder.embed([question]), "embedding", limit=30, filter=_CODE),
            AnnSearchRequest([question], "terms", limit=30, filter=_CODE),
        ]
        alone = [docs.hybrid_search([leg], limit=2, output_fields=["name"])[0] for leg in legs]
        clock = time.perf_counter()
        result = docs.hybrid_search(legs, limit=2, output_fields=["name"])
        elapsed = (time.perf_counter() - clock) * 1000
        table.add_row(question, *map(_names, (*alone, result[0])), f"{elapsed:.1f}")
    console.print(table)
    info = result.info
    console.print(
        f"  version {info.version}, {info.age_s:.0f} s old, {info.index_coverage:.0%} of rows indexed, "
        f"{info.segments_pruned} of {info.segments_total} segments pruned\n",
        highlight=False,
    )
    with explain() as what:
        docs.search(
            ["timeout of a queue"],
            anns_field="terms",
            top_k=3,
            filter=f'{_CODE} and phrase_match(text, "thread safe")',
        )
    console.print("  What a search did, step by step (hw.explain):", highlight=False)
    for line in str(what).splitlines():
        console.print(f"  [dim]{escape(line)}[/]", highlight=False, soft_wrap=True)
    console.print()


def _names(hits: Sequence[Hit]) -> str:
    """Names of the hits, without the packages they are in."""
    return "\n".join(".".join(hit["entity"]["name"].split(".")[-2:]) for hit in hits)


def _refresh(stage: _Stage, docs: Collection, texts: Sequence[Docstring], first: int) -> None:
    _write_part(stage, _FILES, texts, first)
    clock = time.perf_counter()
    report = docs.refresh()
    figure = f"{len(report.added)} file read, {report.unchanged} not; {report.bytes_read / 1e3:,.1f} KB"
    stage.say("a file added, collection refreshed", clock, figure)
    clock = time.perf_counter()
    built, _ = docs.build_indexes()
    stage.say(
        "indexes extended",
        clock,
        f"{built.segments_built} new segment, {built.segments_covered} kept",
    )


def _add_column(stage: _Stage, docs: Collection) -> None:
    before = {path for path in stage.lake.rglob("*") if path.is_file()}
    version = docs.version
    clock = time.perf_counter()
    words = [len(text.split()) for text in docs.to_arrow(["text"]).column("text").to_pylist()]
    written = docs.add_column("words", words, type=Int32)
    new = [path for path in stage.lake.rglob("*") if path.is_file() and path not in before]
    share = written / (4 * len(words))
    stage.say(
        "a column added",
        clock,
        f"{written / 1e3:,.1f} KB in {len(new)} new files, {share:.2f} x the column",
    )
    clock = time.perf_counter()
    old = docs.at(version=version)
    kept = "words" not in old.schema.names
    figure = f"version {version}: {old.num_rows:,} rows, {'without' if kept else 'with'} the column"
    stage.say("an older version read", clock, figure)
