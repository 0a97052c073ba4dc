"""What goes wrong at night: one line that says what and what to do, the right exit code, nothing changed."""

from __future__ import annotations

import signal
import time

import pytest

from tests.scripts.conftest import APP, SIGNALS, WORK_ORDERS, Done, Way


def expect(done: Done, code: int, *words: str) -> None:
    """The script ended with this code and one line of log that holds the words."""
    assert done.code == code, (done.code, done.stderr)
    assert len(done.errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.errors[0], done.errors[0]
    assert done.summary["status"] == "failed"


def test_trouble__unknown_app_names_the_nearest(way: Way) -> None:
    """A slip in the app's name ends with 2 and names what was probably meant."""
    expect(
        way.run("records_to_postgrest", "-c", SIGNALS, app="trafic-operations"), 2, APP, "Nothing was sent"
    )
    assert not way.knack.requests


def test_trouble__unknown_container_names_the_nearest(way: Way) -> None:
    """A slip in the container's id ends with 2 and names what was probably meant."""
    expect(way.run("records_to_socrata", "-c", "view_20"), 2, SIGNALS, "Nothing was sent")


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("records_to_postgrest", ["KNACK_APP_ID", "KNACK_API_KEY", "PGREST_ENDPOINT", "PGREST_JWT"]),
        (
            "records_to_socrata",
            [
                "KNACK_APP_ID",
                "PGREST_ENDPOINT",
                "PGREST_JWT",
                "SOCRATA_URL",
                "SOCRATA_USERNAME",
                "SOCRATA_PASSWORD",
            ],
        ),
        (
            "records_to_agol",
            ["KNACK_APP_ID", "PGREST_ENDPOINT", "PGREST_JWT", "AGOL_USERNAME", "AGOL_PASSWORD"],
        ),
        ("metadata_to_postgrest", ["KNACK_APP_ID", "KNACK_API_KEY", "PGREST_ENDPOINT", "PGREST_JWT"]),
    ],
)
def test_trouble__all_missing_variables_in_one_line(way: Way, script: str, names: list[str]) -> None:
    """Every missing variable is named at once."""
    kept = ("PATH", "HOME", "SERVICES_ENV", "SERVICES_CONFIG", "PYTHONPATH")
    without = {name: None for name in way.env if name not in kept}
    flags = [] if script == "metadata_to_postgrest" else ["-c", SIGNALS]
    expect(way.run(script, *flags, **without), 2, *names)


def test_trouble__no_environment_given(way: Way) -> None:
    """Neither -e nor SERVICES_ENV is an error of flags."""
    expect(way.run("records_to_postgrest", "-c", SIGNALS, SERVICES_ENV=None), 2, "-e prod")


@pytest.mark.parametrize(
    "flags",
    [
        ["-d", "yesterday"],
        ["-d", "2024-01-01", "--since-last"],
        ["--max-delete-pct", "120"],
        ["--no-such-flag"],
        ["-e", "test"],
    ],
)
def test_trouble__wrong_flags_end_with_2(way: Way, flags: list[str]) -> None:
    """A wrong flag ends with 2 before anything is sent."""
    expect(way.run("records_to_postgrest", "-c", SIGNALS, *flags), 2, "Nothing was sent")
    assert not way.knack.requests


def test_trouble__unknown_config_key(way: Way) -> None:
    """An unknown setting is an error that names the nearest known one."""
    path = way.config / "knack.py"
    path.write_text(path.read_text().replace('"location_fields"', '"location_feilds"'))
    expect(way.run("records_to_socrata", "-c", SIGNALS), 2, "location_feilds", "location_fields")


