"""What changed between two schemas, in words: catalog against live source, source against target.

A change is harmless when a plan made from the old schema still makes a correct copy of what that schema knows: it
reads no column or table that is gone, follows every foreign key there is, and finds rows by keys that still name one
row each. What the old schema does not know, the copy leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.schema import Column, ForeignKey, Schema, Table, TableName

SIZED = re.compile(
    r"(?P<base>character varying|varchar|varbinary|bit varying|numeric|decimal)"
    r"\((?P<size>\d+)(?P<scale>,\s*\d+)?\)(?P<rest>.*)"
)
UNLIMITED = {"character varying": ("character varying", "text"), "numeric": ("numeric",)}


class Change(Struct, frozen=True):
    """One thing that was added, dropped or changed.

    Attributes:
        harmless: a plan made from the old schema still makes a correct copy.
    """

    fault: Fault
    harmless: bool

    def __str__(self) -> str:
        """Where and what."""
        return str(self.fault)


def differences(old: Schema, new: Schema) -> list[Fault]:
    """Every table, column and key that was added, dropped or changed, in that order."""
    return [change.fault for change in changes(old, new)]


def changes(
    old: Schema, new: Schema, unread: Collection[TableName] = (), virtual: Iterable[ForeignKey] = ()
) -> list[Change]:
    """The same, with what each means for a plan made from `old`.

    Args:
        unread: tables of which the plan reads no row.
        virtual: foreign keys that the schemas do not know.
    """
    comparison = _Comparison(old, new, unread, _keyed(old, virtual) | _keyed(new, ()))
    return [*comparison.server(), *comparison.tables(), *comparison.foreign_keys()]


def as_it_is_now(table: Table, live: Schema) -> Table:
    """The table's columns with the types they have by now."""
    if table.name not in live:
        return table
    now = {c.name: c.type for c in live[table.name].columns}
    return replace(table, columns=tuple(replace(c, type=now.get(c.name, c.type)) for c in table.columns))


def added_columns(table: Table, live: Schema) -> list[Column]:
    """The columns that the table has by now, and that hold values of their own."""
    if table.name not in live:
        return []
    return [c for c in live[table.name].copied if table.column(c.name) is None]


class _Comparison(Struct, frozen=True):
    old: Schema
    new: Schema
    unread: Collection[TableName]
    keyed: frozenset[tuple[TableName, str]]

    def server(self) -> Iterator[Change]:
        if self.old.dialect != self.new.dialect:
            yield Change(Fault(f"server changed from {self.old.dialect} to {self.new.dialect}", "source"), False)

    def tables(self) -> Iterator[Change]:
        awaited = {k.parent for k in self.old.foreign_keys if not self._is_of_no_row(k)}
        for table in self.new.tables:
            if table.name not in self.old:
                yield Change(Fault("table added", str(table.name)), table.name not in awaited)
        for table in self.old.tables:
            unread = table.name in self.unread
            if table.name not in self.new:
                yield Change(Fault("table dropped", str(table.name)), unread)
                continue
            now = self.new[table.name]
            for change in (*self._columns(table, now), *_keys(table, now)):
                yield replace(change, harmless=change.harmless or unread)

    def _columns(self, old: Table, new: Table) -> Iterator[Change]:
        for column in new.columns:
            if old.column(column.name) is None:
                yield Change(Fault(f"column added ({column.type})", f"{new.name}.{column.name}"), True)
        for column in old.columns:
            now = new.column(column.name)
            if now is None:
                yield Change(Fault("column dropped", f"{old.name}.{column.name}"), False)
            elif now != column:
                fits = (old.name, column.name) not in self.keyed and _still_fits(column, now)
                yield Change(Fault(_what_changed(column, now), f"{old.name}.{column.name}"), fits)
        if not new.columns:
            return
        if [c.name for c in old.columns if new.column(c.name)] != [c.name for c in new.columns if old.column(c.name)]:
            yield Change(Fault("order of columns changed", str(old.name)), True)  # every statement names its columns

    def foreign_keys(self) -> Iterator[Change]:
        """By label; several keys of one label differ in the parent's columns, and are told with those."""
        was, now = _labelled(self.old), _labelled(self.new)
        for label in sorted(was.keys() | now.keys()):
            gone = [k for k in was.get(label, ()) if k not in now.get(label, ())]
            come = [k for k in now.get(label, ()) if k not in was.get(label, ())]
            if len(gone) == len(come) == 1:
                yield self._changed(gone[0], come[0])
                continue
            several = max(len(was.get(label, ())), len(now.get(label, ()))) > 1
            for what, keys in (("added", come), ("dropped", gone)):
                for key in keys:
                    where = key.label + (f"({', '.join(key.parent_columns)})" if several else "")
                    yield Change(Fault(f"foreign key {what}", where), self._is_of_no_row(key))

    def _changed(self, was: ForeignKey, now: ForeignKey) -> Change:
        """Other names, or checked by now: the key says what it said."""
        renamed = replace(was, name=now.name, also=now.also)
        if renamed == now:
            return Change(Fault("foreign key renamed", was.label), True)
        stricter = replace(renamed, validated=True) == now
        return Change(Fault("foreign key changed", was.label), stricter or self._is_of_no_row(was))

    def _is_of_no_row(self, key: ForeignKey) -> bool:
        """Whether no row of the copy can have a reference under it."""
        return key.child not in self.old or key.child in self.unread


