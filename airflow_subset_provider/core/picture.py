"""The foreign-key graph of a plan as Mermaid text, Graphviz text or SVG, coloured by rule.

Parents stand left of their children, so rows flow from left to right; tables of a cycle stand in one column. The SVG
is laid out here, needs no other program, holds no script and fetches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from math import ceil, sqrt

from msgspec import Struct

from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import ForeignKey, TableName
from airflow_subset_provider.core.spec import Rule

COLOURS = {"filtered": "#1d4ed8", "relevant": "#60a5fa", "referenced": "#2dd4bf", "whole": "#cbd5e1", "skip": "#ffffff"}
WORDS = {
    "filtered": "filtered",
    "relevant": "relevant: below a filter",
    "referenced": "referenced: only what kept rows need",
    "whole": "whole",
    "skip": "skipped",
}


class Edge(Struct, frozen=True):
    """All foreign keys from one child to one parent."""

    parent: TableName
    child: TableName
    keys: tuple[ForeignKey, ...]
    follow: bool

    @property
    def words(self) -> str:
        """The keys' columns."""
        return "; ".join(", ".join(k.columns) for k in self.keys)


class Drawing(Struct, frozen=True):
    """What is drawn: tables with their kind, name and rank, and the edges between them."""

    kinds: Mapping[TableName, str]
    names: Mapping[TableName, str]
    ranks: Mapping[TableName, int]
    reasons: Mapping[TableName, str]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, plan: Plan) -> Drawing:
        """The drawing of a plan."""
        several = len({t.schema for t in plan.tables}) > 1
        return cls(
            kinds={t: "filtered" if p.filtered else p.rule.value for t, p in plan.tables.items()},
            names={t: str(t) if several else t.name for t in plan.tables},
            ranks=_ranks(plan),
            reasons={t: f"{p.rule.value}: {p.reason}" for t, p in plan.tables.items()},
            edges=_edges(plan),
        )

    @property
    def linked(self) -> frozenset[TableName]:
        """The tables that foreign keys are on."""
        return frozenset(t for e in self.edges for t in (e.parent, e.child))


def _edges(plan: Plan) -> tuple[Edge, ...]:
    follow = {r.key: r.follow for r in plan.relations}
    found: dict[tuple[TableName, TableName], list[ForeignKey]] = {}
    for key in follow or plan.schema.foreign_keys:
        if key.parent in plan.schema:
            found.setdefault((key.parent, key.child), []).append(key)
    return tuple(
        Edge(parent, child, tuple(keys), any(follow.get(k, True) for k in keys))
        for (parent, child), keys in sorted(found.items())
    )


def _ranks(plan: Plan) -> dict[TableName, int]:
    """The longest way from a table without parents; one rank for a whole cycle."""
    parents: dict[str, list[str]] = {}
    for parent, child in plan.graph.edges:
        parents.setdefault(child, []).append(parent)
    ranks: dict[str, int] = {}
    for component in plan.graph.components:
        ranks[component.id] = 1 + max((ranks[p] for p in parents.get(component.id, ())), default=-1)
    return {t: ranks[c.id] for c in plan.graph.components for t in c.tables}


# -- text


def mermaid(plan: Plan) -> str:
    """A flowchart for anything that renders Mermaid, as Markdown on GitHub does."""
    drawing = Drawing.of(plan)
    ids = {t: f"t{n}" for n, t in enumerate(drawing.kinds)}
    lines = ["flowchart LR"]
    lines += [f'  {ids[t]}["{_mermaid_text(drawing.names[t])}"]:::{kind}' for t, kind in drawing.kinds.items()]
    lines += [f"  {ids[e.parent]} {'-->' if e.follow else '-.->'} {ids[e.child]}" for e in drawing.edges]
    lines += [f"  classDef {kind} {_mermaid_style(kind)}" for kind in COLOURS]
    return "\n".join(lines) + "\n"


