"""Real Airflow 3 in `.venv-airflow`, beside the simulated city.

bag       imports the DAGs under given variables, as the DAG processor does
airflow   scheduler, DAG processor, API server and LocalExecutor at work on the DAGs of `way`'s configuration
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.scripts.conftest import APP, WORK_ORDERS, Way, city, way  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv-airflow" / "bin"
# A machine under load takes its time; nothing is judged by it.
PATIENCE_S = 600
DAG = f"{APP}.{WORK_ORDERS}"
_OVER = ("success", "failed")


def build_env(home: Path, **more: str) -> dict[str, str]:
    """Variables of Airflow's processes; nothing of the developer's own Airflow."""
    if not (BIN / "airflow").exists():
        pytest.fail(f"{BIN / 'airflow'} is missing: Airflow is not set up. Run make test-airflow.")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {
        **kept,
        "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        **more,
    }


@pytest.fixture(scope="session")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, Any]]]:
    """bag(RECORD_SERVICES_RUNNER="local", ...): {"errors": [...], "dags": {id: ...}}."""
    home = tmp_path_factory.mktemp("bag")
    env = build_env(home)
    with (
        (home / "err").open("wb") as errors,
        subprocess.Popen(
            [BIN / "python", Path(__file__).with_name("bag.py")],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as child,
    ):

        def ask(**variables: str) -> dict[str, Any]:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(json.dumps(variables) + "\n")
            child.stdin.flush()
            for line in child.stdout:
                if line.startswith('{"errors"'):
                    return json.loads(line)
            pytest.fail((home / "err").read_text(encoding="utf-8")[-4000:])

        yield ask
        child.terminate()


@dataclass
class Airflow:
    """A running Airflow. folder: its home, where its logs are."""

    url: str
    folder: Path
    env: dict[str, str]
    trouble: Path
    children: list[subprocess.Popen[bytes]]
    token: str = ""

    def call(self, method: str, path: str, **body: Any) -> Any:
        """One call of the public API."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        answer = requests.request(method, f"{self.url}{path}", json=body or None, headers=headers, timeout=60)
        assert answer.ok, (method, path, answer.status_code, answer.text[:2000])
        return answer.json() if answer.content else None

    def trigger(self, dag: str = DAG, **conf: Any) -> str:
        """Start a run; its id."""
        return self.call("POST", f"/api/v2/dags/{dag}/dagRuns", logical_date=None, conf=conf)["dag_run_id"]

    def wait(self, run: str, dag: str = DAG) -> str:
        """The state a run ends in."""
        return self.until(
            lambda: self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{run}")["state"], _OVER, f"{dag} {run}"
        )

    def until(self, look: Callable[[], str], wanted: tuple[str, ...], what: str) -> str:
        """Look until it is one of what is wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = look()
            if found in wanted:
                return found
            for child in self.children:
                assert child.poll() is None, f"{child.args} ended; its words are in {self.folder}/*.out"
            time.sleep(0.3)
        pytest.fail(f"{what} is still {found!r}; {self.folder} has the logs")

    def tasks(self, run: str, dag: str = DAG) -> dict[str, Any]:
        """{task: what Airflow says of it}."""
        found = self.call("GET", f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances")
        return {one["task_id"]: one for one in found["task_instances"]}

    def states(self, run: str, dag: str = DAG) -> dict[str, str]:
        """{task: state}."""
        return {name: one["state"] for name, one in self.tasks(run, dag).items()}

    def xcom(self, run: str, task: str, dag: str = DAG) -> Any:
        """What a task gave."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value"
        return self.call("GET", path)["value"]

    def log(self, run: str, task: str, dag: str = DAG) -> str:
        """A task's log, all tries."""
        found = sorted(self.folder.glob(f"logs/dag_id={dag}/run_id={run}/task_id={task}/**/*.log"))
        assert found, f"{task} has no log"
        return "".join(path.read_text(encoding="utf-8") for path in found)

    def clear(self, run: str, *tasks: str, dag: str = DAG) -> None:
        """Clear tasks and what comes after them, as the button does."""
        self.call(
            "POST",
            f"/api/v2/dags/{dag}/clearTaskInstances",
            dry_run=False,
            dag_run_id=run,
            task_ids=list(tasks),
            include_downstream=True,
            only_failed=False,
            reset_dag_runs=True,
        )

    def import_errors(self) -> list[str]:
        """What could not be imported."""
        found = self.call("GET", "/api/v2/importErrors")
        return [one["stack_trace"] for one in found["import_errors"]]


