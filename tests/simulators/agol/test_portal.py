"""Signing in, tokens, items and service definitions."""

import ssl
import time

import pytest
import requests
import trustme

from dev.simulators.agol import AgolSimulator
from tests.simulators.agol.conftest import SIGNS


def get_code(said: dict) -> int:
    """The code of an error body, 0 where it is none."""
    return said.get("error", {}).get("code", 0)


def test_generate_token__gives_token_and_expiry_at_both_addresses(agol, client):
    """Both known addresses give a token with its end in milliseconds since 1970."""
    form = {"username": agol.username, "password": agol.password, "referer": "https://x", "expiration": 90}
    for address in ("/sharing/rest/generateToken", "/sharing/generateToken"):
        said = requests.post(agol.url + address, data={**form, "client": "referer", "f": "json"}).json()
        assert set(said) == {"token", "expires", "ssl"}
        assert abs(said["expires"] / 1000 - time.time() - 90 * 60) < 5


def test_generate_token__refuses_what_is_incomplete(agol, client):
    """Without a referer, by GET, or with credentials in the address there is no token."""
    assert get_code(client.sign_in(referer="")) == 400
    query = {"username": agol.username, "password": agol.password, "referer": "https://x", "f": "json"}
    assert get_code(requests.get(f"{agol.url}/sharing/rest/generateToken", params=query).json()) == 405
    assert get_code(requests.post(f"{agol.url}/sharing/rest/generateToken", params=query).json()) == 400


def test_generate_token__locks_after_refusals(agol, client):
    """A wrong password is a 400 in a 200 body, and after five of them the right one is refused too."""
    for _ in range(5):
        said = client.sign_in(password="wrong")
        assert said["error"]["message"] == "Unable to generate token."
        assert said["error"]["details"] == ["Invalid username or password."]
    assert client.sign_in()["error"]["details"] == ["Too many invalid attempts. Please try again later."]
    agol.sign_in.unlock()
    assert "token" in client.sign_in()


def test_check_token__tells_missing_from_invalid(agol, client):
    """No token is 499, an unknown one 498, both with status 200; nothing is carried out."""
    answer = client.send("addFeatures", token="", features='[{"attributes":{"id":"a"}}]')
    assert (answer.status_code, get_code(answer.json())) == (200, 499)
    answer = client.send("addFeatures", token="unknown", features='[{"attributes":{"id":"a"}}]')
    assert (answer.status_code, get_code(answer.json())) == (200, 498)
    assert agol.features(SIGNS) == []


def test_check_token__takes_form_query_and_header(agol, client):
    """A token is read from a form field, the query, and X-Esri-Authorization."""
    url = agol.layer_url(SIGNS)
    header = {"X-Esri-Authorization": f"Bearer {client.token}"}
    assert requests.post(url, data={"f": "json", "token": client.token}).json()["id"] == 0
    assert requests.get(url, params={"f": "json", "token": client.token}).json()["id"] == 0
    assert requests.get(url, params={"f": "json"}, headers=header).json()["id"] == 0


def test_check_token__ends_with_its_life(agol, client):
    """A token past its life is refused with 498, and a new one is good."""
    agol.switches.token_seconds = 0.05
    client.token = client.sign_in()["token"]
    assert client.count() == 0
    time.sleep(0.06)
    assert get_code(client.call("query", where="1=1")) == 498
    agol.switches.token_seconds = None
    client.token = client.sign_in()["token"]
    assert client.count() == 0
    agol.sign_in.expire_tokens()
    assert get_code(client.call()) == 498


def test_check_token__may_want_its_referer(agol, client):
    """With the switch, a token is only good with the Referer that it was asked for."""
    agol.switches.check_referer = True
    assert get_code(client.call()) == 498
    client.http.headers["Referer"] = "https://records.example"
    assert client.call()["id"] == 0


def test_oauth_token__gives_an_application_its_token(agol, client):
    """client_credentials give an access token that the services host takes; wrong ones do not."""
    url = f"{agol.url}/sharing/rest/oauth2/token"
    form = {
        "grant_type": "client_credentials",
        "client_id": agol.sign_in.client_id,
        "client_secret": agol.sign_in.client_secret,
        "f": "json",
    }
    said = requests.post(url, data=form).json()
    assert said["expires_in"] == 7200
    client.token = said["access_token"]
    assert client.call()["id"] == 0
    assert get_code(requests.post(url, data={**form, "client_secret": "no"}).json()) == 400


