"""Edits: results, partial updates, rollback, values, geometry."""

import json

import pytest
import requests

from tests.simulators.agol.conftest import SIGNS


def get_codes(results):
    """The error code of each entry, 0 for success."""
    return [entry.get("error", {}).get("code", 0) for entry in results]


def add(client, *attributes, layer_id=0, rollback="false", **more):
    """addFeatures' answer for features with these attributes."""
    features = [{"attributes": {"id": f"k{i}", **values}, **more} for i, values in enumerate(attributes)]
    return client.call("addFeatures", layer_id, features=json.dumps(features), rollbackOnFailure=rollback)


def add_one(client, attributes=None, **more):
    """The error code of adding one feature, 0 for success."""
    return get_codes(add(client, attributes or {}, **more)["addResults"])[0]


def test_apply_edits__answers_in_order(agol, client):
    """Adds, updates and deletes come back in their order, each with its own success."""
    agol.add_features(SIGNS, 0, [{"attributes": {"id": key}} for key in "abc"])
    said = client.call(
        "applyEdits",
        rollbackOnFailure="false",
        adds=json.dumps([{"attributes": {"id": "d"}}, {"attributes": {"id": "x" * 25}}]),
        updates=json.dumps([{"attributes": {"OBJECTID": 9}}, {"attributes": {"OBJECTID": 1, "NAME": "n"}}]),
        deletes="2,8",
    )
    assert said["addResults"][0] == {"objectId": 4, "uniqueId": 4, "globalId": None, "success": True}
    assert (said["addResults"][1]["objectId"], said["addResults"][1]["success"]) == (-1, False)
    assert get_codes(said["addResults"]) == [0, 1000]
    assert get_codes(said["updateResults"]) == [1011, 0]
    assert [entry["objectId"] for entry in said["updateResults"]] == [9, 1]
    assert get_codes(said["deleteResults"]) == [0, 1011]
    assert [feature["attributes"]["id"] for feature in agol.features(SIGNS)] == ["a", "c", "d"]
    call = agol.edits[-1]
    assert (call.adds, call.updates, call.deletes, call.failed, call.changed) == (2, 2, 2, 3, 3)
    assert agol.body_sizes()[-1] == call.body_bytes > 100


def test_apply_edits__rolls_back_by_default(agol, client):
    """With one bad feature the others are told 1003 and nothing stays, unless rollback is off."""
    agol.add_features(SIGNS, 0, [{"attributes": {"id": "a"}}])
    form = {
        "adds": json.dumps([{"attributes": {"id": "b"}}, {"attributes": {"id": None}}]),
        "updates": json.dumps([{"attributes": {"OBJECTID": 1, "NAME": "n"}}]),
        "deletes": "1",
    }
    before = agol.features(SIGNS)
    said = client.call("applyEdits", **form)
    assert get_codes(said["addResults"]) == [1003, 1001]
    assert get_codes(said["updateResults"]) == get_codes(said["deleteResults"]) == [1003]
    assert agol.features(SIGNS) == before
    agol.switches.rollback_answer = "request"
    said = client.call("applyEdits", **form)
    assert (said["error"]["code"], said["error"]["message"]) == (400, "Unable to complete operation.")
    assert agol.features(SIGNS) == before
    client.call("applyEdits", **form, rollbackOnFailure="false")
    assert [feature["attributes"]["id"] for feature in agol.features(SIGNS)] == ["b"]


def test_apply_edits__rollback_keeps_indexes_right(agol, client):
    """After a rollback, key look-ups and the unique index know nothing of what was undone."""
    agol.layer(SIGNS).add_unique_index("id")
    assert client.count("id = 'k0'") == 0
    add(client, {}, {"NAME": "x" * 99}, rollback="true")
    assert client.count("id = 'k0'") == 0
    assert add_one(client) == 0
    assert client.count("id = 'k0'") == 1


