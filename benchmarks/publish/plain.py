"""The plain way to publish, for comparison.

    python -m benchmarks.publish.plain Socrata|ArcGIS

Variables as for the scripts. The last line is {}.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import knackpy
import requests
from knackpy.record import Record

from benchmarks.load.rivals import open_session
from benchmarks.simulators import DATASET, SERVICE
from dev.simulators.city import WIDE

ROWS = 1000


def read_rows() -> list[dict[str, Any]]:
    """All rows, formatted by knackpy."""
    store = open_session()
    address = os.environ["PGREST_ENDPOINT"]
    metadata = store.get(f"{address}/knack_metadata", params={"select": "metadata"}).json()[0]["metadata"]
    app = knackpy.App(app_id="a", api_key="k", metadata=metadata)
    fields = [field for field in app.field_defs if field.obj == WIDE]
    rows = []
    for page in read_pages(store, address):
        for document in page:
            rows.append(
                {
                    name.lower().replace(" ", "_"): value
                    for name, value in Record(document["record"], fields, None, app.timezone).format().items()
                }
            )
    return rows


def read_pages(store: requests.Session, address: str) -> Iterator[list[dict[str, Any]]]:
    """Documents, a page after the other, by offset."""
    offset = 0
    while True:
        asked: dict[str, str | int] = {
            "container_id": f"eq.{WIDE}",
            "order": "record_id",
            "limit": ROWS,
            "offset": offset,
        }
        page = store.get(f"{address}/knack", params=asked).json()
        yield page
        if len(page) < ROWS:
            return
        offset += ROWS


def main(place: str) -> None:
    """Read everything, then send it."""
    rows = read_rows()
    http = requests.Session()
    http.auth = (os.environ["SOCRATA_USERNAME"], os.environ["SOCRATA_PASSWORD"])
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS]
        if place == "Socrata":
            body = json.dumps(part, default=str)
            answer = http.post(f"{os.environ['SOCRATA_URL']}/resource/{DATASET}.json", data=body)
        else:
            features = [{"attributes": row} for row in part]
            form = {"f": "json", "adds": json.dumps(features, default=str)}
            answer = http.post(f"{os.environ['AGOL_URL']}/{SERVICE}/applyEdits", data=form)
        answer.raise_for_status()
    print("{}")


if __name__ == "__main__":
    main(sys.argv[1])