@pytest.fixture
def airflow(way: Way, tmp_path: Path) -> Iterator[Airflow]:  # noqa: F811
    """Airflow at work: the work orders once a day, the signals when triggered, in shards."""
    with open_airflow(way, tmp_path, AIRFLOW__CORE__EXECUTOR="LocalExecutor") as running:
        yield running


@contextlib.contextmanager
def open_airflow(way: Way, folder: Path, *workers: tuple[str, ...], **more: str) -> Iterator[Airflow]:  # noqa: F811
    """Airflow's processes, until the block ends.

    Scripts run on this machine's Python; a file `<script>.<container>` in `trouble` gives another exit code to what a
    script did well. workers: commands of more processes. more: variables of all.
    """
    configure(way.config / "knack.py")
    env_file = folder / f"{APP}.env"
    env_file.touch(mode=0o600)
    passed = {name: value for name, value in way.env.items() if name not in ("PATH", "HOME", "TMPDIR")}
    passed["RETRY_SECONDS"] = "2"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in passed.items()), encoding="utf-8")
    trouble = folder / "trouble"
    trouble.mkdir()
    python = folder / "python"
    troubled = Path(__file__).with_name("troubled.py")
    python.write_text(f'#!/bin/bash\nexec {sys.executable} {troubled} {trouble} "$@"\n')
    python.chmod(0o755)
    home = folder / "airflow"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    env = build_env(
        home,
        AIRFLOW__CORE__PARALLELISM="2",
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="False",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{url}/execution/",
        AIRFLOW__API_AUTH__JWT_SECRET="only-for-tests-" * 4,
        AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME="0.2",
        AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES="1",
        AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL="300",
        RECORD_SERVICES_RUNNER="local",
        RECORD_SERVICES_PYTHON=str(python),
        RECORD_SERVICES_ENV_FILE=str(folder / "{app}.env"),
        RECORD_SERVICES_RETRIES="0",
        RECORD_SERVICES_ON_FAILURE="tests.airflow.callback.note",
        SERVICES_CONFIG=str(way.config),
        PYTHONPATH=str(ROOT),
        NOTED=str(folder / "noted"),
        **more,
    )
    run_cli(env, "db", "migrate")
    pools = folder / "pools.json"
    made = subprocess.run(
        [BIN / "python", ROOT / "dags" / "make_pools.py"], env=env, capture_output=True, check=True
    )
    pools.write_bytes(made.stdout)
    with contextlib.ExitStack() as stack:
        api = ("api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
        children = [start(stack, env, home, *words) for words in (api, ("dag-processor",), *workers)]
        run_cli(env, "pools", "import", str(pools))
        children.append(start(stack, env, home, "scheduler"))
        running = Airflow(url, home, env, trouble, children)
        running.until(lambda: _ask_health(url), ("healthy",), "the API server")
        running.token = running.call("GET", "/auth/token")["access_token"]
        yield running


def configure(path: Path) -> None:
    """Give the work orders a schedule and no other app, which nobody stands in for here, and the signals shards."""
    text = path.read_text(encoding="utf-8")
    text, taken = re.subn(r'"dest_apps": \{.*\}\},\n', "", text)
    assert taken
    for title, more in (("Work orders", '"schedule": "@daily"'), ("Traffic signals", '"shards": 2')):
        assert f'"description": "{title}' in text
        text = text.replace(f'"description": "{title}', f'{more}, "description": "{title}')
    path.write_text(text, encoding="utf-8")


def _ask_health(url: str) -> str:
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/api/v2/monitor/health", timeout=10).json()["metadatabase"]["status"]
    return "silent"


def run_cli(env: dict[str, str], *words: str) -> str:
    """Run an airflow command that must end well; what it said."""
    done = subprocess.run(
        [BIN / "airflow", *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def start(
    stack: contextlib.ExitStack, env: dict[str, str], home: Path, *words: str
) -> subprocess.Popen[bytes]:
    """Start one of Airflow's processes; it ends with the stack, and its children with it."""
    out = stack.enter_context((home / f"{words[0]}{len(list(home.glob('*.out')))}.out").open("wb"))
    child = subprocess.Popen(
        [BIN / "airflow", *words],
        env=env,
        cwd=home,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    stack.callback(stop, child)
    return child


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
