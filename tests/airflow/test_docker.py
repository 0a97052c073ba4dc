"""Scripts in containers that Docker's API starts, with variables that Airflow never shows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.airflow.conftest import BIN, DAG, build_env
from tests.airflow.engine import Engine
from tests.scripts.conftest import APP, WORK_ORDERS, Way


def test_docker_operator__runs_scripts_and_hides_secrets(way: Way, tmp_path: Path) -> None:
    """Each exit code is a state of its own, the summary is the XCom, and secrets reach the container alone."""
    passed = {name: value for name, value in way.env.items() if name not in ("PATH", "HOME", "TMPDIR")}
    (tmp_path / f"{APP}.env").write_text("".join(f"{name}={value}\n" for name, value in passed.items()))
    with Engine() as engine:
        env = build_env(
            tmp_path,
            RECORD_SERVICES_RUNNER="docker-operator",
            RECORD_SERVICES_ENV_FILE=str(tmp_path / "{app}.env"),
            RECORD_SERVICES_DOCKER_OPTIONS=json.dumps({"docker_url": engine.url, "network_mode": "host"}),
            SERVICES_CONFIG=str(way.config),
        )
        child = subprocess.Popen(
            [BIN / "python", Path(__file__).with_name("docker_task.py")],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert child.stdin is not None and child.stdout is not None
        logged: list[str] = []

        def run(task: str) -> dict[str, Any]:
            child.stdin.write(json.dumps([DAG, task]) + "\n")
            child.stdin.flush()
            for line in child.stdout:
                if line.startswith('{"state"'):
                    return json.loads(line)
                logged.append(line)
            raise AssertionError("".join(logged)[-4000:])

        done = run("load")
        assert (done["state"], done["xcom"]["return_value"]["inserted"]) == ("success", 160), done
        assert way.documents(WORK_ORDERS) == way.source(WORK_ORDERS)
        box = engine.boxes["box1"].created
        assert f"KNACK_API_KEY={way.knack.api_key}" in box["Env"]
        assert (box["Image"], box["HostConfig"]["NetworkMode"]) == ("record-services", "host")
        assert engine.removed == ["box1"]

        run("metadata")
        title = way.city.key(WORK_ORDERS, "Title")
        way.knack.edit_record(WORK_ORDERS, min(way.source(WORK_ORDERS)), {title: "q" * 5000})
        run("load")
        refused = run("publish_agol")
        assert (refused["state"], refused["xcom"]["return_value"]["rejected"]) == ("skipped", 1), refused
        assert "Done, but 1 records were refused" in refused["words"]

        way.knack.faults.add("401", times=None)
        failed = run("load")
        assert (failed["state"], failed["xcom"]["return_value"]["status"]) == ("failed", "failed"), failed
        (tmp_path / f"{APP}.env").write_text(f"SERVICES_CONFIG={way.config}\n")
        wrong = run("load")
        assert (wrong["state"], wrong["xcom"]["return_value"]["read"]) == ("failed for good", 0), wrong
        assert "missing: KNACK_APP_ID" in "".join(logged)
        child.stdin.close()
        logged.append(child.stdout.read())
        assert child.wait() == 0
    told = "".join(logged) + json.dumps([done, refused, failed, wrong])
    for name in ("KNACK_API_KEY", "SOCRATA_PASSWORD", "AGOL_PASSWORD", "PGREST_JWT_SECRET"):
        assert way.env[name] not in told, name
