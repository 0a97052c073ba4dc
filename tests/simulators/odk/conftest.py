"""A simulated Central with one small form, and a plain client to ask it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from dev.simulators.odk import OdkSimulator

FORM = "trees"
FIELDS = [
    ("species", "string"),
    ("site/place", "geopoint"),
    ("site/photo", "image"),
    ("branch", "repeat"),
    ("branch/length", "decimal"),
    ("branch/leaf", "repeat"),
    ("branch/leaf/colour", "string"),
    ("branch/photo", "image"),
]


@dataclass
class Client:
    """Asks one simulator about one form, signed in as the administrator unless told otherwise."""

    odk: OdkSimulator
    project: int
    form: str = FORM
    http: requests.Session = field(default_factory=requests.Session)
    token: str = ""

    def sign_in(self, user: str = "", password: str = "") -> str:
        """A new token."""
        given = {"email": user or self.odk.user, "password": password or self.odk.password}
        answer = self.http.post(f"{self.odk.url}/v1/sessions", json=given, timeout=10)
        self.token = answer.json()["token"]
        return self.token

    def get(self, path: str, **more: Any) -> requests.Response:
        """GET a path below the form, such as ".svc/Submissions" or "/submissions", or an absolute one."""
        if not self.token:
            self.sign_in()
        base = (
            "" if path.startswith("http") else f"{self.odk.url}/v1/projects/{self.project}/forms/{self.form}"
        )
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return self.http.get(base + path, headers=headers, timeout=more.pop("timeout", 10), **more)

    def rows(self, **options: str) -> list[dict[str, Any]]:
        """The feed's rows; options without their dollar sign."""
        params = {f"${name}": value for name, value in options.items()}
        return self.get(".svc/Submissions", params=params).json()["value"]

    def ids(self, **options: str) -> list[str]:
        """Their ids."""
        return [row["__id"] for row in self.rows(**options)]

    def since(self, moment: str) -> list[str]:
        """Ids that the filter of three terms gives."""
        names = ("submissionDate", "updatedAt", "deletedAt")
        return self.ids(filter=" or ".join(f"__system/{name} ge {moment}" for name in names))


@pytest.fixture
def client() -> Iterator[Client]:
    """A running simulator with an empty form."""
    with OdkSimulator() as odk:
        odk.clock.set("2026-03-01T08:00:00Z")
        project = odk.create_project("Park")
        odk.create_form(project, FORM, FIELDS, title="Trees")
        yield Client(odk, project)


@pytest.fixture
def add(client):
    """Add a submission a minute later; gives its id."""

    def add_one(species: str = "oak", **more: Any) -> str:
        client.odk.clock.advance(60)
        values = {"species": species, **more.pop("values", {})}
        return client.odk.add_submission(client.project, FORM, values, **more)

    return add_one
