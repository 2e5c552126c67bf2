"""Why this exists: a scratch server must never outlive its parent, not even one that was killed with SIGKILL.

A shell between parent and server holds the read end of a pipe. When the parent dies the kernel closes the write end,
the shell reads end-of-file, stops the server and removes its directory. Nothing else crosses this module's boundary
but the few things all servers need: a scratch directory, a free port, an account that is not root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

START_TIMEOUT = 120.0
STOP_TIMEOUT = 60.0

# A socket's path may have 107 bytes (103 on macOS), and TMPDIR can be long.
_LONGEST_SCRATCH_ROOT = 60

# sh makes background jobs ignore SIGINT until they install a handler of their own, which database servers do.
_WATCHDOG = """
exec 3<&0 </dev/null
signal=$1; scratch=$2; shift 2
"$@" 3<&- & server=$!
( read -r _ <&3; kill -s "$signal" "$server" ) & reader=$!
wait "$server"; status=$?
kill "$reader" 2>/dev/null
rm -rf "$scratch"
exit "$status"
"""


class SandboxError(RuntimeError):
    """A scratch server could not be made; the message says what to install or set."""


@dataclass(frozen=True)
class Confinement:
    """How a program is kept from running as root: a wrapper around it, or an account to change to."""

    prefix: tuple[str, ...] = ()
    account: pwd.struct_passwd | None = None

    def arguments(self, command: Sequence[str]) -> list[str]:
        """The command line with the wrapper in front."""
        return [*self.prefix, *command]

    def own(self, path: Path) -> None:
        """Give a directory to the account that will use it."""
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def run(self, command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and return its output; never raises for its exit status."""
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            self.arguments(command), capture_output=True, text=True, check=False, **self._identity(), **options
        )

    def spawn(self, command: Sequence[str], **options: object) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own, so that a terminal's Ctrl-C does not reach it."""
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            self.arguments(command), start_new_session=True, **self._identity(), **options
        )

    def _identity(self) -> dict[str, object]:
        if not self.account:
            return {}
        return {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": [], "cwd": "/"}


UNCONFINED = Confinement()


@cache
def confinement() -> Confinement:
    """Postgres refuses to run as root: a private user namespace hides root, else an ordinary account is used."""
    if os.geteuid() != 0:
        return UNCONFINED
    namespace = ("unshare", "--user", "--map-user=65534", "--map-group=65534", "--")
    if (
        shutil.which("unshare")
        and subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0
    ):
        return Confinement(prefix=namespace)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return Confinement(account=pwd.getpwnam(name))
    raise SandboxError("running as root, without user namespaces and without an account to change to")


def scratch_directory(prefix: str, root: str | None = None) -> Path:
    """A new private directory, in `root` if given, at a path short enough for a socket."""
    root = root or tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=prefix, dir=root if len(root) <= _LONGEST_SCRATCH_ROOT else "/tmp"))  # noqa: S108


def memory_directory(free_bytes: int) -> str | None:
    """A file system in memory with that much room, where there is one: no DDL waits for a disk there."""
    shared = Path("/dev/shm")  # noqa: S108
    if not os.access(shared, os.W_OK) or shutil.disk_usage(shared).free < free_bytes:
        return None
    return str(shared)


def free_port() -> int:
    """A loopback port that was free a moment ago; whoever uses it must be ready to lose the race for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Only one process at a time passes, among all that name the same lock file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache_directory() -> Path:
    """Where fetched servers are kept: SUBSET_CACHE_DIR, else the user's cache directory."""
    if chosen := os.environ.get("SUBSET_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airflow-subset-provider"


@dataclass
class Supervised:
    """A running server under the watchdog. Its output goes to a nameless file that vanishes with this process."""

    name: str
    command: Sequence[str]
    scratch: Path
    stop_signal: str = "TERM"
    confined: Confinement = UNCONFINED
    environment: Mapping[str, str] | None = None
    _log: int = field(init=False, repr=False)
    _lifeline: int = field(init=False, repr=False)
    _process: subprocess.Popen[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Start the server. It is up once `await_ready` has returned."""
        with tempfile.TemporaryFile() as log:
            self._log = os.dup(log.fileno())
        reader, self._lifeline = os.pipe()
        try:
            watchdog = ["sh", "-c", _WATCHDOG, "watchdog", self.stop_signal, str(self.scratch), *self.command]
            self._process = self.confined.spawn(
                watchdog, stdin=reader, stdout=self._log, stderr=self._log, env=self.environment
            )
        finally:
            os.close(reader)

    def await_ready(self, ready: Callable[[], bool]) -> None:
        """Return when `ready` says so; raise SandboxError with the log when the server ended or took too long."""
        deadline = time.monotonic() + START_TIMEOUT
        while not ready():
            if self._process.poll() is not None:
                raise SandboxError(f"{self.name} ended while starting. Its log:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"{self.name} was not ready after {START_TIMEOUT:.0f} s. Its log:\n{self.log_tail()}"
                )
            time.sleep(0.02)

    def log_tail(self, size: int = 4000) -> str:
        """The end of what the server wrote."""
        end = os.fstat(self._log).st_size
        return os.pread(self._log, size, max(0, end - size)).decode(errors="replace")

    def stop(self) -> None:
        """Ask the watchdog to stop the server and to remove its directory; insist if that takes too long."""
        if self._lifeline < 0:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(self._lifeline, b"\n")  # a forked child may hold the write end too, so closing is not enough
        os.close(self._lifeline)
        self._lifeline = -1
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        finally:
            os.close(self._log)
            shutil.rmtree(self.scratch, ignore_errors=True)


def start_on_free_port(start: Callable[[int], Supervised], port_taken: Sequence[str], attempts: int = 5) -> Supervised:
    """Call `start` with a free port, again with another when the server's words say that somebody else was faster."""
    for attempt in range(1, attempts + 1):
        try:
            return start(free_port())
        except SandboxError as error:
            if attempt == attempts or not any(words in str(error) for words in port_taken):
                raise
    raise AssertionError("unreachable")
