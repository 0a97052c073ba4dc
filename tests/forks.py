"""Scripts as forked children of a process that has everything imported: a start costs milliseconds.

    with ForkServer(env) as server:
        child = server.start("records_to_postgrest", "-a", "app", "-c", "object_1")
        os.kill(child.pid, signal.SIGKILL)
        done = child.wait()

Each child runs `services/NAME.py` as `__main__`, as `python services/NAME.py` does. A server runs one child at
a time; several servers run side by side.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]
HANGS_S = 120.0


@dataclass(frozen=True)
class Waits:
    """How a script's waits are shortened.

    pace, timeout_s: see `session.set_testing`. Unchanged they make milliseconds of the waits between two tries,
    and give hanging servers up soon. runs: times of services.utils.runs to have others, {"HEARTBEAT_S": 0.1}.
    """

    pace: float = 0.01
    timeout_s: float = 2.0
    runs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """A script that has ended. code: minus the number of the signal that ended it, as subprocess has it."""

    code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of stdout."""
        return json.loads(self.stdout.strip().splitlines()[-1])

    @property
    def errors(self) -> list[str]:
        """Lines of the log that say ERROR."""
        return [line for line in self.stderr.splitlines() if " ERROR " in line]


class Child:
    """A script under way."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self._server = server

    def wait(self) -> Done:
        """Wait for its end."""
        # One that hangs is a finding of its own: it must not hang the tests.
        watchdog = threading.Timer(HANGS_S, os.kill, (self.pid, signal.SIGKILL))
        watchdog.start()
        try:
            return self._server._collect()
        finally:
            watchdog.cancel()


class ForkServer:
    """Starts scripts with these variables."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = dict(env)
        self._files: Any = None

    def __enter__(self) -> Self:
        self._files = tempfile.TemporaryDirectory(prefix="forks-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forks"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._files.cleanup()

    def start(self, script: str, *flags: str, waits: Waits | None = None, **changed: str | None) -> Child:
        """Start a script; variables given by name replace those of the environment (None takes one out)."""
        env = {name: value for name, value in {**self._env, **changed}.items() if value is not None}
        order = {
            "script": str(ROOT / "services" / f"{script}.py"),
            "flags": flags,
            "env": env,
            "folder": self._files.name,
            "waits": asdict(waits or Waits()),
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Child(self, self._read()["pid"])

    def _collect(self) -> Done:
        code = self._read()["code"]
        out, err = (Path(self._files.name, name).read_text(encoding="utf-8") for name in ("out", "err"))
        return Done(code, out, err)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError("the server of forks died")
        return json.loads(line)


def _serve() -> None:
    """Read orders, fork, say the child's number and then how it ended."""
    import botocore.session
    import jwt  # noqa: F401
    import sodapy  # noqa: F401
    from dateutil import parser, tz  # noqa: F401

    from services.utils import agol, cli, containers, env, knack, loading, runs, socrata, store  # noqa: F401

    # What boto3 reads from its own files for a client.
    botocore.session.get_session().create_client("s3", "us-east-1")
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(order)
        sys.stdout.write(json.dumps({"pid": pid}) + "\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


def _run(order: dict[str, Any]) -> None:
    """Be the script; never comes back."""
    from services.utils import runs, session

    waits = order["waits"]
    code = 70
    try:
        for number, name in ((1, "out"), (2, "err")):
            held = os.open(f"{order['folder']}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(held, number)
            os.close(held)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(order["env"])
        session.set_testing(waits["pace"], waits["timeout_s"])
        for name, value in waits["runs"].items():
            setattr(runs, name, value)
        sys.argv = [order["script"], *order["flags"]]
        runpy.run_path(order["script"], run_name="__main__")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 70
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
