"""The simulators of Knack, Socrata and ArcGIS Online over one wide container, in a process of their own.

Started by `world.py`. Each line of stdin is an order, each line of stdout its answer, as JSON:

    (start)      -> how to reach them, as variables for the scripts
    reset        -> destinations are empty again
    requests     -> how many requests each has had
"""

from __future__ import annotations

import json
import sys
from typing import Any

import requests

from dev.demo import destinations
from dev.simulators.agol import AgolSimulator
from dev.simulators.city import WIDE, build_wide_app, wide_records
from dev.simulators.city.wide import NUMBER, PLACE
from dev.simulators.knack import KnackSimulator
from dev.simulators.socrata import SocrataSimulator
from services.utils import knack as knack_source

DATASET, SERVICE = "wide-tabl", "77696465000000000000000000000001"


def main(records: int) -> None:
    """Serve until stdin ends."""
    metadata = build_wide_app(records=records)
    with (
        # The client keeps to Knack's ten requests a second by itself.
        KnackSimulator(metadata, {WIDE: wide_records(records)}, rate_limit=None) as knack,
        SocrataSimulator() as socrata,
        AgolSimulator() as agol,
    ):
        reset(metadata, socrata, agol)
        warm(knack)
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
            answer({s.__class__.__name__: len(s.requests) for s in (knack, socrata, agol)})


def answer(value: Any) -> None:
    """One line to whoever started us."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def reset(metadata: dict[str, Any], socrata: SocrataSimulator, agol: AgolSimulator) -> None:
    """Empty destinations with a column or field for each of the container's."""
    app = knack_source.open_app(metadata)
    formatter = knack_source.compile_formatter(app, WIDE, location_fields=[PLACE])
    places = set(formatter.places)
    socrata.create_dataset(DATASET, destinations.make_columns(formatter, places), row_id="id")
    agol.services.clear()
    agol.create_layer(SERVICE, 0, fields=destinations.make_fields(app, formatter, places), unique_key="id")


def warm(knack: KnackSimulator) -> None:
    """Let the simulator work out the order of records, once, as a real server's index has it."""
    requests.get(
        f"{knack.url}/v1/objects/{WIDE}/records",
        params={"rows_per_page": "1000", "page": "1", "sort_field": NUMBER, "sort_order": "asc"},
        headers={"X-Knack-Application-Id": knack.app_id, "X-Knack-REST-API-Key": knack.api_key},
        timeout=300,
    ).raise_for_status()


if __name__ == "__main__":
    main(int(sys.argv[1]))