def test_answer__shows_a_page_without_f(agol, client):
    """Without f=json every address answers an HTML page with status 200 and does nothing."""
    answer = client.send("addFeatures", f="", features='[{"attributes":{"id":"a"}}]')
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert agol.features(SIGNS) == []


def test_item__points_to_the_services_host(agol, client):
    """An item names its type and the service's address; one that is not there is refused."""
    form = {"f": "json", "token": client.token}
    item = requests.post(f"{agol.url}/sharing/rest/content/items/{SIGNS}", data=form).json()
    assert (item["id"], item["type"]) == (SIGNS, "Feature Service")
    assert f"{item['url']}/0" == agol.layer_url(SIGNS)
    missing = requests.post(f"{agol.url}/sharing/rest/content/items/{'0' * 32}", data=form).json()
    assert missing["error"]["message"] == "Item does not exist or is inaccessible."


def test_service__lists_layers_and_tables_apart(agol, client):
    """Layers and tables stand in two lists of one id space, beside the HTML rule."""
    url = agol.layer_url(SIGNS).rpartition("/")[0]
    said = requests.post(url, data={"f": "json", "token": client.token}).json()
    assert [part["id"] for part in said["layers"]] == [0]
    assert [part["id"] for part in said["tables"]] == [1]
    assert said["xssPreventionInfo"]["xssInputRule"] == "rejectInvalid"
    assert (said["syncEnabled"], said["isView"]) == (False, False)


def test_layer__describes_itself(agol, client):
    """A layer's JSON has what a publisher reads before a run; a table has no geometry in it."""
    layer, table = client.call(), client.call(layer_id=1)
    assert (layer["type"], table["type"]) == ("Feature Layer", "Table")
    assert layer["geometryType"] == "esriGeometryPoint"
    assert layer["extent"]["spatialReference"]["wkid"] == 102100
    assert "geometryType" not in table
    assert (layer["objectIdField"], layer["maxRecordCount"], layer["cacheMaxAge"]) == ("OBJECTID", 10, 30)
    assert layer["supportsTruncate"] and layer["supportsAppend"]
    assert layer["supportsRollbackOnFailureParameter"] is True
    assert layer["relationships"] == []
    assert layer["advancedEditingCapabilities"] == {"supportsAsyncApplyEdits": False}
    assert set(layer["capabilities"].split(",")) >= {"Create", "Delete", "Query", "Update", "Editing"}
    name = next(item for item in layer["fields"] if item["name"] == "id")
    assert (name["type"], name["length"], name["nullable"]) == ("esriFieldTypeString", 24, False)
    assert [index["fields"] for index in layer["indexes"] if index["isUnique"]] == ["OBJECTID"]


def test_layer__that_is_not_there(agol, client):
    """An unknown layer, operation or service is a 400 in a 200 body."""
    url = agol.layer_url(SIGNS).rpartition("/")[0]
    for address in (f"{url}/7", f"{url}/0/nothing", url.replace("service_", "no_")):
        answer = requests.post(address, data={"f": "json", "token": client.token})
        assert (answer.status_code, get_code(answer.json())) == (200, 400)


def test_service__rights(agol, client):
    """A public service is read without a token, and edits need one and the right to edit."""
    agol.services[SIGNS].public = True
    assert client.call("query", token="", where="1=1", returnCountOnly="true") == {"count": 0}
    assert get_code(client.call("deleteFeatures", token="", where="1=1")) == 499
    agol.services[SIGNS].may_edit = False
    assert get_code(client.call("deleteFeatures", where="1=1")) == 403


def test_check_rate__refuses_what_is_too_much(agol, client):
    """Beyond the rate a request is a 429 that says how long to wait, in a 200 body or as the status."""
    agol.switches.rate_limit = (2, 30.0)
    assert [get_code(client.call()) for _ in range(3)] == [0, 0, 429]
    assert "Retry after 30 sec." in client.call()["error"]["details"][0]
    agol.switches.rate_limit_status = 429
    answer = client.send()
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")


def test_tls__shares_its_port_with_plain_http(tmp_path):
    """With a certificate the simulator's address is https, and plain HTTP is answered there too."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with AgolSimulator(tls=context) as agol:
        info = f"{agol.url}/sharing/rest/info?f=json"
        assert info.startswith("https:")
        said = requests.get(info, verify=str(tmp_path / "ca.pem")).json()
        assert said == requests.get(info.replace("https:", "http:")).json()
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(info)
        agol.faults.add("after-reset")
        with pytest.raises(requests.ConnectionError):
            requests.get(info, verify=str(tmp_path / "ca.pem"))
