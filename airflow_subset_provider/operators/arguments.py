"""Sorting what a SubsetOperator is given: request, task arguments, and what is neither.

A task group takes no task arguments of its own, so they travel to the tasks through the group's `default_args`; those
that make sense for one task only go to that task. A word that is no argument of anything is a fault, with the nearest
words that are: a typo must not silently become a default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from typing import Any

from airflow.sdk import XComArg
from msgspec import Struct

from airflow_subset_provider.compat import task_arguments
from airflow_subset_provider.core.errors import Fault, RequestError

# When the group starts is for its first task to decide; whatever the DAG's default_args say, the others follow it only
# when all has gone well.
FIRST = ("trigger_rule",)
# The copy is there when the last task has succeeded.
LAST = ("inlets", "outlets")
OF_THE_GROUP = ("dag", "task_group", "doc_md", "task_display_name")
MEANINGLESS = ("task_id", "default_args", "map_index_template", "multiple_outputs")


class Arguments(Struct, frozen=True):
    """Task arguments by whom they are for."""

    everywhere: dict[str, Any]
    first: dict[str, Any]
    last: dict[str, Any]
    group: dict[str, Any]


def sort(given: Mapping[str, Any], own: Collection[str]) -> Arguments:
    """Sort the task arguments.

    Args:
        given: what is no argument of the SubsetOperator's own.
        own: the names of those, for the message.

    Raises:
        RequestError: with every word that no task takes.
    """
    known = task_arguments() - set(MEANINGLESS)
    RequestError.raise_for(_unknown(word, {*known, *own}) for word in given if word not in known)
    special = (*FIRST, *LAST, *OF_THE_GROUP)
    return Arguments(
        everywhere={k: v for k, v in given.items() if k not in special},
        first={"trigger_rule": "all_success"} | _only(given, FIRST),
        last=_only(given, LAST),
        group=_only(given, OF_THE_GROUP),
    )


def of_the_parse(task_id: Any, source: Any, target: Any, catalog: Any) -> Iterator[Fault]:
    """What is wrong with the arguments that the group's structure hangs on."""
    if not isinstance(task_id, str):
        yield Fault(f"{task_id!r} is no id", "task_id")
    ends = [*_connection(source, "source_conn_id"), *_connection(target, "target_conn_id")]
    yield from ends
    if not ends and source == target:
        advice = "Point the target elsewhere: it would be emptied."
        yield Fault(f"source and target are the same connection, {source!r}", "target_conn_id", advice)
    if not isinstance(catalog, str | PathLike | None):
        yield Fault(f"{catalog!r} is no path", "catalog", "Name the schema's file.")
    elif str(catalog).strip() in ("", "."):
        yield Fault(f"{str(catalog)!r} names no file", "catalog", "Name the schema's file, or leave the argument out.")
    elif "://" in str(catalog):
        advice = "Name a file beside the DAG file, or an absolute path: every parse reads it."
        yield Fault(f"{str(catalog)!r} is a URL", "catalog", advice)


def clauses(filters: Any, faults: list[Fault]) -> Any:
    """The filters that are no results of tasks; those that are become faults.

    An f-string makes a template of such a result (`XComArg.__str__`), which no longer says what it waits for.
    """
    if not isinstance(filters, Mapping):
        return filters
    results = {table: clause for table, clause in filters.items() if isinstance(clause, XComArg)}
    for table, result in results.items():
        task = next(operator.task_id for operator, _ in result.iter_references())
        advice = f'Write it into one, as in f"id = {{result}}", and put {task} before the group: {task} >> group.'
        faults.append(Fault(f"the result of the task {task} is no text yet", f"filters[{table!r}]", advice))
    return {table: clause for table, clause in filters.items() if table not in results}


@contextmanager
def gathered(faults: list[Fault]) -> Iterator[None]:
    """Let no fault hide those of the arguments that are looked at next."""
    try:
        yield
    except RequestError as error:
        faults.extend(error.faults)


def _connection(conn_id: Any, where: str) -> Iterator[Fault]:
    if not isinstance(conn_id, str) or not conn_id.strip():
        yield Fault(f"{conn_id!r} is no connection's id", where)
    elif "{{" in conn_id or "{%" in conn_id:
        advice = "Parsing needs its name. For several, make a SubsetOperator for each, in a loop."
        yield Fault(f"{conn_id!r} is a template, which is not rendered here", where, advice)


def _only(given: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {k: v for k, v in given.items() if k in names}


def _unknown(word: str, known: Collection[str]) -> Fault:
    from difflib import get_close_matches  # here, because most parses are of good arguments

    near = get_close_matches(word, sorted(known), n=3)
    advice = f"Did you mean {' or '.join(near)}?" if near else "It is no argument of SubsetOperator, nor of a task."
    return Fault(f"unknown argument {word!r}", "SubsetOperator", advice)
