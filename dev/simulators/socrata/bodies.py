"""Request bodies: JSON or CSV, as rows of values that are not yet judged."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import Any

import msgspec

DELETED = ":deleted"
# Numbers keep their digits: storage holds decimals of any length.
_decoder = msgspec.json.Decoder(float_hook=Decimal)


class Refusal(Exception):
    """The whole request is refused: nothing of it was saved."""

    def __init__(self, message: str, code: str = "invalid_request", status: int = 400, **data: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.data = data


def read_body(body: bytes, is_csv: bool) -> tuple[list[Any], bool]:
    """The rows of a request body, and whether it was one bare object.

    Raises: Refusal where it cannot be read.
    """
    if is_csv:
        return _read_csv(body), False
    try:
        rows = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(f"Unable to parse JSON: {error}") from None
    if type(rows) is dict:
        return [rows], True
    if type(rows) is not list or not all(type(row) is dict for row in rows):
        raise Refusal("Expected a JSON object or an array of JSON objects")
    return rows, False


def _read_csv(body: bytes) -> list[Any]:
    """Rows of text, None for an empty cell; `:deleted` becomes true or is left out."""
    try:
        lines = list(csv.reader(io.StringIO(body.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refusal(f"Unable to parse CSV: {error}") from None
    if not lines:
        raise Refusal("The CSV body has no header row")
    header = lines[0]
    rows = []
    for line in lines[1:]:
        if not line:
            continue
        if len(line) != len(header):
            raise Refusal(f"A CSV row has {len(line)} cells, the header has {len(header)}")
        row: dict[str, Any] = {name: cell or None for name, cell in zip(header, line)}
        if DELETED in row:
            flag = row.pop(DELETED)
            if flag is not None and flag.lower() == "true":
                row[DELETED] = True
        rows.append(row)
    return rows