def test_update_features__changes_what_is_present(agol, client):
    """Absent attributes and geometry stay; explicit nulls clear them; the object id stays."""
    agol.add_features(SIGNS, 0, [{"attributes": {"id": "a", "NAME": "n"}, "geometry": {"x": 1, "y": 2}}])

    def update(feature):
        said = client.call("updateFeatures", features=json.dumps([feature]))
        assert get_codes(said["updateResults"]) == [0]
        return agol.features(SIGNS)[0]

    changed = update({"attributes": {"OBJECTID": 1, "COUNT_": 5}})
    assert (changed["attributes"]["NAME"], changed["attributes"]["COUNT_"]) == ("n", 5)
    assert changed["geometry"] == {"x": 1.0, "y": 2.0}
    assert update({"attributes": {"OBJECTID": 1, "NAME": None}})["attributes"]["NAME"] is None
    assert update({"attributes": {"objectid": 1}, "geometry": {"x": 3, "y": 4}})["geometry"]["x"] == 3
    assert update({"attributes": {"OBJECTID": 1}, "geometry": None})["geometry"] is None


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"NAME": "x" * 10}, 0),
        ({"NAME": "x" * 11}, 1000),
        ({"NAME": "😀" * 5}, 0),
        ({"NAME": "😀" * 6}, 1000),
        ({"NAME": 5}, 1016),
        ({"NAME": True}, 1016),
        ({"NAME": ["a"]}, 1016),
        ({"NAME": {"a": 1}}, 1016),
        ({"COUNT_": 2**31 - 1}, 0),
        ({"COUNT_": 2**31}, 1016),
        ({"COUNT_": -(2**31)}, 0),
        ({"COUNT_": -(2**31) - 1}, 1016),
        ({"COUNT_": 3.0}, 0),
        ({"COUNT_": 3.5}, 1016),
        ({"COUNT_": "3"}, 1016),
        ({"COUNT_": False}, 1016),
        ({"WIDTH": 3.5}, 0),
        ({"WIDTH": "3.5"}, 1016),
        ({"SEEN": -1}, 0),
        ({"SEEN": 1704067200000.0}, 0),
        ({"SEEN": 1704067200000.5}, 1016),
        ({"SEEN": 10**15}, 1016),
        ({"SEEN": "2024-01-01T00:00:00-06:00"}, 0),
        ({"SEEN": "2024-01-01T00:00:00.5Z"}, 0),
        ({"SEEN": "2024-01-01T00:00:00"}, 1016),
        ({"SEEN": "2024-13-01T00:00:00Z"}, 1016),
        ({"SEEN": "yesterday"}, 1016),
        ({"SEEN": ""}, 1016),
        ({"id": None}, 1001),
        ({"OBJECTID": 7}, 0),
    ],
)
def test_add_features__checks_values(client, attributes, code):
    """A value of the wrong type or size fails its feature, with the code of its kind."""
    assert add_one(client, attributes) == code


def test_add_features__reads_dates_as_milliseconds(agol, client):
    """Text dates with an offset are stored as milliseconds UTC."""
    add(client, {"SEEN": "2024-01-01T00:00:00.250-06:00"}, {"SEEN": "1969-12-31T23:59:59Z"})
    seen = [feature["attributes"]["SEEN"] for feature in agol.features(SIGNS)]
    assert seen == [1704088800250, -1000]


def test_add_features__wants_what_is_not_nullable(client):
    """A feature that lacks a field that is not nullable is refused."""
    said = client.call("addFeatures", features='[{"attributes":{"NAME":"n"}}]')
    assert get_codes(said["addResults"]) == [1001]


def test_add_features__refuses_read_only_fields(agol, client):
    """A field that is not editable is refused with 1023."""
    agol.create_layer(SIGNS, 2, fields={"id": ("String", 24), "MADE": ("Date", None, True, False)})
    said = client.call("addFeatures", 2, features='[{"attributes":{"id":"a","MADE":0}}]')
    assert get_codes(said["addResults"]) == [1023]


def test_add_features__guards_a_unique_index(agol, client):
    """A key that is there fails with 1022, within one request too, whatever its case."""
    url = agol.layer_url(SIGNS).replace("/rest/", "/rest/admin/") + "/addToDefinition"
    index = {"indexes": [{"name": "id_unique", "fields": "id", "isUnique": True}]}
    form = {"f": "json", "token": client.token, "addToDefinition": json.dumps(index)}
    ids = agol.add_features(SIGNS, 0, [{"attributes": {"id": "k0"}}, {"attributes": {"id": "K0 "}}])
    assert requests.post(url, data=form).json()["error"]["code"] == 400
    client.call("deleteFeatures", objectIds=ids[1])
    assert requests.post(url, data=form).json() == {"success": True}
    assert {"name": "id_unique", "fields": "id", "isAscending": True, "isUnique": True} in client.call()[
        "indexes"
    ]
    assert get_codes(add(client, {}, {"id": "a"}, {"id": "A"})["addResults"]) == [1022, 0, 1022]
    said = client.call("updateFeatures", features='[{"attributes":{"OBJECTID":1,"id":"a"}}]')
    assert get_codes(said["updateResults"]) == [1022]
    said = client.call("updateFeatures", features='[{"attributes":{"OBJECTID":1,"id":"k0"}}]')
    assert get_codes(said["updateResults"]) == [0]


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        ("<Null>", True),
        ("<x>", True),
        ("a < b > c", True),
        ("<script>", True),
        ("<!-- -->", True),
        ('<a href="javascript:x">', True),
        ("<b>bold</b>", False),
        ('<a href="x">', False),
        ("<br/>", False),
        ("a < b", False),
        ("a > b", False),
    ],
)
def test_add_features__html_refuses_the_request(agol, client, text, is_refused):
    """Markup outside the allowed tags refuses the whole request, even with rollback off."""
    agol.create_layer(SIGNS, 2, fields={"id": ("String", 24), "NOTE": ("String", 200)})
    said = add(client, {}, {"NOTE": text}, layer_id=2)
    if is_refused:
        assert said["error"] == {
            "code": 400,
            "message": "",
            "details": ["Field NOTE has invalid html content."],
        }
        assert agol.features(SIGNS, 2) == []
    else:
        assert get_codes(said["addResults"]) == [0, 0]


