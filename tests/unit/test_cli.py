"""What every command shares, mostly as child processes: flags, log lines, stopping, exit codes, the last line."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services import __version__
from services.utils import cli
from services.utils.errors import ConfigError
from services.utils.records import Counts

ROOT = Path(__file__).resolve().parents[2]
SUMMARY_KEYS = [
    "script",
    "app",
    "container",
    "env",
    "status",
    "since",
    "watermark",
    "read",
    "inserted",
    "updated",
    "unchanged",
    "deleted",
    "rejected",
    "seconds",
]

# A command whose container's name says what it does.
PROBE = '''
"""Do as the container says.

python services/probe.py -a a -c ok -e prod
"""
import logging
import os
import signal
import threading
import time

from concurrent.futures import ThreadPoolExecutor

from services.utils import cli, session
from services.utils.errors import ConfigError, PublishError, StoreError
from services.utils.records import Counts

log = logging.getLogger("probe")


def main(args):
    if args.container == "ok":
        return cli.Summary(since=args.date, watermark="2025-01-02T03:04:05+00:00", counts=Counts(3, 1, 1, 1))
    if args.container == "partial":
        return cli.Summary(status="partial", counts=Counts(read=3, rejected=2))
    if args.container == "config":
        raise ConfigError("the setting x is wrong. Nothing was sent.")
    if args.container == "known":
        error = PublishError("the portal said no.")
        error.summary = cli.Summary(status="failed", counts=Counts(read=7))
        raise error
    if args.container == "unknown":
        raise KeyError("hush-password")
    if args.container == "log":
        log.debug("a debug line")
        log.warning("signed in with %s", "hush-password")
        log.error("%d records", "not a number")
        logging.getLogger("urllib3").debug("GET /?token=1")
        try:
            raise ValueError("hush-password")
        except ValueError:
            log.exception("it broke\\nover two lines")
        return cli.Summary()
    if args.container == "wait":
        try:
            log.info("waiting")
            threading.Event().wait(60)
        finally:
            log.info("closing")
            time.sleep(0.3)
            log.info("closed")
    if args.container == "stuck":
        http = session.HttpSession("http://127.0.0.1:9", "Nobody", StoreError)
        with ThreadPoolExecutor() as pool:
            doing = pool.submit(http.request, "GET", "/", repeatable=True, backoff=session.Backoff(10**6, 20.0, 20.0))
            log.info("waiting")
            doing.result()
    if args.container == "signal-in-log":
        class Formatter(logging.Formatter):
            def format(self, record):
                logging.root.handlers[0].setFormatter(logging.Formatter())
                os.kill(os.getpid(), signal.SIGTERM)
                return super().format(record)

        logging.root.handlers[0].setFormatter(Formatter())
        log.info("a line in whose midst we are told to stop")
    raise AssertionError(args)


cli.run_script("probe", cli.make_parser("probe", __doc__, writes="documents"), main)
'''


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """The command's file."""
    path = tmp_path / "probe.py"
    path.write_text(PROBE, encoding="utf-8")
    return path


