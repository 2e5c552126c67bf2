"""Which servers the demo runs on: what ENGINE names, and what stands in for a MySQL that cannot be fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sandbox.mariadb import MariaDbServer
from sandbox.mysql import MySqlServer
from sandbox.mysql_download import MySqlUnavailable
from sandbox.postgresql import PostgresServer, describe_binaries
from sandbox.process import SandboxError
from sandbox.server import Endpoint


@dataclass(frozen=True)
class Kind:
    """One kind of server.

    Attributes:
        title: what it is called in print.
        start: starts one; gets the programs first where they are missing.
        getting: what takes time while it starts.
        stand_in: the engine to run on where this one cannot be had.
    """

    title: str
    start: Callable[[], Endpoint]
    getting: str
    stand_in: str = ""


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "postgres": Kind("Postgres", PostgresServer, describe_binaries()),
        "mariadb": Kind("MariaDB", MariaDbServer, "installed with apt where it is missing"),
        "mysql": Kind("MySQL", MySqlServer, "fetched once, 55 MB", stand_in="mariadb"),
    }
)
_SYNONYMS: Final = {"": "postgres", "postgresql": "postgres"}


def named(engine: str) -> Kind:
    """The kind of server that ENGINE says.

    Raises:
        SandboxError: there is none of that name.
    """
    wanted = engine.strip().lower()
    try:
        return KINDS[_SYNONYMS.get(wanted, wanted)]
    except KeyError:
        raise SandboxError(f"ENGINE={engine}: use one of {', '.join(KINDS)}.") from None


def started(kind: Kind, tell: Callable[[str], None]) -> tuple[Kind, Endpoint]:
    """A first server of this kind, or of the one that stands in for it, and of which kind it is."""
    try:
        return kind, kind.start()
    except MySqlUnavailable as reason:
        if not kind.stand_in:
            raise
        other = KINDS[kind.stand_in]
        tell(f"{reason}\nThe demo runs on {other.title} instead.")
        return other, other.start()
