"""Rows from one connection into the other: raw bytes through a pipe into LOAD DATA LOCAL, or as multi-row INSERTs.

Values are never Python objects of their own type: the text protocol's bytes, each text in the character set it is
stored in, are escaped and passed on, and `CHARACTER SET binary` keeps the target from reinterpreting them. The pipe is
a FIFO, which the client library opens as if it were a file; it holds at most 1 MB, so a slow target slows the source
down and memory stays flat.

LOCAL makes the server swallow errors as it would with IGNORE (MySQL manual 15.2.9): duplicate keys, cut or unreadable
values become warnings. So every warning is fatal here, and the number of rows that arrived must be the number sent.
But for what the target's expressions (generated columns, CHECKs) give: the source's own give it for the same values.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import Struct

from airflow_subset_provider.core.engines.base import Moved, Progress
from airflow_subset_provider.core.engines.mysql import clauses
from airflow_subset_provider.core.engines.mysql.errors import translated, without_values
from airflow_subset_provider.core.engines.mysql.session import MySqlSession
from airflow_subset_provider.core.engines.mysql.types import Kind, Type
from airflow_subset_provider.core.errors import Fault, SubsetError

log = logging.getLogger(__name__)
Row = tuple[bytes | None, ...]
Warned = tuple[str, int, str]

ROWS, LARGE_ROWS = 500, 16  # fetched at once: rows of at most 64 kB, and rows that may hold megabytes
PIPE = 1 << 20
STATEMENT = 1 << 20  # of an INSERT of several rows, unless max_allowed_packet is less
OVERHEAD = 1024  # of a packet, for the comment before a statement and the protocol
TELL_EVERY = 5.0
GRACE = 30.0  # for both servers to give up a statement
# Warnings that speak of no value: MySQL 9.7 has this one for every load of a MyISAM table beside the run's state.
HARMLESS = frozenset({6414})
# Read as text even though everything else is read as bytes: JSON refuses bytes (error 3144), MariaDB's UUID and INET
# types would take them for their binary form.
AS_TEXT = frozenset({Kind.JSON, Kind.OTHER})
# A warning of a value that is stored ends with the column's name, whatever the type; what expressions give, with none.
_OF_COLUMN = re.compile(r" for column (?:'(.+)'|`.+`\.`.+`\.`(.+)`) at row \d+\Z", re.DOTALL)
# How these begin: an operand, a function's argument, its overflow, a value of a functional index.
OF_EXPRESSIONS = {1292: "Truncated incorrect ", 1411: "", 1441: "", 3751: ""}
UNTOLD = "So many warnings that the server does not list them all: load fewer rows at once (`chunk_rows`)."


class Destination(Struct, frozen=True):
    """Where rows go.

    Attributes:
        name: the table's, for people.
        table: quoted and qualified.
        columns: quoted, with their types.
        generated: columns that it computes, in small letters.
    """

    name: str
    table: str
    columns: tuple[tuple[str, Type], ...]
    generated: frozenset[str] = frozenset()

    @property
    def large(self) -> bool:
        """Whether a row may hold megabytes."""
        return any(t.large for _, t in self.columns)

    @property
    def enums(self) -> tuple[int, ...]:
        """Columns that may hold the empty value an ENUM has for what it could not take: it arrives with a warning."""
        return tuple(i for i, (_, t) in enumerate(self.columns) if t.base == "enum" and "" not in t.members)

    def assigned(self) -> tuple[list[str], list[str]]:
        """What LOAD DATA reads a row into, and what it then sets.

        A SET clause makes MariaDB forget that an AUTO_INCREMENT column was given a value, so that 0 becomes a new
        number (its `fill_record` resets `auto_increment_field_not_null`): beside others, integers are set as well.
        """
        texts = [t.kind in AS_TEXT for _, t in self.columns]
        set_ = [
            text or (any(texts) and t.kind is Kind.INTEGER) for text, (_, t) in zip(texts, self.columns, strict=True)
        ]
        into = [f"@subset_{n}" if set_[n] else name for n, (name, _) in enumerate(self.columns)]
        changes = [
            f"{name} = CONVERT(@subset_{n} USING utf8mb4)" if texts[n] else f"{name} = @subset_{n}"
            for n, (name, _) in enumerate(self.columns)
            if set_[n]
        ]
        return into, changes


@dataclass
class Count:
    """What went over so far."""

    rows: int = 0
    bytes: int = 0
    empty_enums: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def moved(self) -> Moved:
        """As the contract has it."""
        return Moved(self.rows, self.bytes, time.monotonic() - self.started)


class Copy:
    """One stream from a source's SELECT into a table of the target."""

    def __init__(self, source: MySqlSession, statement: str, target: MySqlSession, destination: Destination) -> None:
        """Nothing moves before `run`."""
        self._source, self._statement = source, statement
        self._target, self._destination = target, destination
        self._count = Count()

    def run(self, local_infile: bool, progress: Progress | None) -> Moved:
        """Move all rows.

        Raises:
            SubsetError: either end failed, or the target did not take a row as it was.
        """
        jobs = self._pipe_jobs() if local_infile else [self._insert]
        with self._target.tolerant():
            _together(jobs, self._cancel, lambda: progress and progress(self._count.moved))
        return self._count.moved

    def _cancel(self) -> None:
        for session in (self._source, self._target):
            with suppress(Exception):
                session.cancel()

    # -- reading

    def _batches(self) -> Iterator[Sequence[Row]]:
        """The source's rows, unbuffered."""
        size = LARGE_ROWS if self._destination.large else ROWS
        enums, count = self._destination.enums, self._count
        with translated(self._source.label):
            self._source.send(self._statement)
            result = self._source.connection.use_result()
            while rows := result.fetch_row(size, 0):
                count.rows += len(rows)
                for i in enums:
                    count.empty_enums += sum(row[i] == b"" for row in rows)
                yield rows
            warned = self._source.refuse_truncation()
        for remark in clauses.remarks(warned, self._statement):
            log.warning("%s: %s", self._destination.name, remark)

    # -- LOAD DATA

    def _pipe_jobs(self) -> list[Callable[[], None]]:
        """One end writes the pipe, the other one has the server read it."""
        directory = tempfile.TemporaryDirectory(prefix="subset-load-")
        pipe = Path(directory.name) / "rows"
        os.mkfifo(pipe, 0o600)
        loaded = threading.Event()

        def read() -> None:
            try:
                self._load(pipe)
            finally:
                loaded.set()
                directory.cleanup()

        return [read, lambda: self._write(pipe, loaded)]

    def _load(self, pipe: Path) -> None:
        columns, changes = self._destination.assigned()
        statement = (
            f"LOAD DATA LOCAL INFILE {self._target.literal(str(pipe))} INTO TABLE {self._destination.table} "
            r"CHARACTER SET binary FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' "
            f"({', '.join(columns)})" + (f" SET {', '.join(changes)}" if changes else "")
        )
        with translated(self._target.label):
            arrived, warned = self._target.change(statement)
            changed = self._changed(warned)
        self._check(arrived, changed)

    def _write(self, pipe: Path, loaded: threading.Event) -> None:
        descriptor = _opened(pipe, loaded)
        if descriptor is None:
            return  # the load ended before it began, and tells why
        try:
            for batch in self._batches():
                data = rendered(batch)
                self._count.bytes += len(data)
                _write_all(descriptor, data)
        finally:
            os.close(descriptor)

    # -- INSERT

    def _insert(self) -> None:
        """Large INSERTs, where LOAD DATA LOCAL is forbidden; IGNORE turns errors into warnings, as LOCAL does."""
        packet = int(self._target.rows("SELECT @@max_allowed_packet")[0][0])
        names = ", ".join(name for name, _ in self._destination.columns)
        head = f"INSERT IGNORE INTO {self._destination.table} ({names}) VALUES ".encode()
        arrived, changed = 0, 0
        room = packet - OVERHEAD - len(head)
        for batch in _within(self._fitting(room, packet), min(STATEMENT, room)):
            self._count.bytes += sum(map(len, batch))
            with translated(self._target.label):
                more, warned = self._target.change(head + b",".join(batch))
                changed += self._changed(warned)
            arrived += more
            self._refuse(changed)
        self._check(arrived, changed)

    def _fitting(self, room: int, packet: int) -> Iterator[bytes]:
        """The rows as SQL.

        Raises:
            SubsetError: one is longer than the room there is in a packet of the target.
        """
        for row in self._rows_as_sql():
            if len(row) > room:
                raise SubsetError(
                    Fault(
                        f"a row takes {len(row):,} bytes in an INSERT: too many for max_allowed_packet = {packet:,}",
                        self._destination.name,
                        "Raise the target's max_allowed_packet, or let it take LOAD DATA LOCAL (local_infile = ON).",
                    )
                )
            yield row

    def _rows_as_sql(self) -> Iterator[bytes]:
        escape = self._target.connection.escape_string
        heads = [b"'" if type_.kind in AS_TEXT else b"_binary'" for _, type_ in self._destination.columns]
        for batch in self._batches():
            for row in batch:
                values = [b"NULL" if v is None else b"%s%s'" % (h, escape(v)) for h, v in zip(heads, row, strict=True)]
                yield b"(" + b",".join(values) + b")"

    # -- proof

    def _changed(self, warned: int) -> int:
        """How many of the last statement's warnings are of values that it stored; all, where not all are listed."""
        listed = self._target.warnings() if warned else []
        if len(listed) != warned or warned >= self._target.most_warnings:
            return warned
        return len(self._of_values(listed))

    def _check(self, arrived: int, changed: int) -> None:
        """Every row must have arrived, and as it was.

        Raises:
            SubsetError: some did not.
        """
        self._refuse(changed)
        if arrived != self._count.rows:
            raise SubsetError(
                Fault(f"{self._count.rows} rows were sent, {arrived} arrived", self._destination.name, "Run again.")
            )

    def _refuse(self, changed: int) -> None:
        """A warning is a value that was changed, but for ENUM values that the source has no member for either.

        Raises:
            SubsetError: there are more warnings than such values.
        """
        if changed <= self._count.empty_enums:
            return
        name, listed = self._destination.name, self._target.warnings()
        told = self._of_values(listed)
        raise SubsetError(faults(told or listed, name, "" if told else UNTOLD) or Fault(f"{changed} warnings", name))

    def _of_values(self, warnings: Iterable[Warned]) -> list[Warned]:
        """Those that are of values that the table was given, and not of what it computes from them."""
        told = (w for w in warnings if w[1] not in HARMLESS)
        return [w for w in told if not _is_computed(*w[1:], self._destination.generated)]