def start(probe: Path, *flags: str, **env: str) -> subprocess.Popen[str]:
    """Start it with nothing of ours in the environment but what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, str(probe), *flags],
        env={**kept, "PYTHONPATH": str(ROOT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(probe: Path, *flags: str, **env: str) -> tuple[int, dict[str, Any], list[str]]:
    """(exit code, the last line of stdout, lines of the log)."""
    process = start(probe, *flags, **env)
    out, err = process.communicate(timeout=60)
    lines = out.splitlines()
    assert len(lines) == 1, out
    return process.returncode, json.loads(lines[0]), err.splitlines()


def read_args(*flags: str, **shape: Any) -> cli.Args:
    """The flags as a script gets them."""
    parser = cli.make_parser("probe", "x", **{"writes": "documents", **shape})
    return cli.read_args("probe", parser, flags)


def test_run_script__ok(probe: Path) -> None:
    """A run that is done ends with 0, and its last line of stdout has every key, in order, once."""
    code, summary, log = run(probe, "-a", "app", "-c", "ok", "-e", "prod", "-d", "2025-01-01")
    assert code == 0
    assert list(summary) == SUMMARY_KEYS
    assert summary.pop("seconds") >= 0
    assert summary == {
        "script": "probe",
        "app": "app",
        "container": "ok",
        "env": "prod",
        "status": "ok",
        "since": "2025-01-01T00:00:00+00:00",
        "watermark": "2025-01-02T03:04:05+00:00",
        "read": 3,
        "inserted": 1,
        "updated": 1,
        "unchanged": 1,
        "deleted": 0,
        "rejected": 0,
    }
    assert len(log) == 1


@pytest.mark.parametrize(
    ("container", "code", "status", "said"),
    [
        ("partial", 3, "partial", "2 refused"),
        ("config", 2, "failed", "ERROR the setting x is wrong. Nothing was sent."),
        ("known", 1, "failed", "ERROR the portal said no."),
    ],
)
def test_run_script__exit_codes(probe: Path, container: str, code: int, status: str, said: str) -> None:
    """Refused records end with 3, wrong settings with 2, a known failure with 1: one line of log, no trace."""
    got, summary, log = run(probe, "-a", "a", "-c", container, "-e", "dev")
    assert (got, summary["status"]) == (code, status)
    assert len(log) == 1
    assert said in log[0]
    assert summary["read"] == {"known": 7, "partial": 3}.get(container, 0)


def test_run_script__unknown_error(probe: Path) -> None:
    """An error that nobody foresaw ends with 1 and its trace, secrets taken out, and a last line all the same."""
    code, summary, log = run(probe, "-a", "a", "-c", "unknown", "-e", "dev", SOCRATA_PASSWORD="hush-password")
    assert (code, summary["status"]) == (1, "failed")
    assert any(line.startswith("Traceback") for line in log)
    assert log[-1] == "KeyError: '***'"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "required: -a/--app-name, -c/--container"),
        (["-a", "a"], "required: -c/--container"),
        (["-a", "a", "-c", "ok"], "No environment was given; give -e prod or -e dev, or set SERVICES_ENV"),
        (["-a", "a", "-c", "ok", "-e", "test"], "invalid choice: 'test'"),
        (["-a", "a", "-c", "ok", "-e", "dev", "-d", "yesterday"], "'yesterday' is not an ISO-8601 time"),
        (["-a", "a", "-c", "ok", "-e", "dev", "-d", "2025-01-01", "--since-last"], "not allowed with"),
        (["-a", "a", "-c", "ok", "-e", "dev", "--max-delete-pct", "101"], "not a number from 0 to 100"),
        (["-a", "a", "-c", "ok", "-e", "dev", "--since"], "unrecognized arguments: --since"),
        (["-a", "a", "-c", "ok", "-e", "dev", "extra"], "unrecognized arguments: extra"),
    ],
)
def test_run_script__wrong_flags(probe: Path, flags: list[str], said: str) -> None:
    """Wrong flags end with 2 and one line that says which; flags are not guessed from their beginnings."""
    code, summary, log = run(probe, *flags)
    assert (code, summary["status"], summary["script"]) == (2, "failed", "probe")
    assert len(log) == 1
    assert said in log[0]


def test_run_script__env_from_variable(probe: Path) -> None:
    """SERVICES_ENV stands in for -e, -e wins, and a wrong one is told."""
    flags = ("-a", "a", "-c", "ok")
    assert run(probe, *flags, SERVICES_ENV="dev")[1]["env"] == "dev"
    assert run(probe, *flags, "-e", "prod", SERVICES_ENV="dev")[1]["env"] == "prod"
    code, _, log = run(probe, *flags, SERVICES_ENV="staging")
    assert code == 2
    assert "SERVICES_ENV is 'staging'" in log[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_script__told_to_stop(probe: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C let the run close, also when they come twice, and end with 1 and the status stopped."""
    process = start(probe, "-a", "a", "-c", "wait", "-e", "prod")
    assert process.stderr is not None
    assert "waiting" in process.stderr.readline()
    process.send_signal(number)
    assert "closing" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert "closed" in err.splitlines()[0]
    assert f"ERROR Stopped by {number.name}" in err.splitlines()[1]
    assert len(err.splitlines()) == 2
    assert (process.returncode, json.loads(out)["status"]) == (1, "stopped")


def test_run_script__told_to_stop_while_repeating(probe: Path) -> None:
    """A thread that waits between two tries of a request, for minutes if need be, gives up when the run is stopped."""
    process = start(probe, "-a", "a", "-c", "stuck", "-e", "prod")
    assert process.stderr is not None
    lines = [process.stderr.readline(), process.stderr.readline()]
    assert any("trying again in 20.0 s" in line for line in lines)
    process.send_signal(signal.SIGTERM)
    # Less than the wait it is in.
    out, _ = process.communicate(timeout=15)
    assert (process.returncode, json.loads(out)["status"]) == (1, "stopped")


