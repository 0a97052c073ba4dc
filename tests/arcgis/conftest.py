"""A simulator that the `arcgis` package can reach (it speaks https only), and the package as a child process."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from dev.simulators.agol import AgolSimulator

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-arcgis" / "bin" / "python"
ITEM = "a9c1" * 8


@pytest.fixture(scope="session")
def certificate() -> ssl.SSLContext:
    """A certificate of 127.0.0.1, signed by nobody the client knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def agol(certificate: ssl.SSLContext) -> Iterator[AgolSimulator]:
    """An item with a layer (0) in Web Mercator and a table (1); pages of 200."""
    fields = {"id": ("String", 24, False), "NAME": ("String", 50), "SEEN": ("Date",), "WIDTH": ("Double",)}
    with AgolSimulator(tls=certificate) as simulator:
        simulator.create_layer(ITEM, 0, fields=fields, max_record_count=200, name="signs")
        simulator.create_layer(ITEM, 1, kind="table", fields=fields, name="visits")
        yield simulator


def run_client(agol: AgolSimulator, *steps: str, password: str = "") -> dict:
    """Run `client.py` with these steps in the environment that has `arcgis`; gives what it says.

    Fails the test where the environment is missing: nothing is passed over in silence.
    """
    if not PYTHON.exists():
        pytest.fail(f"{PYTHON} is missing: the arcgis package is not set up. Run make test-arcgis.")
    script = Path(__file__).with_name("client.py")
    child = subprocess.run(
        [PYTHON, script, agol.url, agol.username, ITEM, *steps],
        input=password or agol.password,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-4000:]
    return json.loads(child.stdout.splitlines()[-1])
