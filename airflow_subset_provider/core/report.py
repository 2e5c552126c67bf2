"""What a run did, as plain data: for the log, the XCom, the report file and the person who must sign for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, to_builtins

from airflow_subset_provider.core import snapshot
from airflow_subset_provider.core.stats import Stats

if TYPE_CHECKING:
    from airflow_subset_provider.core.plan import Plan
    from airflow_subset_provider.core.schema import TableName

REPORT_VERSION = 1
ONE_POINT = f"{snapshot.ONE_POINT.capitalize()}: all rows are from one state of the source."
APART = "Each table at its own time: no reference was looked at, so nothing holds their rows together."
OWN_TIMES = (
    f"{snapshot.OWN_TIMES.capitalize()}: each component's rows are from one state of the source, those of different "
    "components from different ones. Where rows changed in between, the references were healed, so none dangles."
)


def guarantee(one: bool, integrity: bool = True) -> str:
    """What a report says of the copy, in full: the words of `snapshot.guarantee`, and what they mean.

    Args:
        integrity: whether references were looked at, and so healed.
    """
    return ONE_POINT if one else OWN_TIMES if integrity else APART


class Prepared(NamedTuple):
    """What the person who reads the report must know of what `prepare` found.

    Attributes:
        drifted: how the source's schema is no longer the plan's, where `on_drift` let that pass.
        remarks: what may be a mistake, in the filters or in the target.
        taken: when it took the target's lock, which tells it from every other preparation of the same run.
    """

    drifted: tuple[str, ...]
    remarks: tuple[str, ...]
    taken: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """Both."""
        return (*self.drifted, *self.remarks)


class TableReport(Struct, frozen=True):
    """One table's part of a run.

    Attributes:
        source_rows: the source server's estimate; -1 where it has none.
        kept: rows in the copy: extracted minus dropped plus referred.
        seconds: of its extract and of fetching referred rows.
    """

    table: str
    rule: str
    reason: str
    source_rows: int
    kept: int
    extracted: int
    referred: int
    dropped: int
    nulled: int
    bytes: int
    seconds: float


def of_tables(plan: Plan, stats: Mapping[TableName, Stats]) -> tuple[TableReport, ...]:
    """Each table's part, in the plan's order."""
    return tuple(
        TableReport(
            table=str(name),
            rule=planned.rule.value,
            reason=planned.reason,
            source_rows=plan.schema[name].rows,
            kept=done.kept,
            extracted=done.extracted,
            referred=done.referred,
            dropped=done.dropped,
            nulled=done.nulled,
            bytes=done.bytes,
            seconds=done.seconds,
        )
        for name, planned in plan.tables.items()
        for done in [stats.get(name, Stats())]
    )


def fruitless(plan: Plan, stats: Mapping[TableName, Stats]) -> Iterator[str]:
    """What to warn of: a filter without a row is more often a mistake than a wish."""
    for table in plan.tables.values():
        if table.filter is not None and not stats.get(table.name, Stats()).extracted:
            yield f"{table.name}: no row answers its filter, {table.filter}"


class KeyReport(Struct, frozen=True):
    """One foreign key of the copy.

    Attributes:
        dangling: rows whose value matches no row of the copy.
        proof: how that is known: the server validated the constraint, or the rows were counted.
        in_source: the source may have such values too: the key is unvalidated there, virtual, or on partitions only.
    """

    key: str
    dangling: int
    proof: str
    in_source: bool


class Report(Struct, frozen=True):
    """A finished run.

    Attributes:
        dangling: references of the copy that should hold and do not: 0, or the run has failed
            (with referential integrity off: what was counted).
        sequences: how many were set behind their columns' values.
        seconds: from the start of prepare to the end of finish.
        guarantee: of what state of the source the copy is.
    """

    run: str
    source: str
    target: str
    fingerprint: str
    tables: tuple[TableReport, ...]
    keys: tuple[KeyReport, ...]
    warnings: tuple[str, ...]
    sequences: int
    seconds: float
    guarantee: str = OWN_TIMES

    @property
    def dangling(self) -> int:
        """References of the copy that should hold and do not."""
        return sum(k.dangling for k in self.keys if not k.in_source)

    @property
    def kept(self) -> int:
        """Rows in the copy."""
        return sum(t.kept for t in self.tables)

    @property
    def source_rows(self) -> int:
        """Rows in the source, as its server estimates."""
        return sum(max(0, t.source_rows) for t in self.tables)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: versioned, with the totals."""
        totals = {"kept": self.kept, "source_rows": self.source_rows, "dangling": self.dangling}
        return {"report_version": REPORT_VERSION, **to_builtins(self), **totals}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.as_dict())

    @classmethod
    def from_dict(cls, shape: dict[str, Any]) -> Report:
        """Read what `as_dict` wrote."""
        fields = {k: shape[k] for k in cls.__struct_fields__ if k in shape}
        fields["tables"] = tuple(TableReport(**t) for t in shape["tables"])
        fields["keys"] = tuple(KeyReport(**k) for k in shape["keys"])
        fields["warnings"] = tuple(shape["warnings"])
        return cls(**fields)
