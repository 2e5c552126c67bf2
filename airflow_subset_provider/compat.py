"""Every difference between the Airflow versions this package supports (3.1.8 to 3.3), in one place.

What is imported from here has the newest version's name; the rest of the package uses `airflow.sdk`, which all of them
have. A difference found later belongs here too, with the version it ends with.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from airflow.sdk import BaseOperator, TaskGroup
from airflow.sdk._shared.secrets_masker import redact  # no public name for it; the same in 3.1 to 3.3

if TYPE_CHECKING:
    from airflow.sdk.configuration import conf
    from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowRuntimeError
else:
    try:
        from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowRuntimeError
    except ImportError:  # 3.1
        from airflow.exceptions import AirflowFailException, AirflowNotFoundException
        from airflow.sdk.exceptions import AirflowRuntimeError
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # 3.1
        from airflow.configuration import conf

__all__ = [
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRuntimeError",
    "conf",
    "group_arguments",
    "parsed_file",
    "redact",
    "runs_alone",
    "runs_one_by_one",
    "task_arguments",
]


@cache
def task_arguments() -> frozenset[str]:
    """What any operator accepts (`retry_policy` is new in 3.3)."""
    found = inspect.signature(BaseOperator.__init__).parameters.values()
    return frozenset(p.name for p in found if p.kind is p.KEYWORD_ONLY)


def group_arguments(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments that a task group accepts (`doc_md` is new in 3.2)."""
    known = {a.alias for a in attrs.fields(TaskGroup)}
    return {name: value for name, value in wanted.items() if name in known}


def runs_one_by_one(context: Mapping[str, Any]) -> bool:
    """Whether `dag.test()` runs this task, one after the other; a version that does not tell it says no."""
    return getattr(context["dag_run"], "triggering_user_name", None) == "dag_test"


def runs_alone(context: Mapping[str, Any]) -> bool:
    """Whether `airflow tasks test` runs this task and no other, in a DAG run that it then deletes."""
    return str(context["ti"].run_id).startswith("__airflow_temporary_run_")


def parsed_file() -> Path | None:
    """The DAG file that is being parsed, whichever module makes its DAGs; a program that may be one.

    Airflow 3.1 to 3.3 keep its module, for `auto_register`, where no public name leads to.
    """
    try:
        from airflow.sdk.definitions._internal.contextmanager import DagContext
    except ImportError:
        name = None
    else:
        name = getattr(DagContext, "current_autoregister_module_name", None)
    file = Path(getattr(sys.modules.get(name or "__main__"), "__file__", None) or ".")
    return file if name or (file.suffix == ".py" and file.stem != "__main__") else None
