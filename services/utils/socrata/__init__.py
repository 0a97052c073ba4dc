"""Socrata, a destination: shaping rows for a dataset and publishing them.

client.py  signing in, answers read
dataset.py a dataset's columns and row identifier
read.py    its rows, their keys and number, as readers see them
values.py  one value as its column takes it
places.py  the same for points, lines and polygons
unfit.py   the error for a value that a column does not take
shape.py   rows: which name feeds which column
stamps.py  when a row was published
compare.py whether a dataset holds a row just so
plan.py    what will be sent, spooled on disk
send.py    batches, every answer checked, bad rows found
dump.py    a dataset as CSV and back
publish.py plan, brake, send, verify
"""

from services.utils.socrata.client import connect
from services.utils.socrata.dataset import Dataset, geo_columns, open_dataset
from services.utils.socrata.dump import DatasetChanged, Mark, dump_csv, read_csv, read_mark
from services.utils.socrata.publish import publish
from services.utils.socrata.read import count_other_keys, count_rows, fetch_keys
from services.utils.socrata.send import Limits
from services.utils.socrata.shape import RowShape, build_row, compile_shape, match_columns
from services.utils.socrata.stamps import Stamp, build_stamp
from services.utils.socrata.unfit import Unfit
from services.utils.socrata.values import find_formatter

__all__ = [
    "Dataset",
    "DatasetChanged",
    "Limits",
    "Mark",
    "RowShape",
    "Stamp",
    "Unfit",
    "build_row",
    "build_stamp",
    "compile_shape",
    "connect",
    "count_other_keys",
    "count_rows",
    "dump_csv",
    "fetch_keys",
    "find_formatter",
    "geo_columns",
    "match_columns",
    "open_dataset",
    "publish",
    "read_csv",
    "read_mark",
]
