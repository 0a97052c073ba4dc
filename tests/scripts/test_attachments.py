"""attachments_to_s3 as a scheduler runs it: flags, summary, trouble, and killed at every request."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from dev import stack as stacks
from dev.simulators.base import Simulator
from dev.simulators.postgrest import PostgrestWire
from tests.forks import ROOT, Child, Done, ForkServer
from tests.media import FORM, Media, fill, jpeg, open_media
from tests.world import Killer, World

APP, CONTAINER = "rents", "rental"
CONFIG = f"""CONFIG = {{
    "{APP}": {{
        "{CONTAINER}": {{
            "project_id": 1,
            "form_id": "{FORM}",
            "attachments": {{"prefix": "media"}},
            "dev": {{"attachments": {{"prefix": "trial"}}}},
        }},
        "people": {{"project_id": 1, "form_id": "{FORM}", "repeat": "person", "attachments": {{}}}},
        "plain": {{"project_id": 1, "form_id": "{FORM}"}},
        "public": {{"project_id": 1, "form_id": "{FORM}", "attachments": {{}}}},
    }},
}}
"""


@dataclass
class Scripts:
    """Scripts on a form with media; what `Killer` needs of a world."""

    media: Media
    wire: PostgrestWire
    server: ForkServer
    env: dict[str, str]

    @property
    def simulators(self) -> tuple[Simulator, ...]:
        """All that the script sends requests to."""
        return self.wire, self.media.central, self.media.central.files_host, self.media.s3

    def settle(self) -> None:
        """Wait until nothing is under way."""
        self.wire.wait_until_idle()

    def start(self, script: str, *flags: str, **more: Any) -> Child:
        """Start it."""
        return self.server.start(script, *flags, **more)

    def run(self, *flags: str, container: str = CONTAINER, **changed: str | None) -> Done:
        """Run it to its end."""
        return self.start("attachments_to_s3", "-a", APP, "-c", container, *flags, **changed).wait()

    def kill(
        self, at: int | None, *flags: str, after: bool = False, number: signal.Signals = signal.SIGKILL
    ) -> tuple[Killer, Done]:
        """Run it with a killer behind it."""
        killer = Killer(cast(World, self), lambda: None, at, after=after, number=number)
        return killer, killer.run("attachments_to_s3", "-a", APP, "-c", CONTAINER, *flags)

    def runs(self) -> list[str]:
        """How the runs stand, oldest first."""
        found = self.media.stack.execute(
            "select status from api.runs where script = 'attachments_to_s3' order by started_at"
        )
        return [status for (status,) in found]


@contextlib.contextmanager
def open_scripts(
    stack: stacks.Stack, store_env: dict[str, str], folder: Path, **switches: Any
) -> Iterator[Scripts]:
    """A form without submissions, a configuration, a server of scripts."""
    (folder / "odk.py").write_text(CONFIG, encoding="utf-8")
    with open_media(stack, **switches) as media, PostgrestWire(stack.url) as wire:
        env = {
            **store_env,
            **media.s3.env(),
            "PGREST_ENDPOINT": wire.url,
            "ODK_BASE_URL": media.central.url,
            "ODATA_USER": media.central.viewer,
            "ODATA_PASS": media.central.viewer_password,
            "SERVICES_ENV": "prod",
            "SERVICES_CONFIG": str(folder),
            "MAX_WORKERS": "4",
        }
        with ForkServer(env) as server:
            yield Scripts(media, wire, server, env)


@pytest.fixture
def scripts(clean_store: stacks.Stack, store_env: dict[str, str], tmp_path: Path) -> Iterator[Scripts]:
    """An ordinary Central."""
    with open_scripts(clean_store, store_env, tmp_path) as world:
        yield world


# -- flags, summary, exit codes ------------------------------------------------------------------


def test_script__whole_way(scripts: Scripts) -> None:
    """Everything, then nothing, then what changed; the last line says how much, and what is awaited."""
    media = scripts.media
    fill(media, 3)
    one = media.add("A", {"a.jpg": jpeg("a")}, photo="a.jpg", building={"façade": "b.jpg"})
    media.load()
    done = scripts.run()
    assert done.code == 0, done.stderr
    counts = {name: done.summary[name] for name in ("read", "inserted", "updated", "unchanged", "missing")}
    assert counts == {"read": 8, "inserted": 7, "updated": 0, "unchanged": 0, "missing": 1}
    assert "awaited: b.jpg" in done.stderr and "7 stored, 1 awaited" in done.stderr
    media.check(sent=7)
    again = scripts.run("--since-last")
    assert (again.code, again.summary["inserted"], again.summary["unchanged"]) == (0, 0, 7)
    media.put(one, "b.jpg", jpeg("b"))
    media.add("C", {"c.jpg": jpeg("c")}, photo="c.jpg")
    media.load(follow=True)
    last = scripts.run("--since-last")
    assert (last.summary["inserted"], last.summary["missing"]) == (2, 0)
    assert last.summary["since"] == again.summary["watermark"]
    media.check(sent=9)
    destinations = media.stack.execute(
        "select distinct destination from api.runs where script = 'attachments_to_s3'"
    )
    assert destinations == [(f"s3:{media.s3.bucket}/media/{FORM}",)]


def test_script__dry_run(scripts: Scripts) -> None:
    """The counts, and nothing else: no object, no row, no run."""
    fill(scripts.media, 2)
    scripts.media.load()
    done = scripts.run("--dry-run")
    assert (done.code, done.summary["inserted"]) == (0, 4)
    assert scripts.media.s3.objects() == {} and scripts.media.rows() == {} and scripts.runs() == []


def test_script__refused_files_are_code_3(scripts: Scripts) -> None:
    """Done, but one file could not be had: 3, and status --rejects says which and why."""
    fill(scripts.media, 2)
    scripts.media.load()
    scripts.media.central.faults.add("500", path="/attachments/0-1.jpg$", times=None)
    done = scripts.run()
    assert (done.code, done.summary["status"], done.summary["rejected"]) == (3, "partial", 1)
    told = scripts.start("status", "--rejects").wait()
    assert "0-1.jpg" in told.stdout and "500" in told.stdout


def test_script__dev_writes_elsewhere(scripts: Scripts) -> None:
    """-e dev copies to the prefix that it has of its own, and not at all where it has none."""
    fill(scripts.media, 1)
    scripts.media.load()
    assert scripts.run("-e", "dev").code == 0
    assert all(key.startswith("trial/") for key in scripts.media.s3.objects())
    done = scripts.run("-e", "dev", container="public")
    assert done.code == 2 and "has no attachments of its own for dev" in done.errors[0]


@pytest.mark.parametrize(
    ("container", "changed", "said"),
    [
        ("plain", {}, "has no attachments, so it cannot copy media to S3"),
        ("people", {}, "stands for the repeat 'person'"),
        (CONTAINER, {"AWS_BUCKET_NAME": None, "ODATA_PASS": None}, "missing: ODATA_PASS, AWS_BUCKET_NAME"),
        (CONTAINER, {"AWS_SECRET_KEY": None}, "AWS_SECRET_KEY"),
        (CONTAINER, {"MAX_WORKERS": "many"}, "MAX_WORKERS must be a whole number"),
        (CONTAINER, {"AWS_BUCKET_NAME": "my bucket"}, "AWS_BUCKET_NAME"),
    ],
)
def test_script__wrong_settings(
    scripts: Scripts, container: str, changed: dict[str, str | None], said: str
) -> None:
    """Code 2 and one line that names the setting; nothing was sent to Central's files or to S3."""
    fill(scripts.media, 1)
    scripts.media.load()
    scripts.media.central.requests.clear()
    done = scripts.run(container=container, **changed)
    assert done.code == 2 and len(done.errors) == 1 and said in done.errors[0], done
    assert scripts.media.central.count(path="/attachments") == 0 and scripts.media.s3.objects() == {}


