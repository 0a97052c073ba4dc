"""Every command that the documentation shows: the flags are there, and what can run here does."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import textwrap
from pathlib import Path

import pytest

from dev.demo import destinations
from services.utils import knack
from tests.docs.conftest import Town
from tests.docs.test_readme import README, ROOT, SCRIPTS, ask_help

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Words that a reader replaces.
PLACEHOLDER = re.compile(r"\b(APP2?|CONTAINER|FORM|KEY|FILE|NAME|DIR|ENV)\b|\.\.\.")


def find_commands(text: str) -> list[str]:
    """Every call of a script in a text: `services/NAME.py` and what follows on its line."""
    found = re.findall(r"services/\w+\.py[^\n`|>#]*", text)
    return [one.partition("   ")[0].strip(" .,;:)") for one in found]


def find_examples(script: str) -> list[str]:
    """The lines below a script's help that can be typed as they stand."""
    lines = ask_help(script).splitlines()
    found = [line.strip() for line in lines if re.match(r"\s*python services/", line)]
    return [line for line in found if not PLACEHOLDER.search(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages__flags_exist(page: Path) -> None:
    """A script that a page calls is there, with every flag that the page gives it."""
    for command in find_commands(page.read_text(encoding="utf-8")):
        script, _, rest = command.removeprefix("services/").partition(".py")
        if script == "NAME":
            continue
        assert script in SCRIPTS, command
        flags = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)
        known = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", ask_help(script))
        assert set(flags) <= {*known, "--help"}, command


@pytest.mark.parametrize("script", SCRIPTS)
def test_help__examples_run(town: Town, script: str) -> None:
    """The examples below a script's help do their work in the demo's town, typed as they stand."""
    examples = find_examples(script)
    assert examples, "the help has no example that can be typed as it stands"
    for line in examples:
        if "--interval" in line:
            run_one_round(town, line)
        else:
            town.insist(line)


def run_one_round(town: Town, line: str) -> None:
    """Run a command that loops until its first round is over, and stop it."""
    process = subprocess.Popen(shlex.split(line), cwd=ROOT, env=town.env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log = []
    for said in process.stderr:
        log.append(said)
        if "next round at" in said:
            process.send_signal(signal.SIGTERM)
    assert process.wait() == 1
    assert any(" ok" in said or "nothing to do" in said or "were inserted" in said for said in log), log
    assert not [said for said in log if " ERROR " in said]


def test_readme__first_container(town: Town, tmp_path: Path) -> None:
    """A newcomer gets from the README's section to a published container of their own, by its words alone.

    What docs/changes.md says to run works there too.
    """
    section = README.split("\n## A first container of your own\n", 1)[1].split("\n## ", 1)[0]
    blocks = {
        kind: textwrap.dedent(body) for kind, body in re.findall(r" *```(\w+)\n(.*?) *```", section, re.S)
    }
    config = tmp_path / "config"
    config.mkdir()
    (config / "knack.py").write_text(blocks["python"])
    app = knack.open_app(town.city.metadata)
    formatter = knack.compile_formatter(app, "object_12")
    town.socrata.create_dataset("abcd-1234", destinations.make_columns(formatter, set()), row_id="id")
    env_file = tmp_path / "env_file"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in town.env.items() if name != "PATH"))
    load = re.search(r"`(set -a; .*?; set \+a)`", section)
    assert load
    line = f"cd {tmp_path}; {load[1]}; cd {ROOT}; export SERVICES_CONFIG={config}; {blocks['sh']}"
    done = subprocess.run(
        ["bash", "-euc", line], env={"PATH": town.env["PATH"]}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    source = town.knack.record_bytes("object_12")
    assert {row["id"] for row in town.socrata.rows("abcd-1234")} == source.keys() != set()
    changes = (ROOT / "docs" / "changes.md").read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", changes, re.S):
        town.insist(block, SERVICES_CONFIG=str(config))
    commands = find_commands(blocks["sh"])
    afterwards = [find for find in commands if "records_to_" in find and "--dry-run" not in find]
    assert len(afterwards) == 2
    for command in afterwards:
        again = town.insist(
            f"python {command} --since-last --full-every @weekly", SERVICES_CONFIG=str(config)
        )
        assert '"inserted": 0, "updated": 0' in again
