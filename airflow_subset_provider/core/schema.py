"""The reflected schema as plain, frozen data: what every later stage reads instead of a database.

A `Schema` crosses from reflection (which needs a server) to planning (which must not need one), and through
the catalog file to every DAG parse, so it holds names, types and keys only: no rows, no secrets. Keys are
tuples of columns always; a foreign key pairs `columns[i]` with `parent_columns[i]`.

Plain data is msgspec's Structs, here and in the rest of the package: a frozen dataclass takes a millisecond to define,
and a worker imports thirty of them for every task.
"""

from __future__ import annotations

import hashlib
import json
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct
from msgspec.structs import asdict, replace

from airflow_subset_provider.core.errors import Fault, RequestError

if TYPE_CHECKING:
    import zipfile

CATALOG_VERSION = 1


class TableName(NamedTuple):
    """A table's schema (on MySQL: database) and name, both as the server spells them, unquoted."""

    schema: str
    name: str

    def __str__(self) -> str:
        """`schema.name`, for people; never for SQL."""
        return f"{self.schema}.{self.name}"


class Column(Struct, frozen=True, gc=False):
    """One column.

    Attributes:
        type: the server's own spelling of the type with its modifiers, usable in CAST.
        generated: the server computes it; it is never written.
        default: it has a default, an identity or a sequence of its own.
        binary: its binary COPY form means the same on any other server of this kind.
        collation: the column's own, as SQL spells it; "" for its type's. On MySQL and MariaDB it is part of the type.
    """

    name: str
    type: str
    nullable: bool = True
    generated: bool = False
    default: bool = False
    binary: bool = True
    collation: str = ""


class Key(Struct, frozen=True):
    """A primary key, unique constraint or plain unique index: columns whose values name one row."""

    name: str
    columns: tuple[str, ...]
    primary: bool = False


class ForeignKey(Struct, frozen=True):
    """A reference from child (referencing) to parent (referenced) table.

    Attributes:
        columns: the child's columns, paired by position with `parent_columns`.
        validated: the server has checked it against all rows.
        virtual: declared by the user, unknown to the server.
        only_on: names of the partitions that carry it, where the partitioned table itself does not.
        when: for a polymorphic reference, (column, value) pairs of the child that must hold for it to be a reference.
        also: names of further constraints that say the same, on the table or on its partitions.
    """

    name: str
    child: TableName
    columns: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    validated: bool = True
    virtual: bool = False
    only_on: tuple[str, ...] = ()
    when: tuple[tuple[str, str], ...] = ()
    also: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """`child(a, b) -> parent`, for people."""
        return f"{self.child}({', '.join(self.columns)}) -> {self.parent}"

    @property
    def on_itself(self) -> bool:
        """Whether the table references itself."""
        return self.child == self.parent


class Table(Struct, frozen=True):
    """One table; partitions are folded into their root.

    Attributes:
        partitions: schema-qualified names of all leaf partitions of a partitioned table.
        inherited: other tables inherit from it (not as partitions), so it must be read with ONLY.
        engine: the storage engine, where the server has several (MySQL), else "".
        rows: the server's estimate, -1 where it has none; not part of the fingerprint.
    """

    name: TableName
    columns: tuple[Column, ...]
    keys: tuple[Key, ...] = ()
    partitions: tuple[str, ...] = ()
    inherited: bool = False
    engine: str = ""
    rows: int = -1

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return next((c for c in self.columns if c.name == name), None)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The primary key's columns; empty when there is none."""
        return next((k.columns for k in self.keys if k.primary), ())

    @property
    def identity(self) -> tuple[str, ...]:
        """Columns that name every row: the primary key, else the first unique key without nullable columns, else ()."""
        nullable = {c.name for c in self.columns if c.nullable}
        return self.primary_key or next((k.columns for k in self.keys if not nullable & set(k.columns)), ())

    def tells_apart(self, columns: Iterable[str]) -> bool:
        """Whether no two rows have the same values in these columns (rows with a NULL there aside)."""
        return any(set(columns).issuperset(key.columns) for key in self.keys)

    @property
    def copied(self) -> tuple[Column, ...]:
        """The columns a copy writes: all but the generated ones."""
        return tuple(c for c in self.columns if not c.generated)

    def storing(self, names: Iterable[str]) -> Table:
        """The table as one that stores these columns: what they are in a temporary table, which generates none."""
        stored = set(names)
        columns = (replace(c, generated=c.generated and c.name not in stored) for c in self.columns)
        return replace(self, columns=tuple(columns))


