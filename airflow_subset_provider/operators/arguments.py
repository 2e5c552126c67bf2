"""Sorting what a SubsetOperator is given: request, task arguments, and what is neither.

A task group takes no task arguments of its own, so they travel to the tasks through the group's `default_args`; those
that make sense for one task only go to that task. A word that is no argument of anything is a fault, with the nearest
words that are: a typo must not silently become a default.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from airflow_subset_provider.compat import task_arguments
from airflow_subset_provider.core.errors import Fault, RequestError

# When the group starts is for its first task to decide; whatever the DAG's default_args say, the others follow it only
# when all has gone well.
FIRST = ("trigger_rule",)
# The copy is there when the last task has succeeded.
LAST = ("inlets", "outlets")
OF_THE_GROUP = ("dag", "task_group", "doc_md", "task_display_name")
MEANINGLESS = ("task_id", "default_args", "map_index_template", "multiple_outputs")


@dataclass(frozen=True)
class Arguments:
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


@contextmanager
def gathered(faults: list[Fault]) -> Iterator[None]:
    """Let no fault hide those of the arguments that are looked at next."""
    try:
        yield
    except RequestError as error:
        faults.extend(error.faults)


def _only(given: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {k: v for k, v in given.items() if k in names}


def _unknown(word: str, known: Collection[str]) -> Fault:
    near = get_close_matches(word, sorted(known), n=3)
    advice = f"Did you mean {' or '.join(near)}?" if near else "It is no argument of SubsetOperator, nor of a task."
    return Fault(f"unknown argument {word!r}", "SubsetOperator", advice)
