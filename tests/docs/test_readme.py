"""The README is held to the code: every flag, variable, setting and script stands in it once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from services.utils import containers, env
from services.utils.status.report import ContainerReport, Line

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = sorted(path.stem for path in (ROOT / "services").glob("*.py") if path.stem != "__init__")


def read_section(title: str) -> str:
    """The text of one section."""
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def read_names(section: str) -> list[str]:
    """What stands in backquotes in the first cells of a section's table."""
    rows = re.findall(r"^\| (`[^|]*) \|", read_section(section), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def ask_help(script: str) -> str:
    """A script's --help."""
    done = subprocess.run(
        [sys.executable, f"services/{script}.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_readme__first_screen_has_both_commands() -> None:
    """Within the first 30 lines stand what it is, the way and the two commands."""
    head = "\n".join(README.splitlines()[:30])
    for words in ("make demo", "make test", "fetch ─> store", "records_to_postgrest.py"):
        assert words in head


def test_readme__every_script_is_told() -> None:
    """The table of scripts names exactly the scripts there are."""
    told = re.findall(r"^\| `(\w+)\.py", README, re.MULTILINE)
    assert sorted(told) == SCRIPTS


def test_readme__leads_to_every_page() -> None:
    """Each page under docs/ is linked to."""
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    assert pages == set(re.findall(r"\]\((docs/[\w-]+\.md)", README))


def test_readme__variables_equal_the_code() -> None:
    """The table of variables holds each variable of the code once, and no other."""
    assert read_names("Variables") == [variable.name for variable in env.VARIABLES]


def test_readme__secrets_are_marked() -> None:
    """A variable is called secret in the README exactly where the code treats it as one."""
    rows = re.findall(r"^\| `(\w+)` \| \w+ \| (.*) \|$", read_section("Variables"), re.MULTILINE)
    assert {name for name, text in rows if "(secret)" in text} == {v.name for v in env.VARIABLES if v.secret}


def test_readme__settings_equal_the_code() -> None:
    """The table of settings holds each setting of a container once, and no other."""
    assert sorted(read_names("Configuring a container")) == sorted(containers.KNOWN_KEYS)


def test_readme__flags_equal_the_code() -> None:
    """The table of flags holds each flag that a script has, and no other."""
    flags = {
        flag for script in SCRIPTS for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", ask_help(script))
    }
    assert set(read_names("Flags")) == flags - {"-h", "--help"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help__shows_a_command_that_works(script: str) -> None:
    """Every script's help has an example with its own name."""
    assert f"services/{script}.py" in ask_help(script)


def test_readme__python_example_is_a_configuration(tmp_path: Path) -> None:
    """The configuration in the README is read as it stands."""
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    (tmp_path / "knack.py").write_text(re.sub(r"^   ", "", code[1], flags=re.MULTILINE), encoding="utf-8")
    found = containers.find_container(containers.read_config(tmp_path), "city-assets", "object_12", "prod")
    assert found.socrata_resource_id == "abcd-1234"


def test_readme__cures_equal_the_status_page() -> None:
    """The table of messages is the one that the status page takes its cures from."""
    table = re.search(r"^\| message \|.*?\n\n", README, re.DOTALL | re.MULTILINE)
    assert table
    kept = ROOT / "services" / "utils" / "status" / "templates" / "cures.md"
    assert table[0].strip() == kept.read_text(encoding="utf-8").strip(), (
        "the README's table changed: copy it whole to services/utils/status/templates/cures.md"
    )


def test_status_page__keys_equal_the_code() -> None:
    """docs/status.md tells every key of a container and of a line in the JSON document, and no other."""
    text = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
    for title, struct in (("A container", ContainerReport), ("A line", Line)):
        section = text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
        cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
        told = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
        assert sorted(told) == sorted(set(struct.__struct_fields__) - {"drawing"})


def test_env_example__names_known_variables() -> None:
    """env.example sets only variables of the scripts and of docker-compose.yml."""
    names = set(re.findall(r"^(\w+)=", (ROOT / "env.example").read_text(encoding="utf-8"), re.MULTILINE))
    compose = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert names <= {variable.name for variable in env.VARIABLES} | compose
    assert compose <= names


def test_requirements__pin_what_the_project_declares() -> None:
    """Every runtime dependency of pyproject.toml is pinned for the image, at the version developers use."""
    declared = re.findall(r'^    "([a-zA-Z0-9-]+)[\[><=]', _read_block("dependencies = ["), re.MULTILINE)
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    developers = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE)
    )
    assert {name.lower() for name in declared} <= {name.lower() for name in pins}
    assert pins.items() <= developers.items()


def _read_block(start: str) -> str:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return text.split(f"\n{start}", 1)[1].split("\n]", 1)[0]