class Schema(Struct, frozen=True, dict=True):
    """All tables in scope with their foreign keys, sorted by name; keys to tables out of scope included.

    Attributes:
        dialect: the engine's name, "postgresql" or "mysql" or "mariadb".
        schemas: the schemas that were asked for.
        components: the strongly connected components of its foreign keys, parents first, where `graph.condensed` has
            worked them out. They follow from the rest, and are kept with it because every DAG parse needs them.
    """

    dialect: str
    schemas: tuple[str, ...]
    tables: tuple[Table, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    server: str = ""
    components: tuple[tuple[TableName, ...], ...] = ()

    @cached_property
    def _by_name(self) -> dict[TableName, Table]:
        return {t.name: t for t in self.tables}

    def __contains__(self, name: TableName) -> bool:
        """Whether the table is in scope."""
        return name in self._by_name

    def __getitem__(self, name: TableName) -> Table:
        """The table of that name; KeyError when it is out of scope."""
        return self._by_name[name]

    @cached_property
    def by_child(self) -> dict[TableName, tuple[ForeignKey, ...]]:
        """Every table's own foreign keys."""
        found: dict[TableName, list[ForeignKey]] = {t.name: [] for t in self.tables}
        for key in self.foreign_keys:
            found[key.child].append(key)
        return {name: tuple(keys) for name, keys in found.items()}

    @cached_property
    def fingerprint(self) -> str:
        """A hash over all that shapes a plan: not over estimates, the server's version or the order of things."""
        shape = self._as_dict()
        del shape["server"]
        for table in shape["tables"]:
            del table["rows"]
            table["keys"] = sorted(table["keys"], key=itemgetter("name"))
        shape["schemas"].sort()
        shape["tables"].sort(key=itemgetter("name"))
        shape["foreign_keys"].sort(key=json.dumps)
        return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The catalog file's text: one table or key a line, so that a diff of two catalogs reads well."""
        shape = self._as_dict()
        lists = {"tables": shape.pop("tables"), "foreign_keys": shape.pop("foreign_keys")}
        if self.components:
            lists["components"] = self.components
        head = json.dumps({"catalog_version": CATALOG_VERSION, "fingerprint": self.fingerprint, **shape})[:-1]
        return head + "".join(f',\n"{name}": {_lines(items)}' for name, items in lists.items()) + "}\n"

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Read a catalog file's text.

        Raises:
            ValueError: it is no catalog, or of a version this package does not read, or it contradicts itself.
        """
        try:
            shape = json.loads(text)
            if not isinstance(shape, dict) or shape.get("catalog_version") != CATALOG_VERSION:
                raise ValueError(f"not a catalog of version {CATALOG_VERSION}")
            found = _schema(shape)
            as_written = found.fingerprint == shape.get("fingerprint")
            wrong = [] if as_written else list(_contradictions(found))  # edited or merged by hand?
        except KeyError as error:
            raise ValueError(f"{error} is missing") from None
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(str(error)) from None
        if wrong:
            raise ValueError("; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""))
        # Edited, the components may be another graph's; the fingerprint says nothing of themselves.
        return found if as_written and found._is_partitioned else replace(found, components=())

    @property
    def _is_partitioned(self) -> bool:
        """Whether each table is in one of the components."""
        members = [t for component in self.components for t in component]
        return len(members) == len(self._by_name) and self._by_name.keys() == set(members)

    @classmethod
    def read(cls, path: Path | zipfile.Path, remedy: str) -> Schema:
        """The schema in a catalog file.

        Args:
            path: the file, or the member of an archive.
            remedy: how the user makes the file anew.

        Raises:
            RequestError: there is no such file, or it is no catalog of this version.
        """
        try:
            return cls.from_json(path.read_bytes().removeprefix(BOM_UTF8).decode())  # some editors begin a file with it
        except OSError as error:
            fault = Fault(f"cannot be read: {error.strerror}", f"catalog {path}", remedy)
        except ValueError as error:
            fault = Fault(
                f"is not a catalog of this version, or not as it was made: {error}", f"catalog {path}", remedy
            )
        raise RequestError(fault)

    def _as_dict(self) -> dict[str, Any]:
        return {
            "dialect": self.dialect,
            "schemas": list(self.schemas),
            "server": self.server,
            "tables": [_table_dict(t) for t in self.tables],
            "foreign_keys": [asdict(k) for k in self.foreign_keys],
        }


def _schema(shape: dict[str, Any]) -> Schema:
    return Schema(
        dialect=shape["dialect"],
        schemas=tuple(shape["schemas"]),
        server=shape["server"],
        tables=tuple(_table(t) for t in shape["tables"]),
        foreign_keys=tuple(_foreign_key(k) for k in shape["foreign_keys"]),
        components=tuple(tuple(TableName(*t) for t in c) for c in shape.get("components", ())),
    )


def _contradictions(schema: Schema) -> Iterator[str]:
    """What no server says of itself. A key to a table that is not there is none: it is out of scope."""
    columns: dict[TableName, list[str]] = {}
    for table in schema.tables:
        if table.name in columns:
            yield f"{table.name} is there twice"
        names = columns[table.name] = [c.name for c in table.columns]
        if len(set(names)) < len(names):
            yield f"{table.name} has two columns of one name"
        for own in table.keys:
            yield from _unknown(own.columns, names, f"key {own.name} of {table.name}")
    for key in schema.foreign_keys:
        where = f"foreign key {key.name} of {key.child}"
        if key.child not in columns:
            yield f"{where}: there is no such table"
            continue
        yield from _unknown(key.columns, columns[key.child], where)
        yield from _unknown(
            key.parent_columns, columns.get(key.parent, key.parent_columns), f"{where}, in {key.parent}"
        )
        if len(key.columns) != len(key.parent_columns):
            yield f"{where}: ({', '.join(key.columns)}) cannot reference ({', '.join(key.parent_columns)})"


def _unknown(columns: Sequence[str], known: Sequence[str], where: str) -> Iterator[str]:
    if not columns:
        yield f"{where}: it names no column"
    yield from (f"{where}: there is no column {c}" for c in columns if c not in known)


def _table_dict(table: Table) -> dict[str, Any]:
    return asdict(table) | {"columns": [_column(c) for c in table.columns], "keys": [asdict(k) for k in table.keys]}


def _column(column: Column) -> dict[str, Any]:
    """Few columns have a collation of their own: the others do not speak of it."""
    shape = asdict(column)
    if not column.collation:
        del shape["collation"]
    return shape


def _lines(items: Iterable[Any]) -> str:
    return "[\n" + ",\n".join(json.dumps(item) for item in items) + "\n]"


def _table(shape: dict[str, Any]) -> Table:
    return Table(
        **shape
        | {
            "name": TableName(*shape["name"]),
            "columns": tuple(Column(**c) for c in shape["columns"]),
            "keys": tuple(Key(**k | {"columns": tuple(k["columns"])}) for k in shape["keys"]),
            "partitions": tuple(shape["partitions"]),
        }
    )


def _foreign_key(shape: dict[str, Any]) -> ForeignKey:
    return ForeignKey(
        **shape
        | {
            "child": TableName(*shape["child"]),
            "parent": TableName(*shape["parent"]),
            "columns": tuple(shape["columns"]),
            "parent_columns": tuple(shape["parent_columns"]),
            "only_on": tuple(shape["only_on"]),
            "when": tuple((c, v) for c, v in shape["when"]),
            "also": tuple(shape["also"]),
        }
    )
