"""Knack, Socrata and ArcGIS Online over one wide container, in a process of their own.

Started by `world.py`: RECORDS, a FOLDER for Knack's pages, and "sinks" for destinations that do nothing. Each
line of stdin is an order, each line of stdout its answer, as JSON:

    (start)      -> how to reach them, as variables for the scripts
    reset        -> destinations are empty again
    edit         -> every tenth page of Knack's changed, 15 records gone
    requests     -> how many requests each has had
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.pages import PageServer
from benchmarks.sinks import AgolSink, SocrataSink
from dev.demo import destinations
from dev.simulators.agol import AgolSimulator
from dev.simulators.city import WIDE, build_wide_app, wide_records
from dev.simulators.city.wide import PLACE
from dev.simulators.socrata import SocrataSimulator
from services.utils import knack as knack_source

DATASET, SERVICE = "wide-tabl", "77696465000000000000000000000001"


def main(records: int, folder: Path, sinks: bool) -> None:
    """Serve until stdin ends."""
    metadata = build_wide_app(records=records)
    with (
        PageServer(metadata, wide_records(records), folder) as knack,
        SocrataSink() if sinks else SocrataSimulator() as socrata,
        AgolSink() if sinks else AgolSimulator() as agol,
    ):
        reset(metadata, socrata, agol)
        answer(
            {
                "KNACK_APP_ID": knack.app_id,
                "KNACK_API_KEY": knack.api_key,
                "KNACK_API_URL": knack.url,
                "SOCRATA_URL": socrata.url,
                "SOCRATA_USERNAME": socrata.username,
                "SOCRATA_PASSWORD": socrata.password,
                "SOCRATA_APP_TOKEN": socrata.app_token,
                "AGOL_URL": agol.url,
                "AGOL_USERNAME": agol.username,
                "AGOL_PASSWORD": agol.password,
            }
        )
        for line in sys.stdin:
            if line.strip() == "reset":
                reset(metadata, socrata, agol)
            elif line.strip() == "edit":
                knack.edit(every=10, fewer=15)
            answer({s.__class__.__name__: len(s.requests) for s in (knack, socrata, agol)})


def answer(value: Any) -> None:
    """One line to whoever started us."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def reset(metadata: dict[str, Any], socrata: SocrataSimulator, agol: AgolSimulator) -> None:
    """Empty destinations with a column or field for each of the container's."""
    if isinstance(socrata, SocrataSink) and isinstance(agol, AgolSink):
        socrata.keys.clear()
        agol.keys.clear()
    app = knack_source.open_app(metadata)
    formatter = knack_source.compile_formatter(app, WIDE, location_fields=[PLACE])
    places = set(formatter.places)
    socrata.create_dataset(DATASET, destinations.make_columns(formatter, places), row_id="id")
    agol.services.clear()
    agol.create_layer(SERVICE, 0, fields=destinations.make_fields(app, formatter, places), unique_key="id")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), "sinks" in sys.argv[3:])