def _mermaid_text(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;")


def _mermaid_style(kind: str) -> str:
    ink = "#ffffff" if kind == "filtered" else "#0f172a"
    dashes = ",stroke-dasharray:4" if kind == "skip" else ""
    return f"fill:{COLOURS[kind]},color:{ink},stroke:#475569{dashes}"


def dot(plan: Plan) -> str:
    """For Graphviz."""
    drawing = Drawing.of(plan)
    lines = ["digraph subset {", "  rankdir=LR;", '  node [shape=box, style="filled,rounded", fontname="sans-serif"];']
    for n, component in enumerate(c for c in plan.graph.components if len(c.tables) > 1):
        members = "; ".join(_dot_text(str(t)) for t in component.tables)
        lines.append(f"  subgraph cluster_{n} {{ label=cycle; {members}; }}")
    for table, kind in drawing.kinds.items():
        ink = "white" if kind == "filtered" else "black"
        name, tip = _dot_text(drawing.names[table]), _dot_text(drawing.reasons[table])
        lines.append(
            f'  {_dot_text(str(table))} [label={name}, fillcolor="{COLOURS[kind]}", fontcolor={ink}, tooltip={tip}];'
        )
    for edge in drawing.edges:
        style = "" if edge.follow else ", style=dashed"
        ends = f"{_dot_text(str(edge.parent))} -> {_dot_text(str(edge.child))}"
        lines.append(f"  {ends} [tooltip={_dot_text(edge.words)}{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def _dot_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# -- SVG

HEIGHT, GAP, LETTER, PAD, LANE, TOP = 22, 8, 6.7, 10, 70, 40
SWEEPS = 6
SMALLEST = 0.7  # a page may shrink it that far to make it fit; below, the text is hard to read
MANY = 150  # edges
STYLE = """
.fk-graph { font: 11px/1 ui-monospace, Menlo, Consolas, monospace; }
.fk-graph text { fill: #0f172a; } .fk-graph .head { fill: #475569; }
.fk-graph rect { stroke: #475569; stroke-width: 1; rx: 4; }
.fk-graph .edge { fill: none; stroke: #64748b; stroke-width: 1.1; opacity: EDGE; }
.fk-graph .edge.kept { stroke: #2563eb; } .fk-graph .edge.off { stroke-dasharray: 4 3; }
.fk-graph .edge:hover { stroke: #dc2626; stroke-width: 2.5; opacity: 1; }
.fk-graph .filtered rect { fill: #1d4ed8; } .fk-graph .filtered text { fill: #ffffff; }
.fk-graph .relevant rect { fill: #93c5fd; } .fk-graph .referenced rect { fill: #99f6e4; }
.fk-graph .whole rect { fill: #e2e8f0; } .fk-graph .skip rect { fill: none; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
  .fk-graph text, .fk-graph .head { fill: #e2e8f0; } .fk-graph .edge { stroke: #94a3b8; }
  .fk-graph .edge.kept { stroke: #60a5fa; }
  .fk-graph .filtered rect { fill: #2563eb; } .fk-graph .relevant rect { fill: #1e3a8a; }
  .fk-graph .referenced rect { fill: #115e59; } .fk-graph .whole rect { fill: #334155; }
}
"""


class Lane(Struct, frozen=True):
    """Where an edge passes a column that neither of its ends stands in."""

    edge: int
    rank: int


Spot = TableName | Lane


@dataclass
class Layout:
    """Where each table stands: the box's left, top and width; and what else is written."""

    boxes: dict[Spot, tuple[float, float, float]] = field(default_factory=dict)
    heads: list[tuple[float, float, str]] = field(default_factory=list)
    width: float = 0
    height: float = 0


def svg(plan: Plan, rows: Mapping[TableName, str] | None = None) -> str:
    """A picture of the whole graph.

    Args:
        rows: what to say of a table's rows beside its name.
    """
    drawing = Drawing.of(plan)
    labels = {t: f"{name}  {rows[t]}" if rows and rows.get(t) else name for t, name in drawing.names.items()}
    layout = _laid_out(drawing, labels)
    opacity = "0.25" if len(drawing.edges) > MANY else "0.7"
    width, height = ceil(layout.width), ceil(layout.height)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fk-graph" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" style="min-width: {width * SMALLEST:.0f}px" role="img" '
        f'aria-label="Foreign keys of {len(labels)} tables">',
        f"<style>{STYLE.replace('EDGE', opacity)}</style>",
        *_legend(drawing),
        *(f'<text class="head" x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>' for x, y, text in layout.heads),
        *(_edge(n, drawing, layout) for n in range(len(drawing.edges))),
        *(_box(t, drawing, labels[t], layout) for t in drawing.kinds),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _laid_out(drawing: Drawing, labels: Mapping[TableName, str]) -> Layout:
    layout = Layout()
    links = _links(drawing)
    columns = _columns(drawing, links)
    tall = max(24, ceil(sqrt(6.5 * sum(map(len, columns)))))
    x = float(PAD)
    for column in columns:
        for part in _parts(column, tall):
            x = _stack(layout, part, labels, x) + 14
        x += LANE - 14
    bottom = max((y for _, y, _ in layout.boxes.values()), default=0) + HEIGHT
    layout.width, layout.height = max(x - LANE + PAD, 760), bottom + PAD
    linked = drawing.linked
    alone = [t for t in drawing.kinds if t not in linked]
    if alone:
        _grid(layout, alone, labels, (bottom + 40) if columns else TOP)
    return layout


def _links(drawing: Drawing) -> list[tuple[Spot, Spot]]:
    """The edges, cut in pieces at every column they pass; too many of them would only blow the picture up."""
    if len(drawing.edges) > MANY:
        return [(e.parent, e.child) for e in drawing.edges]
    pieces: list[tuple[Spot, Spot]] = []
    for n, edge in enumerate(drawing.edges):
        way = [edge.parent, *_lanes(drawing, n), edge.child]
        pieces += pairwise(way)
    return pieces


def _lanes(drawing: Drawing, n: int) -> list[Spot]:
    edge = drawing.edges[n]
    if len(drawing.edges) > MANY:
        return []
    return [Lane(n, rank) for rank in range(drawing.ranks[edge.parent] + 1, drawing.ranks[edge.child])]


def _columns(drawing: Drawing, links: list[tuple[Spot, Spot]]) -> list[list[Spot]]:
    """By rank; inside a column each near the middle of those it is linked to."""
    near: dict[Spot, list[Spot]] = {}
    for a, b in links:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    found: dict[int, list[Spot]] = {}
    for spot in sorted(near, key=lambda s: (isinstance(s, Lane), "" if isinstance(s, Lane) else drawing.names[s])):
        found.setdefault(spot.rank if isinstance(spot, Lane) else drawing.ranks[spot], []).append(spot)
    columns = [found[rank] for rank in sorted(found)]
    place = {s: (n + 0.5) / len(column) for column in columns for n, s in enumerate(column)}
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else columns[::-1]:
            column.sort(key=lambda s: sum(place[o] for o in near[s]) / len(near[s]))
            place.update({s: (n + 0.5) / len(column) for n, s in enumerate(column)})
    return columns


def _parts(column: list[Spot], tall: int) -> list[list[Spot]]:
    """A column too tall is broken into several, row by row, so that neighbours stay neighbours."""
    wide = ceil(len(column) / tall)
    return [column[n::wide] for n in range(wide)]


def _stack(layout: Layout, column: list[Spot], labels: Mapping[TableName, str], x: float) -> float:
    """Put tables under each other; the right edge."""
    width = max((len(labels[t]) for t in column if not isinstance(t, Lane)), default=0) * LETTER + 2 * PAD
    for n, spot in enumerate(column):
        layout.boxes[spot] = (x, TOP + n * (HEIGHT + GAP), width)
    return x + width


def _grid(layout: Layout, tables: list[TableName], labels: Mapping[TableName, str], top: float) -> None:
    """Tables without foreign keys, in rows under everything else."""
    layout.heads.append((PAD, top - 10, f"without foreign keys: {len(tables)}"))
    x, y = float(PAD), top
    for table in sorted(tables):
        width = len(labels[table]) * LETTER + 2 * PAD
        if x > PAD and x + width > layout.width - PAD:
            x, y = float(PAD), y + HEIGHT + GAP
        layout.boxes[table] = (x, y, width)
        x += width + GAP
    layout.height = y + HEIGHT + PAD


def _legend(drawing: Drawing) -> list[str]:
    parts, x = [], float(PAD)
    for kind, word in WORDS.items():
        if kind in drawing.kinds.values():
            parts.append(f'<g class="{kind}"><rect x="{x:.0f}" y="8" width="14" height="12"/></g>')
            parts.append(f'<text class="head" x="{x + 20:.0f}" y="18">{escape(word)}</text>')
            x += 20 + len(word) * LETTER + 22
    return parts


def _box(table: TableName, drawing: Drawing, label: str, layout: Layout) -> str:
    x, y, width = layout.boxes[table]
    return (
        f'<g class="{drawing.kinds[table]}"><title>{escape(f"{table}: {drawing.reasons[table]}")}</title>'
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT}"/>'
        f'<text x="{x + PAD:.0f}" y="{y + 15:.0f}">{escape(label)}</text></g>'
    )


def _edge(n: int, drawing: Drawing, layout: Layout) -> str:
    edge = drawing.edges[n]
    flows = Rule.RELEVANT.value, "filtered"
    kept = edge.follow and drawing.kinds[edge.child] in flows and drawing.kinds[edge.parent] in flows
    classes = f"edge{' kept' if kept else ''}{'' if edge.follow else ' off'}"
    title = f"{edge.child}({edge.words}) → {edge.parent}"
    path = _path([layout.boxes[s] for s in (edge.parent, *_lanes(drawing, n), edge.child)])
    return f'<path class="{classes}" d="{path}"><title>{escape(title)}</title></path>'


def _path(boxes: list[tuple[float, float, float]]) -> str:
    """From the first box's right side to the last one's left side, level through every lane."""
    (px, py, pw), (cx, cy, cw) = boxes[0], boxes[-1]
    y1, y2, right = py + HEIGHT / 2, cy + HEIGHT / 2, px + pw
    if boxes[0] == boxes[-1]:
        loop = right + 22
        return f"M{right:.0f} {y1 - 5:.0f} C{loop:.0f} {y1 - 14:.0f} {loop:.0f} {y1 + 14:.0f} {right:.0f} {y1 + 5:.0f}"
    if cx <= px:
        bow = max(right, cx + cw) + 26
        return f"M{right:.0f} {y1:.0f} C{bow:.0f} {y1:.0f} {bow:.0f} {y2:.0f} {cx + cw:.0f} {y2:.0f}"
    path = f"M{right:.0f} {y1:.0f}"
    for x, y, width in boxes[1:]:
        reach, level = max(24.0, (x - right) / 2), y + HEIGHT / 2
        path += f" C{right + reach:.0f} {y1:.0f} {x - reach:.0f} {level:.0f} {x:.0f} {level:.0f}"
        if (x, y, width) != boxes[-1]:
            path += f" H{x + width:.0f}"
        right, y1 = x + width, level
    return path