def test_trouble__dev_refuses_public_destinations(way: Way) -> None:
    """-e dev does not publish where a destination has no override, and does where it has one."""
    way.run("metadata_to_postgrest")
    way.load(SIGNALS)
    expect(way.run("records_to_socrata", "-c", SIGNALS, "-e", "dev"), 2, "dev", "socrata_resource_id")
    expect(way.run("records_to_agol", "-c", SIGNALS, "-e", "dev"), 2, "dev", "service_id")
    assert not way.socrata.requests and not way.agol.requests
    path = way.config / "knack.py"
    path.write_text(
        path.read_text().replace(
            '"layer_id": 0,', '"layer_id": 0, "dev": {"socrata_resource_id": "work-ordr"},'
        )
    )
    assert way.run("records_to_socrata", "-c", SIGNALS, "-e", "dev", "--dry-run").code == 0


def test_trouble__expired_and_wrong_tokens(way: Way) -> None:
    """A fixed token that has expired, or is signed with another secret, ends the run with one line."""
    expired = way.stack.token("api_user", -3600)
    done = way.run("records_to_postgrest", "-c", SIGNALS, PGREST_JWT=expired, PGREST_JWT_SECRET=None)
    expect(done, 2, "expired", "mint_token.py")
    forged = "x" * 40
    done = way.run("records_to_postgrest", "-c", SIGNALS, PGREST_JWT=None, PGREST_JWT_SECRET=forged)
    expect(done, 1, "token")
    assert way.count_rows()["knack"] == 0
    assert expired not in done.stderr and forged not in done.stderr


def test_trouble__publisher_role_cannot_load(way: Way) -> None:
    """A publisher's token is refused by the store in words that name the right role."""
    done = way.run("records_to_postgrest", "-c", SIGNALS, PGREST_ROLE="api_publisher")
    expect(done, 1, "api_user")
    assert way.count_rows()["knack"] == 0
    assert [run["status"] for run in way.runs()] == ["failed"]


def test_trouble__publisher_role_can_publish(way: Way) -> None:
    """Publishing needs no more than the publisher's role."""
    way.run("metadata_to_postgrest")
    way.load(SIGNALS)
    for script in ("records_to_socrata", "records_to_agol"):
        done = way.run(script, "-c", SIGNALS, PGREST_ROLE="api_publisher")
        assert done.code == 0, done.stderr


def test_trouble__store_is_not_there(way: Way) -> None:
    """Where nothing listens, the run fails and says where it looked."""
    done = way.run(
        "records_to_postgrest", "-c", SIGNALS, PGREST_ENDPOINT="http://127.0.0.1:9", RETRY_SECONDS="1"
    )
    expect(done, 1, "PostgREST", "refused")


def test_trouble__database_is_down(way: Way) -> None:
    """PostgREST without its database fails the run; the next one, with it, succeeds."""
    way.load(SIGNALS)
    before = way.documents(SIGNALS)
    way.stack.stop_database()
    try:
        done = way.run("records_to_postgrest", "-c", SIGNALS, RETRY_SECONDS="1")
    finally:
        way.stack.start_database()
    expect(done, 1, "PostgREST", "database")
    assert way.documents(SIGNALS) == before
    way.load(SIGNALS)


@pytest.mark.parametrize("fault", ["html", "503", "cut", "reset"])
def test_trouble__source_that_never_answers_rightly(way: Way, fault: str) -> None:
    """A source that gives HTML, errors or cut pages for ever fails the run and removes nothing."""
    way.load(SIGNALS)
    before = way.documents(SIGNALS)
    way.knack.faults.add(fault, path="/records", times=None)
    done = way.run("records_to_postgrest", "-c", SIGNALS, RETRY_SECONDS="1")
    expect(done, 1, "Knack")
    assert way.documents(SIGNALS) == before
    assert way.runs()[-1]["status"] == "failed"
    assert way.runs()[-1]["error"] in done.errors[0]


def test_trouble__a_few_faults_are_survived(way: Way) -> None:
    """Single faults of source, store side and destinations are retried and leave no trace."""
    way.run("metadata_to_postgrest")
    for kind in ("503", "cut", "html", "reset", "429"):
        way.knack.faults.add(kind, path="/records")
    way.load(SIGNALS)
    assert way.documents(SIGNALS) == way.source(SIGNALS)
    way.socrata.faults.add("after-reset", method="P.*")
    way.agol.faults.add("after-error-504", path="applyEdits")
    for script in ("records_to_socrata", "records_to_agol"):
        done = way.run(script, "-c", SIGNALS)
        assert done.code == 0, done.stderr
    assert way.dataset(SIGNALS).keys() == way.features(SIGNALS).keys() == way.source(SIGNALS).keys()