def _is_computed(code: int, message: str, generated: Collection[str]) -> bool:
    named = _OF_COLUMN.search(message)
    if named is not None:
        return (named[1] or named[2]).lower() in generated
    return code in OF_EXPRESSIONS and message.startswith(OF_EXPRESSIONS[code])


def faults(warnings: Iterable[Warned], where: str, do: str = "") -> list[Fault]:
    """The first few, without values."""
    words = dict.fromkeys(f"{without_values(text)} (warning {code})" for _, code, text in warnings)
    return [Fault(w, where, do) for w in list(words)[:5]]


def rendered(rows: Sequence[Row]) -> bytes:
    r"""The rows as LOAD DATA reads them: fields end with a tab, rows with a line feed, NULL is \N.

    All rows are joined as they are first; when the number of tabs, line feeds and backslashes is what the joining alone
    makes, nothing needed an escape. Numbers, dates and most texts pass that way without being looked at one by one.
    """
    nulls = 0
    lines = []
    for row in rows:
        if None in row:
            nulls += row.count(None)
            row = tuple([rb"\N" if v is None else v for v in row])
        lines.append(b"\t".join(row))  # type: ignore[arg-type]
    lines.append(b"")
    data = b"\n".join(lines)
    tabs = (len(rows[0]) - 1) * len(rows)
    if data.count(b"\\") == nulls and data.count(b"\t") == tabs and data.count(b"\n") == len(rows):
        return data
    return b"".join([b"\t".join([_escaped(v) for v in row]) + b"\n" for row in rows])


