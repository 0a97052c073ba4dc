"""The whole way by Airflow's own scheduler: an edit moves through, trouble shows where it is, a clear heals it."""

from __future__ import annotations

from pathlib import Path

from tests.airflow.conftest import DAG, Airflow
from tests.scripts.conftest import APP, SIGNALS, WORK_ORDERS, Way

GREEN = dict.fromkeys(("metadata", "load", "publish_socrata", "publish_agol", "outcome"), "success")
OTHER = f"{APP}.{SIGNALS}"


def test_way__edit_failure_heal_and_refusal(airflow: Airflow, way: Way, tmp_path: Path) -> None:
    """A scheduled run loads and publishes all; an edit moves through; a failing destination turns its own task red and
    heals when cleared; a refused record is no plain success, and what comes after goes on; no secret is seen."""
    airflow.until(lambda: DAG if DAG in str(airflow.call("GET", "/api/v2/dags")) else "", (DAG,), "the DAGs")
    assert airflow.import_errors() == []
    # 1. Nobody triggered this one: the schedule did.
    listed = f"/api/v2/dags/{DAG}/dagRuns"
    airflow.until(lambda: str(len(airflow.call("GET", listed)["dag_runs"])), ("1",), "the scheduled run")
    first = airflow.call("GET", listed)["dag_runs"][0]
    assert first["run_type"] == "scheduled"
    run = first["dag_run_id"]
    # Beside it the first load of the signals, in shards.
    other = airflow.trigger(OTHER)
    assert airflow.wait(run) == "success", airflow.states(run)
    assert airflow.states(run) == GREEN
    assert way.documents(WORK_ORDERS) == way.source(WORK_ORDERS)
    assert (
        way.dataset(WORK_ORDERS).keys() == way.features(WORK_ORDERS).keys() == way.source(WORK_ORDERS).keys()
    )
    pools = {name: one["pool"] for name, one in airflow.tasks(run).items()}
    assert pools["load"] == "knack_traffic-operations" and pools["publish_socrata"] == "socrata_work-ordr"
    summary = airflow.xcom(run, "load")
    assert (summary["script"], summary["inserted"], summary["since"]) == ("records_to_postgrest", 160, None)

    assert airflow.wait(other, OTHER) == "success", airflow.states(other, OTHER)
    assert airflow.states(other, OTHER) == {**GREEN, "shards": "success", "load_shard": "success"}
    assert airflow.xcom(other, "shards", OTHER) == ["1/2", "2/2"]
    assert way.documents(SIGNALS) == way.source(SIGNALS)
    assert way.dataset(SIGNALS).keys() == way.source(SIGNALS).keys()

    # 2. An edit, while Socrata is away: ArcGIS has it, one task is red.
    record_id = min(way.source(WORK_ORDERS))
    title = way.city.key(WORK_ORDERS, "Title")
    way.knack.edit_record(WORK_ORDERS, record_id, {title: "Moved by Airflow"})
    away = way.socrata.faults.add("503", times=None)
    run = airflow.trigger()
    assert airflow.wait(run) == "failed"
    assert airflow.states(run) == {**GREEN, "publish_socrata": "failed", "outcome": "upstream_failed"}
    assert away.fired
    assert airflow.xcom(run, "load")["updated"] == 1
    assert airflow.xcom(run, "load")["since"] is not None
    assert way.features(WORK_ORDERS)[record_id]["attributes"]["title"] == "Moved by Airflow"
    assert way.dataset(WORK_ORDERS)[record_id]["title"] != "Moved by Airflow"
    noted = (tmp_path / "noted").read_text(encoding="utf-8").splitlines()
    assert len(noted) == 1 and noted[0].startswith(f"{DAG} publish_socrata: The script failed (exit 1)")

    # 3. Socrata is back: clearing that task heals the run.
    way.socrata.faults.clear()
    airflow.clear(run, "publish_socrata")
    assert airflow.wait(run) == "success"
    assert airflow.states(run) == GREEN
    assert way.dataset(WORK_ORDERS)[record_id]["title"] == "Moved by Airflow"

    # 4. A record that ArcGIS refuses, and a load that says that it refused some: neither is green, all goes on.
    way.knack.edit_record(WORK_ORDERS, record_id, {title: "q" * 5000})
    (airflow.trouble / f"records_to_postgrest.{WORK_ORDERS}").write_text("3")
    run = airflow.trigger(full=True)
    signal = min(way.source(SIGNALS))
    way.knack.edit_record("object_12", signal, {way.city.key("object_12", "Signal Name"): "Main St"})
    other = airflow.trigger(OTHER)
    assert airflow.wait(run) == "failed"
    assert airflow.states(run) == {**GREEN, "load": "skipped", "publish_agol": "skipped", "outcome": "failed"}
    tasks = airflow.tasks(run)
    assert {one["try_number"] for one in tasks.values()} == {1}
    summary = airflow.xcom(run, "publish_agol")
    assert (summary["status"], summary["rejected"], summary["since"]) == ("partial", 1, None)
    assert way.dataset(WORK_ORDERS)[record_id]["title"] == "q" * 5000
    assert "Done, but 1 records were refused (exit 3)" in airflow.log(run, "publish_agol")
    assert "load 2, publish_agol 1" in airflow.log(run, "outcome")
    noted = (tmp_path / "noted").read_text(encoding="utf-8").splitlines()
    assert len(noted) == 2 and f"{DAG} outcome: Done, but records were refused" in noted[1]

    # No full load of the signals was due: no shard ran, what changed was loaded and published.
    assert airflow.wait(other, OTHER) == "success", airflow.states(other, OTHER)
    assert airflow.states(other, OTHER) == {**GREEN, "shards": "success", "load_shard": "skipped"}
    assert airflow.xcom(other, "load", OTHER)["updated"] == 1
    assert way.dataset(SIGNALS)[signal]["signal_name"] == "Main St"

    # 5. Nothing secret, and nothing of a record, is in what Airflow keeps.
    secrets = [
        way.env[name] for name in ("KNACK_API_KEY", "SOCRATA_PASSWORD", "AGOL_PASSWORD", "PGREST_JWT_SECRET")
    ]
    kept = [path for path in airflow.folder.rglob("*") if path.is_file()]
    assert any(path.name == "airflow.db" for path in kept)
    for path in kept:
        content = path.read_bytes()
        for secret in [*secrets, "Moved by Airflow", "q" * 50]:
            assert secret.encode() not in content, path