def test_update_features__html_refuses_the_request(agol, client):
    """Markup in an update refuses the whole request as well."""
    agol.add_features(SIGNS, 0, [{"attributes": {"id": "a"}}])
    said = client.call("updateFeatures", features='[{"attributes":{"OBJECTID":1,"NAME":"<x>"}}]')
    assert said["error"]["details"] == ["Field NAME has invalid html content."]
    assert agol.features(SIGNS)[0]["attributes"]["NAME"] is None


def test_html_guard__is_a_switch(agol, client):
    """The guard can be per feature (1006), off, and mind lone angle brackets."""
    agol.switches.html_guard = "feature"
    assert get_codes(add(client, {"NAME": "<x>"}, {})["addResults"]) == [1006, 0]
    agol.switches.html_guard = "off"
    assert add_one(client, {"NAME": "<x>"}) == 0
    agol.switches.html_guard = "request"
    agol.switches.lone_angle_is_html = True
    assert add(client, {"NAME": "a < b"})["error"]["code"] == 400
    assert add_one(client, {"NAME": "<b>a</b>"}) == 0


def test_add_features__names_of_attributes(agol, client):
    """Names match whatever their case, unknown ones are dropped; both are switches."""
    assert add_one(client, {"name": "n", "NOTHERE": 1}) == 0
    assert agol.features(SIGNS)[0]["attributes"]["NAME"] == "n"
    assert "NOTHERE" not in agol.features(SIGNS)[0]["attributes"]
    agol.switches.names_ignore_case = False
    assert add_one(client, {"name": "m"}) == 0
    assert agol.features(SIGNS)[1]["attributes"]["NAME"] is None
    agol.switches.unknown_attributes = "error"
    assert add_one(client, {"name": "m"}) == 1000


def test_add_features__other_switches_of_values(agol, client):
    """Blanks may be stored as null, types converted, ISO dates refused, length counted in characters."""
    agol.switches.blank_text = "null"
    agol.switches.lenient_types = True
    agol.switches.iso_dates = False
    agol.switches.utf16_length = False
    assert add_one(client, {"NAME": " ", "COUNT_": "3"}) == 0
    assert add_one(client, {"NAME": 5, "WIDTH": "1.5"}) == 0
    assert add_one(client, {"id": ""}) == 1001
    assert add_one(client, {"NAME": "😀" * 10}) == 0
    assert add_one(client, {"SEEN": "2024-01-01T00:00:00Z"}) == 1016
    shown = [feature["attributes"] for feature in agol.features(SIGNS)]
    assert [values["NAME"] for values in shown] == [None, "5", "😀" * 10]
    assert (shown[0]["COUNT_"], shown[1]["WIDTH"]) == (3, 1.5)


@pytest.mark.parametrize(
    ("geometry", "code"),
    [
        ({"x": -97.7, "y": 30.2, "spatialReference": {"wkid": 4326}}, 0),
        ({"x": -97.7, "y": 90, "spatialReference": {"wkid": 4326}}, 1015),
        ({"x": 1, "y": 2, "spatialReference": {"wkid": 2277}}, 1015),
        ({"x": "1", "y": "2"}, 1015),
        ({"x": 1, "y": None}, 1015),
        ({"x": 1}, 1015),
        ({"points": [[1, 2]]}, 1015),
        ("POINT(1 2)", 1015),
        (None, 0),
    ],
)
def test_add_features__checks_points(client, geometry, code):
    """A point needs two numbers in a known reference; null is no geometry."""
    assert add_one(client, geometry=geometry) == code


