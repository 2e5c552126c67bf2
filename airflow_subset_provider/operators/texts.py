"""What people read in Airflow: the documentation of group and tasks, the numbers of a step, the report in the log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.markdown import code, plain
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import TableName

if TYPE_CHECKING:
    from airflow_subset_provider.core.report import Report
    from airflow_subset_provider.core.stats import Stats

MB = 1_000_000


# Markdown for the details of the tasks that belong to no table.
STEPS = {
    "prepare": "Checks everything on both ends, all faults at once; then locks the target, notes and suspends its "
    "foreign keys, triggers and large tables' indexes, and empties the tables in scope. Nothing has changed if it "
    "fails in its checks.",
    "hold": "Holds one state of the source open until all tables have been read from it.",
    "wait": "Makes sure that this state of the source can be read, before any table is.",
    "loaded": "All tables hold the rows that they keep by their own rules. Nothing is proven yet.",
    "prepared": "Does nothing. It cannot run when `prepare` has failed, and that fails the DAG run, even if `finish` "
    "succeeded before a part of the group was cleared.",
    "settle": "Fetches the rows that kept rows reference, and leaves out what cannot be kept.",
    "finish": "Puts the foreign keys back and has the server validate them, sets sequences, and reports. When it has "
    "succeeded, the copy is proven, and its assets are updated; *Details* has the button of the report.",
    "release": "The teardown of `prepare`: whatever happened, puts back what is still suspended and gives up the lock.",
}


def rules(plan: Plan, component: Component) -> str:
    """The rule of the component's table; one line a table where it has several."""
    return _per_table(component, {t: plan.tables[t].rule.value for t in component.tables})


def reasons(plan: Plan, component: Component) -> str:
    """Why each of the component's tables has its rule."""
    return _per_table(component, {t: plan.tables[t].reason for t in component.tables})


def keys_into(plan: Plan, component: Component) -> str:
    """The foreign keys whose values may ask for rows of the component, one a line."""
    return "\n".join(r.key.label for r in plan.into(component))


def component_doc(plan: Plan, component: Component) -> str:
    """Markdown for the task's details: rule, reason, filter, the keys of its cycle, the schema it was planned from."""
    lines = []
    for table in component.tables:
        planned = plan.tables[table]
        lines.append(f"- **{code(str(table))}**: {planned.rule.value}. {plain(planned.reason)}")
        if planned.filter is not None:
            lines.append(f"  - filter: {code(planned.filter)}")
    if component.cyclic:
        lines.append("\nA cycle, read by one recursive query; its foreign keys:\n")
        lines += [f"- {code(key.label)}" for key in component.inside]
    lines.append(f"\nSchema: `{plan.schema.fingerprint}`")
    return "\n".join(lines)


def group_doc(plan: Plan, source: str, target: str, guarantee: str) -> str:
    """Markdown for the whole group."""
    filters = "\n".join(f"- {code(table)}: {code(clause)}" for table, clause in plan.spec.filters.items())
    count = f"{len(plan.copied)} of {len(plan.schema.tables)} tables"
    return (
        f"Copies a subset of {code(source)} to {code(target)}: {count}.\n\n"
        f"{filters}\n\nGuarantee: {guarantee}.\n\nSchema: `{plan.schema.fingerprint}`"
    )


def numbers(plan: Plan, stats: Mapping[TableName, Stats]) -> dict[str, dict[str, Any]]:
    """What a step did to each table, for the XCom."""
    return {
        str(table): {
            "rule": plan.tables[table].rule.value,
            "reason": plan.tables[table].reason,
            "extracted": done.extracted,
            "referred": done.referred,
            "dropped": done.dropped,
            "nulled": done.nulled,
            "kept": done.kept,
            "bytes": done.bytes,
            "seconds": done.seconds,
            "mb_per_s": round(done.bytes / MB / done.seconds, 3) if done.seconds else 0.0,
            "rows_per_s": round((done.extracted + done.referred) / done.seconds) if done.seconds else 0,
        }
        for table, done in stats.items()
    }


def unfolding(line: str) -> str:
    """A line that begins and ends no fold of Airflow's log: with a space more in what would, which a cast may have."""
    return re.sub("::(?=(end)?group::)", ":: ", line)


def report_lines(report: Report) -> list[str]:
    """The report as a table of plain text, for the log."""
    head = ("table", "rule", "in source", "kept", "referred", "dropped", "nulled", "seconds", "why")
    rows = [
        (
            t.table,
            t.rule,
            f"~{t.source_rows:,}" if t.source_rows >= 0 else "?",
            f"{t.kept:,}",
            f"{t.referred:,}",
            f"{t.dropped:,}",
            f"{t.nulled:,}",
            f"{t.seconds:.2f}",
            t.reason,
        )
        for t in report.tables
    ]
    share = f" of about {report.source_rows:,} ({report.kept / report.source_rows:.2%})" if report.source_rows else ""
    totals = f"{report.kept:,} rows kept{share}, {report.dangling} dangling references, {report.seconds:.1f} s"
    return [*_columns([head, *rows], left={0, 1, 8}), totals]


def _columns(rows: Sequence[Sequence[str]], left: set[int]) -> Iterable[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()


def _per_table(component: Component, words: Mapping[TableName, str]) -> str:
    if len(component.tables) == 1:
        return words[component.tables[0]]
    return "\n".join(f"{table}: {words[table]}" for table in component.tables)