def test_script__no_metadata(scripts: Scripts) -> None:
    """Without the form's fields no key can be made: said, with the command that loads them."""
    done = scripts.run()
    assert done.code == 1 and "metadata_to_postgrest.py" in done.errors[0]


def test_script__secrets_stay_out(scripts: Scripts) -> None:
    """With everything logged, and trouble on the way, neither key, password, token nor signature is in the log."""
    fill(scripts.media, 2)
    scripts.media.load()
    scripts.media.s3.faults.add("503", times=2)
    done = scripts.run(LOG_LEVEL="DEBUG")
    assert done.code == 0
    for secret in (scripts.media.s3.secret_key, scripts.env["ODATA_PASS"], "Signature", "Bearer"):
        assert secret not in done.stderr + done.stdout


def test_link__on_demand(scripts: Scripts) -> None:
    """--link prints a link that works, good for the time that was asked for; a key that is not there is said."""
    fill(scripts.media, 1, files=1)
    scripts.media.load()
    scripts.run()
    (row,) = scripts.media.rows().values()
    done = scripts.run("--link", row["key"], "--lifetime", "10m", PGREST_ENDPOINT=None, ODATA_PASS=None)
    assert done.code == 0, done.stderr
    link = done.stdout.splitlines()[0]
    assert "X-Amz-Expires=600" in link
    with urllib.request.urlopen(link, timeout=10) as answer:
        assert answer.read() == next(iter(scripts.media.files.values()))
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "ok"
    none = scripts.run("--link", "media/none.jpg")
    assert none.code == 1 and "There is no object media/none.jpg" in none.errors[0]
    long = scripts.run("--link", row["key"], "--lifetime", "8d")
    assert long.code == 2 and "7 days" in long.errors[0]


