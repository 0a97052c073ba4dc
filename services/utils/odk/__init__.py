"""ODK Central: a source.

client.py  signing in, answers read
form.py    a form: how it stands, its metadata
schema.py  its fields
fetch.py   its submissions, page by page
keys.py    what names a submission in the store
rows.py    submissions as rows, or the rows of a repeat
values.py  one value, by its field's type
media.py   files of submissions
"""

from services.utils.odk.client import Central, connect, feed_path, form_path, link_path
from services.utils.odk.fetch import FormFeed
from services.utils.odk.form import FormState
from services.utils.odk.keys import find_key
from services.utils.odk.rows import RowFormatter, compile_formatter, format_rows, list_fields
from services.utils.odk.schema import Field, Form, build_fields, find_collisions, open_form

__all__ = [
    "Central",
    "Field",
    "Form",
    "FormFeed",
    "FormState",
    "RowFormatter",
    "build_fields",
    "compile_formatter",
    "connect",
    "feed_path",
    "find_collisions",
    "find_key",
    "form_path",
    "format_rows",
    "link_path",
    "list_fields",
    "open_form",
]