def _labelled(schema: Schema) -> dict[tuple[TableName, tuple[str, ...], TableName], list[ForeignKey]]:
    found: dict[tuple[TableName, tuple[str, ...], TableName], list[ForeignKey]] = {}
    for key in schema.foreign_keys:
        found.setdefault((key.child, key.columns, key.parent), []).append(key)
    return found


def _keyed(schema: Schema, virtual: Iterable[ForeignKey]) -> frozenset[tuple[TableName, str]]:
    """Columns that keys are made of: statements compare, cast and order by them."""
    found = {(t.name, c) for t in schema.tables for k in t.keys for c in k.columns}
    for key in (*schema.foreign_keys, *virtual):
        found |= {(key.child, c) for c in (*key.columns, *(c for c, _ in key.when))}
        found |= {(key.parent, c) for c in key.parent_columns}
    return frozenset(found)


def _what_changed(old: Column, new: Column) -> str:
    if new.type != old.type:
        return f"type changed from {old.type} to {new.type}"
    names = ("nullable", "generated", "default", "binary", "collation")
    changed = [f"{n}: {getattr(old, n)} -> {getattr(new, n)}" for n in names if getattr(old, n) != getattr(new, n)]
    return f"column changed ({', '.join(changed)})"


def _still_fits(old: Column, new: Column) -> bool:
    """Whether the column can be read as before: it may be stricter, have another default or more room."""
    if (old.generated, old.binary) != (new.generated, new.binary) or (new.nullable and not old.nullable):
        return False
    return old.type == new.type or _widened(old.type, new.type)


def _widened(old: str, new: str) -> bool:
    """The same type with more room; values that had room look the same in it."""
    was, now = SIZED.fullmatch(old), SIZED.fullmatch(new)
    if was is None:
        return False
    if now is None:
        return not was["rest"] and new in UNLIMITED.get(was["base"], ())
    same = all(was[part] == now[part] for part in ("base", "scale", "rest"))
    return same and int(was["size"]) <= int(now["size"])


def _keys(old: Table, new: Table) -> Iterator[Change]:
    """A key more, or under another name, leaves the plan's own keys what they are."""
    was, now = {(k.columns, k.primary) for k in old.keys}, {(k.columns, k.primary) for k in new.keys}
    for columns, primary in sorted(now - was):
        yield Change(Fault(f"{_kind(primary)} key added ({', '.join(columns)})", str(old.name)), True)
    for columns, primary in sorted(was - now):
        yield Change(Fault(f"{_kind(primary)} key dropped ({', '.join(columns)})", str(old.name)), False)
    if was == now and {k.name for k in old.keys} != {k.name for k in new.keys}:
        yield Change(Fault("keys renamed", str(old.name)), True)
    yield from _storage(old, new)


def _storage(old: Table, new: Table) -> Iterator[Change]:
    """What kind of table it is says how it is read; which partitions it has does not."""
    if old.partitions != new.partitions:
        yield Change(Fault("partitions changed", str(old.name)), bool(old.partitions) == bool(new.partitions))
    if old.inherited != new.inherited:
        what = "other tables inherit from it" if new.inherited else "no other table inherits from it any more"
        yield Change(Fault(what, str(old.name)), not new.inherited)
    if old.engine != new.engine:
        yield Change(Fault(f"storage engine changed from {old.engine} to {new.engine}", str(old.name)), False)


def _kind(primary: bool) -> str:
    return "primary" if primary else "unique"