def test_run_script__told_to_stop_while_logging(probe: Path) -> None:
    """A signal that comes while a line of the log is being written is not swallowed by the logging library."""
    code, summary, log = run(probe, "-a", "a", "-c", "signal-in-log", "-e", "prod")
    assert (code, summary["status"]) == (1, "stopped")
    assert log == ["Stopped by SIGTERM. What was written so far is whole; run again to finish."]


def test_logging__json(probe: Path) -> None:
    """LOG_FORMAT=json makes every line one JSON object, traces included, and leaves secrets out."""
    _, _, lines = run(
        probe,
        "-a",
        "a",
        "-c",
        "log",
        "-e",
        "dev",
        LOG_FORMAT="json",
        KNACK_API_KEY="hush-password",
        LOG_LEVEL="debug",
    )
    told = [json.loads(line) for line in lines]
    assert all(list(one) == ["time", "level", "logger", "message"] for one in told)
    assert all(dt.datetime.fromisoformat(one["time"]).tzinfo is not None for one in told)
    messages = [(one["level"], one["message"]) for one in told if one["logger"] == "probe"]
    assert messages[0] == ("DEBUG", "a debug line")
    assert messages[1] == ("WARNING", "signed in with ***")
    assert messages[2][1].startswith("%d records")
    assert messages[3][1].startswith("it broke\nover two lines\nTraceback")
    assert messages[3][1].endswith("ValueError: ***")
    assert "hush" not in "".join(lines)
    assert "token" not in "".join(lines)


def test_logging__plain(probe: Path, tmp_path: Path) -> None:
    """Plain lines begin with the time in UTC; LOG_LEVEL hides what is below it; secrets of files are left out."""
    (tmp_path / "secret").write_text("hush-password\n")
    env = {"PGREST_JWT_FILE": str(tmp_path / "secret"), "LOG_LEVEL": "WARNING", "TZ": "Asia/Tokyo"}
    code, _, lines = run(probe, "-a", "a", "-c", "log", "-e", "dev", **env)
    assert code == 0
    when = dt.datetime.strptime(lines[0].split()[0], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=dt.UTC)
    assert abs((dt.datetime.now(dt.UTC) - when).total_seconds()) < 120
    assert lines[0].endswith("WARNING signed in with ***")
    assert "hush" not in "".join(lines)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL is 'LOUD'"),
        ({"KNACK_API_KEY_FILE": "/nowhere"}, "KNACK_API_KEY_FILE names /nowhere"),
        ({"RETRY_SECONDS": "soon"}, "RETRY_SECONDS is 'soon'"),
    ],
)
def test_logging__wrong_variables(probe: Path, env: dict[str, str], said: str) -> None:
    """A wrong variable is told even where it concerns the log itself, and ends with 2."""
    code, summary, lines = run(probe, "-a", "a", "-c", "ok", "-e", "dev", **env)
    assert (code, summary["status"]) == (2, "failed")
    assert said in lines[0]
    assert len(lines) == 1


def test_help__ends_with_0(probe: Path) -> None:
    """--help prints every flag and the example, and needs nothing of the environment."""
    process = start(probe, "--help")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    for words in (
        "--app-name",
        "--since-last",
        "--max-delete-pct N",
        "25",
        "python services/probe.py -a a -c ok",
    ):
        assert words in out


def test_version(probe: Path) -> None:
    """--version prints the version alone and needs nothing else."""
    process = start(probe, "--version")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, f"record-services {__version__}\n", "")


