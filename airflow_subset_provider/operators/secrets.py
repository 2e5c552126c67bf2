"""Secrets in rendered filters: a clause may hold a Variable or a password that Airflow masks wherever it shows text.

Airflow masks what the process has looked up itself: its logs and its rendered fields, but no XCom. So a clause that
holds a secret is told to nobody by `prepare`: each task renders it for itself, which is how Airflow comes to know there
what to mask. Whatever is handed on (XComs, the report, lineage) goes through `masked`.

Only the text itself is recognised: a secret that is escaped, as `repr` does, or cut short is none to Airflow any more.
So what is to be quoted is masked first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from airflow_subset_provider.compat import redact
from airflow_subset_provider.core.errors import QUOTED, Fault, SubsetError
from airflow_subset_provider.core.plan import Plan

if TYPE_CHECKING:
    from airflow_subset_provider.core.report import Report

SHORTEST_NAME = 15  # characters that every server keeps of a name that is too long for it: 63 bytes, at most four each


def masked(text: str) -> str:
    """The text with `***` for each secret that this process has looked up."""
    return str(redact(text))


def masked_filters(filters: Mapping[str, str]) -> dict[str, str]:
    """The filters, to be shown."""
    return {table: masked(clause) for table, clause in filters.items()}


def told_text(text: str) -> str | None:
    """The text, to be handed on; None where it holds a secret."""
    return text if masked(text) == text else None


def told(filters: Mapping[str, str]) -> dict[str, str | None]:
    """The filters, to be handed on; None for a clause that holds a secret."""
    return {table: told_text(clause) for table, clause in filters.items()}


def marks(filters: Mapping[str, str | None], templates: Mapping[str, str]) -> dict[str, str]:
    """Of each clause that is not told, what changes when its template is edited.

    Sixteen bits, enough to notice that; more could prove a guess at a secret that is written out in the template.
    """
    untold = (table for table, clause in filters.items() if clause is None)
    return {table: hashlib.sha256(templates[table].encode()).hexdigest()[:4] for table in untold}


def masked_error(error: SubsetError) -> SubsetError:
    """The error, to be raised where Airflow logs it, stores it and hands it to callbacks."""
    return type(error)(map(_masked_fault, error.faults))


def _masked_fault(fault: Fault) -> Fault:
    """Of a clause with a secret, a server may quote any piece: nothing that it quotes is shown, nor a place in it.

    Nor is any word of the secret, which Postgres shows in small letters where it takes it for a name.
    """
    clause = masked(fault.clause)
    shown = replace(fault, what=masked(fault.what), where=masked(fault.where), do=masked(fault.do))
    if clause == fault.clause:
        return shown
    what = masked(re.sub(QUOTED, "***", fault.what))
    for word in _hidden_words(fault.clause, clause):
        what = re.sub(rf"{re.escape(word[:SHORTEST_NAME])}\w*", "***", what, flags=re.IGNORECASE)
    return replace(shown, what=what, clause=clause, position=0)


def _hidden_words(clause: str, shown: str) -> list[str]:
    """The words of what `***` stands for."""
    around = "(.*?)".join(map(re.escape, shown.split("***")))
    found = re.fullmatch(around, clause, re.DOTALL)
    return [word for text in (found.groups() if found else ()) for word in re.findall(r"\w{3,}", text)]


def masked_report(report: Report) -> Report:
    """The report, to be handed on: its warnings quote filters."""
    return replace(report, warnings=tuple(map(masked, report.warnings)))


def masked_plan(plan: Plan) -> Plan:
    """The plan, to be shown beside the report."""
    tables = {
        name: planned if planned.filter is None else replace(planned, filter=masked(planned.filter))
        for name, planned in plan.tables.items()
    }
    return replace(plan, tables=tables)
