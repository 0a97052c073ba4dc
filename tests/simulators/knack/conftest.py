"""A simulator of the sample app, one of a small city, and a plain client to ask them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import knackpy
import pytest
import requests

from dev.simulators.city import build_city
from dev.simulators.knack import KnackSimulator

DATA = Path(__file__).parents[2] / "data" / "knack"
METADATA = json.loads((DATA / "metadata.json").read_text())
ANSWERS = {key: answer["records"] for key, answer in json.loads((DATA / "records.json").read_text()).items()}
RECORDS = {key: records for key, records in ANSWERS.items() if key.startswith("object")}


@dataclass
class Client:
    """Asks one simulator, with the right headers unless told otherwise."""

    knack: KnackSimulator
    http: requests.Session = field(default_factory=requests.Session)

    @property
    def headers(self):
        return {"X-Knack-Application-Id": self.knack.app_id, "X-Knack-REST-API-Key": self.knack.api_key}

    def send(self, method, path, headers=None, **more):
        return self.http.request(
            method, self.knack.url + path, headers=self.headers if headers is None else headers, **more
        )

    def get(self, path, headers=None, **params):
        return self.send("GET", path, headers, params=params)

    def find(self, path, *rules, match="and", **params):
        """Ids of the records that match filter rules, in the order in which they came."""
        filters = json.dumps({"match": match, "rules": list(rules)})
        answer = self.get(path, filters=filters, rows_per_page=1000, **params)
        assert answer.status_code == 200, answer.text
        return [record["id"] for record in answer.json()["records"]]


def rule(key, operator, value=None, **more):
    """A filter rule."""
    return {"field": key, "operator": operator, **({"value": value} if value is not None else {}), **more}


@pytest.fixture(scope="session")
def small_city():
    """A city whose records are not to be changed."""
    return build_city(seed=3, accounts=5, locations=25, signals=30, work_orders=120)


@pytest.fixture
def sample():
    """The sample app, without a limit on requests."""
    with KnackSimulator(METADATA, RECORDS, seed=1, rate_limit=None) as knack:
        yield knack


@pytest.fixture
def town(small_city):
    """The small city's app, without a limit on requests."""
    with KnackSimulator(small_city.metadata, small_city.records, seed=1, rate_limit=None) as knack:
        yield knack


@pytest.fixture
def client(sample):
    """A client of the sample app."""
    with requests.Session() as http:
        yield Client(sample, http)


@pytest.fixture
def visitor(town):
    """A client of the small city's app."""
    with requests.Session() as http:
        yield Client(town, http)


@pytest.fixture
def point_knackpy(monkeypatch):
    """Lead knackpy, which has its host built in, to a simulator; and spare its pauses."""

    def point(knack):
        monkeypatch.setattr(knackpy.api, "_url", lambda *, route, slug=None: f"{knack.url}/v1{route}")
        monkeypatch.setattr(knackpy.api, "_random_pause", lambda: None)

    return point