def test_completion__apps_and_containers(tmp_path: Path) -> None:
    """Tab offers the configured apps, the containers of the app that stands there, and flags."""
    (tmp_path / "knack.py").write_text("CONFIG = {'a': {'one': {}, 'two': {}}, 'b': {'three': {}}}\n")

    def complete(line: str) -> list[str]:
        done = subprocess.run(
            ["sh", "-c", f"exec {sys.executable} services/records_to_socrata.py 8>&1 9>/dev/null"],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SERVICES_CONFIG": str(tmp_path),
                "_ARGCOMPLETE": "1",
                "_ARGCOMPLETE_IFS": "\n",
                "COMP_LINE": line,
                "COMP_POINT": str(len(line)),
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        return [word.strip() for word in done.stdout.splitlines()]

    assert complete("records_to_socrata.py -a ") == ["a", "b"]
    assert complete("records_to_socrata.py -a b -c ") == ["three"]
    assert complete("records_to_socrata.py -a a --since") == ["--since-last"]
    (tmp_path / "knack.py").write_text("not a configuration")
    assert complete("records_to_socrata.py -a ") == []


def test_read_args__all_flags() -> None:
    """Every flag arrives where it belongs."""
    args = read_args(
        "-a",
        "x",
        "-c",
        "y",
        "-e",
        "dev",
        "--since-last",
        "--dry-run",
        "--allow-empty",
        "--max-delete-pct",
        "0",
    )
    assert args == cli.Args("probe", "x", "y", "dev", None, True, True, 0.0, True)
    args = read_args("--app-name", "x", "--container", "y", "--env", "prod", "--date", "2025-01-01")
    assert args.date == dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    assert (args.since_last, args.dry_run, args.allow_empty, args.max_delete_pct) == (
        False,
        False,
        False,
        25.0,
    )


def test_make_parser__shapes() -> None:
    """A script has only the flags that mean something to it."""
    assert read_args("-a", "x", "-e", "dev", container="optional", writes="metadata").container == ""
    assert read_args(container="none", writes="") == cli.Args("probe")
    with pytest.raises(ConfigError, match="unrecognized arguments: -d"):
        read_args("-a", "x", "-e", "dev", "-d", "2025-01-01", container="optional", writes="metadata")
    with pytest.raises(ConfigError, match="unrecognized arguments: --dry-run"):
        read_args("--dry-run", container="none", writes="")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-05-01", "2024-05-01T00:00:00"),
        ("2024-05-01T13:30", "2024-05-01T13:30:00"),
        ("2024-05-01T13:30:00-05:00", "2024-05-01T18:30:00"),
        ("2024-05-01T13:30:00.5Z", "2024-05-01T13:30:00.500000"),
        (" 20240501T1330+0200 ", "2024-05-01T11:30:00"),
        ("2024-05", "2024-05-01T00:00:00"),
    ],
)
def test_parse_date__forms(text: str, utc: str) -> None:
    """ISO-8601 in its forms; without a zone it is UTC."""
    when = cli.parse_date(text)
    assert when.tzinfo is not None
    assert when.astimezone(dt.UTC).replace(tzinfo=None).isoformat() == utc


@pytest.mark.parametrize(
    "text", ["", "now", "05/01/2024", "1714521600", "2024-13-01", "2024-05-01 noon", "99999-01-01"]
)
def test_parse_date__nonsense(text: str) -> None:
    """What is no ISO-8601 time is refused, not guessed: 05/01 is May to one and January to another."""
    with pytest.raises(argparse.ArgumentTypeError, match="not an ISO-8601 time"):
        cli.parse_date(text)


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31T23:59:59-12:00"])
def test_parse_date__out_of_all_time(text: str) -> None:
    """A date that a time zone would push over the edge of what dates can be is refused, not a trace later on."""
    with pytest.raises(argparse.ArgumentTypeError, match="not between the years 1000 and 9998"):
        cli.parse_date(text)


@pytest.mark.parametrize("text", ["-1", "100.1", "nan", "inf", "many", ""])
def test_max_delete_pct__nonsense(text: str) -> None:
    """The brake takes 0 to 100 and nothing that would never brake."""
    with pytest.raises(ConfigError, match="not a number from 0 to 100"):
        read_args("-a", "x", "-c", "y", "-e", "dev", f"--max-delete-pct={text}")
    assert read_args("-a", "x", "-c", "y", "-e", "dev", "--max-delete-pct", "12.5").max_delete_pct == 12.5


@pytest.mark.parametrize(
    ("text", "seconds"), [("3600", 3600), ("90s", 90), ("60m", 3600), ("12h", 43200), ("2d", 172800)]
)
def test_parse_lifetime__units(text: str, seconds: int) -> None:
    """Lengths of time with a unit, or in seconds."""
    assert cli.parse_lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0d", "-1h", "1w", "h", "1 h 2 m", "1e3", "99999d"])
def test_parse_lifetime__nonsense(text: str) -> None:
    """Anything else, and nothing at all, is refused."""
    with pytest.raises(argparse.ArgumentTypeError):
        cli.parse_lifetime(text)


def test_describe_outcome__words() -> None:
    """A run that did nothing says so; a dry run says what would be."""
    args = cli.Args("probe", "a", "c")
    assert "nothing to do, 5 records read" in cli.describe_outcome(args, cli.Summary(counts=Counts(read=5)))
    dry = cli.describe_outcome(cli.Args("probe", "a", "c", dry_run=True), cli.Summary(counts=Counts(5, 2)))
    assert "2 would be inserted" in dry


def test_config_folder__from_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SERVICES_CONFIG names the folder, a home's ~ included; unset leaves the package's own."""
    monkeypatch.delenv("SERVICES_CONFIG", raising=False)
    assert cli.config_folder() is None
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SERVICES_CONFIG", "~/mine")
    assert cli.config_folder() == tmp_path / "mine"
