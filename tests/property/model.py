"""Random databases and random requests for them, the same on every kind of server.

A database is drawn rows first: keys, then foreign key values from the keys that exist, and only then are columns
declared NOT NULL, as far as the rows allow it and the draw wants it. So every declared constraint holds by
construction, also around cycles whose keys are all NOT NULL, and hypothesis shrinks towards few tables, few rows and
NULLs. What differs between servers (quoting, types, how a database is emptied) is in `Dialect`.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hypothesis import strategies as st
from msgspec import to_builtins

from airflow_subset_provider.core.schema import Column, ForeignKey, Key, Schema, Table, TableName
from airflow_subset_provider.core.spec import Spec

Draw = Callable[[st.SearchStrategy[Any]], Any]

KINDS = ("int", "text", "word", "uuid", "bigint")
ROW_COUNTS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, 7, 8)
# What a text key may hold and still be told apart under every collation.
TEXTS = ("a", "b'", "c%s", "d:e", 'f"', "g\\", "h i", "ä", "é\t", "j")
# What a key may hold that is compared without regard to case and accents.
WORDS = ("ab", "Bé", "c D", "é'")


class Dialect:
    """What of a random database's SQL differs between servers; the defaults are Postgres's."""

    name = "postgresql"
    schema = "public"
    other_schema = "other"
    types: ClassVar = {
        "int": "integer",
        "bigint": "bigint",
        "text": "text",
        "uuid": "uuid",
        "word": "text COLLATE public.words",
    }
    can_leave_unvalidated = True
    can_reference_groups = False  # columns that are not unique
    indexes = (
        "SELECT i.relname, x.indisunique, a.attname, x.indisvalid FROM pg_index x "
        "JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid "
        "JOIN pg_attribute a ON a.attrelid = i.oid "
        "WHERE c.relnamespace::regnamespace::text = {schema} AND c.relname = {table}"
    )

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def table(self, name: TableName) -> str:
        return f"{self.quote(name.schema)}.{self.quote(name.name)}"

    def columns(self, names: Sequence[str]) -> str:
        return ", ".join(map(self.quote, names))

    def literal(self, value: Any) -> str:
        if value is None:
            return "NULL"
        return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"

    def spellings(self, word: str) -> list[str]:
        """Texts that the server holds equal to this one."""
        return [word, word.upper(), word.replace("é", "e")]

    def folded(self, kind: str, value: Any) -> Any:
        """What is the same for values of that kind that the server holds equal."""
        if kind != "word" or value is None:
            return value
        return "".join(c for c in unicodedata.normalize("NFD", value.casefold()) if not unicodedata.combining(c))

    def empty(self) -> str:
        """Remove whatever an earlier example or the engine left behind."""
        return (
            "SET client_min_messages = warning; DO $$ DECLARE s text; BEGIN FOR s IN SELECT nspname FROM pg_namespace "
            "WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' "
            "LOOP EXECUTE format('DROP SCHEMA %I CASCADE', s); END LOOP; END $$; "
            f"CREATE SCHEMA {self.schema}; CREATE SCHEMA {self.other_schema}; "
            "CREATE COLLATION public.words (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
        )


@dataclass
class ColumnModel:
    """A column; `wants_not_null` becomes NOT NULL when no row stands against it."""

    name: str
    kind: str
    wants_not_null: bool = False
    nullable: bool = True


@dataclass(eq=False)
class TableModel:
    """A table with its rows. The keys are column tuples; `primary` is one of them or None.

    `groups` are columns that can be referenced, too, but have an index only: several rows may have the same values.
    With `indexed`, there is an index that no key needs.
    """

    name: TableName
    columns: dict[str, ColumnModel] = field(default_factory=dict)
    primary: tuple[str, ...] | None = None
    uniques: list[tuple[str, ...]] = field(default_factory=list)
    groups: list[tuple[str, ...]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    indexed: bool = False

    @property
    def keys(self) -> list[tuple[str, ...]]:
        return [*([self.primary] if self.primary else []), *self.uniques]

    @property
    def key_columns(self) -> set[str]:
        return {column for key in self.keys for column in key}

    def add(self, name: str, kind: str, *, not_null: bool = False) -> str:
        self.columns[name] = ColumnModel(name, kind, not_null)
        return name

    def values_of(self, key: tuple[str, ...]) -> list[tuple[Any, ...]]:
        """The values that a foreign key to this key may have."""
        found = [tuple(row[c] for c in key) for row in self.rows]
        return [values for values in found if None not in values]


@dataclass(eq=False)
class KeyModel:
    """A foreign key: `declared`, `unvalidated` (declared NOT VALID over what dangles), `virtual` or `polymorphic`."""

    name: str
    child: TableModel
    columns: tuple[str, ...]
    parent: TableModel
    parent_columns: tuple[str, ...]
    mode: str = "declared"
    type_column: str = ""
    type_value: str = ""

    @property
    def is_declared(self) -> bool:
        return self.mode in ("declared", "unvalidated")

    @property
    def to(self) -> str:
        return f"{self.parent.name.name}.{','.join(self.parent_columns)}"

    @property
    def source(self) -> str:
        return f"{self.child.name.name}.{','.join(self.columns)}"


@dataclass
class Model:
    """A database: tables in scope, one table out of scope, foreign keys."""

    tables: list[TableModel]
    outside: TableModel | None
    keys: list[KeyModel]

    @property
    def all_tables(self) -> list[TableModel]:
        return [*self.tables, *([self.outside] if self.outside else [])]

    def schema(self, dialect: Dialect) -> Schema:
        """What reflection should find, for the oracle."""
        return Schema(
            dialect=dialect.name,
            schemas=(dialect.schema,),
            tables=tuple(_reflected(table, dialect) for table in self.tables),
            foreign_keys=tuple(
                ForeignKey(k.name, k.child.name, k.columns, k.parent.name, k.parent_columns, k.mode == "declared")
                for k in self.keys
                if k.is_declared
            ),
        )

    def relations(self) -> dict[str, dict[str, Any]]:
        """The declarations of the virtual keys, as a request has them."""
        found: dict[str, dict[str, Any]] = {}
        for key in self.keys:
            if key.mode == "virtual":
                found[key.source] = {"to": key.to}
            elif key.mode == "polymorphic":
                entry = found.setdefault(key.source, {"type": key.type_column, "to": {}})
                entry["to"][key.type_value] = key.to
        return found

    def statements(self, dialect: Dialect, *, rows: bool) -> Iterator[str]:
        """CREATE TABLE, INSERT, ALTER TABLE ADD FOREIGN KEY, in that order."""
        for table in self.all_tables:
            yield _create(table, dialect)
            if table.indexed:
                name = dialect.quote(f"{table.name.name}_v")
                yield f"CREATE INDEX {name} ON {dialect.table(table.name)} ({dialect.columns(['v'])})"
            if rows and table.rows:
                yield _insert(table, dialect)
        for key in self.keys:
            if key.is_declared:
                yield _constrain(key, dialect)


def _reflected(table: TableModel, dialect: Dialect) -> Table:
    primary = (Key("primary", table.primary, primary=True),) if table.primary else ()
    return Table(
        name=table.name,
        columns=tuple(Column(c.name, dialect.types[c.kind], c.nullable) for c in table.columns.values()),
        keys=primary + tuple(Key(f"unique_{n}", columns) for n, columns in enumerate(table.uniques)),
    )


def _create(table: TableModel, dialect: Dialect) -> str:
    lines = [
        f"{dialect.quote(c.name)} {dialect.types[c.kind]}{'' if c.nullable else ' NOT NULL'}"
        for c in table.columns.values()
    ]
    lines += [f"PRIMARY KEY ({dialect.columns(table.primary)})"] if table.primary else []
    lines += [f"UNIQUE ({dialect.columns(columns)})" for columns in table.uniques]
    lines += [f"KEY ({dialect.columns(columns)})" for columns in table.groups]
    return f"CREATE TABLE {dialect.table(table.name)} ({', '.join(lines)})"


def _insert(table: TableModel, dialect: Dialect) -> str:
    rows = ", ".join(f"({', '.join(dialect.literal(row[c]) for c in table.columns)})" for row in table.rows)
    return f"INSERT INTO {dialect.table(table.name)} ({dialect.columns(list(table.columns))}) VALUES {rows}"


def _constrain(key: KeyModel, dialect: Dialect) -> str:
    validity = " NOT VALID" if key.mode == "unvalidated" else ""
    return (
        f"ALTER TABLE {dialect.table(key.child.name)} ADD CONSTRAINT {dialect.quote(key.name)} "
        f"FOREIGN KEY ({dialect.columns(key.columns)}) REFERENCES {dialect.table(key.parent.name)} "
        f"({dialect.columns(key.parent_columns)}){validity}"
    )


def value(kind: str, number: int) -> Any:
    """The value of that number; different numbers give different values."""
    if kind == "uuid":
        return uuid.UUID(int=number)
    if kind in ("text", "word"):
        texts = TEXTS if kind == "text" else WORDS
        return texts[number] if number < len(texts) else f"x{number}"
    return number


# Drawing a database ---------------------------------------------------------------------------------------------


def _chance(draw: Draw, one_in: int) -> bool:
    """True once in a while; shrinks to False."""
    return bool(draw(st.integers(0, one_in - 1)) == one_in - 1)


class _Builder:
    """Draws a model step by step: keys of all tables, their rows, foreign keys with their values, NOT NULL."""

    def __init__(self, draw: Draw, dialect: Dialect) -> None:
        self.draw, self.dialect = draw, dialect
        self.tables: list[TableModel] = []
        self.keys: list[KeyModel] = []
        self.outside: TableModel | None = None
        self.fixed: dict[str, set[str]] = {}

    def build(self) -> Model:
        pattern = self.draw(st.sampled_from(["t{}", "t{}", "t{}", "t{}", "T {}", "sélect{}'s"]))
        for number in range(self.draw(st.integers(1, 8))):
            table = TableModel(TableName(self.dialect.schema, pattern.format(number)))
            self._add_keys(table)
            if self.dialect.can_reference_groups:
                self._add_groups(table)
            table.add("v", "int")
            table.indexed = self.draw(st.booleans())
            self.tables.append(table)
            for key in self._key_that_is_foreign(table):
                self.keys.append(key)
            self._fill_keys(table)
        for table in self.tables:
            for _ in range(self.draw(st.sampled_from([0, 1, 2, 3, 2]))):
                self._add_foreign_key(table)
        self._repeat_rows()
        self._declare_not_null()
        return Model(self.tables, self.outside, self.keys)

    def _add_keys(self, table: TableModel) -> None:
        style = self.draw(st.sampled_from(["id", "id", "id", "id", "composite", "composite", "none"]))
        if style == "id":
            kind = self.draw(st.sampled_from(KINDS[:4]))
            table.primary = (table.add("id", kind, not_null=True),)
        elif style == "composite":
            kind = self.draw(st.sampled_from(KINDS[:3]))
            table.primary = (table.add("k1", "int", not_null=True), table.add("k2", kind, not_null=True))
        extra = self.draw(st.sampled_from(["none", "none", "none", "one", "two"]))
        not_null = self.draw(st.booleans())
        if extra == "one":
            kind = self.draw(st.sampled_from(KINDS))
            table.uniques.append((table.add("u", kind, not_null=not_null),))
        elif extra == "two":
            columns = (
                table.add("u1", "int", not_null=not_null),
                table.add("u2", "int", not_null=self.draw(st.booleans())),
            )
            table.uniques.append(columns)

    def _add_groups(self, table: TableModel) -> None:
        """A column of its own, or the first of a key of two."""
        style = self.draw(st.sampled_from(["none", "none", "own", "first of a key"]))
        if style == "own":
            table.groups.append((table.add("g", self.draw(st.sampled_from(KINDS[:3]))),))
        elif style != "none":
            table.groups += [key[:1] for key in table.keys if len(key) > 1]

    def _key_that_is_foreign(self, table: TableModel) -> Iterator[KeyModel]:
        """Now and then the primary key, or a nullable unique key, is itself a foreign key to an earlier table."""
        parents = [parent for parent in self.tables[:-1] if parent.keys]
        if not parents or not _chance(self.draw, 6):
            return
        parent = self.draw(st.sampled_from(parents))
        parent_columns = self.draw(st.sampled_from(parent.keys))
        not_null = table.primary is None or self.draw(st.booleans())
        columns = tuple(
            table.add(f"p{n}", parent.columns[c].kind, not_null=not_null) for n, c in enumerate(parent_columns)
        )
        key = columns + ((table.add("pn", "int", not_null=not_null),) if self.draw(st.booleans()) else ())
        if table.primary is None:
            table.primary = key
        else:
            table.uniques.append(key)
        yield KeyModel(f"{table.name.name}_pfk", table, columns, parent, parent_columns)

    def _fill_keys(self, table: TableModel) -> None:
        """The rows, with key columns and `v` only; rows that repeat a key are left out."""
        seen: dict[tuple[str, ...], set[tuple[Any, ...]]] = {key: set() for key in table.keys}
        foreign = next((key for key in self.keys if key.child is table), None)
        for number in range(self.draw(st.sampled_from(ROW_COUNTS))):
            row: dict[str, Any] = {"v": self._plain_value()}
            if foreign and not self._take_from_parent(row, foreign):
                continue
            for name in table.key_columns & {"k1", "pn", "u1"}:
                row[name] = value("int", self.draw(st.integers(0, 2)))
            for name in table.key_columns & {"id", "k2", "u", "u2"}:
                row[name] = value(table.columns[name].kind, number + 1)
            for name in sorted(table.key_columns & {"u", "u1", "u2", "pn"}):
                if not table.columns[name].wants_not_null and _chance(self.draw, 3):
                    row[name] = None
            if "g" in table.columns:
                kind = table.columns["g"].kind
                row["g"] = self._spelled(kind, self.draw(st.sampled_from([value(kind, n) for n in range(3)] + [None])))
            values = {key: self._folded(table, key, row) for key in table.keys}
            if all(None in values[key] or values[key] not in seen[key] for key in table.keys):
                table.rows.append(row)
                for key, taken in values.items():
                    seen[key].add(taken)

    def _folded(self, table: TableModel, columns: Sequence[str], row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(self.dialect.folded(table.columns[c].kind, row[c]) for c in columns)

    def _spelled(self, kind: str, value: Any) -> Any:
        """The value, or another that the server holds equal."""
        return self.draw(st.sampled_from(self.dialect.spellings(value))) if kind == "word" and value else value

    def _plain_value(self) -> int | None:
        number = self.draw(st.integers(0, 4))
        return number if number < 4 else None

    def _take_from_parent(self, row: dict[str, Any], key: KeyModel) -> bool:
        choices: list[tuple[Any, ...]] = key.parent.values_of(key.parent_columns)
        if not key.child.columns[key.columns[0]].wants_not_null:
            choices = [(None,) * len(key.columns), *choices]
        if choices:
            chosen = self.draw(st.sampled_from(choices))
            row.update(
                (c, self._spelled(key.child.columns[c].kind, v)) for c, v in zip(key.columns, chosen, strict=True)
            )
        return bool(choices)

    def _add_foreign_key(self, table: TableModel) -> None:
        parents = [parent for parent in self.tables if parent.keys]
        mode = self.draw(st.sampled_from(["declared"] * 9 + ["virtual", "polymorphic", "unvalidated", "outside"]))
        if mode == "outside":
            self._fill_foreign_key(self._new_key(table, self._outside(), ("id",), "declared"))
        elif mode == "polymorphic":
            self._add_polymorphic_key(table)
        elif parents:
            if mode == "unvalidated" and not self.dialect.can_leave_unvalidated:
                mode = "virtual"
            parent = self.draw(st.sampled_from(parents))
            referenced = parent.keys + (parent.groups if mode == "declared" else [])
            key = self._new_key(table, parent, self.draw(st.sampled_from(referenced)), mode)
            self._fill_foreign_key(key)

    def _outside(self) -> TableModel:
        if not self.outside:
            self.outside = TableModel(TableName(self.dialect.other_schema, "outside"))
            self.outside.primary = (self.outside.add("id", "int", not_null=True),)
            self.outside.rows = [{"id": number} for number in range(1, 4)]
        return self.outside

    def _new_key(self, table: TableModel, parent: TableModel, parent_columns: tuple[str, ...], mode: str) -> KeyModel:
        """With new columns; sometimes one column is shared with the table's own key or with another foreign key."""
        number = 1 + len(self.keys)
        not_null = self.draw(st.booleans())
        columns: list[str] = []
        for position, parent_column in enumerate(parent_columns):
            kind = parent.columns[parent_column].kind
            shared = self._shareable(table, kind, columns, whole=len(parent_columns) == 1) if position == 0 else []
            if mode == "declared" and shared and _chance(self.draw, 4):
                columns.append(self.draw(st.sampled_from(shared)))
            else:
                suffix = f"_{position}" if position else ""
                columns.append(table.add(f"f{number}{suffix}", kind, not_null=not_null))
        key = KeyModel(f"{table.name.name}_fk{number}", table, tuple(columns), parent, parent_columns, mode)
        self.keys.append(key)
        return key

    def _shareable(self, table: TableModel, kind: str, taken: list[str], *, whole: bool) -> list[str]:
        """Columns a new key may share; a key of one column shares no column that can never become NULL."""
        own = {c for key in self.keys if key.child is table and key.is_declared for c in key.columns}
        usable = (own - table.key_columns) if whole else (own | table.key_columns)
        return [c for c in table.columns if c in usable and c not in taken and table.columns[c].kind == kind]

    def _fill_foreign_key(self, key: KeyModel) -> None:
        choices = key.parent.values_of(key.parent_columns)
        for row in key.child.rows:
            free = [c for c in key.columns if c not in row]
            fixed = [c for c in key.columns if c in row]
            fitting = [
                chosen
                for chosen in choices
                for wanted in [dict(zip(key.columns, chosen, strict=True))]
                if self._folded(key.child, fixed, wanted) == self._folded(key.child, fixed, row)
            ]
            row.update(self._draw_reference(key, free, fitting))
            if not free and not fitting and None not in [row[c] for c in fixed]:
                row[next(c for c in key.columns if c not in key.child.key_columns)] = None

    def _draw_reference(self, key: KeyModel, free: list[str], fitting: list[tuple[Any, ...]]) -> dict[str, Any]:
        """One reference; the NULL comes first, so that shrinking ends there."""
        if not free:
            return {}
        columns = key.child.columns
        options: list[dict[str, Any]] = [dict.fromkeys(free)]
        if fitting and columns[free[0]].wants_not_null:
            options.clear()
        options += [{c: v for c, v in zip(key.columns, chosen, strict=True) if c in free} for chosen in fitting]
        if key.mode in ("virtual", "unvalidated"):
            options.append({c: value(columns[c].kind, 77) for c in free})
        if len(free) > 1 and not columns[free[0]].wants_not_null:
            options += [option | {free[0]: None} for option in options[1:2]]
            options += [option | {free[-1]: None} for option in options[1:2]]
        chosen = self.draw(st.sampled_from(options))
        return {c: self._spelled(columns[c].kind, v) for c, v in chosen.items()}

    def _add_polymorphic_key(self, table: TableModel) -> None:
        """A type column and two parents whose keys are of one type."""
        single = [(parent, key) for parent in self.tables for key in parent.keys if len(key) == 1]
        if not single:
            return
        first, first_key = self.draw(st.sampled_from(single))
        kind = first.columns[first_key[0]].kind
        alike = [(parent, key) for parent, key in single if parent.columns[key[0]].kind == kind]
        of, values = self.draw(st.sampled_from([("text", ["A", "B", "C"]), ("int", [1, 2, 3])]))
        branches = {str(values[0]): (first, first_key), str(values[1]): self.draw(st.sampled_from(alike))}
        number = 1 + len(self.keys)
        type_column, column = table.add(f"f{number}_type", of), table.add(f"f{number}", kind)
        for type_value, (parent, key) in branches.items():
            name = f"{table.name.name}_{type_value}{number}"
            self.keys.append(KeyModel(name, table, (column,), parent, key, "polymorphic", type_column, type_value))
        targets = [None, *(v for parent, key in branches.values() for (v,) in parent.values_of(key))]
        for row in table.rows:
            row[type_column] = self.draw(st.sampled_from([*values, None]))
            row[column] = self._spelled(kind, self.draw(st.sampled_from(targets)))

    def _repeat_rows(self) -> None:
        """Tables without any key may hold the same row twice."""
        for table in self.tables:
            if not table.keys:
                table.rows += [dict(row) for row in table.rows[: self.draw(st.integers(0, 2))]]

    def _declare_not_null(self) -> None:
        for table in self.tables:
            if table.primary and any(row[c] is None for row in table.rows for c in table.primary):
                table.uniques.append(table.primary)
                table.primary = None
            for column in table.columns.values():
                filled = all(row[column.name] is not None for row in table.rows)
                column.nullable = not (column.wants_not_null and filled)
        if self.outside:
            self.outside.columns["id"].nullable = False


