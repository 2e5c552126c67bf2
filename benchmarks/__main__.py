"""`python -m benchmarks [parsing|overhead|mysql|mariadb …]`: all of them without a name."""

from __future__ import annotations

import sys

from benchmarks import depth, indexes, memory, mysql, overhead, parsing, planning, throughput

ALL = {
    "parsing": parsing.main,
    "overhead": overhead.main,
    "planning": planning.main,
    "depth": depth.main,
    "throughput": throughput.main,
    "memory": memory.main,
    "indexes": indexes.main,
    "mysql": mysql.mysql,
    "mariadb": mysql.mariadb,
}


def main(names: list[str]) -> int:
    """Run the named ones; 1 when one says that a promise is broken."""
    return int(any(ALL[name]() is False for name in names or ALL))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
