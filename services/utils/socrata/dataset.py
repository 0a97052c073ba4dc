"""A dataset as the portal describes it: its columns, its row identifier, what this user may do with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from services.utils.errors import ConfigError, PublishError
from services.utils.session import HttpSession
from services.utils.socrata.client import read_json
from services.utils.socrata.shape import find_geo_columns

_FOUR_BY_FOUR = re.compile(r"[a-z0-9]{4}-[a-z0-9]{4}")


@dataclass(frozen=True)
class Dataset:
    """One dataset of a portal.

    columns: {fieldName: dataTypeName} in the portal's order, without its own (":..."). row_id: fieldName of
    the row identifier, None where the dataset has none. rights: what the portal says that this user may do with it;
    empty where it does not say.
    """

    client: HttpSession = field(repr=False)
    four_by_four: str
    columns: dict[str, str]
    row_id: str | None = None
    name: str = ""
    rights: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        """Where its rows are read and written."""
        return f"/resource/{self.four_by_four}.json"

    def __str__(self) -> str:
        return f"dataset {self.four_by_four}"


def open_dataset(client: HttpSession, four_by_four: str) -> Dataset:
    """The dataset's columns and row identifier, as the portal has them now.

    Raises: ConfigError if the id is none; PublishError if the portal refuses or does not answer.
    """
    if not _FOUR_BY_FOUR.fullmatch(four_by_four):
        raise ConfigError(
            f"{four_by_four!r} is not the id of a Socrata dataset: two groups of four letters or digits are "
            "wanted (abcd-1234). Nothing was sent. Correct socrata_resource_id."
        )
    response = client.request("GET", f"/api/views/{four_by_four}.json", repeatable=True, what="metadata")
    view = read_json(response)
    if not isinstance(view, dict) or not isinstance(view.get("columns"), list):
        raise PublishError(
            f"Socrata GET /api/views/{four_by_four}.json: the answer has no columns. Nothing was sent. "
            "See whether the id is that of a table, not of a chart, map or file."
        )
    columns: dict[str, str] = {}
    row_id = None
    for column in view["columns"]:
        name = column.get("fieldName") or ""
        if not name or name.startswith(":"):
            continue
        columns[name] = column.get("dataTypeName") or "text"
        key = view.get("rowIdentifierColumnId")
        if key is not None and column.get("id") == key:
            row_id = name
    rights = view.get("rights")
    return Dataset(
        client,
        four_by_four,
        columns,
        row_id,
        str(view.get("name") or ""),
        frozenset(str(right) for right in rights) if isinstance(rights, list) else frozenset(),
    )


def geo_columns(dataset: Dataset) -> list[str]:
    """The columns that take places: their fields' rows should hold coordinates."""
    return find_geo_columns(dataset.columns)