# Drawing a request ----------------------------------------------------------------------------------------------


class Example:
    """A database, a request for it, and the server's dialect; its repr is what is needed to try it by hand."""

    def __init__(self, model: Model, spec: Spec, dialect: Dialect) -> None:
        self.model, self.spec, self.dialect = model, spec, dialect

    def __repr__(self) -> str:
        script = ";\n".join(self.model.statements(self.dialect, rows=True))
        plain, default = to_builtins(self.spec), to_builtins(Spec())
        set_fields = {name: value for name, value in plain.items() if value != default[name]}
        return f"Example(\n{script};\n-- Spec.of(**{set_fields!r})\n)"


@st.composite
def examples(draw: Draw, dialect: Dialect) -> Example:
    """Any database with any request."""
    model = _Builder(draw, dialect).build()
    return Example(model, Spec.of(**_request(draw, model, dialect)), dialect)


def _request(draw: Draw, model: Model, dialect: Dialect) -> dict[str, Any]:
    names = [table.name.name for table in model.tables]
    filters, sample = {}, {}
    parents = [key.parent for key in model.keys if key.parent in model.tables and key.parent.rows]
    for _ in range(draw(st.sampled_from([1, 2, 2, 3, 3, 4, 1, 0]))):
        table = draw(st.sampled_from(model.tables if not parents or _chance(draw, 3) else parents))
        if _chance(draw, 10):
            sample[table.name.name] = _sample(draw, table)
            if draw(st.booleans()):
                continue
        filters[table.name.name] = _clause(draw, model, table, dialect)
    sample = {name: size for name, size in sample.items() if size is not None}
    policies = st.sampled_from(["include", "include", "null", "drop"])
    return {
        "filters": filters,
        "sample": sample,
        "others": draw(st.sampled_from(["whole", "whole", "referenced", "referenced", "skip"])),
        "references": draw(policies),
        "relations": _relations(draw, model, dialect),
        "tables": _table_rules(draw, names, dialect, {*filters, *sample}),
        "referential_integrity": not _chance(draw, 15),
    }


