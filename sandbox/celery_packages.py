"""What CeleryExecutor needs beyond this project's lock, in a folder of its own that only its processes see.

Some twenty packages that nothing else here uses would weigh on every installation, so they are fetched when they are
first needed, from requirements/celery.txt, which fits the lock. A process that has the folder on PYTHONPATH has them.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from sandbox.process import SandboxError, cache_directory, exclusive

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements" / "celery.txt"


@cache
def directory() -> Path:
    """The folder, filled if it was not."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(REQUIREMENTS.read_bytes() + version.encode()).hexdigest()[:12]
    found = cache_directory() / f"celery-{key}"
    with exclusive(cache_directory() / "celery.lock"):
        if not found.exists():
            unfinished = found.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _install(unfinished)
            unfinished.rename(found)
    return found


def _install(target: Path) -> None:
    command = [*_install_command(), "--quiet", "--no-deps", "--target", str(target), "-r", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SandboxError(f"Celery's packages cannot be installed: {done.stderr.strip()[-2000:]}")


def _install_command() -> list[str]:
    """Of the uv that made this environment, else of its pip."""
    for uv in (Path(sys.prefix) / "bin" / "uv", shutil.which("uv")):
        if (
            uv
            and Path(uv).exists()
            and subprocess.run([str(uv), "--version"], capture_output=True, check=False).returncode == 0
        ):
            return [str(uv), "pip", "install", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install"]
