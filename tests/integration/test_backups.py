"""Backups of datasets: whole or not there, the newest kept, brought back as they were."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.simulators.base import Request
from dev.simulators.s3 import S3Simulator
from dev.simulators.socrata import SocrataSimulator
from services.utils import backups, s3, socrata
from services.utils.cli import Args
from services.utils.env import S3Settings
from services.utils.errors import ConfigError, PublishError
from services.utils.guard import DeleteGuard
from services.utils.records import Counts
from services.utils.runs import record_run_if
from services.utils.session import Backoff
from services.utils.socrata import dump

ID = "abcd-1234"
COLUMNS = {
    "id": "text",
    "name": "text",
    "n": "number",
    "ok": "checkbox",
    "day": "calendar_date",
    "moment": "date",
    "place": "point",
    "road": "line",
    "site": "location",
    "page": "url",
}
QUICK = Backoff(attempts=3, factor_s=0.01, max_wait_s=0.02, jitter_s=0.0, deadline_s=5.0)
NAME = re.compile(r"abcd-1234_\d{8}T\d{6}Z_(\d+)\.csv(\.gz)?")


@pytest.fixture
def portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[SocrataSimulator]:
    """A portal with one dataset of 40 rows, read in pages of 7."""
    monkeypatch.setattr(dump, "MOST_ROWS", 7)
    with SocrataSimulator(seed=5) as simulator:
        simulator.create_dataset(ID, COLUMNS, row_id="id")
        simulator.upsert(ID, [build(number) for number in range(40)])
        yield simulator


@pytest.fixture
def bucket() -> Iterator[s3.Bucket]:
    """An empty bucket."""
    with S3Simulator() as simulator:
        settings = S3Settings(
            simulator.access_key, simulator.secret_key, simulator.bucket, simulator.region, simulator.url
        )
        opened = s3.connect(settings)
        opened._call._backoff = QUICK
        opened.simulator = simulator  # type: ignore[attr-defined]
        yield opened


def build(number: int, **changed: Any) -> dict[str, Any]:
    """A row as somebody else would write it; some are bare."""
    row: dict[str, Any] = {"id": f"R{number:04}", "name": ODD[number % len(ODD)]}
    if number % 4:
        row |= {
            "n": number * 1.5,
            "ok": bool(number % 2),
            "day": "2025-03-09T16:05:00.000",
            "moment": "2025-03-09T16:05:00.000Z",
            "place": {"type": "Point", "coordinates": [-97.123456789, 30.1]},
            "road": {"type": "LineString", "coordinates": [[-97.1, 30.2], [-97.2, 30.333333333333336]]},
            "site": {"latitude": "30.1", "longitude": "-97.1", "human_address": '{"address":"1 Oak St"}'},
            "page": {"url": "https://example.org/a", "description": 'a, "b"'},
        }
    return row | changed


ODD = [
    "plain",
    'a "quoted", text',
    "two\nlines",
    "two\r\nlines",
    "an old\rline",
    "=1+1",
    "Grüße 🌳",
    " spaces ",
    "{}",
    "0012",
]


def open_dataset(portal: SocrataSimulator) -> socrata.Dataset:
    """The dataset, asked by a client that gives up soon."""
    client = socrata.connect(portal.url, portal.username, portal.password, portal.app_token, backoff=QUICK)
    return socrata.open_dataset(client, ID)


def back_up(portal: SocrataSimulator, shelf: backups.Shelf, **changed: Any) -> tuple[Counts, dict[str, int]]:
    """A backup with small pauses."""
    options = {"compress": False, "keep": 30, "allow_empty": False, "dry_run": False, "pauses_s": (0.0, 0.0)}
    return backups.back_up(open_dataset(portal), shelf, **{**options, **changed})


def restore(
    portal: SocrataSimulator, path: str, bucket: s3.Bucket | None = None, pct: float = 100, **changed: Any
) -> Counts:
    """Bring a backup back."""
    options = {"upsert": False, "guard": DeleteGuard(pct), "dry_run": False}
    with record_run_if(None, Args("backup_socrata"), "x") as run:
        backups.restore(open_dataset(portal), path, bucket, run, **{**options, **changed})
        assert not run.rejected_ids
        return run.counts


def truth(portal: SocrataSimulator) -> dict[str, dict[str, Any]]:
    """{id: row}."""
    return {row["id"]: row for row in portal.rows(ID)}


def only(path: Path) -> Path:
    """The one file in a folder, hidden ones included."""
    (found,) = path.iterdir()
    return found


@pytest.mark.parametrize("compress", [False, True])
def test_back_up__and_restore_bring_every_value_back(portal, tmp_path, compress):
    """A dataset that was spoilt is again what it was, in every type and with odd texts; restoring twice is as once."""
    before = truth(portal)
    counts, more = back_up(portal, backups.Folder(tmp_path), compress=compress)
    path = only(tmp_path)
    assert NAME.fullmatch(path.name) and (counts.read, more["bytes"]) == (40, path.stat().st_size)
    text = (gzip.decompress(path.read_bytes()) if compress else path.read_bytes()).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == list(COLUMNS) and [row["id"] for row in rows] == sorted(before)
    portal.upsert(ID, [{"id": "R0001", "name": "spoilt", "page": None}, {"id": "stranger"}])
    portal.upsert(ID, [{"id": "R0002", ":deleted": True}])
    assert restore(portal, str(path)) == Counts(read=40, inserted=1, updated=39, deleted=1)
    assert truth(portal) == before
    assert restore(portal, str(path)).deleted == 0
    assert truth(portal) == before


def test_back_up__twice_gives_the_same_bytes(portal, tmp_path):
    """The order of rows is stable, and a compressed backup bears no time: equal rows, equal bytes."""
    for folder in ("one", "two"):
        back_up(portal, backups.Folder(tmp_path / folder), compress=True)
    assert only(tmp_path / "one").read_bytes() == only(tmp_path / "two").read_bytes()


@pytest.mark.parametrize("change", ["add", "delete", "edit", "swap"])
def test_back_up__reads_again_where_the_dataset_was_written_to(portal, tmp_path, change):
    """Rows added, deleted, edited or swapped between two pages are not half in it: it is read from its start again."""
    changes = {
        "add": [build(99)],
        "delete": [{"id": "R0000", ":deleted": True}],
        "edit": [build(3, name="edited")],
        "swap": [{"id": "R0000", ":deleted": True}, build(99)],
    }
    waiting = [changes[change]]

    def write(request: Request) -> None:
        if request.query.get("$offset") == "14" and waiting:
            portal.upsert(ID, waiting.pop())

    portal.on_request = write
    back_up(portal, backups.Folder(tmp_path))
    assert waiting == []
    with only(tmp_path).open(encoding="utf-8", newline="") as file:
        assert {row["id"]: row["name"] for row in csv.DictReader(file)} == {
            key: row["name"] for key, row in truth(portal).items()
        }


def test_back_up__of_a_dataset_that_never_holds_still_fails_and_leaves_what_was(portal, tmp_path):
    """Nothing is written and no older backup goes where the dataset changes all the time."""
    old = tmp_path / "abcd-1234_20200101T000000Z_1.csv"
    old.write_text("id\nA\n")
    numbers = iter(range(1000, 2000))

    def write(request: Request) -> None:
        if "$offset" in request.query:
            portal.upsert(ID, [build(next(numbers))])

    portal.on_request = write
    with pytest.raises(
        PublishError, match="3 times over. Nothing was written, earlier backups are untouched"
    ):
        back_up(portal, backups.Folder(tmp_path), keep=1)
    assert only(tmp_path) == old


@pytest.mark.parametrize("fault", ["500", "cut", "html", "reset"])
def test_back_up__a_portal_that_fails_halfway_leaves_no_half(portal, tmp_path, bucket, fault):
    """Where a page cannot be had, neither folder nor bucket holds anything new, and older backups stay."""
    old = tmp_path / "abcd-1234_20200101T000000Z_1.csv"
    old.write_text("id\nA\n")
    s3.bucket.PART_BYTES, kept = 64, s3.bucket.PART_BYTES
    try:
        for shelf in (backups.Folder(tmp_path), backups.Prefix(bucket, "b")):
            portal.faults.clear()
            portal.faults.add(fault, method="GET", path="resource", after=4, times=None)
            with pytest.raises(PublishError):
                back_up(portal, shelf, keep=1)
    finally:
        s3.bucket.PART_BYTES = kept
    assert only(tmp_path) == old
    assert list(bucket.list()) == [] and bucket.simulator.uploads() == 0
    assert bucket.simulator.count("POST") > 0


def test_back_up__a_passing_fault_is_no_matter(portal, tmp_path):
    """A page that fails once is asked for again."""
    portal.faults.add("503", method="GET", path="resource", after=3)
    portal.faults.add("cut", method="GET", path="resource", after=5)
    back_up(portal, backups.Folder(tmp_path))
    assert NAME.fullmatch(only(tmp_path).name)


def test_back_up__keeps_the_newest(portal, tmp_path, bucket):
    """Beyond the number to keep, the oldest backups of this dataset go; other files and datasets stay."""
    others = ["abcd-1234_2020.csv", "notes.txt", "wxyz-9876_20200101T000000Z_1.csv", "abcd-1234.csv"]
    ours = [f"abcd-1234_2020010{day}T000000Z_{10 - day}.csv" for day in range(1, 6)]
    for name in others + ours:
        (tmp_path / name).write_text("x")
        bucket.put_stream(f"b/{name}", [b"x"], content_type="text/csv")
    for shelf in (backups.Folder(tmp_path), backups.Prefix(bucket, "b")):
        _, planned = back_up(portal, shelf, keep=3, dry_run=True)
        assert planned["removed"] == 3 and len(shelf.names()) == 9
        _, more = back_up(portal, shelf, keep=3)
        assert more["removed"] == 3
        left = set(shelf.names()) - set(others)
        assert ours[3:] == sorted(left)[:2] and len(left) == 3


def test_back_up__an_empty_dataset_takes_nothing_with_it(portal, tmp_path):
    """An empty dataset is refused; where that is meant, it is kept and still no older backup goes."""
    back_up(portal, backups.Folder(tmp_path))
    first = only(tmp_path)
    portal.upsert(ID, [{"id": key, ":deleted": True} for key in truth(portal)])
    with pytest.raises(PublishError, match="is empty. Nothing was written, earlier .* --allow-empty"):
        back_up(portal, backups.Folder(tmp_path), keep=1)
    assert only(tmp_path) == first
    back_up(portal, backups.Folder(tmp_path), keep=1, allow_empty=True)
    assert first in tmp_path.iterdir() and len(list(tmp_path.iterdir())) == 2


def test_restore__from_s3(portal, bucket):
    """A backup in a bucket comes back, also where the answer is cut once; a key that is not there is told."""
    before = truth(portal)
    back_up(portal, backups.Prefix(bucket, "b/abcd-1234"), compress=True)
    (key,) = [found.key for found in bucket.list()]
    portal.upsert(ID, [{"id": "R0001", "name": "spoilt"}])
    bucket.simulator.faults.add("cut", method="GET", path=r"\.gz$")
    assert restore(portal, key, bucket).updated == 40
    assert truth(portal) == before
    with pytest.raises(PublishError, match="There is no object b/none"):
        restore(portal, "b/none", bucket)


def test_restore__of_a_damaged_backup_sends_nothing(portal, tmp_path):
    """Cut in the middle, cut after a row, spoilt or of another kind: each is found out before anything is sent."""
    back_up(portal, backups.Folder(tmp_path / "plain"))
    back_up(portal, backups.Folder(tmp_path / "packed"), compress=True)
    plain, packed = only(tmp_path / "plain"), only(tmp_path / "packed")
    lines = plain.read_bytes().splitlines(keepends=True)
    whole = packed.read_bytes()
    damaged = {
        plain: [
            b"".join(lines[:-1]),
            plain.read_bytes()[:-60],
            plain.read_bytes().replace(b'""type"":', b'""type""', 1),
            plain.read_bytes().replace(b"plain", b"pl\xffin", 1),
            b"",
        ],
        packed: [whole[:-9], whole[: len(whole) // 2], b"no gzip", whole[:200] + b"\0" * 20 + whole[220:]],
    }
    writes = len(portal.writes(ID))
    for path, contents in damaged.items():
        for content in contents:
            path.write_bytes(content)
            with pytest.raises((PublishError, ConfigError), match="Nothing was sent"):
                restore(portal, str(path))
    assert len(portal.writes(ID)) == writes
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        restore(portal, str(tmp_path / "none.csv"))


def test_restore__guards_and_refuses_as_publishing_does(portal, tmp_path):
    """A backup that would remove too much stops, one that only adds does not; a dry run writes nothing."""
    back_up(portal, backups.Folder(tmp_path))
    path = str(only(tmp_path))
    portal.upsert(ID, [build(number) for number in range(100, 160)])
    before = truth(portal)
    with pytest.raises(PublishError, match="60 of the 100 records .* would be removed"):
        restore(portal, path, pct=25)
    assert restore(portal, path, dry_run=True).deleted == 60
    assert truth(portal) == before
    assert restore(portal, path, pct=0, upsert=True).deleted == 0
    assert truth(portal) == before
    dataset = open_dataset(portal)
    lesser = {name: kind for name, kind in dataset.columns.items() if name != "page"}
    with (
        pytest.raises(ConfigError, match=r"has no column page. Nothing was sent"),
        open(path, newline="") as text,
    ):
        list(socrata.read_csv(text, dataclasses.replace(dataset, columns=lesser), "x.csv"))
    with pytest.raises(ConfigError, match="no row identifier that x.csv has"), open(path, newline="") as text:
        list(socrata.read_csv(text, dataclasses.replace(dataset, row_id="key"), "x.csv"))
    with pytest.raises(ConfigError, match="x.csv has a column twice"):
        list(socrata.read_csv(io.StringIO("id,name,name\n1,a,b\n"), dataset, "x.csv"))
