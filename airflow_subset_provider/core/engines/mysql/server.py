"""Which server is at the other end, and what that changes: data, so that nothing else asks for a name.

MySQL and MariaDB parted long ago; a connection of type `mysql` may lead to either. The version string tells.
"""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from airflow_subset_provider.core.errors import EndpointError, Fault


class Server(Struct, frozen=True):
    """What differs between the two servers.

    Attributes:
        name: the schema's dialect, "mysql" or "mariadb".
        oldest: the first version that has what a copy needs (on MySQL: VALUES ROW(), on MariaDB: invisible columns,
            JSON_TABLE-era CTEs and a supported release).
        row: what stands before each row of a table value constructor.
        reads_temporary_once: a temporary table may stand only once in a statement (MySQL manual B.3.6.2, error 1137).
        most_members: recursive members of one CTE. MariaDB's optimizer takes three times the memory for every one
            more, and again for every CTE that reads it (10.11, at 80 readers: 6 MiB for 4, 110 for 5, 620 for 6, 2,200
            for 7); MySQL takes hundreds.
        explain: the table of a plan, with the share of rows that conditions leave.
        unlimited: session variables that would cut a long recursion or a long copy short, with their greatest values,
            or hide a column that the server has made a primary key of (MySQL manual 15.1.20.11).
        cuts_short: SQL for whether a recursion may end at the session's limit without an error.
        modes_gone: SQL modes that the other server's triggers may have been made under, that this one refuses, and that
            say nothing of triggers.
    """

    name: str
    title: str
    oldest: tuple[int, int, int]
    row: str
    reads_temporary_once: bool
    most_members: int
    explain: str
    unlimited: tuple[tuple[str, str], ...]
    cuts_short: str = "FALSE"
    modes_gone: tuple[str, ...] = ()
    version: tuple[int, int, int] = (0, 0, 0)

    def __str__(self) -> str:
        """`MySQL 9.7.4`."""
        return f"{self.title} {'.'.join(map(str, self.version))}"


MYSQL = Server(
    name="mysql",
    title="MySQL",
    oldest=(8, 0, 19),
    row="ROW",
    reads_temporary_once=True,
    most_members=1000,
    explain="EXPLAIN FORMAT=TRADITIONAL",
    unlimited=(
        ("cte_max_recursion_depth", "4294967295"),
        ("max_execution_time", "0"),
        ("information_schema_stats_expiry", "0"),
        ("range_optimizer_max_mem_size", "0"),
        ("show_gipk_in_create_table_and_information_schema", "1"),
    ),
    modes_gone=("NO_AUTO_CREATE_USER",),
)
# MariaDB cuts a recursion at its limit and only warns, with code 1931: see `MySqlSession.refuse_truncation`. Whether
# its greatest limit can be set is for the server's administrator (`--maximum-max-recursive-iterations`).
MARIADB = Server(
    name="mariadb",
    title="MariaDB",
    oldest=(10, 6, 0),
    row="",
    reads_temporary_once=False,
    most_members=4,
    explain="EXPLAIN EXTENDED",
    unlimited=(("max_recursive_iterations", "4294967295"), ("max_statement_time", "0")),
    cuts_short="@@max_recursive_iterations < 4294967295",
)


def recognised(version: str, label: str) -> Server:
    """The server that says VERSION() so.

    Raises:
        EndpointError: it is older than supported.
    """
    kind = MARIADB if "mariadb" in version.lower() else MYSQL
    # MariaDB behind replication-compatible proxies may put 5.5.5- in front of its version.
    numbers = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if numbers is None:
        raise EndpointError(
            Fault(f"the server calls itself {version!r}, which is no version of MySQL or MariaDB", label)
        )
    major, minor, patch = (int(n or 0) for n in numbers.groups())
    server = replace(kind, version=(major, minor, patch))
    if server.version < server.oldest:
        oldest = ".".join(map(str, server.oldest))
        raise EndpointError(Fault(f"{server} is too old", label, f"Use {server.title} {oldest} or later."))
    return server
