"""A town to try the documentation in: every outside system simulated, the demo's configuration, a real store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dev import stack as stacks
from dev.demo import destinations
from dev.demo.names import CONFIG_FOLDER, CONTAINERS, FORM, KNACK_APP, ODK_APP, TREES
from dev.simulators.agol import AgolSimulator
from dev.simulators.city import City, build_city
from dev.simulators.knack import KnackSimulator
from dev.simulators.odk import OdkSimulator
from dev.simulators.s3 import S3Simulator
from dev.simulators.socrata import SocrataSimulator
from dev.simulators.survey import build_survey
from tests.conftest import empty_tables

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Town:
    """Systems that answer, and the variables by which commands find them."""

    city: City
    knack: KnackSimulator
    socrata: SocrataSimulator
    agol: AgolSimulator
    env: dict[str, str]

    def run(self, line: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run a line as a shell would, `python` being this one."""
        return subprocess.run(
            ["bash", "-euc", line],
            cwd=ROOT,
            env={**self.env, **changed},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def insist(self, line: str, **changed: str) -> str:
        """Run a line that must end well; its stdout."""
        done = self.run(line, **changed)
        assert done.returncode == 0, (line, done.stderr)
        return done.stdout


@pytest.fixture(scope="module")
def town(stack: stacks.Stack) -> Iterator[Town]:
    """The demo's systems, everything loaded and published."""
    city, survey = build_city(accounts=2, locations=6, signals=8, work_orders=9), build_survey(households=4)
    empty_tables(stack)
    with (
        KnackSimulator(city.metadata, city.records, rate_limit=None) as knack,
        KnackSimulator(destinations.build_register(), {}, rate_limit=None) as register,
        OdkSimulator() as odk,
        SocrataSimulator() as socrata,
        AgolSimulator() as agol,
        S3Simulator() as s3,
    ):
        survey.plant(odk)
        destinations.create(city.metadata, socrata, agol)
        env = {
            **stack.env(),
            **s3.env(),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "KNACK_APP_ID": knack.app_id,
            "KNACK_API_KEY": knack.api_key,
            "KNACK_API_URL": knack.url,
            "KNACK_APP_ID_DEST": register.app_id,
            "KNACK_API_KEY_DEST": register.api_key,
            "KNACK_API_URL_DEST": register.url,
            "ODK_BASE_URL": odk.url,
            "ODATA_USER": odk.viewer,
            "ODATA_PASS": odk.viewer_password,
            "SOCRATA_URL": socrata.url,
            "SOCRATA_USERNAME": socrata.username,
            "SOCRATA_PASSWORD": socrata.password,
            "SOCRATA_APP_TOKEN": socrata.app_token,
            "AGOL_URL": agol.url,
            "AGOL_USERNAME": agol.username,
            "AGOL_PASSWORD": agol.password,
            "SERVICES_ENV": "prod",
            "SERVICES_CONFIG": str(CONFIG_FOLDER),
        }
        town = Town(city, knack, socrata, agol, env)
        town.insist(f"python services/metadata_to_postgrest.py -a {KNACK_APP}")
        town.insist(f"python services/odk_sync.py -a {ODK_APP} -c {FORM}")
        destinations.create_for_survey(stack, socrata, agol)
        for container in CONTAINERS:
            town.insist(f"python services/records_to_postgrest.py -a {KNACK_APP} -c {container}")
            for script in ("records_to_socrata", "records_to_agol"):
                town.insist(f"python services/{script}.py -a {KNACK_APP} -c {container}")
        town.insist(f"python services/records_to_socrata.py -a {ODK_APP} -c {TREES}")
        yield town
    empty_tables(stack)
