"""What a container's DAG does, without Airflow: steps, pools, schedules, commands, settings."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.utils.containers import SYSTEMS, Container, find_container
from services.utils.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "dags"))

from record_services_dags import commands, plan  # noqa: E402
from record_services_dags.settings import VARIABLES, read_settings  # noqa: E402

PUBLISHED = {"socrata_resource_id": "abcd-1234", "service_id": "5161", "layer_id": 0}


def make(
    settings: dict[str, Any], *, system: str = "knack", env: str = "prod", name: str = "c1"
) -> Container:
    """The container app/c1."""
    config = {**{one: {} for one in SYSTEMS}, system: {"app": {name: settings}}}
    return find_container(config, "app", name, env, SYSTEMS)


def steps(container: Container) -> dict[str, plan.Step]:
    """{id: step}."""
    return {step.id: step for step in plan.plan_steps(container)}


def test_plan_steps__knack() -> None:
    """Metadata of the app, the load, each destination after the load; the usual run is incremental, full when due."""
    found = steps(make(PUBLISHED))
    assert {name: step.after for name, step in found.items()} == {
        "metadata": (),
        "load": ("metadata",),
        "publish_socrata": ("load",),
        "publish_agol": ("load",),
    }
    assert found["metadata"].flags == ("-a", "app", "-e", "prod")
    assert found["metadata"].usual == ("--every", "@daily")
    assert found["load"].flags == ("-a", "app", "-c", "c1", "-e", "prod")
    for name in ("load", "publish_socrata", "publish_agol"):
        assert found[name].usual == ("--since-last", "--full-every", "@weekly")
    assert [name for name, step in found.items() if step.whatever_before] == ["load"]


def test_plan_steps__copies_to_other_apps() -> None:
    """Each other Knack app has a task behind the load, an env file, and a pool that all who copy there share."""
    copied = {"dest_apps": {"street works": {"object": "object_5"}, "assets": {"object": "object_1"}}}
    container = make(copied)
    found = steps(container)
    assert list(found) == ["metadata", "load", "copy_street_works", "copy_assets"]
    copy = found["copy_street_works"]
    assert (copy.script, copy.after, copy.pool) == (
        "records_to_knack",
        ("load",),
        "knack_copy_street_works",
    )
    assert commands.build_flags(copy).startswith("-a app -c c1 -e prod -dest 'street works' {{")
    path = commands.name_env_file(run_settings(ENV_FILE="/etc/{app}-{script}-{dest}.env"), container, copy)
    assert path == "/etc/app-records_to_knack-street works.env"
    pools = {pool.name: pool.slots for pool in plan.plan_pools([container, make(copied, name="c2")])}
    assert pools == {"knack_app": 1, "knack_copy_assets": 1, "knack_copy_street_works": 1}
    assert list(steps(make(copied, env="dev"))) == ["metadata", "load"]


def test_plan_steps__odk() -> None:
    """A form's metadata are its own; media are copied beside the publishing."""
    found = steps(make({**PUBLISHED, "attachments": {}}, system="odk"))
    assert found["metadata"].flags == ("-a", "app", "-c", "c1", "-e", "prod")
    assert found["media"].after == found["publish_agol"].after == ("load",)


def test_plan_steps__repeat() -> None:
    """A repeat is loaded with its form: its DAG publishes what the store has."""
    found = steps(make({"form_id": "f", "repeat": "tree", **PUBLISHED}, system="odk"))
    assert {name: step.after for name, step in found.items()} == {"publish_socrata": (), "publish_agol": ()}


def test_plan_steps__never() -> None:
    """Kinds that are never due are not asked for."""
    found = steps(make({"schedule": {"changes": "5m", "full": "", "metadata": ""}}))
    assert list(found) == ["load"]
    assert found["load"].usual == ("--since-last",)
    assert (found["load"].after, found["load"].whatever_before) == ((), False)


def test_plan_steps__dev_publishes_nothing_of_prod() -> None:
    """Where dev has no destination of its own, its DAG publishes nothing."""
    assert list(steps(make(PUBLISHED, env="dev"))) == ["metadata", "load"]


