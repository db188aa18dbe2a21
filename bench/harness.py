"""What every benchmark shares: `--quick`, `--json FILE`, claims with a goal, and a table at the end.

A claim is a ratio or a count, measured in this run; the script exits 0 whether or not it holds, because a benchmark
reports and a test judges.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["Bench", "Claim", "median_s"]


@dataclass(frozen=True)
class Claim:
    """One measured claim."""

    name: str
    value: float
    goal: str
    ok: bool


@dataclass
class Bench:
    """One script's arguments, figures and claims."""

    title: str
    quick: bool = False
    json_path: Path | None = None
    claims: list[Claim] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_args(cls, title: str) -> Bench:
        """Parse the command line."""
        parser = argparse.ArgumentParser(description=title)
        parser.add_argument("--quick", action="store_true", help="smaller data, under 60 s")
        parser.add_argument("--json", type=Path, help="write the claims to this file")
        args = parser.parse_args()
        return cls(title, args.quick, args.json)

    def row(self, **figures: Any) -> None:
        """Add a line to the table of figures."""
        self.rows.append(figures)

    def at_most(self, name: str, value: float, limit: float) -> None:
        """Claim that a value is at most a limit."""
        self.claims.append(Claim(name, round(float(value), 4), f"<= {limit}", bool(value <= limit)))

    def at_least(self, name: str, value: float, limit: float) -> None:
        """Claim that a value is at least a limit."""
        self.claims.append(Claim(name, round(float(value), 4), f">= {limit}", bool(value >= limit)))

    def finish(self) -> None:
        """Print the figures and the claims, and write the JSON."""
        console = Console()
        if self.rows:
            names = list(dict.fromkeys(name for row in self.rows for name in row))
            table = Table(*names, title=self.title)
            for row in self.rows:
                table.add_row(*[_shown(row.get(name, "")) for name in names])
            console.print(table)
        table = Table("claim", "value", "goal", "holds", title=f"{self.title}: claims")
        for claim in self.claims:
            table.add_row(claim.name, f"{claim.value:g}", claim.goal, "yes" if claim.ok else "[red]no[/]")
        console.print(table)
        if self.json_path:
            self.json_path.parent.mkdir(parents=True, exist_ok=True)
            self.json_path.write_text(
                json.dumps({"claims": [asdict(claim) for claim in self.claims]}, indent=1)
            )


def _shown(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def median_s(call: Callable[[], Any], *, repeat: int = 5) -> float:
    """Median wall time of a call, in seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
