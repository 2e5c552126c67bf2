"""What changed between two schemas, in words: catalog against live source, source against target."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.schema import Schema, Table


def differences(old: Schema, new: Schema) -> list[Fault]:
    """Every table, column and key that was added, dropped or changed, in that order."""
    return [*_tables(old, new), *_foreign_keys(old, new)]


def _tables(old: Schema, new: Schema) -> Iterator[Fault]:
    for table in new.tables:
        if table.name not in old:
            yield Fault("table added", str(table.name))
    for table in old.tables:
        if table.name not in new:
            yield Fault("table dropped", str(table.name))
        else:
            yield from _columns(table, new[table.name])
            yield from _keys(table, new[table.name])


def _columns(old: Table, new: Table) -> Iterator[Fault]:
    for column in new.columns:
        if old.column(column.name) is None:
            yield Fault(f"column added ({column.type})", f"{new.name}.{column.name}")
    for column in old.columns:
        now = new.column(column.name)
        where = f"{old.name}.{column.name}"
        if now is None:
            yield Fault("column dropped", where)
        elif now.type != column.type:
            yield Fault(f"type changed from {column.type} to {now.type}", where)
        elif now != column:
            yield Fault(f"column changed ({', '.join(_changed(column, now))})", where)
    if not new.columns:
        return
    if [c.name for c in old.columns if new.column(c.name)] != [c.name for c in new.columns if old.column(c.name)]:
        yield Fault("order of columns changed", str(old.name))


def _changed(old: object, new: object) -> list[str]:
    names = ("nullable", "generated", "default", "binary")
    return [f"{n}: {getattr(old, n)} -> {getattr(new, n)}" for n in names if getattr(old, n) != getattr(new, n)]


def _keys(old: Table, new: Table) -> Iterator[Fault]:
    was, now = {(k.columns, k.primary) for k in old.keys}, {(k.columns, k.primary) for k in new.keys}
    for columns, primary in sorted(now - was):
        yield Fault(f"{'primary' if primary else 'unique'} key added ({', '.join(columns)})", str(old.name))
    for columns, primary in sorted(was - now):
        yield Fault(f"{'primary' if primary else 'unique'} key dropped ({', '.join(columns)})", str(old.name))
    if was == now and {k.name for k in old.keys} != {k.name for k in new.keys}:
        yield Fault("keys renamed", str(old.name))
    if was == now and (old.partitions, old.inherited, old.engine) != (new.partitions, new.inherited, new.engine):
        yield Fault("partitions or storage changed", str(old.name))


def _foreign_keys(old: Schema, new: Schema) -> Iterator[Fault]:
    was, now = {k.label: k for k in old.foreign_keys}, {k.label: k for k in new.foreign_keys}
    for label in sorted(now.keys() - was.keys()):
        yield Fault("foreign key added", label)
    for label in sorted(was.keys() - now.keys()):
        yield Fault("foreign key dropped", label)
    for label in sorted(was.keys() & now.keys()):
        if was[label] != now[label]:
            yield Fault("foreign key changed", label)
