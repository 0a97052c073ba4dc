"""What the fields of a form are: names as people gave them, names as the feed has them, repeats.

A form's metadata document, as `api.odk_metadata` holds it:

    {"projectId": 1,
     "form": {form details as Central gave them: xmlFormId, name (its title), version, hash, state, keyId ...},
     "version": the current version,
     "fields": [/fields?odata=true],         names and paths as the feed has them
     "plain_fields": [/fields],              the same fields, in the same order, with their own names
     "versions": {older version: {"name", "hash", "publishedAt", "fields": [/versions/:v/fields?odata=true]}},
     "collisions": [{"property": "/a_b", "fields": ["/a-b", "/a.b"]}]}   what the feed makes one property of
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from services.utils.errors import ConfigError, SourceError


@dataclass(frozen=True)
class Field:
    """One field of a form.

    path, name: as the form has them ("/building/floors", "floors"). type: Central's ("string", "int",
    "decimal", "boolean", "date", "time", "dateTime", "geopoint", "geotrace", "geoshape", "binary",
    "structure", "repeat"). odata_path: the names to walk in a record. repeat: odata path of the innermost
    repeat that holds it ("person_details/documents"), "" for those of the submission itself.
    """

    path: str
    name: str
    type: str
    binary: bool
    select_multiple: bool
    odata_path: tuple[str, ...]
    repeat: str = ""

    @property
    def is_group(self) -> bool:
        """Whether it holds other fields, and no value of its own."""
        return self.type in ("structure", "repeat")

    @property
    def inner_path(self) -> tuple[str, ...]:
        """The names to walk in a row of its repeat (for a field of the submission: in the record)."""
        return self.odata_path[len(self.repeat.split("/")) if self.repeat else 0 :]


@dataclass(frozen=True)
class Form:
    """A form's current version. fields: all of them in form order, groups and repeats included."""

    project_id: str
    form_id: str
    title: str
    version: str
    fields: tuple[Field, ...]
    state: str = "open"
    encrypted: bool = False
    collisions: tuple[dict[str, Any], ...] = ()
    details: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def repeats(self) -> tuple[Field, ...]:
        """The repeats, outer ones before inner ones; a repeat's own path is "/".join(odata_path)."""
        return tuple(one for one in self.fields if one.type == "repeat")

    @cached_property
    def main_fields(self) -> tuple[Field, ...]:
        """Fields with a value that a submission has once."""
        return tuple(one for one in self.fields if not one.repeat and not one.is_group)

    @cached_property
    def binary_fields(self) -> tuple[Field, ...]:
        """Fields that name a file, those in repeats included."""
        return tuple(one for one in self.fields if one.binary)

    def find_repeat(self, path: str) -> Field:
        """A repeat by its path, in its own names or the feed's: "person_details/documents".

        Raises: ConfigError if there is none; it names those there are.
        """
        wanted = path.strip("/")
        for repeat in self.repeats:
            if wanted in ("/".join(repeat.odata_path), repeat.path.strip("/")):
                return repeat
        known = ["/".join(repeat.odata_path) for repeat in self.repeats]
        near = difflib.get_close_matches(wanted, known, n=1) or known
        there = f"; there is: {', '.join(near)}" if near else "; it has no repeats"
        raise ConfigError(
            f"The form {self.form_id} has no repeat {wanted!r}{there}. Nothing was sent. "
            "Correct `repeat` in config/odk.py."
        )

    def repeat_fields(self, path: str) -> tuple[Field, ...]:
        """Fields with a value that each row of a repeat has once.

        Raises: ConfigError if there is no such repeat.
        """
        repeat = "/".join(self.find_repeat(path).odata_path)
        return tuple(one for one in self.fields if one.repeat == repeat and not one.is_group)

    def inner_repeats(self, path: str = "") -> tuple[Field, ...]:
        """Repeats directly within a repeat; "": directly within the submission."""
        return tuple(repeat for repeat in self.repeats if repeat.repeat == path.strip("/"))


def open_form(metadata: dict[str, Any]) -> Form:
    """A form from its metadata document.

    Raises: SourceError if the document is not one.
    """
    try:
        details = metadata["form"]
        fields = build_fields(metadata["fields"], metadata.get("plain_fields") or [])
        return Form(
            project_id=str(metadata.get("projectId", details.get("projectId", ""))),
            form_id=details["xmlFormId"],
            title=details.get("name") or details["xmlFormId"],
            version=details.get("version") or "",
            fields=fields,
            state=details.get("state") or "open",
            encrypted=details.get("keyId") is not None,
            collisions=tuple(metadata.get("collisions") or find_collisions(fields)),
            details=details,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            "The form's metadata in the store cannot be read. Nothing was published. "
            "Run metadata_to_postgrest.py again."
        ) from error


def build_fields(feed: list[dict[str, Any]], plain: list[dict[str, Any]]) -> tuple[Field, ...]:
    """Fields from the two lists that Central gives of them, which differ in names alone.

    feed: /fields?odata=true. plain: /fields, in the same order; where it does not fit, the feed's names stand.
    """
    own = plain if len(plain) == len(feed) else feed
    fields = []
    repeats: list[tuple[str, ...]] = []
    for named, there in zip(own, feed):
        odata_path = tuple(there["path"].strip("/").split("/"))
        # Outer ones come first, so the last is the innermost.
        within = ["/".join(path) for path in repeats if odata_path[: len(path)] == path != odata_path]
        fields.append(
            Field(
                path=named["path"],
                name=named["name"],
                type=there["type"],
                binary=bool(there.get("binary")),
                select_multiple=bool(there.get("selectMultiple")),
                odata_path=odata_path,
                repeat=within[-1] if within else "",
            )
        )
        if there["type"] == "repeat":
            repeats.append(odata_path)
    return tuple(fields)


def find_collisions(fields: tuple[Field, ...]) -> list[dict[str, Any]]:
    """Fields whose names become one in the feed, which then runs their values together.

    Returns: [{"property": "/a_b", "fields": ["/a-b", "/a.b"]}], in form order.
    """
    by_path: dict[tuple[str, ...], list[str]] = {}
    for one in fields:
        by_path.setdefault(one.odata_path, []).append(one.path)
    return [
        {"property": "/" + "/".join(odata_path), "fields": paths}
        for odata_path, paths in by_path.items()
        if len(paths) > 1
    ]