def test_trouble__daily_quota(way: Way) -> None:
    """A plan's requests that run low are told; when they are used up the run ends at once and says until when."""
    way.knack.limits.plan = 20
    way.knack.switches.view_calls_count = True
    way.knack.limits.used = 18
    done = way.run("records_to_postgrest", "-c", SIGNALS)
    assert done.code == 0 and "of the plan's 20 requests are left" in done.stderr
    way.knack.limits.used = 20
    sent = way.knack.count(path="/records")
    expect(way.run("records_to_postgrest", "-c", SIGNALS), 1, "used up", "hours")
    assert way.knack.count(path="/records") == sent + 1


def test_trouble__publish_before_metadata(way: Way) -> None:
    """Without metadata nothing is published, and the line names the command to run."""
    way.load(SIGNALS)
    expect(way.run("records_to_socrata", "-c", SIGNALS), 1, "metadata_to_postgrest.py")


def test_trouble__wrong_passwords_are_sent_once(way: Way) -> None:
    """A refused password ends the run at once: repeating it would lock the account."""
    way.run("metadata_to_postgrest")
    way.load(SIGNALS)
    done = way.run("records_to_socrata", "-c", SIGNALS, SOCRATA_PASSWORD="wrong-password")
    assert done.code in (1, 2) and len(done.errors) == 1
    assert way.socrata.count() == 1
    done = way.run("records_to_agol", "-c", SIGNALS, AGOL_PASSWORD="wrong-password")
    assert done.code in (1, 2) and len(done.errors) == 1
    assert way.agol.count(path="generateToken") == 1
    assert "wrong-password" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_trouble__told_to_stop(way: Way, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C stop the run cleanly: exit 1, recorded as stopped, nothing removed."""
    way.load(WORK_ORDERS)
    before = way.documents(WORK_ORDERS)
    way.knack.faults.add("slow", path="/records", seconds=30, times=None)
    process = way.start("records_to_postgrest", "-a", APP, "-c", WORK_ORDERS)
    deadline = time.monotonic() + 20
    while way.runs()[-1]["status"] != "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    done = Done(process.returncode, stdout, stderr)
    assert (done.code, done.summary["status"]) == (1, "stopped")
    assert way.runs()[-1]["status"] == "stopped"
    assert way.documents(WORK_ORDERS) == before


def test_trouble__no_secret_or_content_in_logs_and_ledger(way: Way) -> None:
    """With everything logged, no secret and no record content stands in a log line or in the ledger."""
    title = way.city.key(WORK_ORDERS, "Title")
    marked = "MarkedContent4711"
    way.knack.edit_record(WORK_ORDERS, min(way.source(WORK_ORDERS)), {title: marked + "x" * 5000})
    text = ""
    for script in ("metadata_to_postgrest", "records_to_postgrest", "records_to_socrata", "records_to_agol"):
        flags = [] if script == "metadata_to_postgrest" else ["-c", WORK_ORDERS]
        done = way.run(script, *flags, LOG_LEVEL="DEBUG")
        text += done.stdout + done.stderr
    text += str(way.runs())
    secrets = [
        way.knack.api_key,
        way.socrata.password,
        way.socrata.app_token,
        way.agol.password,
        way.env["PGREST_JWT_SECRET"],
        marked,
        "Bearer ey",
        *way.agol.sign_in._tokens,
    ]
    assert [secret for secret in secrets if secret in text] == []
    paths = [
        f"{seen.path}?{seen.query}" for sim in (way.knack, way.socrata, way.agol) for seen in sim.requests
    ]
    assert [secret for secret in secrets for path in paths if secret in path] == []