@pytest.mark.parametrize(
    ("schedule", "when"),
    [
        (None, None),
        ("1m", "* * * * *"),
        ("5m", "*/5 * * * *"),
        ("60m", "0 * * * *"),
        ("6h", "0 */6 * * *"),
        ("1d", "0 0 * * *"),
        ("7m", dt.timedelta(minutes=7)),
        ("90m", dt.timedelta(minutes=90)),
        ("5h", dt.timedelta(hours=5)),
        ("2d", dt.timedelta(days=2)),
        ("@hourly", "0 * * * *"),
        ("*/15 6-20 * * 1-5", "*/15 6-20 * * 1-5"),
        ({"changes": ""}, "0 0 * * 0"),
        ({"changes": "", "full": ""}, "0 0 * * *"),
        ({"changes": "", "full": "", "metadata": ""}, None),
    ],
)
def test_plan_schedule(schedule: Any, when: Any) -> None:
    """Lengths that cron can say stand on cron's times; nothing is scheduled that nobody asked for."""
    assert plan.plan_schedule(make({"schedule": schedule} if schedule is not None else {})) == when


def test_plan_pools__one_writer_each() -> None:
    """Each dataset and layer, and each Knack app, has one pool; containers of one dataset share it."""
    two = [make({**PUBLISHED, "layer_id": number}, name=f"c{number}") for number in (1, 2)]
    pools = {pool.name: pool.slots for pool in plan.plan_pools([*two, make({}, system="odk")])}
    assert pools == {"agol_5161_1": 1, "agol_5161_2": 1, "knack_app": 1, "odk_app": 4, "socrata_abcd-1234": 1}
    used = {step.pool for container in two for step in plan.plan_steps(container)}
    assert used <= pools.keys()


def test_plan_steps__shards() -> None:
    """A container in shards asks what is due, has a task for each shard, and one that closes the round or loads what
    changed; shards share the app's pool, everything else that reads the app takes all of it."""
    found = steps(make({"shards": 4, "socrata_resource_id": "abcd-1234"}))
    assert {name: step.after for name, step in found.items()} == {
        "metadata": (),
        "shards": ("metadata",),
        "load_shard": ("shards",),
        "load": ("load_shard",),
        "publish_socrata": ("load",),
    }
    assert [name for name, step in found.items() if step.whatever_before] == ["shards"]
    assert {name: step.slots for name, step in found.items() if step.pool == "knack_app"} == {
        "metadata": 4,
        "load_shard": 1,
        "load": 4,
    }
    other = plan.plan_steps(make({}), slots=4)
    assert {step.slots for step in other} == {4}
    pools = plan.plan_pools([make({"shards": 4}), make({}, name="c2")])
    assert [(pool.name, pool.slots) for pool in pools] == [("knack_app", 4)]
    assert commands.build_flags(found["shards"]).endswith("--since-last --full-every @weekly --due")
    assert commands.build_flags(found["load_shard"]).endswith("--shard {{ task.shard }} --round {{ run_id }}")


def test_plan_steps__shards_without_full_runs() -> None:
    """Where no full run is ever due, there is nothing to share."""
    assert list(steps(make({"shards": 4, "schedule": {"full": "", "metadata": ""}}))) == ["load"]


def test_list_containers__of_some_apps() -> None:
    """The DAGs of one app do not fail for what is wrong with another's containers."""
    config: dict[str, Any] = {
        "knack": {"a": {"c1": {}}, "b": {"c2": {"schedul": "5m"}}},
        "odk": {"c": {"c3": {}}},
    }
    assert [one.where for one in plan.list_containers(config, "prod", ["a", "c"])] == ["a/c1", "c/c3"]
    with pytest.raises(ConfigError, match="b/c2 has an unknown setting 'schedul'"):
        list(plan.list_containers(config, "prod"))


def test_refuse_twins() -> None:
    """Two containers whose DAGs would have one name are refused, both named."""
    twins = [make({}, name="form a"), make({}, name="form_a")]
    with pytest.raises(ConfigError, match="app/form a and app/form_a would both be the DAG app.form_a"):
        plan.refuse_twins(twins)


# -- commands


def run_settings(**changed: str) -> Any:
    """Settings of docker run, unless told otherwise."""
    given = {"RECORD_SERVICES_ENV_FILE": "/etc/rs/{app} {script}.env"}
    return read_settings({**given, **{f"RECORD_SERVICES_{key}": value for key, value in changed.items()}})


def test_build_shell__docker() -> None:
    """The env file is named, flags are quoted, a setting adds flags of docker's own."""
    container = make({"schedule": {"changes": "5m", "full": "30 3 * * 0"}})
    found = commands.build_shell(
        run_settings(DOCKER_FLAGS="--network host -v '/a b:/config:ro'"), container, steps(container)["load"]
    )
    assert found == (
        "exec docker run --rm --env-file '/etc/rs/app records_to_postgrest.env' --network host "
        "-v '/a b:/config:ro' record-services services/records_to_postgrest.py -a app -c c1 -e prod "
        """{{ '' if params.full else "--since-last --full-every '30 3 * * 0'" }}"""
    )