def _escaped(value: bytes | None) -> bytes:
    if value is None:
        return rb"\N"
    return value.replace(b"\\", b"\\\\").replace(b"\t", b"\\\t").replace(b"\n", b"\\\n")


def _opened(pipe: Path, abandoned: threading.Event) -> int | None:
    """The writing end, once somebody reads; None when nobody ever will."""
    while not abandoned.is_set():
        try:
            descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # ENXIO: the client library has not opened it yet
            time.sleep(0.001)
            continue
        os.set_blocking(descriptor, True)
        with suppress(OSError, AttributeError):  # Linux; elsewhere the pipe stays as small as it is
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE)
        return descriptor
    return None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _within(rows: Iterable[bytes], room: int) -> Iterator[list[bytes]]:
    """Rows in groups of at most `room` bytes, or of one row that is longer."""
    held: list[bytes] = []
    size = 0
    for row in rows:
        if held and size + len(row) + 1 > room:
            yield held
            held, size = [], 0
        held.append(row)
        size += len(row) + 1
    if held:
        yield held


def _together(jobs: Sequence[Callable[[], None]], cancel: Callable[[], None], tell: Callable[[], Any]) -> None:
    """Run the jobs at the same time; the calling thread waits, so that it can handle signals.

    Raises:
        BaseException: what the first job to fail raised; a broken pipe only when nothing else went wrong.
    """
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(TELL_EVERY)
                if thread.is_alive():
                    tell()
    except BaseException:
        cancel()
        for thread in threads:
            thread.join(GRACE)
        raise
    for error in sorted(errors, key=lambda e: isinstance(e, BrokenPipeError)):
        raise error
