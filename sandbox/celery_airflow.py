"""A private Airflow whose tasks run on several Celery workers that share nothing but the metadata database and Redis.

The workers are processes of this machine, made to live as on machines of their own: each has a name, a home, a
temporary and a working directory and an AIRFLOW_HOME that no other one sees.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from sandbox import celery_packages
from sandbox.demo.standalone import Standalone
from sandbox.redis import RedisServer

ROOT = Path(__file__).resolve().parents[1]
SLOTS = 2  # tasks at once, for each worker


def worker_name() -> str:
    """What Airflow shows as the host of a task (`[core] hostname_callable`): the real one would be the same for all."""
    return os.environ.get("SUBSET_WORKER", "no-worker")


@dataclass(frozen=True)
class Worker:
    """One worker and its own directories.

    Attributes:
        folder: where they are.
    """

    name: str
    folder: Path

    @property
    def places(self) -> dict[str, Path]:
        """Its directories, by the variables that name them (PWD: where it runs)."""
        return {name: self.folder / name.lower() for name in ("HOME", "TMPDIR", "PWD", "AIRFLOW_HOME")}

    def command(self) -> str:
        """The shell command that starts it."""
        for place in self.places.values():
            place.mkdir(parents=True)
        variables = " ".join(f"{name}={quote(str(place))}" for name, place in self.places.items())
        return (
            f"( cd {quote(str(self.places['PWD']))} && exec env SUBSET_WORKER={self.name} {variables} "
            f'"$PYTHON" -m airflow celery worker --celery-hostname {self.name}@localhost --concurrency {SLOTS} '
            "--skip-serve-logs --without-mingle --without-gossip )"
        )


class CeleryAirflow(Standalone):
    """A running Airflow with workers; leave its context to stop them all."""

    def __init__(
        self, environment: Mapping[str, str], log: Path, redis: RedisServer, metadata: str, workers: Sequence[Worker]
    ) -> None:
        """Start it.

        Args:
            environment: with AIRFLOW_HOME, connections and the like; PYTHONPATH is one more place of modules.
            log: the file that takes all components' output.
            redis: the broker.
            metadata: the URL of an empty Postgres database.
            workers: those to start.
        """
        self._workers = workers
        self._shared = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(celery_packages.directory()), environment["PYTHONPATH"]]),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CELERY__BROKER_URL": redis.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": redis.url,
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": f"{__name__}.{worker_name.__name__}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata,
        }
        super().__init__(environment, log, parallelism=SLOTS * len(workers))

    def _settings(self) -> dict[str, str]:
        return super()._settings() | self._shared

    def _components(self) -> list[str]:
        return [*super()._components(), *(worker.command() for worker in self._workers)]
