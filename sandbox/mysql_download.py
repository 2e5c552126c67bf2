"""Real MySQL without root: Debian's packages, verified by apt, unpacked into a private prefix, run with their ld.so.

Only Debian's unstable suite has MySQL; it brings a C library of its own, which is why the whole closure is unpacked
and nothing of it is installed. 55 MB to download, 340 MB on disk, ten to twenty seconds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from sandbox.apt import apt_get
from sandbox.process import SandboxError, cache_directory, exclusive

_SUITE = "sid"
_PACKAGES = ("mysql-server-core", "mysql-client-core")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Dependencies that a bare server never opens.
_UNUSED = re.compile(
    r"^(perl|libperl|dpkg|tar|debconf|cdebconf|bash|coreutils|systemd|passwd|login|mawk|sed|grep|base-files|base-passwd"
    r"|debianutils|init-system-helpers|libdb5|libgdbm|liblocale-gettext|sysvinit)"
)
_LEFT_OUT = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/lintian")
_PROGRAMS = ("usr/sbin/mysqld", "usr/bin/mysql", "usr/bin/mysqldump")


class MySqlUnavailable(SandboxError):
    """MySQL cannot be had on this machine; nothing is wrong with the project."""


def prefix() -> Path:
    """Where the unpacked server is, or will be."""
    return cache_directory() / "mysql"


def fetch() -> Path:
    """The root of an unpacked MySQL, fetched once for all processes of this user."""
    target = prefix()
    with exclusive(target.with_name("mysql.lock")):
        root = target / "root"
        if not root.exists():
            shutil.rmtree(target, ignore_errors=True)
            try:
                _download_and_unpack(target)
            except (SandboxError, OSError, subprocess.SubprocessError) as error:
                shutil.rmtree(target, ignore_errors=True)
                raise MySqlUnavailable(f"MySQL could not be fetched from Debian's {_SUITE}: {error}") from error
        return root


def _download_and_unpack(target: Path) -> None:
    configuration = _private_apt(target / "apt")
    apt_get(["update"], configuration=configuration)
    archives = target / "apt/cache/archives"
    apt_get(["download", *_closure(configuration)], configuration=configuration, directory=archives)
    unpacked = target / "unpacked"
    unpacked.mkdir()
    for package in archives.glob("*.deb"):
        _unpack(package, unpacked)
    if missing := [program for program in _PROGRAMS if not (unpacked / program).exists()]:
        raise SandboxError(f"the packages hold no {', '.join(missing)}")
    shutil.rmtree(target / "apt")
    unpacked.rename(target / "root")  # last: a root that exists is complete


def _private_apt(directory: Path) -> Path:
    """A configuration of apt's that neither reads nor writes anything of the system's but its keyring."""
    mirror = _debian_mirror()
    for name in ("etc/apt.conf.d", "etc/preferences.d", "etc/trusted.gpg.d", "state/lists/partial"):
        (directory / name).mkdir(parents=True)
    for name in ("cache/archives/partial", "dpkg/info", "dpkg/updates"):
        (directory / name).mkdir(parents=True)
    (directory / "dpkg/status").touch()
    options = f"check-valid-until=no signed-by={_KEYRING}"
    (directory / "sources.list").write_text(f"deb [{options}] {mirror} {_SUITE} main\n")
    configuration = directory / "apt.conf"
    configuration.write_text(
        f"""
Dir "{directory}";
Dir::Etc "{directory}/etc";
Dir::Etc::sourcelist "{directory}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{directory}/state";
Dir::State::status "{directory}/dpkg/status";
Dir::Cache "{directory}/cache";
APT::Architecture "{_output("dpkg", "--print-architecture")}";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Debug::NoLocking "true";
"""
    )
    return configuration


def _debian_mirror() -> str:
    """The mirror this machine's own apt uses."""
    if not shutil.which("apt-get") or not _KEYRING.exists():
        raise SandboxError("this is not a Debian machine")
    targets = _output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    for uri in targets.splitlines():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise SandboxError("no Debian mirror among apt's sources")


def _closure(configuration: Path) -> list[str]:
    """Every package needed on a machine that has none, as name=version."""
    lines = apt_get(["--yes", "--print-uris", "install", *_PACKAGES], configuration=configuration).splitlines()
    files = [line.split()[1] for line in lines if line.startswith("'")]
    wanted = [file.split("_") for file in files if not _UNUSED.match(file)]
    return [f"{name}={version}".replace("%3a", ":").replace("%2b", "+") for name, version, _ in wanted]


def _unpack(package: Path, root: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as archive:
        excluded = [f"--exclude={path}" for path in _LEFT_OUT]
        options = ["--extract", "--keep-directory-symlink", "--no-same-owner", f"--directory={root}"]
        subprocess.run(["tar", *options, *excluded], stdin=archive.stdout, check=True, capture_output=True)
    if archive.returncode:
        raise SandboxError(f"dpkg-deb could not read {package.name}")


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
