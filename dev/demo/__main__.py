"""Run the demo: `python -m dev.demo` (or `make demo`).

An invented city's Knack app, an ODK Central with a survey, a Socrata portal, ArcGIS Online and S3 are simulated;
PostgreSQL and PostgREST are real. The commands run as child processes with an env file, as Airflow or cron would
call them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dev import stack as stacks
from dev.demo import agreement, destinations, edits
from dev.demo.names import CONFIG_FOLDER, CONTAINERS, FORM, KNACK_APP, ODK_APP, TREES
from dev.simulators.agol import AgolSimulator
from dev.simulators.city import build_city
from dev.simulators.knack import KnackSimulator
from dev.simulators.odk import OdkSimulator
from dev.simulators.s3 import S3Simulator
from dev.simulators.socrata import SocrataSimulator
from dev.simulators.survey import build_survey

ROOT = Path(__file__).resolve().parents[2]
_COLUMNS = ("read", "inserted", "updated", "unchanged", "deleted", "rejected")


def main() -> int:
    """0 if every command did its work and everything agrees in the end, else 1."""
    started = time.monotonic()
    city, survey = build_city(), build_survey(households=120)
    steps: list[tuple[str, dict[str, Any]]] = []
    with (
        tempfile.TemporaryDirectory(prefix="record-services-demo-") as folder,
        stacks.run() as store,
        KnackSimulator(city.metadata, city.records) as knack,
        OdkSimulator() as odk,
        SocrataSimulator() as socrata,
        AgolSimulator() as agol,
        S3Simulator() as s3,
    ):
        survey.plant(odk)
        destinations.create(city.metadata, socrata, agol)
        env_file = Path(folder, "env_file")
        write_env_file(env_file, store, knack, odk, socrata, agol, s3)
        print(f"PostgREST {store.url}   Knack {knack.url}   ODK Central {odk.url}")
        print(f"Socrata {socrata.url}   ArcGIS {agol.url}   S3 {s3.url}\n")

        def run(script: str, *flags: str, app: str = KNACK_APP, container: str = "") -> None:
            steps.append(call(env_file, script, app, container, *flags))

        run("metadata_to_postgrest")
        for container in CONTAINERS:
            run("records_to_postgrest", container=container)
            run("records_to_socrata", container=container)
            run("records_to_agol", container=container)
        print(f"\nAt Knack: {edits.edit_city(knack, city)}\n")
        for container in CONTAINERS:
            run("records_to_postgrest", "--since-last", container=container)
        print("\nKnack tells nobody of deleted records: a full load finds them.\n")
        for container in CONTAINERS:
            run("records_to_postgrest", container=container)
            run("records_to_socrata", "--since-last", container=container)
            run("records_to_agol", "--since-last", container=container)

        print("\nThe survey: its form, submissions and photos, then points on the map.\n")
        run("odk_sync", app=ODK_APP, container=FORM)
        destinations.create_for_survey(store, socrata, agol)
        publish = (("records_to_socrata", FORM), ("records_to_agol", FORM), ("records_to_socrata", TREES))
        for script, container in publish:
            run(script, app=ODK_APP, container=container)
        print(f"\nIn the field: {edits.edit_survey(odk, survey)}\n")
        run("odk_sync", app=ODK_APP, container=FORM)
        for script, container in publish:
            run(script, "--since-last", app=ODK_APP, container=container)

        page = write_status(env_file)
        rows = [agreement.compare(container, store, knack, socrata, agol) for container in CONTAINERS]
        rows.append(agreement.compare_form(store, survey, socrata, agol))
        media = agreement.describe_media(survey, store, s3)
        view = agreement.describe_view(store, survey)
    print_steps(steps)
    agree = agreement.print_table(rows)
    print(media[0])
    print(view[0])
    failed = [name for name, summary in steps if summary.get("status") != "ok"]
    print(f"\n{len(steps)} commands, {time.monotonic() - started:.0f} s.", end=" ")
    if failed or not (agree and media[1] and view[1]):
        print(f"NOT right: {', '.join(failed) or 'source, store and destinations differ'}.")
        print(f"How everything stands: {page}")
        return 1
    print("Sources, store and destinations agree.")
    print(f"How everything stands: {page}")
    return 0


def write_env_file(
    path: Path,
    store: stacks.Stack,
    knack: KnackSimulator,
    odk: OdkSimulator,
    socrata: SocrataSimulator,
    agol: AgolSimulator,
    s3: S3Simulator,
) -> None:
    """Write the variables that the commands need, one NAME=value a line."""
    values = {
        **store.env(),
        "KNACK_APP_ID": knack.app_id,
        "KNACK_API_KEY": knack.api_key,
        "KNACK_API_URL": knack.url,
        "ODK_BASE_URL": odk.url,
        "ODATA_USER": odk.viewer,
        "ODATA_PASS": odk.viewer_password,
        **s3.env(),
        "SOCRATA_URL": socrata.url,
        "SOCRATA_USERNAME": socrata.username,
        "SOCRATA_PASSWORD": socrata.password,
        "SOCRATA_APP_TOKEN": socrata.app_token,
        "AGOL_URL": agol.url,
        "AGOL_USERNAME": agol.username,
        "AGOL_PASSWORD": agol.password,
        "SERVICES_ENV": "prod",
        "SERVICES_CONFIG": str(CONFIG_FOLDER),
        "LOG_LEVEL": "WARNING",
    }
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")


def call(env_file: Path, script: str, app: str, container: str, *flags: str) -> tuple[str, dict[str, Any]]:
    """Run one command as a scheduler would; its name and its summary line."""
    words = [f"services/{script}.py", *(["-a", app] if app else [])]
    words += [*(["-c", container] if container else []), *flags]
    print(f"$ python {' '.join(words)}", flush=True)
    given = dict(line.split("=", 1) for line in env_file.read_text(encoding="utf-8").splitlines())
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, *words],
        env={**kept, **given},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    summary = json.loads(lines[-1]) if lines else {"status": f"exit {done.returncode}"}
    name = " ".join([script, container, *flags]).replace("  ", " ").strip()
    return name, summary


def write_status(env_file: Path) -> Path:
    """Write the status page, as a role that can only look; where it is.

    Raises: RuntimeError if it could not be written.
    """
    page = ROOT / ".demo" / "status.html"
    page.parent.mkdir(exist_ok=True)
    with env_file.open("a", encoding="utf-8") as file:
        file.write("PGREST_ROLE=api_monitor\n")
    print()
    _, summary = call(env_file, "status", "", "", "--html", str(page.relative_to(ROOT)))
    if summary.get("status") != "ok":
        raise RuntimeError("the status page could not be written")
    return page


def print_steps(steps: list[tuple[str, dict[str, Any]]]) -> None:
    """What each command moved."""
    width = max(len(name) for name, _ in steps)
    print(
        f"\n{'command':<{width}} {'status':>8}"
        + "".join(f"{column:>10}" for column in _COLUMNS)
        + "   seconds"
    )
    for name, summary in steps:
        counts = "".join(f"{summary.get(column, ''):>10}" for column in _COLUMNS)
        print(f"{name:<{width}} {summary['status']:>8}{counts}{summary.get('seconds', 0):>10.2f}")


if __name__ == "__main__":
    sys.exit(main())
