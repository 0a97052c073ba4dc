"""The image, its steps replayed: lint, what is in it, every command as its user on a read-only root, a real load."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import stack as stacks
from dev.simulators.city import build_city
from dev.simulators.knack import KnackSimulator
from tests.image.replay import ROOT, TEMPORARY, Image, build, read_stages

SCRIPTS = sorted(
    path.stem for path in (ROOT / "services").glob("*.py") if "run_script" in path.read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """What a plain `docker build` makes."""
    folder = Path(tempfile.mkdtemp(prefix="record-services-image-"))
    folder.chmod(0o755)
    yield build(read_stages(ROOT / "Dockerfile"), "", folder)
    shutil.rmtree(folder)


def test_dockerfile__lint() -> None:
    """hadolint has nothing to say."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "hadolint"), str(ROOT / "Dockerfile")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_dockerfile__targets() -> None:
    """`slim` and `arcgis` are there, neither builds on the stage with pip's leavings, a plain build makes slim."""
    stages = read_stages(ROOT / "Dockerfile")
    assert stages["slim"].base == stages["build"].base != "build"
    assert stages["arcgis"].base == stages[""].base == "slim"
    assert any(word == "USER" and rest != "0" for word, rest in stages["slim"].steps)


def test_image__holds_what_it_runs_and_no_more(image: Image) -> None:
    """Scripts, SQL and configuration are in; tests, the local stack, tools and development packages are not."""
    assert (image.app / "services" / "config" / "knack.py").is_file()
    assert list((image.app / "sql" / "migrations").glob("*.sql"))
    assert list((image.app / "services" / "utils" / "cli").glob("__pycache__/run.*.pyc"))
    assert not {"tests", "dev", "benchmarks", ".git"} & {path.name for path in image.app.iterdir()}
    listed = image.run("-m", "pip", "list", "--format=freeze").stdout
    assert "requests==" in listed
    assert not {"pytest", "ruff", "mypy", "moto"} & {line.split("==")[0] for line in listed.splitlines()}


@pytest.mark.parametrize("script", SCRIPTS)
def test_image__every_command_starts(image: Image, script: str) -> None:
    """Each script prints its help, as a file and as a module, as the image's user on a read-only root."""
    for words in ([f"services/{script}.py"], ["-m", f"services.{script}"]):
        done = image.run(*words, "--help")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"usage: {script}.py")


def test_image__default_command_helps(image: Image) -> None:
    """Without a command the image says how it is used."""
    assert "usage:" in image.run().stdout


def test_image__loads_and_finds_its_user(
    image: Image, clean_store: stacks.Stack, store_env: dict[str, str], tmp_path: Path
) -> None:
    """A load runs where nothing can be written, with configuration from a mounted folder and a secret from a file."""
    city = build_city(accounts=2, locations=3, signals=5, work_orders=4)
    shared = image.app.parent / "mounted"
    shared.mkdir(mode=0o755)
    (shared / "knack.py").write_text('CONFIG = {"town": {"object_31": {}}}\n')
    with KnackSimulator(city.metadata, city.records, rate_limit=None) as knack:
        (shared / "key").write_text(knack.api_key)
        env = {
            **{name: value for name, value in store_env.items() if name.startswith("PGREST_")},
            "SERVICES_CONFIG": str(shared),
            "SERVICES_ENV": "prod",
            "KNACK_APP_ID": knack.app_id,
            "KNACK_API_KEY_FILE": str(shared / "key"),
            "KNACK_API_URL": knack.url,
        }
        done = image.run("services/records_to_postgrest.py", "-a", "town", "-c", "object_31", env=env)
        assert done.returncode == 0, done.stderr
        assert clean_store.execute("select count(*) from api.knack")[0][0] == 4
    # The page's templates and what fills them are in the image.
    page = f"{TEMPORARY}/status.html"
    show = (
        f"import os, runpy, sys; sys.argv[1:] = ['--html', {page!r}]\n"
        "try: runpy.run_path('services/status.py', run_name='__main__')\n"
        f"except SystemExit as end: print(end.code, open({page!r}).read().count('town/object_31')); os.unlink({page!r})"
    )
    done = image.run("-c", show, env=env)
    code, _, told = done.stdout.splitlines()[-1].partition(" ")
    assert code == "0" and int(told) > 2, done.stderr


def test_image__nothing_else_can_be_written(image: Image) -> None:
    """The tests of this file run as the image's user on a read-only root, where the machine lets them."""
    seen = image.run("-c", "import os; print(os.geteuid()); open('/var/tmp/record-services', 'w')")
    if image.is_closed:
        assert seen.stdout.strip() == str(image.user), seen.stderr
        assert "Read-only file system" in seen.stderr
    else:
        assert seen.stdout.strip() != "0"


def test_image__takes_a_mounted_tree(image: Image) -> None:
    """A repository mounted at /app is what runs, not the image's copy."""
    mounted = image.app.parent / "tree"
    shutil.copytree(image.app, mounted)
    (mounted / "services" / "__init__.py").write_text('__version__ = "9.9.9"\n')
    assert image.run("services/status.py", "--version", mount=mounted).stdout == "record-services 9.9.9\n"
