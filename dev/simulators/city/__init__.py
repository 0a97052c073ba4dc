"""An invented city's Knack app: believable data from a seed, records for any fields, and wide ones for measuring."""

from dev.simulators.city.fields import make_every_field, make_field
from dev.simulators.city.records import NOW, blank_oddly, make_cell, make_record
from dev.simulators.city.town import (
    ACCOUNTS,
    LOCATIONS,
    LOCATIONS_VIEW,
    SCENES,
    SIGNALS,
    SIGNALS_VIEW,
    WORK_ORDERS,
    WORK_ORDERS_VIEW,
    City,
    build_city,
)
from dev.simulators.city.wide import WIDE, WIDE_SCENE, WIDE_VIEW, build_wide_app, wide_records

__all__ = [
    "ACCOUNTS",
    "LOCATIONS",
    "LOCATIONS_VIEW",
    "NOW",
    "SCENES",
    "SIGNALS",
    "SIGNALS_VIEW",
    "WIDE",
    "WIDE_SCENE",
    "WIDE_VIEW",
    "WORK_ORDERS",
    "WORK_ORDERS_VIEW",
    "City",
    "blank_oddly",
    "build_city",
    "build_wide_app",
    "make_cell",
    "make_every_field",
    "make_field",
    "make_record",
    "wide_records",
]
