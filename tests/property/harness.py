"""One random example, from SQL text to a verdict: fill two databases, run the engine, hold the target to the oracle.

The engine crosses this boundary only as a callable, so the same harness checks a deliberately broken engine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from airflow_subset_provider.core.errors import RequestError
from airflow_subset_provider.core.run import Endpoint, subset
from airflow_subset_provider.core.schema import ForeignKey, Schema, TableName
from airflow_subset_provider.core.spec import Spec
from tests import oracle
from tests.property.model import Dialect, Example, TableModel

Connection = psycopg.Connection[tuple[Any, ...]]
Engine = Callable[[Spec, Endpoint, Endpoint], Any]
Contents = dict[TableName, Counter[tuple[Any, ...]]]


def run_engine(spec: Spec, source: Endpoint, target: Endpoint) -> Any:
    """The engine as a user has it."""
    return subset(spec, source, target, schema=None, replace_existing=True)


class Pair:
    """A source and a target database that examples are written into, one after the other."""

    def __init__(self, source: Mapping[str, Any], target: Mapping[str, Any], engine: Engine = run_engine) -> None:
        # Compiling the engine's queries takes longer than running them on a handful of rows.
        source, target = ({**params, "options": "-c jit=off"} for params in (source, target))
        # Tables of one name change their columns from example to example, which prepared statements do not survive.
        self.source = psycopg.connect(**source, autocommit=True, prepare_threshold=None)
        self.target = psycopg.connect(**target, autocommit=True, prepare_threshold=None)
        self.endpoints = (_endpoint(source, "source"), _endpoint(target, "target"))
        self.engine = engine

    def close(self) -> None:
        self.source.close()
        self.target.close()

    def fill_source(self, example: Example) -> None:
        _execute(self.source, [example.dialect.empty(), *example.model.statements(example.dialect, rows=True)])

    def empty_target(self, example: Example) -> None:
        """The example's tables and constraints, without rows."""
        _execute(self.target, [example.dialect.empty(), *example.model.statements(example.dialect, rows=False)])

    def expected(self, example: Example) -> oracle.Subset:
        schema = example.model.schema(example.dialect)
        rows = {table.name: list(read(self.source, table, example.dialect)) for table in example.model.tables}
        return oracle.subset(schema, example.spec, rows, self._answers(example, schema, rows), _matches(example, rows))

    def check(self, example: Example) -> oracle.Subset:
        """Run the engine and compare; AssertionError says which table differs and how."""
        self.fill_source(example)
        expected = self.expected(example)
        self.empty_target(example)
        if not self._run(example.spec):
            assert not any(expected.kept.values()), "rows should be kept, but nothing would be copied"
            return expected
        differences = [
            f"{table.name} ({', '.join(table.columns)}): missing {dict(want - got)}, surplus {dict(got - want)}"
            for table in example.model.tables
            for want in [expected.kept[table.name]]
            for got in [Counter(tuple(row.values()) for row in read(self.target, table, example.dialect))]
            if want != got
        ]
        assert not differences, "\n".join([*differences, f"rules: {rules_of(expected)}"])
        self._check_outside(example)
        self._check_constraints(example)
        self._check_indexes(example)
        return expected

    def _answers(self, example: Example, schema: Schema, rows: oracle.Rows) -> dict[TableName, set[int]]:
        """The rows that satisfy WHERE and sample of each filtered table, by the database."""
        spec, found = example.spec, {}
        for table in example.model.tables:
            name = table.name.name
            if name in spec.filters or name in spec.sample:
                answer = Counter(self._answer(example, schema, table))
                found[table.name] = {n for n, row in enumerate(rows[table.name]) if tuple(row.values()) in answer}
        return found

    def _answer(self, example: Example, schema: Schema, table: TableModel) -> list[tuple[Any, ...]]:
        clause = example.spec.filters.get(table.name.name, "1 = 1")
        size = example.spec.sample.get(table.name.name)
        order = ""
        if isinstance(size, int):
            order = f" ORDER BY {example.dialect.columns(schema[table.name].identity)} LIMIT {size}"
        answer = _select(self.source, table, example.dialect, f"WHERE ({clause}){order}")
        if isinstance(size, str):
            sampled = self._sampled(example, table, size)
            answer = [row for row in answer if row in sampled]
        return answer

    def _sampled(self, example: Example, table: TableModel, size: str) -> set[tuple[Any, ...]]:
        """Which rows a percentage means is the engine's own secret: ask it for this one table alone."""
        spec = Spec.of(
            sample={table.name.name: size}, seed=example.spec.seed, others="skip", referential_integrity=False
        )
        self.empty_target(example)
        return set(_select(self.target, table, example.dialect)) if self._run(spec) else set()

    def _run(self, spec: Spec) -> bool:
        """Run the engine; False when it refuses because no row answers the request."""
        try:
            self.engine(spec, *self.endpoints)
        except RequestError as error:
            if "nothing would be copied" not in str(error):
                raise
            return False
        return True

    def _check_outside(self, example: Example) -> None:
        if example.model.outside:
            assert not _select(self.target, example.model.outside, example.dialect), "a table out of scope was written"

    def _check_constraints(self, example: Example) -> None:
        """Every constraint is there, validated as in the source, and nothing dangles under it; but with referential
        integrity off, foreign keys may be left unvalidated."""
        schemas = [example.dialect.schema, example.dialect.other_schema]
        before, after = constraints(self.source, schemas), constraints(self.target, schemas)
        if not example.spec.referential_integrity:
            assert after.keys() == before.keys()
            return
        assert after == before, f"constraints differ: {set(before.items()) ^ set(after.items())}"
        for key in example.model.schema(example.dialect).foreign_keys:
            if key.validated:
                dangling = self.target.execute(dangling_query(key, example.dialect)).fetchall()  # type: ignore[arg-type]
                assert not dangling, f"{key.label} dangles: {dangling}"

    def _check_indexes(self, example: Example) -> None:
        """All are there again, whether they were dropped for the load or not."""
        for table in example.model.tables:
            before, after = (indexes(end, table.name, example.dialect) for end in (self.source, self.target))
            assert after == before, f"indexes of {table.name} differ: {before ^ after}"


