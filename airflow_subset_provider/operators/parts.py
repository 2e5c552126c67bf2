"""A large table's own task group, instead of one task: `cut` says which parts there are, `parts` is mapped over them.

    prepare -> tables.TABLE.cut -> tables.TABLE.parts[0], [1], [2], ... -> tables.CHILD

That a table is cut is settled when the DAG is parsed, by the catalog's estimate; how finely, when it runs. There is
always one part at least (Airflow skips a task that is mapped over nothing, and all that follows it), and never fewer
than in an earlier try of the same run (Airflow removes mapped instances that are too many, and what follows would wait
for them for ever). A part that is not in the cut any more finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.operators import texts
from airflow_subset_provider.operators.interruptible import interruptible
from airflow_subset_provider.operators.job import PARTS
from airflow_subset_provider.operators.lineage import Traced
from airflow_subset_provider.operators.steps import WritingStep
from airflow_subset_provider.operators.tables import ExtractOperator, Numbers

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

    from airflow_subset_provider.core.chunks import Chunk
    from airflow_subset_provider.core.run import Run

Part = dict[str, Any]
LABEL = "part {{ task.part.number }} of {{ task.part.of }}"


class CutOperator(Traced, WritingStep):
    """Empties one large table, and says which parts it is to be loaded in."""

    ui_color = "#d9ead3"

    def __init__(self, *, component: Component, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"do_xcom_push": True})  # `parts` is mapped over it, whatever is asked of the group
        self.component = component

    def step(self, run: Run, context: Context) -> list[Part]:
        """Cut the table; one mapping for each part, as `parts` is mapped over them."""
        before = self._instances(context)
        if any(state in ("success", "skipped") for state in before.values()):
            self.log.info("Some of its parts are not loaded again by their own tasks, so the table is loaded here")
            self.moved = interruptible(partial(run.extract, self.component), run.cancel)
            found: list[Chunk] = []
        else:
            found = interruptible(run.parts(self.component).cut, run.cancel)
        return _mappings(found, at_least=max(before, default=0) + 1)

    def _instances(self, context: Context) -> dict[int, str | None]:
        """The states of the mapped instances that an earlier try of this run has made, by their indexes."""
        prefix = self.job.task_id(f"tables.{self.component.id}.{PARTS}_")
        states = self._siblings(context).states()
        return {int(key.removeprefix(prefix)): state for key, state in states.items() if key.startswith(prefix)}


def _mappings(found: Iterable[Chunk], at_least: int) -> list[Part]:
    ranges = {chunk.number: (chunk.low, chunk.high) for chunk in found}
    of = max([*ranges, at_least])
    empty = (None, None)
    return [
        {"number": n, "of": of, "low": low, "high": high, "empty": n not in ranges}
        for n in range(1, of + 1)
        for low, high in [ranges.get(n, empty)]
    ]


class ExtractPartOperator(ExtractOperator):
    """Loads one part of a large table.

    Args:
        part: which one, as `cut` gave it.
    """

    def __init__(self, *, part: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.part = part

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        """What Airflow calls of a mapped task's instance, instead of `render_template_fields`."""
        self.render_template_fields(context, jinja_env)

    def show(self) -> None:
        """The part's statement, for *Rendered Template*."""
        from airflow_subset_provider.core.chunks import Chunk

        chunk = Chunk(self.part["number"], self.part["low"], self.part["high"])
        self.sql = "" if self.part["empty"] else self.job.part_sql(self.component, chunk, self.filters)

    def step(self, run: Run, context: Context) -> Numbers:
        """Load the part; its numbers."""
        self._fold_sql()
        load = partial(run.parts(self.component).load, self.part["number"])
        self.moved = interruptible(load, run.cancel)
        return texts.numbers(run.plan, self.moved)
