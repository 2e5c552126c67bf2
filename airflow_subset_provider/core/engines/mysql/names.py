"""The target's schema under the source's names: its database may have another one, and case may say nothing.

Names of columns never differ by case alone on these servers; those of tables and databases do not where a server keeps
them in small letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from airflow_subset_provider.core.schema import ForeignKey, Key, Schema, Table, TableName

Known = Mapping[TableName, Table]


def respelled(found: Schema, schemas: Sequence[str], databases: Mapping[str, str], known: Known) -> Schema:
    """The schema as the source spells it, as far as that has the same tables and columns.

    Args:
        schemas: the source's.
        databases: the source's name of each database.
        known: the source's tables by their names on this side.
    """

    def there(name: TableName) -> TableName:
        here = TableName(databases.get(name.schema, name.schema), name.name)
        return known[name].name if name in known else here

    tables = tuple(_table(t, there(t.name), _columns(known.get(t.name))) for t in found.tables)
    keys = tuple(_foreign_key(k, there(k.child), there(k.parent), known) for k in found.foreign_keys)
    return Schema(found.dialect, tuple(schemas), tables, keys, found.server)


def spelled(names: Sequence[str], table: Table | None) -> tuple[str, ...]:
    """The names of its columns as the table itself has them."""
    return _spelled(names, _columns(table))


def _columns(table: Table | None) -> dict[str, str]:
    return {c.name.lower(): c.name for c in table.columns} if table else {}


def _spelled(names: Sequence[str], columns: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(columns.get(name.lower(), name) for name in names)


def _table(table: Table, name: TableName, columns: Mapping[str, str]) -> Table:
    return replace(
        table,
        name=name,
        columns=tuple(replace(c, name=columns.get(c.name.lower(), c.name)) for c in table.columns),
        keys=tuple(Key(k.name, _spelled(k.columns, columns), k.primary) for k in table.keys),
    )


def _foreign_key(key: ForeignKey, child: TableName, parent: TableName, known: Known) -> ForeignKey:
    mine, theirs = spelled(key.columns, known.get(key.child)), spelled(key.parent_columns, known.get(key.parent))
    return ForeignKey(key.name, child, mine, parent, theirs)