def _sample(draw: Draw, table: TableModel) -> int | str | None:
    """A count needs a key order, so tables that have no key of NOT NULL columns get none."""
    named = table.primary or any(not any(table.columns[c].nullable for c in key) for key in table.uniques)
    return draw(st.sampled_from([1, 2, 5, 0, "40%", "70%", "100%"])) if named else None


def _clause(draw: Draw, model: Model, table: TableModel, dialect: Dialect) -> str:
    """A WHERE clause: on a plain column, on a key, on a foreign key, or with a subquery on another table."""
    q = dialect.quote
    numeric = [c for c in ("id", "k1", "k2", "u") if c in table.columns and table.columns[c].kind in ("int", "bigint")]
    foreign = [key for key in model.keys if key.child is table and key.parent in model.tables]
    clauses = [f"{q('v')} <> 1", f"{q('v')} % 3 = 1", f"{q('v')} IS NULL", f"{q('v')} = 0 OR {q('v')} = 3"]
    clauses += [f"{q(c)} <= {draw(st.integers(1, 6))}" for c in numeric * 2]
    clauses += [f"{q(key.columns[0])} IS {negation}NULL" for key in foreign for negation in ("", "NOT ")]
    clauses += [
        f"({dialect.columns(key.columns)}) IN (SELECT {dialect.columns(key.parent_columns)} "
        f"FROM {dialect.table(key.parent.name)} WHERE {q('v')} < 2)"
        for key in foreign
    ]
    clauses += ["1 = 1", "1 = 0"]
    chosen: str = draw(st.sampled_from(clauses))
    return chosen


