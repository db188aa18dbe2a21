"""Draws the pictures of `docs/pictures/` from the figures of `docs/measurements.md`; a test fails when they differ."""

from __future__ import annotations

import math
import re
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
FIGURES = HERE / "measurements.md"
_INK, _SOFT, _RULE = "#1f2933", "#61707f", "#d5dce3"
_BLUES = ("#1d5fa8", "#5a92cf", "#a3c4e8")
_WIDTH, _LEFT, _RIGHT = 760, 150, 90


def row(script: str, wanted: str) -> list[float]:
    """The figures of a row of the table: those of the third column, bold or not.

    Args:
        script: how the first column begins, of this row or of the nearest above that has one.
        wanted: how the second column begins.
    """
    at = ""
    for line in FIGURES.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or len(cells) < 3:
            continue
        at = cells[0] or at
        if at.startswith(script) and cells[1].startswith(wanted):
            return [float(one) for one in re.findall(r"\d+(?:\.\d+)?", cells[2].replace(",", " "))]
    raise SystemExit(f"{FIGURES.name}: no row of {script!r} begins with {wanted!r}")


def bars(title: str, note: str, groups: list[tuple[str, list[float]]], series: list[str]) -> str:
    """Horizontal bars from 1 on a logarithmic scale, a group for each name, as SVG.

    Args:
        title: what is shown.
        note: how it was measured.
        groups: names, and a figure for each of the series.
        series: what the bars of a group are; the legend.
    """
    thick, gap, top = 15, 16, 92
    step = thick * len(series) + gap
    figures = [value for _, values in groups for value in values]
    most = math.ceil(math.log10(max(figures)))
    least = min(0.0, math.floor(math.log10(min(figures)) * 4) / 4)
    scale = (_WIDTH - _LEFT - _RIGHT) / (most - least)
    one = _LEFT - scale * least
    height = top + step * len(groups) + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{_INK}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        f'<text x="20" y="30" font-size="17" font-weight="600">{escape(title)}</text>',
        f'<text x="20" y="50" fill="{_SOFT}">{escape(note)}</text>',
    ]
    for number, name in enumerate(series):
        x = _LEFT + 130 * number
        out.append(f'<rect x="{x}" y="64" width="12" height="12" fill="{_BLUES[number]}"/>')
        out.append(f'<text x="{x + 18}" y="75">{escape(name)}</text>')
    bottom = top + step * len(groups)
    for power in range(most + 1):
        x = one + scale * power
        out.append(f'<line x1="{x:.1f}" y1="{top - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{_RULE}"/>')
        label = "as fast" if power == 0 else f"{10**power:,} x"
        out.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="{_SOFT}">{label}</text>')
    for place, (name, values) in enumerate(groups):
        y = top + step * place
        middle = y + thick * len(series) / 2 + 4
        out.append(f'<text x="{_LEFT - 12}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        for number, value in enumerate(values):
            size = scale * math.log10(value)
            line = y + thick * number
            start = one + min(size, 0)
            out.append(
                f'<rect x="{start:.1f}" y="{line}" width="{abs(size):.1f}" height="{thick - 2}" '
                f'fill="{_BLUES[number]}"/>'
            )
            out.append(f'<text x="{one + max(size, 0) + 6:.1f}" y="{line + 11}">{value:,g}</text>')
    return "\n".join([*out, "</svg>", ""])


def pictures() -> dict[str, str]:
    """The pictures by file name."""
    ann = "`ann`, 200 k"
    peers = {
        "Qdrant Edge": "queries a second against Qdrant Edge",
        "Chroma": "against Chroma",
        "LanceDB": "against LanceDB",
        "Milvus Lite": "against Milvus Lite",
    }
    vectors = [("the bare faiss call", row(ann, "against the raw faiss call, default index")[-3:])]
    vectors += [(name, row(ann, wanted)[-3:]) for name, wanted in peers.items()]
    text = "`text`, 500 k"
    lance, lite = row(text, "against LanceDB, Milvus Lite")[:2]
    texts = [
        ("bare tantivy", row(text, "queries a second, BM25")[:1]),
        ("LanceDB", [lance]),
        ("Milvus Lite", [lite]),
    ]
    where = "2 cores, one query at a time"
    return {
        "vectors.svg": bars(
            "Vector search: Headwater's queries a second, times each peer's",
            f"200,000 x 768 clustered vectors, ids and one text field fetched, {where}; longer is better",
            vectors,
            ["recall 0.95", "recall 0.98", "recall 0.99"],
        ),
        "texts.svg": bars(
            "Text search: Headwater's queries a second, times each peer's",
            f"500,000 generated documents, BM25, top 10, {where}; longer is better",
            texts,
            ["Headwater / peer"],
        ),
    }


def main() -> None:
    """Write them."""
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()
