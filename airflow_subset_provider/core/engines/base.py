"""What an engine must do: one class per kind of database, with a read-only end and a writing end.

Everything above this line speaks of sources, targets, plans and expressions; everything a server does in its own
way is below it. Callers never ask an engine's name. Statements come in as SQLAlchemy expressions and are compiled
here with literal values, so that what is logged is what is run and can be pasted into the server's own client.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypeVar

import sqlalchemy as sa
from msgspec import Struct

from airflow_subset_provider.core.errors import EndpointError, Fault
from airflow_subset_provider.core.schema import Column, Schema, Table, TableName
from airflow_subset_provider.core.sql import Condition, Tables

Statement = sa.sql.expression.ClauseElement
INDEX = "index"
NOT_GENERATED = "the source generates this column, the target does not: it would stay empty"
GENERATE = "Generate it there as well."
OTHER_SEED = 7_046_029_254_386_353_131  # than anybody gives a sample of theirs
BATCH = 50  # tables or constraints changed in one transaction
PAGE = 10_000  # keys in one statement: about 200 kB of SQL for integer keys, 600 kB for UUIDs
T = TypeVar("T")


class Endpoint(Struct, frozen=True):
    """How to reach one database, without knowing its password.

    Attributes:
        engine: the registered engine's name.
        connect: opens a new connection of that engine's driver.
        label: what to call it in messages, e.g. the connection id.
    """

    engine: str
    connect: Callable[[], Any]
    label: str

    def __repr__(self) -> str:
        """Without `connect`: what that closes over may show a password."""
        return f"Endpoint({self.engine!r}, {self.label!r})"


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at a time as one transaction of the target may change."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


class Moved(Struct, frozen=True):
    """What one stream moved: rows, bytes on the wire, seconds."""

    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: Moved) -> Moved:
        """Both together."""
        return Moved(self.rows + other.rows, self.bytes + other.bytes, self.seconds + other.seconds)

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds else 0.0


class Suspended(Struct, frozen=True):
    """A thing of the target that is out of force during a run, and how to put it back.

    Attributes:
        kind: "foreign key", "triggers" or INDEX.
        definition: the server's own words for it, enough to make it again.
        validated: whether it had been checked against all rows.
    """

    table: TableName
    kind: str
    name: str
    definition: str
    validated: bool


Progress = Callable[[Moved], None]


class Flavour(ABC):
    """How this kind of server says things; needs no connection."""

    dialect: ClassVar[sa.Dialect]
    lateral: ClassVar[bool]
    most_members: int = 1_000_000  # recursive members of one CTE
    shares_ctes: ClassVar[bool] = True  # a CTE that is read in several places is worked out once
    keys_hold: ClassVar[bool] = True  # a foreign key that the server calls validated has no row that breaks it

    def add_index(self, table: TableName, columns: Sequence[str]) -> str:
        """What a person may write to have an index made."""
        return f"CREATE INDEX ON {table} ({', '.join(columns)})"

    def compile(self, statement: Statement | str) -> str:
        """The statement as the server gets it."""
        if isinstance(statement, str):
            return statement
        return str(statement.compile(dialect=self.dialect, compile_kwargs={"literal_binds": True}))

    @abstractmethod
    def walked(self, value: sa.ColumnElement[Any] | None, column: Column) -> sa.ColumnElement[Any]:
        """A column's value as a recursive CTE holds it: always of one type; a NULL of that type for None."""

    def unwalked(self, value: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """What a recursive CTE holds, as the column's value again."""
        return value

    def widest(self, column: Column, others: Sequence[Column]) -> Column:
        """The column, of a type that compares with its own and has room for the values of the others."""
        return column

    @abstractmethod
    def share(self, columns: Sequence[sa.ColumnElement[Any]], percent: float, seed: int) -> Condition:
        """True for `percent` of all keys, chosen by a hash of key and seed."""

    def thinned(
        self, rows: sa.Select[Any] | sa.CompoundSelect[Any], key: Sequence[str], percent: float
    ) -> sa.Select[Any]:
        """About `percent` of the rows, from all over the key, and by another hash than that of `share`."""
        found = rows.subquery("subset_wanted")
        return sa.select(*found.c).where(self.share([found.c[c] for c in key], percent, OTHER_SEED))

    @abstractmethod
    def as_text(self, column: sa.ColumnElement[Any], type_: str) -> sa.ColumnElement[Any]:
        """A key's value as text that `keys` reads back without loss."""

    def comparable(self, column: sa.ColumnElement[Any], type_: str) -> sa.ColumnElement[Any]:
        """A text for a key, the same for keys that the server holds equal; `keys` reads it back.

        Where the column has a `collation`, keys may be equal whose texts differ: see `marked`.
        """
        return self.as_text(column, type_)

    def collation(self, column: Column) -> str:
        """What the column's keys are compared by, if it may hold different texts equal; else nothing."""
        return ""

    def marked(self, value: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """`comparable` behind a mark and a space; the mark is the same exactly for what the `collation` holds equal."""
        raise NotImplementedError

    def sent(self, value: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """A column's value as it leaves the source, where its plain form would lose something."""
        return value

    @abstractmethod
    def constant(self, text: str, column: Column) -> sa.ColumnElement[Any]:
        """A value of the column that `as_text` gave, as a constant that is compared as the column's own values are."""

    def rank(self, value: sa.ColumnElement[Any], column: Column) -> tuple[sa.ColumnElement[Any], Column]:
        """What the server sorts the column's values by, and a column of such values: mostly the values themselves."""
        return value, column

    @abstractmethod
    def keys(self, columns: Sequence[Column], rows: Sequence[tuple[str, ...]], name: str) -> sa.FromClause:
        """Keys as a table of these columns, written out in the statement."""


class Session(Flavour):
    """One connection to one end."""

    label: str

    @property
    def default_schemas(self) -> tuple[str, ...]:
        """The schemas in scope when nobody names any."""
        return ()

    @property
    def own_schema(self) -> str | None:
        """The schema that the connection leads to, where schemas are databases."""
        return None

    @abstractmethod
    def rows(self, statement: Statement | str) -> list[tuple[Any, ...]]:
        """All rows of a small result."""

    def value(self, statement: Statement | str) -> Any:
        """The single value of a result."""
        return self.rows(statement)[0][0]

    @abstractmethod
    def reflect(self, schemas: Sequence[str]) -> Schema:
        """The schema as the server describes it; no schemas: the default one."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop the statement under way; called from another thread or a signal handler."""

    @abstractmethod
    def close(self) -> None:
        """End the connection; a transaction under way is undone."""


class Source(Session):
    """The read-only end."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """Everything read inside is read from one state of the database: after `read_from`, from that one."""

    # -- one state for several sessions: for an engine whose entry in the registry says that it shares snapshots

    def export_snapshot(self) -> AbstractContextManager[str]:
        """Hold one state of the database: the name by which others read it, as long as the context is open."""
        raise self._cannot_share()

    def read_from(self, exported: str) -> None:
        """Let `snapshot` be the state that another session of this server exported.

        Raises:
            SnapshotError: from then on by every `snapshot`, once that session has ended.
        """
        raise self._cannot_share()

    def _cannot_share(self) -> EndpointError:
        return EndpointError(Fault("this server cannot show one state to several sessions", self.label))

    @abstractmethod
    def clause_faults(self, table: TableName, clause: str, where: str) -> list[Fault]:
        """What the server says against a WHERE clause on one table, with the place in it; nothing is run."""

    def clause_remarks(self, table: TableName, clause: str) -> list[str]:
        """What there is to say of a clause, right after a statement that has read rows by it."""
        return []

    def filter_remarks(self, table: TableName, clause: str) -> list[str]:
        """What there is to say of a clause that the server accepts; no rows are read by it."""
        return []

    @abstractmethod
    def statement_faults(self, statement: Statement | str, where: str) -> list[Fault]:
        """What the server says against a statement; nothing is run."""

    @abstractmethod
    def unreadable(self, tables: Sequence[Table]) -> list[Fault]:
        """Tables that this user may not read in full."""

    @abstractmethod
    def schema_dump(self, schemas: Sequence[str]) -> str:
        """SQL that makes these schemas' objects, without rows, owners or grants."""

    # -- looking before copying: an engine that lacks these previews less

    def pages(self, statement: Statement | str, size: int = PAGE) -> Iterator[list[tuple[Any, ...]]]:
        """A result in pages; belongs inside `snapshot`. Here: one page; an engine does better, flat in memory."""
        if found := self.rows(statement):
            yield found

    def estimate(self, statement: Statement | str) -> int:
        """How many rows the planner expects, without reading any; -1 where it cannot be asked."""
        return -1

    def indexes(self, schemas: Sequence[str]) -> dict[TableName, list[tuple[str, ...]]] | None:
        """The columns of every index of the schemas' tables, in their order; None where it cannot be asked."""
        return None


class Store(Session):
    """Where rows arrive and references are settled. Statements run in a transaction under way."""

    tables: Tables

    @abstractmethod
    def savepoint(self) -> AbstractContextManager[None]:
        """All or nothing, inside a transaction."""

    @abstractmethod
    def execute(self, statement: Statement | str) -> int:
        """Run one statement; the number of rows it touched."""

    def delete(self, table: TableName, conditions: Sequence[Condition]) -> int:
        """Delete the rows that satisfy all conditions, which may read the table itself; their number."""
        return self.execute(sa.delete(self.tables[table]).where(*conditions))

    def set_null(self, table: TableName, cuts: Sequence[tuple[Condition, Sequence[str]]]) -> int:
        """Set columns to NULL where their condition held before any row was changed; the number of rows changed."""
        rows = self.tables[table]
        reasons: dict[str, list[Condition]] = {}
        for condition, columns in cuts:
            for column in columns:
                reasons.setdefault(column, []).append(condition)
        values = {c: sa.case((sa.or_(*conditions), sa.null()), else_=rows.c[c]) for c, conditions in reasons.items()}
        return self.execute(sa.update(rows).values(values).where(sa.or_(*(condition for condition, _ in cuts))))

    def reading(self, kept: sa.TableClause) -> sa.TableClause:
        """A temporary table as it is now, for one of several places in a statement that read or write it."""
        return kept

    @abstractmethod
    def pages(self, statement: sa.Select[Any], size: int = PAGE) -> Iterator[list[tuple[str, ...]]]:
        """A result of texts in pages, flat in memory, as it was when the first page was asked for."""

    @abstractmethod
    def load(self, source: Source, statement: Statement | str, table: Table, progress: Progress | None = None) -> Moved:
        """Stream a SELECT of the source into the table, its `copied` columns in their order."""

    @abstractmethod
    def load_missing(self, source: Source, statement: Statement | str, table: Table, key: Sequence[str]) -> Moved:
        """The same, leaving out rows whose key the table has already; the SELECT has all columns of the key."""

    @abstractmethod
    def keep(self, name: str, columns: Sequence[Column], pages: Iterable[list[tuple[str, ...]]]) -> sa.TableClause:
        """A temporary table of keys, for the rest of the transaction; one of that name is replaced."""

    @abstractmethod
    def stage(self, name: str, statement: sa.Select[Any]) -> sa.TableClause:
        """A temporary table of a result, for the rest of the transaction; one of that name is replaced."""


class Target(Store):
    """The writing end: a store that is somebody's database, which must be made ready and put in order again.

    Attributes:
        state_home: where the run's state tables are: a schema, and what their names begin with.
    """

    state_home: tuple[str, str] = ("airflow_subset", "")

    def use(self, schema: Schema) -> None:
        """Know the tables of the copy, by the source's names."""
        self.tables = Tables(schema, self.located)

    def located(self, table: TableName) -> TableName:
        """A table of the copy under its name on this side."""
        return table

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing."""

    # -- before and after

    @abstractmethod
    def same_database(self, source: Source) -> bool:
        """Whether both ends are one database, by whatever address."""

    @abstractmethod
    def unwritable(self, tables: Sequence[Table]) -> list[Fault]:
        """Why this user cannot replace the rows of these tables."""

    @abstractmethod
    def outsiders(self, tables: Sequence[TableName]) -> list[Fault]:
        """Tables outside the copy whose rows reference tables inside it."""

    @abstractmethod
    def type_faults(self, wanted: Table, found: Table, source: Source) -> list[Fault]:
        """Columns of the target's table that cannot take the source's values."""

    def unfit(self, tables: Sequence[Table]) -> list[Fault]:
        """Why tables like these, of the target or yet to be made there, can take no rows whatever their columns are."""
        return []

    @abstractmethod
    def create_schema(self, dump: str, source: Source, schemas: Sequence[str]) -> list[str]:
        """Make the missing schema from the source's dump; what of it was not made, for the log and the report."""

    def undoes(self, table: TableName) -> bool:
        """Whether the table's rows go when the transaction that brought them is undone."""
        return True

    @abstractmethod
    def lock_state(self) -> None:
        """Hold the state tables against every other writer until the transaction ends."""

    @abstractmethod
    def suspendable(self, tables: Sequence[TableName]) -> list[Suspended]:
        """The tables' triggers and the foreign keys of and to them, as far as a run needs them out of force."""

    @abstractmethod
    def postponable(self, tables: Mapping[TableName, Collection[tuple[str, ...]]]) -> list[Suspended]:
        """The tables' secondary indexes that can be made again exactly; not those that begin with one of these keys."""

    @abstractmethod
    def build(self, items: Sequence[Suspended]) -> None:
        """Make those of these indexes of one table that are not there; nothing where the table is gone."""

    def merged(self, noted: Suspended, found: Suspended) -> Suspended:
        """One note of a thing that an earlier run noted, and did not put back, and that is in force by now."""
        return found

    @abstractmethod
    def suspend(self, items: Sequence[Suspended]) -> None:
        """Put them out of force; they are written down by now."""

    @abstractmethod
    def restore(self, item: Suspended, validate: bool) -> bool:
        """Put one thing back in force; False when rows break it, and nothing was put back."""

    @abstractmethod
    def empty(self, tables: Sequence[TableName]) -> None:
        """Delete all rows of the tables."""

    def forget(self, tables: Sequence[TableName]) -> None:
        """Remove what the server keeps of the tables' earlier rows, where it keeps any."""
        return

    @abstractmethod
    def occupied(self, tables: Sequence[TableName]) -> list[TableName]:
        """Those of the tables that hold a row."""

    @abstractmethod
    def reset_sequences(self, tables: Sequence[TableName]) -> int:
        """Let every sequence that feeds a column go on after the column's greatest value; the number of sequences."""

    @abstractmethod
    def numbered(self, tables: Sequence[TableName]) -> set[tuple[TableName, str]]:
        """The tables' columns that the server gives a number of its own where no value comes."""

    @abstractmethod
    def analyze(self, tables: Sequence[TableName]) -> None:
        """Bring the planner's statistics up to date."""


class Engine(ABC):
    """One kind of database."""

    name: ClassVar[str]
    family: ClassVar[str]  # engines of one family copy to each other
    flavour: ClassVar[Flavour]

    @abstractmethod
    def source(self, endpoint: Endpoint, purpose: str) -> AbstractContextManager[Source]:
        """Open the read-only end; `purpose` is shown in the server's list of sessions."""

    @abstractmethod
    def target(self, endpoint: Endpoint, purpose: str) -> AbstractContextManager[Target]:
        """Open the writing end."""
