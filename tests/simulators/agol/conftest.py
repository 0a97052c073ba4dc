"""A simulator with one layer of signs and one table, and a plain client that is signed in to it."""

from collections.abc import Iterator

import pytest
import requests

from dev.simulators.agol import AgolSimulator

SIGNS = "5199" * 8
FIELDS = {
    "id": ("String", 24, False),
    "NAME": ("String", 10),
    "COUNT_": ("Integer",),
    "WIDTH": ("Double",),
    "SEEN": ("Date",),
}


class Client:
    """Requests as a careful plain client sends them."""

    def __init__(self, agol: AgolSimulator) -> None:
        self.agol = agol
        self.http = requests.Session()
        self.token = self.sign_in()["token"]

    def sign_in(self, password: str = "", **form: object) -> dict:
        """generateToken's answer."""
        fields = {
            "username": self.agol.username,
            "password": password or self.agol.password,
            "client": "referer",
            "referer": "https://records.example",
            "expiration": 60,
            "f": "json",
            **form,
        }
        return self.http.post(f"{self.agol.url}/sharing/rest/generateToken", data=fields).json()

    def send(self, operation: str = "", layer_id: int = 0, **form: object) -> requests.Response:
        """POST an operation of the layer, or the layer itself."""
        url = f"{self.agol.layer_url(SIGNS, layer_id)}/{operation}".rstrip("/")
        return self.http.post(url, data={"f": "json", "token": self.token, **form})

    def call(self, operation: str = "", layer_id: int = 0, **form: object) -> dict:
        """`send`, as JSON."""
        return self.send(operation, layer_id, **form).json()

    def count(self, where: str = "1=1") -> int:
        """How many features a query sees."""
        return self.call("query", where=where, returnCountOnly="true")["count"]


@pytest.fixture
def agol() -> Iterator[AgolSimulator]:
    """One item: a layer (0) in Web Mercator and a table (1)."""
    with AgolSimulator(seed=1) as simulator:
        simulator.create_layer(SIGNS, 0, fields=FIELDS, max_record_count=10)
        simulator.create_layer(SIGNS, 1, kind="table", fields=FIELDS)
        yield simulator


@pytest.fixture
def client(agol: AgolSimulator) -> Client:
    """A client with a token."""
    return Client(agol)
