"""One subset run in a process of its own, whose peak memory it reports: `python -m benchmarks.worker '{…}'`."""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

from airflow_subset_provider.core.run import Endpoint, subset
from airflow_subset_provider.core.spec import Spec


def main(
    source: dict[str, Any], target: dict[str, Any], spec: dict[str, Any], engine: str = "postgresql"
) -> dict[str, Any]:
    """Run the spec; seconds, rows kept and peak resident memory in MiB."""
    started = time.monotonic()
    ends = (_endpoint(engine, source, "source"), _endpoint(engine, target, "target"))
    report = subset(Spec.of(**spec), *ends, replace_existing=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.monotonic() - started, "rows": report.kept, "peak_mib": peak, "dangling": report.dangling}


def _endpoint(engine: str, params: dict[str, Any], label: str) -> Endpoint:
    def connect() -> Any:
        if engine == "postgresql":
            import psycopg

            return psycopg.connect(**params)
        import MySQLdb

        return MySQLdb.connect(**params, local_infile=True)

    return Endpoint(engine, connect, label)


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
