"""backup_socrata.py as a scheduler runs it: S3 and folders, the ledger, kills, and backups brought back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.simulators.base import Request
from dev.simulators.s3 import S3Simulator
from tests.scripts.conftest import DATASETS, SIGNALS, Done, Way

RESOURCE = DATASETS[SIGNALS]


@pytest.fixture
def published(way: Way) -> Iterator[Way]:
    """The signals, published, and an S3."""
    way.run("metadata_to_postgrest")
    way.load(SIGNALS)
    assert way.run("records_to_socrata", "-c", SIGNALS).code == 0
    with S3Simulator() as s3:
        way.env.update(s3.env())
        way.s3 = s3  # type: ignore[attr-defined]
        yield way


def run(way: Way, *flags: str, **changed: str | None) -> Done:
    """Run it without an app."""
    process = way.start("backup_socrata", *flags, **changed)
    stdout, stderr = process.communicate(timeout=120)
    return Done(process.returncode, stdout, stderr)


def test_backup__of_a_container_to_s3_and_back(published: Way) -> None:
    """A container's dataset goes to S3, is spoilt, comes back, and the ledger knows of both runs."""
    way = published
    before = way.dataset(SIGNALS)
    done = way.run("backup_socrata", "-c", SIGNALS, "--gzip")
    assert done.code == 0, done.stderr
    (key,) = way.s3.objects()
    assert key.startswith(f"socrata-backups/{RESOURCE}/{RESOURCE}_") and key.endswith(
        f"_{len(before)}.csv.gz"
    )
    assert (done.summary["read"], done.summary["bytes"]) == (len(before), len(way.s3.objects()[key]))
    way.socrata.upsert(RESOURCE, [{"id": min(before), "signal_name": "SPOILT"}, {"id": "stranger"}])
    back = way.run("backup_socrata", "-c", SIGNALS, "--restore", f"s3:{key}")
    assert back.code == 0 and "run records_to_socrata without --since-last" in back.stderr, back.stderr
    assert way.dataset(SIGNALS) == before
    kept = [(one["script"], one["status"], one["destination"]) for one in way.runs()[-2:]]
    assert kept == [
        ("backup_socrata", "ok", f"s3:{way.s3.bucket}/socrata-backups/{RESOURCE}"),
        ("backup_socrata", "ok", f"socrata:{way.socrata.url.removeprefix('http://')}/{RESOURCE}"),
    ]


def test_backup__by_its_id_needs_neither_store_nor_s3(published: Way, tmp_path: Path) -> None:
    """--dataset and --folder ask for Socrata's variables alone, in any environment."""
    way = published
    gone = dict.fromkeys(
        [
            "PGREST_ENDPOINT",
            "PGREST_JWT",
            "PGREST_JWT_SECRET",
            "PGREST_ROLE",
            "SERVICES_ENV",
            "AWS_BUCKET_NAME",
        ]
    )
    done = run(way, "--dataset", RESOURCE, "--folder", str(tmp_path), **gone)
    assert done.code == 0 and "the ledger does not know of this run" in done.stderr, done.stderr
    (path,) = (tmp_path / RESOURCE).iterdir()
    back = run(way, "--dataset", RESOURCE, "--restore", str(path), "--dry-run", **gone)
    assert (back.code, back.summary["updated"]) == (0, len(way.dataset(SIGNALS))), back.stderr


def test_backup__killed_and_stopped_leave_no_half(published: Way, tmp_path: Path) -> None:
    """A run that is killed or told to stop while it reads leaves nothing that looks like a backup."""
    way = published
    for number in (signal.SIGKILL, signal.SIGTERM):
        pids: list[int] = []

        def kill(request: Request, number: int = number, pids: list[int] = pids) -> None:
            if request.query.get("$offset", "0") != "0" and pids:
                os.kill(pids.pop(), number)

        way.socrata.on_request = kill
        process = way.start("backup_socrata", "--dataset", RESOURCE, "--folder", str(tmp_path))
        pids.append(process.pid)
        process.communicate(timeout=60)
        assert process.returncode != 0
        assert list((tmp_path / RESOURCE).glob("[!.]*")) == []
        # What a killed run sent last is otherwise waited for.
        way.stack.execute(
            "update api.runs set heartbeat_at = heartbeat_at - interval '1 day' where status = 'running'"
        )
    way.socrata.on_request = None
    assert run(way, "--dataset", RESOURCE, "--folder", str(tmp_path)).code == 0
    assert len(list((tmp_path / RESOURCE).glob("[!.]*.csv"))) == 1


WRONG = {
    "Give -a and -c, or --dataset": [],
    "Give -a and -c": ["-a", "traffic-operations"],
    "is no dataset's id": ["--dataset", "Sign"],
    "leave out -a and -c": ["--dataset", "sign-als1", "-a", "x", "-c", "y"],
    "not a whole number, 1 or more": ["--dataset", "sign-als1", "--keep", "0"],
    "--prefix is '/a b'": ["--dataset", "sign-als1", "--prefix", "/a b"],
    "--restore is ''": ["--dataset", "sign-als1", "--restore", ""],
    "--restore is 's3:'": ["--dataset", "sign-als1", "--restore", "s3:"],
    "of its own for dev": ["-a", "traffic-operations", "-c", "view_200", "-e", "dev", "--restore", "x"],
}


def test_backup__wrong_flags(way: Way) -> None:
    """Flags that name nothing, two things or something wrong end with 2, and nothing is sent."""
    way.env.update(dict.fromkeys(("AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_BUCKET_NAME"), "x"))
    for said, flags in WRONG.items():
        done = run(way, *flags)
        assert done.code == 2 and said in done.stderr, done.stderr
    assert way.socrata.requests == []
