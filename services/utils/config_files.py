"""The files of the configuration, read as data.

`config/knack.py` and `config/odk.py` each hold one literal, `CONFIG = {app name: {container id: {...}}}`.
They are parsed, never executed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.utils.errors import ConfigError

CONFIG_FOLDER = Path(__file__).resolve().parents[1] / "config"
SYSTEMS = ("knack", "odk")

Complain = Callable[[ConfigError], None]


def raise_error(error: ConfigError) -> None:
    """What is done with an error where nobody collects them."""
    raise error


def read_config(
    folder: Path | None = None, complain: Complain = raise_error
) -> dict[str, dict[str, dict[str, Any]]]:
    """{system: {app: {container: settings}}} of the configuration files in a folder.

    complain: is given each ConfigError: there is no file, one is no literal, a name or an app stands twice. By
        default it is raised; where it is not, what can be read is given.
    """
    folder = folder or CONFIG_FOLDER
    config = {system: _read_file(folder / f"{system}.py", complain) for system in SYSTEMS}
    if not any((folder / f"{system}.py").is_file() for system in SYSTEMS):
        complain(
            ConfigError(
                f"No knack.py and no odk.py in {folder}. Nothing was sent. "
                "Set SERVICES_CONFIG to the folder that holds them."
            )
        )
    for app in sorted(set(config["knack"]) & set(config["odk"])):
        complain(
            ConfigError(
                f"The app {app!r} stands in both knack.py and odk.py, so its source is not clear. "
                "Nothing was sent. Rename one of them."
            )
        )
    return config


def _read_file(path: Path, complain: Complain) -> dict[str, dict[str, dict[str, Any]]]:
    if not path.is_file():
        return {}
    where = f"config/{path.name}"
    try:
        value = _find_literal(path, where)
        _refuse_repeated(value, where, complain)
        return _read_literal(value, where)
    except ConfigError as error:
        complain(error)
        return {}


def read_literal(path: Path, name: str) -> Any:
    """The one literal that a configuration file gives a name, read as data; {} where there is no such file.

    Raises: ConfigError if the file holds anything else.
    """
    if not path.is_file():
        return {}
    where = f"config/{path.name}"
    value = _find_literal(path, where, name)
    _refuse_repeated(value, where, raise_error)
    return _evaluate(value, where, name)


def _find_literal(path: Path, where: str, name: str = "CONFIG") -> ast.expr:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Nothing was sent.") from error
    except (SyntaxError, UnicodeDecodeError, ValueError, MemoryError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        what = f"line {line}" if line else "it"
        raise ConfigError(f"{where} cannot be read: {what} is not Python. Nothing was sent.") from error
    value: ast.expr | None = None
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and _assigns(statement, name) and value is None:
            value = statement.value
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            raise ConfigError(
                f"{where}, line {statement.lineno}: only one {name} = {{...}} of literals may stand there; it is "
                "read as data, nothing in it is executed. Nothing was sent."
            )
    if value is None:
        raise ConfigError(f"{where} has no {name} = {{...}}. Nothing was sent.")
    return value


def _read_literal(value: ast.expr, where: str) -> dict[str, dict[str, dict[str, Any]]]:
    config = _evaluate(value, where, "CONFIG")
    if not isinstance(config, dict) or not all(
        isinstance(app, str)
        and isinstance(held, dict)
        and all(isinstance(name, str) and isinstance(settings, dict) for name, settings in held.items())
        for app, held in config.items()
    ):
        raise ConfigError(
            f"{where}: CONFIG must be {{app name: {{container id: {{...}}}}}}. Nothing was sent."
        )
    return config


def _evaluate(value: ast.expr, where: str, name: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise ConfigError(
            f"{where}: {name} must be literals only (no calls, names or arithmetic). Nothing was sent."
        ) from error


def _refuse_repeated(value: ast.expr, where: str, complain: Complain) -> None:
    """Python takes the last of a key that stands twice: an app or a container would vanish without a word."""
    for node in ast.walk(value):
        if isinstance(node, ast.Dict):
            seen = set()
            for key in node.keys:
                if isinstance(key, ast.Constant) and key.value in seen:
                    complain(
                        ConfigError(
                            f"{where}, line {key.lineno}: {key.value!r} stands twice. Nothing was sent."
                        )
                    )
                if isinstance(key, ast.Constant):
                    seen.add(key.value)


def _assigns(statement: ast.Assign | ast.AnnAssign, name: str) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)