def test_add_features__assumes_the_layers_reference(agol, client):
    """Degrees without a reference land near 0,0 of a Web Mercator layer."""
    add(client, {}, geometry={"x": -97.7, "y": 30.2})
    add(client, {}, geometry={"x": -97.7, "y": 30.2, "spatialReference": {"wkid": 4326}})
    near, right = agol.features(SIGNS, wkid=4326)
    assert abs(near["geometry"]["x"]) < 0.001
    assert right["geometry"]["x"] == pytest.approx(-97.7)


def test_add_features__tables_take_no_geometry(client):
    """A table refuses a geometry and takes a null one."""
    assert add_one(client, layer_id=1, geometry={"x": 1, "y": 2}) == 1015
    assert add_one(client, layer_id=1, geometry=None) == 0


def test_add_features__multipoints(agol, client):
    """A multipoint layer takes lists of positions, an empty one as no geometry, and no points."""
    agol.create_layer(
        SIGNS, 2, fields={"id": ("String", 24)}, geometry="esriGeometryMultipoint", spatial_reference=4326
    )
    degrees = {"wkid": 4326}
    assert (
        add_one(client, layer_id=2, geometry={"points": [[1, 2], [3, 4]], "spatialReference": degrees}) == 0
    )
    assert add_one(client, layer_id=2, geometry={"points": [], "spatialReference": degrees}) == 0
    assert add_one(client, layer_id=2, geometry={"points": [["1", "2"]]}) == 1015
    assert add_one(client, layer_id=2, geometry={"x": 1, "y": 2}) == 1015
    shown = [feature["geometry"] for feature in agol.features(SIGNS, 2)]
    assert shown == [{"points": [[1.0, 2.0], [3.0, 4.0]]}, None]


@pytest.mark.parametrize(
    ("kind", "geometry", "code"),
    [
        ("Polyline", {"paths": [[[1, 2], [3, 4]], [[5, 6], [7, 8], [9, 9]]]}, 0),
        ("Polyline", {"paths": []}, 0),
        ("Polyline", {"paths": [[[1, 2]]]}, 1015),
        ("Polyline", {"paths": [[["1", "2"], [3, 4]]]}, 1015),
        ("Polyline", {"paths": [[1, 2], [3, 4]]}, 1015),
        ("Polyline", {"rings": [[[0, 0], [0, 1], [1, 1], [0, 0]]]}, 1015),
        ("Polyline", {"x": 1, "y": 2}, 1015),
        ("Polygon", {"rings": [[[0, 0], [0, 1], [1, 1], [0, 0]]]}, 0),
        ("Polygon", {"rings": [[[0, 0], [1, 1], [0, 1], [0, 0]]]}, 1015),
        ("Polygon", {"rings": [[[0, 0], [0, 1], [1, 1]]]}, 1015),
        ("Polygon", {"rings": [[[0, 0], [0, 1], [1, 1], [0, 0.5]]]}, 1015),
        ("Polygon", {"paths": [[[0, 0], [0, 1], [1, 1], [0, 0]]]}, 1015),
    ],
)
def test_add_features__lines_and_polygons(agol, client, kind, geometry, code):
    """Paths have two positions, rings are closed and the outer one runs clockwise; what is taken is shown."""
    agol.create_layer(SIGNS, 2, fields={"id": ("String", 24)}, geometry=f"esriGeometry{kind}")
    degrees = {**geometry, "spatialReference": {"wkid": 4326}}
    assert add_one(client, layer_id=2, geometry=degrees) == code
    if not code:
        shown = client.call("query", layer_id=2, where="1=1", outSR=4326)["features"][0].get("geometry")
        ((name, parts),) = geometry.items()
        near = [[pytest.approx(position, abs=1e-9) for position in part] for part in parts]
        assert shown == ({name: near} if parts else None)


def test_query__turned_rings(agol, client):
    """A service may begin a ring elsewhere than it was sent."""
    agol.create_layer(
        SIGNS, 2, fields={"id": ("String", 24)}, geometry="esriGeometryPolygon", spatial_reference=4326
    )
    add_one(client, layer_id=2, geometry={"rings": [[[0, 0], [0, 1], [1, 1], [0, 0]]]})
    agol.switches.turned_rings = True
    shown = client.call("query", layer_id=2, where="1=1")["features"][0]["geometry"]
    assert shown == {"rings": [[[0, 1], [1, 1], [0, 0], [0, 1]]]}


