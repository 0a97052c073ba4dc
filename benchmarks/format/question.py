"""How fast are records shaped as rows, against knackpy's own formatting?

Both give the same values: ours is a container's compiled formatter, knackpy's is Record.format; then the same with
reading the JSON, which a publish does too: `format_rows` over documents, Record.format over json.loads. CPU time of
this process, in turn, `repeats` times; medians are shown. Beside it: opening a big app's metadata.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import knackpy
from knackpy.record import Record

from benchmarks.table import print_table
from dev.simulators.city import WIDE, build_wide_app, wide_records
from services.utils import knack
from services.utils.records import Document
from services.utils.store import decode_metadata

KNACKPY_MOST = 2000


LEAST_TIMES = 10.0


def run(records: int, repeats: int) -> bool:
    """Print the table; whether both gave the same values."""
    records = min(records, KNACKPY_MOST)
    metadata = build_wide_app()
    bodies = list(wide_records(records))
    formatter = knack.compile_formatter(knack.open_app(metadata), WIDE)
    app = knackpy.App(app_id="a", api_key="k", metadata=build_wide_app())
    fields = [field for field in app.field_defs if field.obj == WIDE]

    def format_ours(documents: Iterable[Document]) -> list[dict[str, Any]]:
        return [row.values for row in knack.format_rows(documents, formatter, on_reject=lambda reject: None)]

    def format_knackpy(documents: Iterable[Document]) -> list[dict[str, Any]]:
        return [
            Record(json.loads(document.record), fields, None, app.timezone).format() for document in documents
        ]

    documents = [Document(str(number), body) for number, body in enumerate(bodies)]
    parsed = [json.loads(body) for body in bodies]
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: [formatter.format(record) for record in parsed],
        "knackpy": lambda: [Record(record, fields, None, app.timezone).format() for record in parsed],
        "ours, from bytes": lambda: format_ours(documents),
        "knackpy, from bytes": lambda: format_knackpy(documents),
    }
    turns = [{way: time_way(shape) for way, shape in ways.items()} for _ in range(repeats)]
    rows: list[list[Any]] = []
    for way in ways:
        other = "knackpy, from bytes" if "bytes" in way else "knackpy"
        seconds = statistics.median(turn[way] for turn in turns)
        ratio = statistics.median(turn[other] / turn[way] for turn in turns)
        rows.append([way, round(records / seconds), 1e6 * seconds / records, ratio])
    print_table([f"{records:,} records", "records/s", "microseconds each", "times knackpy"], rows)
    same = [list(one.values()) for one in format_ours(documents)] == [
        list(one.values()) for one in format_knackpy(documents)
    ]
    print("\nThe values are the same." if same else "\nThe values DIFFER.")
    quick = rows[0][3] >= LEAST_TIMES
    print(f"times knackpy: {rows[0][3]:.1f} (at least {LEAST_TIMES:g}){'' if quick else '  OUT OF BOUNDS'}")
    body = make_big_app()
    seconds = statistics.median(time_opening(body) for _ in range(max(5, repeats)))
    print(
        f"opening an app of 3,000 fields and 1,000 views ({len(body) / 1e6:.1f} MB): {seconds:.2f} s of CPU"
    )
    return same and quick


def make_big_app() -> bytes:
    """The metadata of an app with 75 objects of 40 fields, and 1,000 views."""
    metadata = build_wide_app()
    app = metadata["application"]
    objects, scenes = json.dumps(app["objects"][0]), json.dumps(app["scenes"][0])
    app["objects"] += [
        json.loads(objects.replace("object_90", f"object_{n}").replace("field_9", f"field_{n}9"))
        for n in range(100, 174)
    ]
    app["scenes"] += [
        json.loads(scenes.replace("view_90", f"view_{n}").replace("scene_90", f"scene_{n}"))
        for n in range(100, 1099)
    ]
    return json.dumps(metadata).encode()


def time_opening(body: bytes) -> float:
    """CPU seconds to read an app's metadata and to make ready for one container's rows."""
    gc.collect()
    before = time.process_time()
    knack.compile_formatter(knack.open_app(decode_metadata(body)), WIDE)
    return time.process_time() - before


def time_way(shape: Callable[[], Any]) -> float:
    """CPU seconds to shape all records."""
    gc.collect()
    before = time.process_time()
    shape()
    return time.process_time() - before
