"""Carries out a Dockerfile's steps in folders, and starts programs there as a container would.

What is replayed: COPY, ENV, WORKDIR, `pip install` and `compileall` of the target's stages, the user, a read-only
root with an empty /tmp, no variable of ours. What is not: the base image itself; this machine's Python stands in for
it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.base_prefix)
TEMPORARY = "/dev/shm"


@dataclass
class Stage:
    """One stage of a Dockerfile: its name, what it starts from, its instructions as (word, rest)."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def read_stages(dockerfile: Path) -> dict[str, Stage]:
    """{name: stage}, the last one also under ""."""
    text = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.M))
    stages: dict[str, Stage] = {}
    stage = Stage("", "")
    for line in filter(str.strip, text.splitlines()):
        word, rest = line.split(None, 1)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = Stage(name.strip(), base.strip())
            stages[stage.name] = stages[""] = stage
        else:
            stage.steps.append((word, rest.strip()))
    return stages


@dataclass
class Image:
    """A built target: /app in `app`, the virtual environment in `venv`."""

    app: Path
    venv: Path
    user: int
    env: dict[str, str]
    entrypoint: list[str]
    command: list[str]

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, mount: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Start a container's command. mount: a folder in the place of /app."""
        variables = {**self.env, "TMPDIR": TEMPORARY, **(env or {})}
        app = mount or self.app
        words = [*self._start_words(app), *self.entrypoint, *(command or self.command)]
        return subprocess.run(
            words,
            cwd=app,
            env={name: value.replace("/app", str(app)) for name, value in variables.items()},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @property
    def is_closed(self) -> bool:
        """Whether programs run as the image's user and can write nothing but the folder for temporary files: it takes
        root and Linux to see to that."""
        return os.geteuid() == 0 and bool(shutil.which("unshare") and shutil.which("setpriv"))

    def _start_words(self, app: Path) -> list[str]:
        if not self.is_closed:
            return []
        steps = ["mount --make-rprivate /", f"mount -t tmpfs -o mode=1777 none {TEMPORARY}"]
        hidden = _find_hidden(PYTHON)
        if hidden:
            # The image's Python is everybody's; this machine's may stand in a home of somebody.
            steps += [
                f"mkdir {TEMPORARY}/python && mount --bind {PYTHON} {TEMPORARY}/python",
                f"mount -t tmpfs -o mode=755 none {hidden} && mkdir -p {PYTHON}",
                f"mount --bind {TEMPORARY}/python {PYTHON} && umount {TEMPORARY}/python && rmdir {TEMPORARY}/python",
                f"mount -o remount,ro {hidden}",
            ]
        steps += [
            f"mount --bind {shlex.quote(str(app))} {shlex.quote(str(app))}",
            f"mount -o remount,bind,ro {shlex.quote(str(app))} && mount -o remount,bind,ro /",
            f'exec setpriv --reuid {self.user} --regid {self.user} --clear-groups "$@"',
        ]
        return ["unshare", "--mount", "sh", "-ec", "\n".join(steps), "sh"]


def _find_hidden(path: Path) -> Path | None:
    """The first folder on the way to a path that other users may not enter."""
    return next((one for one in reversed(path.parents) if not one.stat().st_mode & 0o001), None)


def build(stages: Mapping[str, Stage], target: str, folder: Path) -> Image:
    """Carry out a target's steps, and those of the stages that it takes from."""
    venv, app = folder / "venv", folder / "app"
    app.mkdir(parents=True)
    image = Image(app, venv, os.geteuid(), {}, [], [])
    _carry_out(stages, stages[target], image)
    return image


def _carry_out(stages: Mapping[str, Stage], stage: Stage, image: Image) -> None:
    if stage.base in stages:
        _carry_out(stages, stages[stage.base], image)
    for word, rest in stage.steps:
        if word == "COPY":
            words = [one for one in rest.split() if not one.startswith("--")]
            taken = re.search(r"--from=(\w+)", rest)
            if taken:
                if not image.venv.exists():
                    _carry_out(stages, stages[taken[1]], image)
            elif words[-1].startswith("/app"):
                for source in words[:-1]:
                    _copy(ROOT / source, image.app / words[-1].removeprefix("/app").lstrip("/"))
        elif word == "RUN" and "pip install" in rest:
            asked = re.search(r"/tmp/(\S+\.txt)", rest)
            assert asked, rest
            flags = ["--no-deps"] if "--no-deps" in rest else []
            subprocess.run([sys.executable, "-m", "venv", str(image.venv)], check=True)
            pip = [str(image.venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *flags, "--requirement", str(ROOT / asked[1])], check=True)
        elif word == "RUN" and "compileall" in rest:
            words = [one.replace("/app", str(image.app)) for one in shlex.split(rest)[1:]]
            subprocess.run([str(image.venv / "bin" / "python"), *words], check=True)
        elif word == "ENV":
            for name, value in re.findall(r"(\w+)=(\S+)", rest):
                known = {**image.env, "PATH": image.env.get("PATH", "/usr/bin:/bin")}
                value = value.replace("$PATH", known["PATH"]).replace("/opt/venv", str(image.venv))
                image.env[name] = value
        elif word == "USER":
            image.user = int(rest)
        elif word == "ENTRYPOINT":
            image.entrypoint = re.findall(r'"([^"]*)"', rest)
        elif word == "CMD":
            image.command = re.findall(r'"([^"]*)"', rest)


def _copy(source: Path, target: Path) -> None:
    """As the build context gives it: .dockerignore leaves out what Python compiled."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
