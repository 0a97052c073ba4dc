"""Where everything is: the lists of modules at the heads of packages are held to the files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UTILS = ROOT / "services" / "utils"


def read_list(package: Path) -> set[str]:
    """The names that the docstring of a package lists: modules, and folders at the beginning of a line."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    found = {*re.findall(r"\b(\w+)\.py\b", text), *re.findall(r"^(\w+) {2,}", text, re.MULTILINE)}
    return found - {"__init__"}


def find_modules(package: Path) -> set[str]:
    """What a package holds: modules, and folders of modules."""
    files = {path.stem for path in package.glob("*.py") if path.stem != "__init__"}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


LISTING = [UTILS, *(path.parent for path in sorted(UTILS.glob("*/__init__.py")) if read_list(path.parent))]


def test_packages__most_of_them_list_what_they_hold() -> None:
    """Lists are found, so that the test below looks at more than none."""
    assert {"cli", "knack", "odk", "s3", "socrata", "utils"} <= {package.name for package in LISTING}


@pytest.mark.parametrize("package", LISTING, ids=lambda package: package.name)
def test_packages__list_every_module(package: Path) -> None:
    """A list names each module and folder there is, and no other."""
    assert read_list(package) == find_modules(package), f"correct the list in {package.name}/__init__.py"
