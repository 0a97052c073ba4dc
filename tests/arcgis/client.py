"""Run by the interpreter that has `arcgis`: what the package does and sees, as one JSON object on stdout.

    echo PASSWORD | python client.py URL USERNAME ITEM [add] [update] [delete] [delete-all] [read]

Takes the item's first layer and carries the steps out in their order. Errors are part of what it says.
"""

import json
import sys
import warnings

warnings.filterwarnings("ignore")

from arcgis.gis import GIS  # noqa: E402

NEW = {
    "attributes": {"id": "new", "NAME": "Added", "SEEN": 1704067200000},
    "geometry": {"x": -97.7, "y": 30.2, "spatialReference": {"wkid": 4326}},
}


def read_layer(layer):
    """Everything the layer shows, in object-id order, in degrees."""
    found = layer.query(where="1=1", out_fields="*", out_sr=4326)
    shown = [feature.as_dict for feature in found.features]
    return sorted(
        ({"attributes": one["attributes"], "geometry": one.get("geometry")} for one in shown),
        key=lambda one: one["attributes"]["OBJECTID"],
    )


STEPS = {
    "add": lambda layer: layer.edit_features(adds=[NEW])["addResults"],
    "update": lambda layer: layer.edit_features(updates=[{"attributes": {"OBJECTID": 1, "NAME": "Changed"}}])[
        "updateResults"
    ],
    "delete": lambda layer: layer.edit_features(deletes="2,3")["deleteResults"],
    "delete-all": lambda layer: layer.delete_features(where="1=1", future=True).result(),
    "count": lambda layer: layer.query(where="1=1", return_count_only=True),
    "read": read_layer,
}


def main(url, username, item_id, *steps):
    """Sign in, find the layer, do the steps."""
    said = {}
    try:
        gis = GIS(url, username, sys.stdin.read(), verify_cert=False)
        item = gis.content.get(item_id)
        said["user"] = gis.users.me.username
        said["layers"] = [part.properties.name for part in item.layers]
        said["tables"] = [part.properties.name for part in item.tables]
        for step in steps:
            said[step] = STEPS[step](item.layers[0])
    except Exception as error:
        said["error"] = str(error)
    sys.stdout.write(json.dumps(said, default=str) + "\n")


main(*sys.argv[1:])
