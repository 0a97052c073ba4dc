"""Every DAG imports in Airflow, and is what the configuration says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "dev" / "demo" / "config")
Bag = Callable[..., dict[str, Any]]


def write(folder: Path, knack: dict[str, Any]) -> str:
    """A configuration folder."""
    (folder / "knack.py").write_text(f"CONFIG = {knack!r}\n", encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize("runner", ["docker", "local", "docker-operator"])
def test_dags__import_in_each_way(bag: Bag, runner: str) -> None:
    """The demo's four containers are four DAGs, however scripts are run; what Airflow stores has no secret's value."""
    found = bag(
        SERVICES_CONFIG=DEMO, RECORD_SERVICES_RUNNER=runner, RECORD_SERVICES_ENV_FILE="/etc/{app}.env"
    )
    assert found["errors"] == []
    assert sorted(found["dags"]) == [
        "green-town.household_trees",
        "green-town.trees",
        "traffic-operations.object_31",
        "traffic-operations.view_200",
    ]
    tasks = found["dags"]["green-town.household_trees"]["tasks"]
    assert {name: task["after"] for name, task in tasks.items()} == {
        "metadata": [],
        "load": ["metadata"],
        "media": ["load"],
        "publish_socrata": ["load"],
        "publish_agol": ["load"],
        "outcome": ["load", "media", "metadata", "publish_agol", "publish_socrata"],
    }
    command = tasks["load"]["command"]
    assert "records_to_postgrest.py -a green-town -c household_trees -e prod" in command
    assert "--since-last --full-every @weekly" in command
    assert ("docker run --rm --env-file /etc/green-town.env record-services" in command) == (
        runner == "docker"
    )


def test_dags__one_run_at_a_time_with_retries(bag: Bag, tmp_path: Path) -> None:
    """Schedules, pools, time-outs and growing pauses between tries arrive in Airflow."""
    app = {
        "object_1": {"schedule": "5m", "socrata_resource_id": "abcd-1234"},
        "object_2": {"schedule": {"changes": "7m", "full": "@monthly", "metadata": ""}},
        "object_3": {},
    }
    found = bag(
        SERVICES_CONFIG=write(tmp_path, {"city assets": app}),
        RECORD_SERVICES_RUNNER="local",
        RECORD_SERVICES_TIMEOUT="3h",
    )
    assert found["errors"] == []
    dags = found["dags"]
    when = [dags[f"city_assets.object_{number}"]["timetable"] for number in (1, 2, 3)]
    assert (when[0]["expression"], when[0]["timezone"]) == ("*/5 * * * *", "UTC")
    assert (when[1]["delta"], when[2]) == (7 * 60, {})
    assert "metadata" not in dags["city_assets.object_2"]["tasks"]
    for dag in dags.values():
        assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
        load = dag["tasks"]["load"]
        assert (load["pool"], load["retries"], load["timeout_s"]) == ("knack_city_assets", 3, 3 * 3600)
        assert load["retry_exponential_backoff"] == 2
        assert dag["tasks"]["outcome"]["retries"] == 0
    assert dags["city_assets.object_1"]["tasks"]["publish_socrata"]["pool"] == "socrata_abcd-1234"
    assert "'--since-last --full-every @monthly'" in dags["city_assets.object_2"]["tasks"]["load"]["command"]


@pytest.mark.parametrize("runner", ["local", "docker-operator"])
def test_dags__shards(bag: Bag, tmp_path: Path, runner: str) -> None:
    """A container in shards is mapped over them; what else reads its app takes the whole pool."""
    app = {"object_1": {"shards": 3}, "object_2": {}}
    found = bag(
        SERVICES_CONFIG=write(tmp_path, {"app": app}),
        RECORD_SERVICES_RUNNER=runner,
        RECORD_SERVICES_ENV_FILE="/etc/{app}.env",
    )
    assert found["errors"] == []
    tasks = found["dags"]["app.object_1"]["tasks"]
    assert {name: (task["mapped"], task["pool_slots"]) for name, task in tasks.items()} == {
        "metadata": (False, 3),
        "shards": (False, 1),
        "load_shard": (True, 1),
        "load": (False, 3),
        "outcome": (False, 1),
    }
    assert found["dags"]["app.object_2"]["tasks"]["load"]["pool_slots"] == 3


def test_dags__empty_configuration(bag: Bag, tmp_path: Path) -> None:
    """No container is no DAG, and no error."""
    assert bag(SERVICES_CONFIG=write(tmp_path, {})) == {"errors": [], "dags": {}}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "nearest: schedule"),
        ({"SERVICES_CONFIG": DEMO, "RECORD_SERVICES_RUNNER": "dokcer"}, "RECORD_SERVICES_RUNNER is 'dokcer'"),
        (
            {"SERVICES_CONFIG": DEMO, "RECORD_SERVICES_RUNNER": "docker"},
            "RECORD_SERVICES_ENV_FILE is not set",
        ),
        ({"SERVICES_CONFIG": DEMO, "RECORD_SERVICES_ON_FAILURE": "nobody.told"}, "'nobody.told'"),
    ],
)
def test_dags__broken_configuration(bag: Bag, tmp_path: Path, variables: dict[str, str], said: str) -> None:
    """What is wrong is one import error that says what, and no DAG is built of half of it."""
    broken = write(tmp_path, {"app": {"object_1": {}, "object_2": {"schedul": "5m"}}})
    found = bag(**{"SERVICES_CONFIG": broken, "RECORD_SERVICES_RUNNER": "local", **variables})
    assert found["dags"] == {}
    assert len(found["errors"]) == 1
    last = found["errors"][0].strip().splitlines()[-1]
    assert said in last and last.endswith(("was sent.", "was built.", "env file."))
    assert json.dumps(found["errors"]).count("Traceback") <= 1
