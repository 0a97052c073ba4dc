"""How everything stands, as one web page that needs nothing else: no request leaves it, no script but its own runs.

Everything that comes from outside (names, errors, record ids, reasons) is text to it: jinja2 escapes it, marks that
hide or turn text are shown as such, and a Content-Security-Policy names the only script and style by their hashes.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.utils.errors import ConfigError, ServiceError
from services.utils.ledger import PastRun
from services.utils.status.charts import KINDS, tell_length
from services.utils.status.report import Report
from services.utils.status.table import show_text

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).with_name("templates")


def check_path(path: Path) -> Path:
    """Where a page can be written, links followed.

    Raises: ConfigError if it cannot be.
    """
    found = Path(os.path.realpath(path.expanduser()))
    if found.exists() and not found.is_file():
        problem = "is no ordinary file"
    elif not found.parent.is_dir():
        problem = f"is in a folder that does not exist: {found.parent}"
    elif not os.access(found.parent, os.W_OK | os.X_OK):
        problem = f"is in a folder that this user may not write: {found.parent}"
    else:
        return found
    raise ConfigError(f"{path} {problem}. Nothing was read or written. Give --html another path.")


def write_page(report: Report, path: Path) -> None:
    """Write the page, whole or not at all: readers see the one from before until this one is complete.

    Raises: ServiceError if it cannot be written; the page from before is still there.
    """
    page = render_page(report).encode("utf-8", "backslashreplace")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        # Made with the mode that the user's mask gives, so that a web server may read it.
        with open(temporary, "xb") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise ServiceError(
            f"{path} could not be written: {error.strerror}. What was there before is untouched. Make room, or give "
            "--html another path, and run again."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def render_page(report: Report) -> str:
    """The page's HTML."""
    from services.utils.status import view

    style = _read("page.css")
    script = _read("page.js")
    environment = _open_environment()
    return environment.get_template("page.html").render(
        view=view.build_view(report),
        style=environment.filters["trusted"](style),
        script=environment.filters["trusted"](script),
        policy=(
            f"default-src 'none'; style-src 'sha256-{_hash(style)}'; script-src 'sha256-{_hash(script)}'; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ),
    )


def _open_environment() -> Environment:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: _show(value, Markup),
    )
    environment.filters["trusted"] = Markup
    environment.filters["code"] = lambda text: _mark_code(text, Markup)
    environment.filters["rows"] = lambda told: Markup("".join(_build_row(run, took) for run, took in told))
    environment.filters["iso"] = _tell_iso
    environment.filters["utc"] = _tell_utc
    environment.filters["short"] = _tell_short
    environment.filters["length_s"] = tell_length
    environment.filters["degrees"] = lambda value, plus, minus: (
        f"{abs(value):.4f}\u00b0 {plus if value >= 0 else minus}"
    )
    environment.filters["tell_before"] = _tell_before
    return environment


def _show(value: Any, markup: type[str]) -> Any:
    """A value as it is printed: texts from outside without hidden marks, numbers with thousands apart."""
    if isinstance(value, str) and not isinstance(value, markup):
        return show_text(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and value > 999 else value


def _mark_code(text: str, markup: Any) -> str:
    """Text in which backquotes stand around code."""
    parts = re.split("`([^`]*)`", show_text(text))
    return markup("").join(
        markup("<code>{}</code>").format(part) if number % 2 else markup.escape(part)
        for number, part in enumerate(parts)
    )


def _build_row(run: PastRun, took: str) -> str:
    """One run as a row of a table, of which a page has thousands: numbers and our own words alone."""
    counts = (run.read, run.inserted, run.updated, run.deleted, run.rejected)
    state = run.state if run.state in KINDS else "unknown"
    return (
        f"<tr><td>{_tell_short(run.started_at)}</td><td>{state}{'' if run.since else ', all'}</td><td>{took}</td>"
        + "".join(f"<td>{count:,}</td>" for count in counts)
        + "</tr>"
    )


def _tell_iso(when: dt.datetime) -> str:
    return when.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tell_utc(when: dt.datetime) -> str:
    return when.astimezone(dt.UTC).strftime("%-d %b %Y, %H:%M UTC")


def _tell_short(when: dt.datetime) -> str:
    return when.astimezone(dt.UTC).strftime("%-d %b %H:%M")


def _tell_before(length: dt.timedelta) -> str:
    """How long before the page was made, until the page's script counts on from now."""
    seconds = length.total_seconds()
    # The greater of the two units is enough.
    words = " ".join(tell_length(abs(seconds)).split()[:2])
    return f"{words} later" if seconds < 0 else f"{words} earlier"


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
