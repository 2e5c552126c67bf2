"""One subset run in a process of its own, whose peak memory it reports: `python -m benchmarks.worker '{…}'`."""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import psycopg

from airflow_subset_provider.core.run import Endpoint, subset
from airflow_subset_provider.core.spec import Spec


def main(source: dict[str, Any], target: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Run the spec; seconds, rows kept and peak resident memory in MiB."""
    started = time.monotonic()
    report = subset(Spec.of(**spec), _endpoint(source, "source"), _endpoint(target, "target"), replace_existing=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.monotonic() - started, "rows": report.kept, "peak_mib": peak, "dangling": report.dangling}


def _endpoint(params: dict[str, Any], label: str) -> Endpoint:
    return Endpoint("postgresql", lambda: psycopg.connect(**params), label)


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))
