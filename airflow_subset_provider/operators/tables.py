"""The tasks between: one for each component's own rows, one for the rows that those reference; numbers become XComs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.operators import secrets, texts
from airflow_subset_provider.operators.interruptible import interruptible
from airflow_subset_provider.operators.lineage import Traced
from airflow_subset_provider.operators.steps import FILTERS, WritingStep

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_subset_provider.core.run import Run

Numbers = dict[str, dict[str, Any]]


class ExtractOperator(Traced, WritingStep):
    """Loads the rows that one component's tables keep by their own rules."""

    template_fields = ("sql", "rule", "reason", FILTERS)
    ui_color = "#d9ead3"

    def __init__(self, *, component: Component, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.component = component
        self.sql = ""
        self.rule = texts.rules(self.job.plan, component)
        self.reason = texts.reasons(self.job.plan, component)

    def show(self) -> None:
        """The statements, for *Rendered Template*."""
        self.sql = self.job.extract_sql(self.component, self.filters)

    def step(self, run: Run, context: Context) -> Numbers:
        """Extract and load; the numbers of each table."""
        self._fold_sql()
        self.moved = interruptible(partial(run.extract, self.component), run.cancel)
        return texts.numbers(run.plan, self.moved)

    def _fold_sql(self) -> None:
        self.log.info("::group::SQL of %s", " ".join(map(texts.unfolding, self.component.short_title.splitlines())))
        for line in secrets.masked(self.sql).splitlines():  # an executor's own output is not masked by Airflow
            self.log.info("%s", texts.unfolding(line))
        self.log.info("::endgroup::")


class ReferencesOperator(Traced, WritingStep):
    """Fetches the rows of one component that kept rows reference."""

    template_fields = ("foreign_keys", "rule", "reason", FILTERS)
    ui_color = "#fff2cc"

    def __init__(self, *, component: Component, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.component = component
        self.foreign_keys = texts.keys_into(self.job.plan, component)
        self.rule = texts.rules(self.job.plan, component)
        self.reason = texts.reasons(self.job.plan, component)

    def step(self, run: Run, context: Context) -> Numbers:
        """Fetch what is missing; the numbers of each table."""
        self.moved = interruptible(partial(run.refer, self.component), run.cancel)
        return texts.numbers(run.plan, self.moved)


class SettleOperator(Traced, WritingStep):
    """The same for all components at once, where a referred row may itself be impossible to keep."""

    ui_color = "#fff2cc"

    def step(self, run: Run, context: Context) -> Numbers:
        """Fetch what is missing, drop what cannot be kept; the numbers of each table."""
        self.moved = interruptible(run.settle, run.cancel)
        return texts.numbers(run.plan, self.moved)
