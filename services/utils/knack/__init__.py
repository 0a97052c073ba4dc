"""Knack: a source (fetch, metadata, rows), and a destination (copy, over mapping, handlers and write)."""

from services.utils.knack.copy import copy_records, open_copy
from services.utils.knack.fetch import Knack, KnackSource, connect, find_app, find_place, open_source
from services.utils.knack.metadata import (
    FieldDef,
    KnackApp,
    date_format,
    find_timezone,
    open_app,
    to_knack_date,
)
from services.utils.knack.rows import (
    RowFormatter,
    build_row_names,
    compile_formatter,
    find_addresses,
    find_vanished,
    format_rows,
    list_fields,
    name_places,
)

__all__ = [
    "FieldDef",
    "Knack",
    "KnackApp",
    "KnackSource",
    "RowFormatter",
    "build_row_names",
    "compile_formatter",
    "connect",
    "copy_records",
    "date_format",
    "find_addresses",
    "find_app",
    "find_place",
    "find_timezone",
    "find_vanished",
    "format_rows",
    "list_fields",
    "name_places",
    "open_app",
    "open_copy",
    "open_source",
    "to_knack_date",
]