def indexes(connection: Connection, table: TableName, dialect: Dialect) -> set[tuple[Any, ...]]:
    """Name, uniqueness and column of all columns of all indexes."""
    query = dialect.indexes.format(schema=dialect.literal(table.schema), table=dialect.literal(table.name))
    return set(connection.execute(query).fetchall())  # type: ignore[arg-type]


def _matches(example: Example, rows: oracle.Rows) -> oracle.Matches:
    """Which values of a foreign key and of what it references are the same, spelled alike or not."""
    kinds = {table.name: {c.name: c.kind for c in table.columns.values()} for table in example.model.tables}

    def values(table: TableName, columns: tuple[str, ...]) -> dict[tuple[Any, ...], set[tuple[Any, ...]]]:
        found: dict[tuple[Any, ...], set[tuple[Any, ...]]] = {}
        for row in rows[table]:
            folded = tuple(example.dialect.folded(kinds[table][c], row[c]) for c in columns)
            found.setdefault(folded, set()).add(tuple(row[c] for c in columns))
        return found

    def matches(key: ForeignKey) -> dict[tuple[Any, ...], set[tuple[Any, ...]]]:
        referenced = values(key.parent, key.parent_columns)
        referencing = values(key.child, key.columns)
        return {value: referenced.get(same, set()) for same, spelled in referencing.items() for value in spelled}

    return matches


def _endpoint(params: Mapping[str, Any], label: str) -> Endpoint:
    return Endpoint(engine="postgresql", connect=lambda: psycopg.connect(**params), label=label)


def _execute(connection: Connection, statements: list[str]) -> None:
    connection.execute(";\n".join(statements))  # type: ignore[arg-type]


def read(connection: Connection, table: TableModel, dialect: Dialect) -> Iterator[dict[str, Any]]:
    """All rows of a table."""
    for row in _select(connection, table, dialect):
        yield dict(zip(table.columns, row, strict=True))


def _select(connection: Connection, table: TableModel, dialect: Dialect, rest: str = "") -> list[tuple[Any, ...]]:
    query = f"SELECT {dialect.columns(list(table.columns))} FROM {dialect.table(table.name)} {rest}"
    return connection.execute(query).fetchall()  # type: ignore[arg-type]


def constraints(connection: Connection, schemas: list[str]) -> dict[str, tuple[str, bool]]:
    """Definition and validity of every constraint, by table and name."""
    query = (
        "SELECT conrelid::regclass || '.' || conname, replace(pg_get_constraintdef(oid), ' NOT VALID', ''),"
        " convalidated FROM pg_constraint WHERE contype IN ('p', 'u', 'f')"
        " AND connamespace::regnamespace::text = ANY(%s)"
    )
    return {name: (definition, valid) for name, definition, valid in connection.execute(query, [schemas]).fetchall()}


def dangling_query(key: ForeignKey, dialect: Dialect) -> str:
    """The rows whose non-NULL reference matches nothing."""
    q = dialect.quote
    equal = " AND ".join(f"c.{q(a)} = p.{q(b)}" for a, b in zip(key.columns, key.parent_columns, strict=True))
    filled = " AND ".join(f"c.{q(a)} IS NOT NULL" for a in key.columns)
    parent = f"SELECT 1 FROM {dialect.table(key.parent)} p WHERE {equal}"
    return f"SELECT c.* FROM {dialect.table(key.child)} c WHERE {filled} AND NOT EXISTS ({parent})"


