"""The metadata document around objects and views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dev.simulators.city.fields import make_id


def make_object(
    key: str,
    name: str,
    fields: Sequence[dict[str, Any]],
    *,
    identifier: str = "",
    sort: str = "",
    user: bool = False,
) -> dict[str, Any]:
    """An object. identifier, sort: field keys; like Knack's own, a user object may lack both."""
    made: dict[str, Any] = {
        "inflections": {"singular": name.rstrip("s"), "plural": name},
        "connections": {"inbound": [], "outbound": []},
        "user": user,
        "status": "current",
        "tasks": [],
        "type": "UserObject" if user else "StandardObject",
        "key": key,
        "name": name,
        "_id": make_id(key),
        "fields": list(fields),
    }
    if user:
        return {**made, "profile_key": "all_users"}
    made["conns"] = []
    if sort:
        made["sort"] = {"field": sort, "order": "asc"}
    if identifier:
        made["identifier"] = identifier
    return made


def link_objects(objects: Sequence[dict[str, Any]]) -> None:
    """Fill in each object's connections, inbound and outbound, from the connection fields."""
    by_key = {one["key"]: one for one in objects}
    for one in objects:
        for field in one["fields"]:
            if field["type"] != "connection":
                continue
            tie = field["relationship"]
            said = {
                "key": field["key"],
                "name": field["name"],
                "has": tie["has"],
                "belongs_to": tie["belongs_to"],
                "field": {
                    "name": field["name"],
                    "inflections": {"singular": field["name"], "plural": f"{field['name']}s"},
                },
            }
            one["connections"]["outbound"].append({**said, "object": tie["object"]})
            by_key[tie["object"]]["connections"]["inbound"].append({**said, "object": one["key"]})


def make_column(
    field: Mapping[str, Any], object_key: str, connection: str = "", header: str = ""
) -> dict[str, Any]:
    """A table's column. connection: the key of the source object's field that leads to `object_key`."""
    column = {
        "header": header or field["name"],
        "type": "field",
        "field": {"key": field["key"]},
        "object": {"key": object_key},
    }
    return {**column, "connection": {"key": connection}} if connection else column


def make_table(
    key: str,
    name: str,
    object_key: str,
    columns: Sequence[dict[str, Any]],
    *,
    sort: tuple[str, str],
    rules: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A table view of one object."""
    return {
        "columns": list(columns),
        "links": [],
        "inputs": [],
        "_id": make_id(key),
        "key": key,
        "name": name,
        "type": "table",
        "source": {
            "object": object_key,
            "type": "database",
            "limit": "",
            "sort": [{"field": sort[0], "order": sort[1]}],
            "criteria": {"match": "all", "rules": list(rules), "groups": []},
        },
        "title": name,
        "description": "",
        "rows_per_page": "25",
        "keyword_search": True,
        "allow_exporting": False,
        "filter_type": "fields",
        "filter_fields": "view",
        "label": "Table",
        "no_data_text": "No Data",
        "options": {"cell_editor": False},
        "preset_filters": [],
        "menu_filters": [],
        "totals": [],
    }


def make_scene(
    key: str,
    name: str,
    views: Sequence[dict[str, Any]],
    *,
    authenticated: bool | None = True,
    parent: str | None = None,
) -> dict[str, Any]:
    """A page. parent: the slug of the page above it, whose log-in holds for it too."""
    return {
        "groups": [],
        "page_menu_display": False,
        "print": False,
        "modal": False,
        "ignore_entry_scene_menu": True,
        "icon": {"icon": None, "align": "left"},
        "name": name,
        "slug": name.lower().replace(" ", "-"),
        "_id": make_id(key),
        "authenticated": authenticated,
        "key": key,
        "parent": parent,
        "views": list(views),
    }


def make_metadata(
    name: str,
    account: str,
    objects: Sequence[dict[str, Any]],
    scenes: Sequence[dict[str, Any]],
    counts: Mapping[str, int],
    timezone: str = "Central Time (US & Canada)",
) -> dict[str, Any]:
    """The whole document, under its "application" key. account: the slug of the account's own host."""
    link_objects(objects)
    app = {
        "name": name,
        "description": "Invented data",
        "id": make_id("app", name),
        "home_scene": {"key": scenes[0]["key"], "slug": scenes[0]["slug"]} if scenes else {},
        "slug": name.lower().replace(" ", "-"),
        "distributions": [],
        "counts": {**counts, "total_entries": sum(counts.values()), "asset_size": 73_400_320},
        "objects": list(objects),
        "scenes": list(scenes),
        "account": {
            "id": make_id("account", account),
            "slug": account,
            "name": account,
            "status": "active",
            "product_plan": {"name": "Pro", "id": "pro", "level": 2, "records": 50_000, "api_limit": 25_000},
            "settings": {"rate_limit": {"login_requests": None}, "hipaa": {"enabled": False, "region": None}},
        },
        "users": {"enabled": True, "registration": "closed", "scope": "scene", "templates": {}},
        "layout": {"theme": "kn-beta", "app_menu_auth": True, "entry_scene_menu": True},
        "status": "active",
        "settings": {
            "timezone": timezone,
            "timezone_offset": "-21600",
            "timezone_dst": "3600",
            "language": "",
            "https_redirect": True,
            "cluster": "us-east",
            "geo": False,
            "sql": False,
            "date_format": "mm/dd/yyyy",
            "javascript": "",
            "css": "",
        },
        "design": {"colors": {}},
        "payment_processors": [],
        "ecommerce": {"enabled": False},
        "feature_flags": [],
        "subdomain": "us-api",
    }
    return {"application": app}
