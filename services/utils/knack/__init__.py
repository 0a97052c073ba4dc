"""Knack: a source, and a destination for records of another Knack app.

fetch.py    records, in pages
source.py   a container: where its records are, which of them changed
metadata.py what an app says of itself: containers, fields, time zone
rows.py     documents as rows
values.py   one value, by its field's type

copy.py     records brought into another app: planned, sent
mapping.py  which field fills which
handlers.py one field as one of another app
write.py    records found, created and changed
"""

from services.utils.knack.copy import copy_records, open_copy
from services.utils.knack.fetch import Knack, connect
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
from services.utils.knack.source import KnackSource, find_app, find_place, open_source

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
