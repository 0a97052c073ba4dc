"""docker-compose.yml: its own words run on this machine's PostgreSQL and PostgREST, with secrets from files."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev import stack as stacks
from dev.stack.processes import draw_port

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@dataclass
class Host:
    """A machine on which the services' words mean ours: their addresses and folders replaced."""

    stack: stacks.Stack
    folder: Path
    port: int
    admin_port: int

    def replace(self, text: str) -> str:
        """The text with this machine's places in it."""
        for theirs, ours in (
            ("/run/secrets", str(self.folder)),
            ("/tmp/pgpass", str(self.folder / "pgpass")),
            ("db:5432:records", f"127.0.0.1:{self.stack.database_port}:postgres"),
            ("@db:5432/records", f"@127.0.0.1:{self.stack.database_port}/postgres"),
            ("--host db ", f"--host 127.0.0.1 --port {self.stack.database_port} "),
            ("--dbname records", "--dbname postgres"),
            ("http://postgrest:3001", f"http://127.0.0.1:{self.admin_port}"),
            ("python services/", f"{sys.executable} services/"),
            ("$$", "$"),
        ):
            text = text.replace(theirs, ours)
        return text

    def env(self, service: str) -> dict[str, str]:
        """A service's environment."""
        found = COMPOSE["services"][service].get("environment") or {}
        tools = f"{self.stack.postgres.folder}:{os.environ['PATH']}"
        return {"PATH": tools, "PYTHONPATH": str(ROOT)} | {
            name: self.replace(value) for name, value in found.items()
        }

    def run(self, service: str) -> subprocess.CompletedProcess[str]:
        """Run a service that ends."""
        held = COMPOSE["services"][service]
        words = [*held.get("entrypoint", [sys.executable]), *(self.replace(word) for word in held["command"])]
        return subprocess.run(
            words, env=self.env(service), cwd=ROOT, capture_output=True, text=True, timeout=120
        )


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A PostgreSQL without our schema, and secrets made as the file's head says."""
    folder = tmp_path_factory.mktemp("secrets")
    with stacks.run(migrate=False) as stack:
        for name in ("authenticator_password", "pgrest_jwt_secret"):
            (folder / name).write_text(secrets.token_hex(32) + "\n")
        (folder / "db_password").write_text(stack.password + "\n")
        word = (folder / "authenticator_password").read_text().strip()
        (folder / "authenticator_uri").write_text(
            f"postgresql://authenticator:{word}@127.0.0.1:{stack.database_port}/postgres\n"
        )
        yield Host(stack, folder, draw_port(), draw_port())


def test_compose__valid_and_whole() -> None:
    """Every secret that a service takes is declared and named at the file's head; none stands in an environment."""
    head = (ROOT / "docker-compose.yml").read_text(encoding="utf-8").partition("\nservices:")[0]
    for name, service in COMPOSE["services"].items():
        for secret in service.get("secrets", []):
            assert COMPOSE["secrets"][secret] == {"file": f"./secrets/{secret}"}
            assert secret in head
        for variable, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|URI", variable):
                assert "/run/secrets/" in value, (name, variable)
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"]
        if "image" in service:
            assert re.search(r":v?\d", service["image"]), "no version"
    assert "healthcheck" in COMPOSE["services"]["db"]


def test_compose__way_up(host: Host) -> None:
    """Migrate, give the role its password, start PostgREST and wait; a script gets in with the secret from a file."""
    for service in ("migrate", "password"):
        done = host.run(service)
        assert done.returncode == 0, done.stderr
    assert host.stack.execute("select count(*) from api.knack")[0][0] == 0
    addresses = {
        "PGRST_SERVER_PORT": str(host.port),
        "PGRST_ADMIN_SERVER_PORT": str(host.admin_port),
        "PGRST_SERVER_HOST": "127.0.0.1",
        "PGRST_LOG_LEVEL": "warn",
    }
    server = subprocess.Popen(
        [str(host.stack.postgrest)], env={**host.env("postgrest"), **addresses}, stderr=subprocess.DEVNULL
    )
    try:
        ready = host.run("ready")
        assert ready.returncode == 0, ready.stderr
        env = host.env("services") | {
            "PGREST_ENDPOINT": f"http://127.0.0.1:{host.port}",
            "PGREST_ROLE": "api_user",
        }
        status = subprocess.run(
            [sys.executable, "services/status.py"],
            env=env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert status.returncode == 0, status.stderr
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{host.port}/knack", timeout=30)
        assert refused.value.code == 401
    finally:
        server.terminate()
        server.wait()