# -- killed --------------------------------------------------------------------------------------


@pytest.fixture
def days(
    request: pytest.FixtureRequest, clean_store: stacks.Stack, store_env: dict[str, str], tmp_path: Path
) -> Iterator[tuple[Scripts, Callable[[], None]]]:
    """Yesterday's files are copied; today one is new, one replaced, one dropped, one came late.

    The function puts bucket and rows back to yesterday's. The parameter: whether Central keeps files in S3.
    """
    with open_scripts(clean_store, store_env, tmp_path, s3=request.param) as scripts:
        media = scripts.media
        fill(media, 1)
        old, late = media.add("A", {"a.jpg": jpeg("a")}, photo="a.jpg"), media.add("B", photo="late.jpg")
        media.load()
        assert scripts.run().code == 0
        objects = media.s3.snapshot()
        media.stack.execute("drop schema if exists kept_media cascade")
        media.stack.execute("create schema kept_media")
        for table in ("odk_attachments", "runs"):
            media.stack.execute(f"create table kept_media.{table} as table api.{table}")
        media.put(late, "late.jpg", jpeg("late"))
        media.put(next(iter(media.files))[0], "0-0.jpg", jpeg("replaced"))
        media.edit(old, {"b.jpg": jpeg("b")}, name="A", building={"façade": "b.jpg"})
        del media.files[old, "a.jpg"]
        media.load(follow=True)

        def restore() -> None:
            scripts.settle()
            media.s3.restore(objects)
            for table in ("odk_attachments", "runs"):
                media.stack.execute(
                    f"truncate api.{table} cascade; insert into api.{table} select * from kept_media.{table}"
                )

        yield scripts, restore
        media.stack.execute("drop schema kept_media cascade")


def check_days(scripts: Scripts) -> None:
    """Everything is as it should be today, and nothing was sent twice: three writes over all runs."""
    scripts.media.check(sent=3)
    assert scripts.media.states() == {
        "0-0.jpg": "stored",
        "0-1.jpg": "stored",
        "a.jpg": "deleted",
        "b.jpg": "stored",
        "late.jpg": "stored",
    }


