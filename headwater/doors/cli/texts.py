"""Real texts that any machine has: the docstrings of Python's standard library and of the installed packages."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Docstring", "docstrings"]

_SKIPPED = {"test", "tests", "idlelib", "lib2to3", "__pycache__"}
_MOST_BYTES = 400_000


@dataclass(frozen=True)
class Docstring:
    """One docstring and where it stands."""

    package: str
    name: str
    kind: str
    line: int
    text: str


def docstrings(limit: int) -> list[Docstring]:
    """Up to `limit` docstrings of at least 40 characters, standard library first, in a stable order."""
    paths = sysconfig.get_paths()
    found: list[Docstring] = []
    for root in dict.fromkeys((Path(paths["stdlib"]), Path(paths["purelib"]))):
        for path in sorted(root.rglob("*.py")):
            inside = path.relative_to(root)
            if _SKIPPED & set(inside.parts) or (
                root == Path(paths["stdlib"]) and "site-packages" in inside.parts
            ):
                continue
            found.extend(_of_file(path, inside))
            if len(found) >= limit:
                return found[:limit]
    return found


def _of_file(path: Path, inside: Path) -> Iterator[Docstring]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    module = ".".join(inside.with_suffix("").parts).removesuffix(".__init__")
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) >= 40:
                own = "" if isinstance(node, ast.Module) else f".{node.name}"
                kind = type(node).__name__.removesuffix("Def").removeprefix("Async").lower()
                line = getattr(node, "lineno", 1)
                yield Docstring(module.split(".")[0], f"{module}{own}", kind, line, text)