def _relations(draw: Draw, model: Model, dialect: Dialect) -> dict[str, dict[str, Any]]:
    """The virtual keys' declarations, and settings for single keys, for all keys of a table, or for a constraint."""
    relations = model.relations()
    for key in model.keys:
        if not _chance(draw, 5):
            continue
        setting: dict[str, Any] = {}
        choice = draw(st.integers(0, 3))
        if choice != 1:
            setting["references"] = draw(st.sampled_from(["null", "drop", "include"]))
        if choice in (1, 2):
            setting["follow"] = not _chance(draw, 2) if choice == 2 else False
        spellings = [key.source, f"{dialect.schema}.{key.source}", f"{key.child.name.name}.*"]
        twins = [k for k in model.keys if (k.columns, k.to, k.child) == (key.columns, key.to, key.child)]
        spellings += [key.name] if len(twins) == 1 else []
        pattern = draw(st.sampled_from(spellings)) if key.is_declared else key.source
        relations[pattern] = relations.get(pattern, {}) | setting
    return relations


def _table_rules(draw: Draw, names: list[str], dialect: Dialect, filtered: set[str]) -> dict[str, str]:
    """Overrides; never one that names a filtered table exactly, which is a fault of the request."""
    rules: dict[str, str] = {}
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        name = draw(st.sampled_from(names))
        exact = [] if name in filtered else [name, f"{dialect.schema}.{name}"]
        pattern = draw(st.sampled_from([*exact * 2, "*", f"{dialect.schema}.*", f"*{name[1:]}"]))
        rules[pattern] = draw(st.sampled_from(["skip", "whole", "referenced", "skip", "relevant"]))
    return rules
