"""Debian's packages as a source of servers that pip does not have: installed (MariaDB) or only unpacked (MySQL)."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox.process import SandboxError, exclusive

_LOCK_TIMEOUT = "300"
_COMMAND_TIMEOUT = 900
_OPTIONS = (
    "--option=Acquire::Retries=3",
    "--option=Acquire::http::Timeout=60",
    f"--option=DPkg::Lock::Timeout={_LOCK_TIMEOUT}",
)


def install_unless(present: Callable[[], bool], packages: Sequence[str]) -> None:
    """Install packages where something is missing; only root can, and only where there is apt."""
    if present():
        return
    wanted = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SandboxError(f"missing: {wanted}. Run `apt-get install --no-install-recommends {wanted}` as root")
    with exclusive(Path(tempfile.gettempdir()) / "subset-apt.lock"):
        if present():  # by now, thanks to another worker
            return
        apt_get(["update"])
        apt_get(["install", "--yes", "--no-install-recommends", *packages])
        if not present():
            raise SandboxError(f"{wanted}: installed, but without the programs that were expected from them")


def apt_get(arguments: Sequence[str], *, configuration: Path | None = None, directory: Path | None = None) -> str:
    """Run apt-get without questions and return what it prints."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    if configuration:
        environment["APT_CONFIG"] = str(configuration)
    try:
        result = subprocess.run(
            ["apt-get", "--quiet=2", *_OPTIONS, *arguments],
            env=environment,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_TIMEOUT,
        )
    except subprocess.TimeoutExpired as expired:
        raise SandboxError(f"apt-get {arguments[0]} did not end within {expired.timeout:.0f} s") from None
    if result.returncode:
        raise SandboxError(f"apt-get {arguments[0]} failed: {result.stderr.strip()[-2000:]}")
    return result.stdout
