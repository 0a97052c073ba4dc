"""What a load is measured against; each is run as a child process, as the load itself is.

    python -m benchmarks.load.rivals limit RECORDS   bodies encoded beforehand, posted on two connections
    python -m benchmarks.load.rivals copy RECORDS    the same rows, encoded beforehand, by COPY on one connection
    python -m benchmarks.load.rivals fetch RECORDS   Knack's pages, fetched and thrown away
    python -m benchmarks.load.rivals plain RECORDS   a page at a time: fetch, parse, dump, post
    python -m benchmarks.load.rivals named RECORDS   the same, but the columns are named in the request

Variables as for the scripts. Prints {"seconds": ..., "cpu_s": ...}; for limit and copy, of the sending alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import requests

from dev.simulators.city import WIDE, wide_records
from dev.simulators.city.wide import NUMBER
from services.utils import postgrest

ROWS, BYTES = 1000, 4_000_000
COLUMNS = {"columns": "app_id,container_id,record_id,record"}


def open_session() -> requests.Session:
    """A connection to PostgREST, signed in to load."""
    token = postgrest.mint_token(os.environ["PGREST_JWT_SECRET"], os.environ["PGREST_ROLE"], 3600)
    session = requests.Session()
    session.headers.update(
        {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Prefer": "resolution=merge-duplicates,return=minimal",
        }
    )
    return session


def post(session: requests.Session, body: bytes, params: dict[str, str]) -> None:
    """Upsert one body of documents."""
    address = f"{os.environ['PGREST_ENDPOINT']}/knack"
    session.post(address, params=params, data=body, timeout=300).raise_for_status()


def run_limit(records: int) -> None:
    """Post bodies that lie ready, two at a time."""
    bodies = list(make_bodies(records))
    sessions = [open_session(), open_session()]
    started, cpu_before = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(2) as pool:
        for half in [pool.submit(post_all, sessions[place], bodies[place::2]) for place in (0, 1)]:
            half.result()
    tell(started, cpu_before)


def run_copy(records: int) -> None:
    """Copy rows that lie ready; the table's triggers work as always."""
    import psycopg

    app_id = os.environ["KNACK_APP_ID"].encode()
    lines = []
    for record in wide_records(records):
        record_id = json.loads(record[:32] + b"}")["id"].encode()
        text = record.replace(b"\\", b"\\\\")
        lines.append(b"\t".join((app_id, WIDE.encode(), record_id, text)) + b"\n")
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        started, cpu_before = time.monotonic(), time.process_time()
        with connection.cursor().copy(
            "copy api.knack (app_id, container_id, record_id, record) from stdin"
        ) as copy:
            for start in range(0, len(lines), 100):
                copy.write(b"".join(lines[start : start + 100]))
        connection.commit()
        tell(started, cpu_before)


def make_bodies(records: int) -> Iterator[bytes]:
    """Bodies of up to 1,000 rows and 4 MB."""
    app_id = os.environ["KNACK_APP_ID"]
    rows: list[bytes] = []
    size = 0
    for record in wide_records(records):
        if rows and (len(rows) >= ROWS or size + len(record) > BYTES):
            yield b"[" + b",".join(rows) + b"]"
            rows, size = [], 0
        record_id = json.loads(record[:32] + b"}")["id"]
        head = {"app_id": app_id, "container_id": WIDE, "record_id": record_id}
        rows.append(json.dumps(head).encode()[:-1] + b',"record":' + record + b"}")
        size += len(record)
    yield b"[" + b",".join(rows) + b"]"


def post_all(session: requests.Session, bodies: list[bytes]) -> None:
    """One connection's share."""
    for body in bodies:
        post(session, body, COLUMNS)


def fetch_pages(records: int) -> Iterator[requests.Response]:
    """Knack's pages, one after the other."""
    knack = requests.Session()
    knack.headers["X-Knack-Application-Id"] = os.environ["KNACK_APP_ID"]
    knack.headers["X-Knack-REST-API-Key"] = os.environ["KNACK_API_KEY"]
    address = f"{os.environ['KNACK_API_URL']}/v1/objects/{WIDE}/records"
    for number in range(1, -(-records // 1000) + 1):
        asked: dict[str, str | int] = {
            "rows_per_page": 1000,
            "page": number,
            "sort_field": NUMBER,
            "sort_order": "asc",
        }
        response = knack.get(address, params=asked, timeout=300, stream=True)
        response.raise_for_status()
        yield response


def run_fetch(records: int) -> None:
    """Read pages and do nothing with them: what the server of pages can give."""
    started, cpu_before = time.monotonic(), time.process_time()
    for response in fetch_pages(records):
        for _ in response.iter_content(1_000_000):
            pass
    tell(started, cpu_before)


def run_plain(records: int, columns: dict[str, str] | None = None) -> None:
    """Fetch a page, parse it, dump it, post it; then the next."""
    started, cpu_before = time.monotonic(), time.process_time()
    store = open_session()
    app_id = os.environ["KNACK_APP_ID"]
    for response in fetch_pages(records):
        rows = [
            {"app_id": app_id, "container_id": WIDE, "record_id": record["id"], "record": record}
            for record in response.json()["records"]
        ]
        post(store, json.dumps(rows).encode(), columns or {})
    tell(started, cpu_before)


def run_named(records: int) -> None:
    """As `run_plain`, with the columns named: PostgREST need not read the body."""
    run_plain(records, COLUMNS)


def tell(started: float, cpu_before: float) -> None:
    """One line of JSON."""
    spent = {"seconds": time.monotonic() - started, "cpu_s": time.process_time() - cpu_before}
    sys.stdout.write(json.dumps(spent) + "\n")


RIVALS = {"limit": run_limit, "copy": run_copy, "fetch": run_fetch, "plain": run_plain, "named": run_named}

if __name__ == "__main__":
    RIVALS[sys.argv[1]](int(sys.argv[2]))
