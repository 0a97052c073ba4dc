"""The log: lines for people or for programs, without secrets, not torn by bars."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from typing import TextIO

from services.utils import env
from services.utils.errors import ConfigError
from services.utils.terminal import paint

_LEVELS = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


def set_up() -> None:
    """Send the log to stderr as LOG_FORMAT and LOG_LEVEL say, without secrets.

    Raises: ConfigError if LOG_LEVEL is none.
    """
    handler = _Handler(sys.stderr)
    level = env.get("LOG_LEVEL").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfigError(
            f"LOG_LEVEL is {level!r}, expected DEBUG, INFO, WARNING or ERROR. Nothing was sent."
        )
    handler.addFilter(_Redact(env.secrets()))
    if env.get("LOG_FORMAT") == "json":
        handler.setFormatter(_JsonLines())
    else:
        plain = _PlainLines()
        plain.converter = time.gmtime
        handler.setFormatter(plain)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # urllib3 logs whole URLs, query strings included; botocore what it signs.
    for library in ("urllib3", "boto3", "botocore", "PIL"):
        logging.getLogger(library).setLevel(logging.WARNING)


class _Handler(logging.StreamHandler[TextIO]):
    """Log lines on stderr; a bar steps aside for them."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" not in sys.modules:
            super().emit(record)
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


class _PlainLines(logging.Formatter):
    """Plain lines, UTC; the level in a colour where `paint` gives one."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(painted)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        record.painted = paint(record.levelname, _LEVELS.get(record.levelno, ""), sys.stderr)
        return super().format(record)


class _Redact(logging.Filter):
    """Keeps secrets out of the log, whatever library wrote the line."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = sorted(secrets, key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except Exception:
            # A library's own slip (arguments that do not fit its words) must not end the run.
            text = f"{record.msg} (its arguments do not fit)"
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
            record.exc_info = record.exc_text = None
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "***")
        record.msg, record.args = text, ()
        return True


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        when = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")
        return json.dumps(
            {"time": when, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        )