@pytest.mark.parametrize("days", [False], ids=["own files"], indirect=True)
def test_kill__at_every_request(days: tuple[Scripts, Callable[[], None]]) -> None:
    """Killed anywhere and run again, every file is there once, and was sent once."""
    scripts, restore = days
    number, alive = 0, False
    while not alive:
        number += 1
        for after in (False, True):
            restore()
            killer, done = scripts.kill(number, "--since-last", after=after)
            alive = alive or not killer.killed
            where = f"request {number}, {'after' if after else 'before'}"
            assert done.code == (-9 if killer.killed else 0), (where, done)
            if killer.killed:
                again = scripts.run("--since-last")
                assert again.code == 0, (where, again)
            check_days(scripts)
            # The first run of all is kept, then this one's.
            assert scripts.runs()[1:] in (["ok"], ["failed", "ok"], ["ok", "ok"]), where
    assert number > 20


@pytest.mark.parametrize("days", [True], ids=["files in S3"], indirect=True)
def test_stop__at_every_request(days: tuple[Scripts, Callable[[], None]]) -> None:
    """Told to stop anywhere it says so, notes what was done, and the next run completes it."""
    scripts, restore = days
    number, alive = 0, False
    while not alive:
        number += 1
        restore()
        killer, done = scripts.kill(number, "--since-last", number=signal.SIGTERM)
        alive = not killer.killed
        if killer.killed and done.code == 1:
            assert done.summary["status"] == "stopped" and len(done.errors) == 1, (number, done)
            assert "Traceback" not in done.stderr, (number, done.stderr)
        else:
            assert done.code == 0, (number, done)
        assert scripts.run("--since-last").code == 0
        check_days(scripts)
    assert number > 20


def test_kill__again_and_again_in_bad_weather(
    clean_store: stacks.Stack, store_env: dict[str, str], tmp_path: Path
) -> None:
    """200 files, a third of all requests failing, killed eight times on the way: all arrive once, none twice."""
    with open_scripts(clean_store, store_env, tmp_path, s3=True) as scripts:
        fill(scripts.media, 100)
        scripts.media.load()
        for simulator in scripts.simulators[1:]:
            for kind in ("503", "reset", "after-reset", "cut", "html", "after-500"):
                simulator.faults.add(kind, share=0.065, times=None)
        draw = random.Random(7)
        kills = 0
        for _ in range(8):
            killer, done = scripts.kill(draw.randrange(40, 260), after=bool(draw.randrange(2)))
            kills += killer.killed
            assert done.code in (0, -9), done
        assert kills == 8
        done = scripts.run()
        assert done.code == 0 and done.summary["rejected"] == 0, done
        seen = [one for simulator in scripts.simulators[1:] for one in simulator.requests]
        assert 0.25 < sum(1 for one in seen if one.fault) / len(seen) < 0.45
        scripts.media.check(sent=200)


# -- memory --------------------------------------------------------------------------------------


def test_memory__of_large_files(scripts: Scripts, tmp_path: Path) -> None:
    """Four files of 24 MB at a time: what is held beyond the program itself is less than one of them."""
    draw = random.Random(3)
    for number in range(4):
        scripts.media.add("A", {f"{number}.mp4": draw.randbytes(24_000_000)}, photo=f"{number}.mp4")
    scripts.media.load()
    figures = tmp_path / "figures"
    peaks = []
    for flags in (["--dry-run"], []):
        command = [sys.executable, "services/attachments_to_s3.py", "-a", APP, "-c", CONTAINER, *flags]
        done = subprocess.run(
            # Linux counts the parent's memory into a child's: the parent must be small.
            [sys.executable, "-S", "-E", "benchmarks/timed.py", str(figures), *command],
            env={**scripts.env, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(float(figures.read_text().split()[2]) / 1e6)
    assert peaks[1] - peaks[0] < 24 and peaks[1] < 150, peaks
    scripts.media.check(sent=4)
