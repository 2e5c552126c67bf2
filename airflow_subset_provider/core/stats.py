"""What a run did to one table, in numbers: noted in the target, told by each task, and summed up in the report."""

from __future__ import annotations

from msgspec import Struct, field


class Stats(Struct, frozen=True):
    """What a run did to one table.

    Attributes:
        extracted: rows that came by the table's own rule.
        referred: rows fetched because kept rows reference them.
        dropped: extracted rows left out again because of a reference under `drop`.
        nulled: rows in which a reference was set to NULL.
        bytes, seconds: what its streams took.
    """

    extracted: int = 0
    referred: int = 0
    dropped: int = 0
    nulled: int = 0
    bytes: int = 0
    seconds: float = 0.0
    more: dict[str, int] = field(default_factory=dict)

    def __add__(self, other: Stats) -> Stats:
        """Both together."""
        return Stats(
            self.extracted + other.extracted,
            self.referred + other.referred,
            self.dropped + other.dropped,
            self.nulled + other.nulled,
            self.bytes + other.bytes,
            round(self.seconds + other.seconds, 3),
        )

    @property
    def kept(self) -> int:
        """Rows in the copy."""
        return self.extracted - self.dropped + self.referred