def rules_of(expected: oracle.Subset) -> dict[str, str]:
    return {name.name: rule.value for name, rule in expected.rules.items()}


# What the examples covered --------------------------------------------------------------------------------------


@dataclass
class Coverage:
    """How many examples had what; printed after the run, so that `2,000 examples` says something."""

    examples: int
    counts: Counter[str]

    @classmethod
    def none(cls) -> Coverage:
        return cls(0, Counter())

    def add(self, example: Example, expected: oracle.Subset) -> None:
        self.examples += 1
        self.counts.update(set(features(example, expected)))

    def __str__(self) -> str:
        shares = [f"{name} {100 * count / self.examples:.0f} %" for name, count in sorted(self.counts.items())]
        return f"{self.examples} examples equal to the oracle: {', '.join(shares)}"


def features(example: Example, expected: oracle.Subset) -> Iterator[str]:
    """What an example has: in its schema, its rows, its request, and in what the oracle did with them."""
    yield from _schema_features(example)
    yield from _request_features(example)
    if expected.banned:
        yield "rows: banned"
    if expected.nulled:
        yield "rows: references nulled"
    if expected.dropped:
        yield "rows: dropped"
    if expected.referred:
        yield "rows: referred"
    if not any(expected.kept.values()):
        yield "rows: nothing kept"
    for rule in set(expected.rules.values()):
        yield f"rule: {rule}"


def _schema_features(example: Example) -> Iterator[str]:
    model = example.model
    keys = [key for key in model.keys if key.parent is not model.outside]
    for key in keys:
        if key.mode != "declared":
            yield f"key: {key.mode}"
        if len(key.columns) > 1:
            yield "key: composite"
        if key.parent_columns not in key.parent.keys:
            yield "key: to columns that are not unique"
        elif key.parent_columns != key.parent.primary:
            yield "key: to a unique key"
        if any(key.child.columns[c].kind == "word" for c in key.columns):
            yield "key: spelled in several ways"
        if key.child is key.parent:
            yield "cycle: self-reference"
        siblings = [other for other in keys if other is not key and other.child is key.child]
        if any(column in other.columns for other in siblings for column in key.columns):
            yield "key: sharing a column"
        if any(c in key.child.key_columns for c in key.columns):
            yield "key: part of a key"
        if any(other.parent is key.parent for other in siblings):
            yield "key: two between two tables"
    if any(key.parent is model.outside for key in model.keys):
        yield "key: out of scope"
    if any(not table.primary for table in model.tables):
        yield "table: no primary key"
    if any(len({*map(str, table.rows)}) < len(table.rows) for table in model.tables):
        yield "table: duplicate rows"
    yield from _cycles(keys)


def _cycles(keys: list[Any]) -> Iterator[str]:
    edges = {(key.child.name, key.parent.name) for key in keys if key.child is not key.parent}
    not_null = {
        (key.child.name, key.parent.name)
        for key in keys
        if key.child is not key.parent and not any(key.child.columns[c].nullable for c in key.columns)
    }
    inside = _inside_cycles(edges)
    if inside:
        yield "cycle: of tables"
    if len(inside) > len({child for child, _ in inside}):
        yield "cycle: several overlapping"
    if _inside_cycles(not_null):
        yield "cycle: all NOT NULL"


def _inside_cycles(edges: set[tuple[TableName, TableName]]) -> set[tuple[TableName, TableName]]:
    """The edges that can be walked back."""

    def reaches(start: TableName, end: TableName) -> bool:
        seen, todo = {start}, [start]
        while todo:
            here = todo.pop()
            more = {parent for child, parent in edges if child == here} - seen
            seen |= more
            todo += more
        return end in seen

    return {(child, parent) for child, parent in edges if reaches(parent, child)}


def _request_features(example: Example) -> Iterator[str]:
    spec = example.spec
    yield f"filters: {len(set(spec.filters) | set(spec.sample))}"
    yield f"others: {spec.others}"
    yield f"references: {spec.references} (run)"
    if not spec.referential_integrity:
        yield "referential integrity off"
    for size in spec.sample.values():
        yield "sample: count" if isinstance(size, int) else "sample: percentage"
    for relation in spec.relations.values():
        if relation.references:
            yield f"references: {relation.references} (one key)"
        if relation.follow is False:
            yield "follow off"
    for pattern in spec.tables:
        yield "tables: pattern" if "*" in pattern else "tables: exact"