def test_build_shell__local() -> None:
    """This machine's Python, with the variables of the file, or those that are there already."""
    container = make({})
    step = steps(container)["load"]
    found = commands.build_shell(run_settings(RUNNER="local", PYTHON="/venv/python"), container, step)
    assert found.startswith(
        f"exec bash {ROOT}/dags/record_services_dags/with_env.sh '/etc/rs/app records_to_"
    )
    assert f"/venv/python {ROOT}/services/records_to_postgrest.py -a app" in found
    bare = read_settings({"RECORD_SERVICES_RUNNER": "local", "RECORD_SERVICES_PYTHON": "/venv/python"})
    assert commands.build_shell(bare, container, step).startswith(f"exec /venv/python {ROOT}/services/")


def test_build_shell__names_are_no_templates() -> None:
    """A name that Airflow would fill in as a template is refused."""
    container = make({}, name="{{ conn.store }}")
    with pytest.raises(ConfigError, match="template"):
        commands.build_shell(run_settings(), container, steps(container)["load"])


ENV_FILE = (
    "# words\n\nA=plain\nB= two  words $HOME `id` \"quoted\" 'x'\nC=a=b\r\nD=\n  # more\nE=last, no newline"
)


def test_env_file__read_as_docker_does(tmp_path: Path) -> None:
    """Shell and Python read the same values, none of them expanded."""
    path = tmp_path / "env file"
    path.write_bytes(ENV_FILE.encode())
    found = commands.read_env_file(str(path))
    show = "import os, json; print(json.dumps({name: os.environ[name] for name in 'ABCDE'}))"
    done = subprocess.run(
        ["bash", ROOT / "dags/record_services_dags/with_env.sh", path, sys.executable, "-c", show],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == found
    assert found["B"] == " two  words $HOME `id` \"quoted\" 'x'"
    assert (found["C"], found["D"], found["E"]) == ("a=b", "", "last, no newline")


@pytest.mark.parametrize(("content", "said"), [("OK=1\ns3cret\n", "line 2"), (None, "cannot be read")])
def test_env_file__wrong(tmp_path: Path, content: str | None, said: str) -> None:
    """A file that is missing or wrong is named, with the line's number and not the line; nothing is run."""
    path = tmp_path / "env"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        commands.read_env_file(str(path))
    done = subprocess.run(
        ["bash", ROOT / "dags/record_services_dags/with_env.sh", path, "echo", "ran"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "s3cret" not in done.stderr + str(caught.value)


# -- settings and pools


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RUNNER", "podman", "docker or local or docker-operator"),
        ("RETRIES", "-1", "whole number"),
        ("RETRY_AFTER", "1 minute", "length of time"),
        ("TIMEOUT", "@daily", "length of time"),
        ("POOLS", "none", "own or default"),
        ("ENV_FILE", "/etc/{ap}.env", "{app}, {container}, {script} and {dest}"),
        ("ENV_FILE", "/etc/{.env", "{app}, {container}, {script} and {dest}"),
        ("DOCKER_OPTIONS", "[1]", "JSON object"),
        ("DOCKER_FLAGS", "-v 'a", "shell"),
    ],
)
def test_read_settings__wrong(name: str, value: str, said: str) -> None:
    """A wrong setting is named with its value and what was expected."""
    with pytest.raises(ConfigError) as caught:
        run_settings(**{name: value})
    assert f"RECORD_SERVICES_{name} is {value!r}" in str(caught.value)
    assert said in str(caught.value)


def test_make_pools__what_airflow_imports(tmp_path: Path) -> None:
    """The command prints the pools as JSON; a wrong configuration is one line and exit code 2."""
    demo = {**os.environ, "SERVICES_CONFIG": str(ROOT / "dev" / "demo" / "config")}
    words = [sys.executable, str(ROOT / "dags" / "make_pools.py")]
    done = subprocess.run(words, env=demo, cwd=tmp_path, capture_output=True, text=True, check=True)
    pools = json.loads(done.stdout)
    assert pools["socrata_work-ordr"] == {
        "slots": 1,
        "description": "one writer at a time: records_to_socrata",
    }
    wrong = {**demo, "SERVICES_CONFIG": str(tmp_path)}
    done = subprocess.run(words, env=wrong, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


def test_docs__settings_equal_the_code() -> None:
    """docs/airflow.md tells each variable of the DAGs once, and no other."""
    text = (ROOT / "docs" / "airflow.md").read_text(encoding="utf-8").split("\n## Settings\n", 1)[1]
    rows = [line.split("`")[1] for line in text.split("\n## ", 1)[0].splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(VARIABLES)