def test_text_coordinates__is_a_switch(agol, client):
    """With the switch, coordinates may be numeric text."""
    agol.switches.text_coordinates = "accept"
    assert add_one(client, geometry={"x": "1.5", "y": "2"}) == 0
    assert add_one(client, geometry={"x": "east", "y": "2"}) == 1015
    assert agol.features(SIGNS)[0]["geometry"] == {"x": 1.5, "y": 2.0}


@pytest.mark.parametrize("adds", ["[", '[{"attributes":{"id":"a","WIDTH":NaN}}]', '{"attributes":{}}', "[1]"])
def test_apply_edits__refuses_what_is_no_list_of_features(agol, client, adds):
    """Text that is not JSON (NaN is not) or no list of features is a 400 and nothing is done."""
    assert client.call("applyEdits", adds=adds, deletes="")["error"]["code"] == 400
    assert agol.features(SIGNS) == []


def test_edits__need_a_form_by_post(agol, client):
    """A JSON body is not read, a GET is refused; a multipart form is read."""
    url = agol.layer_url(SIGNS) + "/addFeatures"
    features = json.dumps([{"attributes": {"id": "é\r\n"}}])
    query = {"f": "json", "token": client.token}
    said = requests.post(url, params=query, json={"features": json.loads(features)}).json()
    assert said["error"]["code"] == 400
    assert requests.get(url, params={**query, "features": features}).json()["error"]["code"] == 405
    parts = {name: (None, value) for name, value in {**query, "features": features}.items()}
    assert requests.post(url, files=parts).json()["addResults"][0]["success"]
    assert [feature["attributes"]["id"] for feature in agol.features(SIGNS)] == ["é\r\n"]


def test_edits__keep_every_character(agol, client):
    """Text comes through a form-encoded body as it is."""
    text = "100 %25 %22+é&=% \"'\\ \U0001f600"
    agol.create_layer(SIGNS, 2, fields={"id": ("String", 50)})
    assert add_one(client, {"id": text}, layer_id=2) == 0
    assert agol.features(SIGNS, 2)[0]["attributes"]["id"] == text


def test_delete_features__by_ids_or_clause(agol, client):
    """Features go by object id or clause; missing ids are errors, or not by the switch."""
    agol.add_features(SIGNS, 0, [{"attributes": {"id": f"k{i}", "COUNT_": i}} for i in range(6)])
    said = client.call("deleteFeatures", objectIds="1,99", rollbackOnFailure="false")
    assert get_codes(said["deleteResults"]) == [0, 1011]
    said = client.call("deleteFeatures", where="id IN ('k1','k2')")
    assert [entry["objectId"] for entry in said["deleteResults"]] == [2, 3]
    assert client.call("deleteFeatures", where="COUNT_=3", returnDeleteResults="false") == {"success": True}
    agol.switches.missing_delete = "success"
    assert get_codes(client.call("deleteFeatures", objectIds="1,5")["deleteResults"]) == [0, 0]
    assert [feature["attributes"]["id"] for feature in agol.features(SIGNS)] == ["k5"]
    for form in ({}, {"objectIds": "x"}, {"where": "nope = 1"}):
        assert client.call("deleteFeatures", **form)["error"]["code"] == 400


def test_edits__limits_of_size(agol, client):
    """By the switches, many features time out and long bodies are refused, without being applied."""
    agol.switches.max_edit_features = 2
    assert add(client, {}, {}, {})["error"]["code"] == 504
    assert get_codes(add(client, {}, {})["addResults"]) == [0, 0]
    agol.switches.max_body_bytes = 200
    assert (
        client.send("addFeatures", features='[{"attributes":{"id":"%s"}}]' % ("x" * 200)).status_code == 404
    )
    assert len(agol.features(SIGNS)) == 2


def test_watch__sees_what_readers_could_see(agol, client):
    """The lowest count, keys that were absent for a while, doubles, and object ids that changed."""
    agol.add_features(SIGNS, 0, [{"attributes": {"id": key}} for key in "abcd"])
    watch = agol.watch(SIGNS)
    client.call("deleteFeatures", where="id IN ('a','b')")
    client.call("addFeatures", features=json.dumps([{"attributes": {"id": key}} for key in "aae"]))
    client.call("deleteFeatures", objectIds="5,7")
    client.call("updateFeatures", features='[{"attributes":{"OBJECTID":3,"NAME":"n"}}]')
    assert (watch.min_count, watch.max_count) == (2, 5)
    assert watch.absent == {"a", "b"}
    assert watch.doubled == {"a"}
    assert watch.moved() == {"a": (1, 6), "b": (2, None)}
