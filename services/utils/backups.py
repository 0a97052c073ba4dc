"""Backups of datasets: kept in a folder or in S3, whole or not at all, the newest of them; and brought back.

A backup's name tells the dataset, the time (UTC) and how many rows it has, so that one that was cut is found out:
abcd-1234_20260701T083000Z_1500.csv.gz
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import io
import logging
import os
import re
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from services.utils import socrata
from services.utils.cli import Args
from services.utils.containers import FOUR_BY_FOUR, PREFIX, SYSTEMS, find_container, read_config
from services.utils.errors import ConfigError, PublishError, ServiceError
from services.utils.guard import DeleteGuard
from services.utils.records import Counts, Row
from services.utils.runs import Run
from services.utils.s3 import Bucket
from services.utils.session import pause

log = logging.getLogger(__name__)

# So old is no file that is being written.
_LEFT_S = 24 * 3600
PAUSES_S = (2.0, 10.0, 30.0, 60.0)
_NAME = re.compile(r"([a-z0-9]{4}-[a-z0-9]{4})_([0-9]{8}T[0-9]{6}Z)_([0-9]+)\.csv(\.gz)?")


class Shelf(Protocol):
    """Where the backups of one dataset are kept."""

    def names(self) -> list[str]:
        """The names of everything there."""
        ...

    def keep(self, name: str, pieces: Iterable[bytes]) -> int:
        """Keep one, whole or not at all; its size in bytes. What `pieces` raises is raised."""
        ...

    def remove(self, name: str) -> None:
        """Take one away."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder; a file gets its name once it is complete and on disk."""

    path: Path

    def __str__(self) -> str:
        return f"folder:{self.path}"

    def names(self) -> list[str]:
        """The names of everything there."""
        return os.listdir(self.path) if self.path.is_dir() else []

    def keep(self, name: str, pieces: Iterable[bytes]) -> int:
        """Keep one, whole or not at all; its size in bytes."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # What a killed run left behind.
            for left in self.path.glob(f".{name[:9]}_*.part"):
                if time.time() - left.stat().st_mtime > _LEFT_S:
                    left.unlink(missing_ok=True)
            with tempfile.NamedTemporaryFile(
                dir=self.path, prefix=f".{name[:9]}_", suffix=".part", delete=False
            ) as file:
                try:
                    size = sum(map(file.write, pieces))
                    file.flush()
                    os.fsync(file.fileno())
                    os.chmod(file.name, 0o640)
                    os.replace(file.name, self.path / name)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(file.name)
                    raise
            return size
        except OSError as error:
            raise PublishError(
                f"{self.path / name} cannot be written: {error.strerror}. Earlier backups are untouched."
            ) from error

    def remove(self, name: str) -> None:
        """Take one away."""
        (self.path / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Prefix:
    """Keys of a bucket that begin so; an object is there whole, or it is not."""

    bucket: Bucket
    prefix: str

    def __str__(self) -> str:
        return f"s3:{self.bucket.name}/{self.prefix}"

    def names(self) -> list[str]:
        """The names of everything there."""
        start = f"{self.prefix}/"
        return [found.key[len(start) :] for found in self.bucket.list(start)]

    def keep(self, name: str, pieces: Iterable[bytes]) -> int:
        """Keep one, whole or not at all; its size in bytes."""
        kind = "application/gzip" if name.endswith(".gz") else "text/csv; charset=utf-8"
        return self.bucket.put_stream(f"{self.prefix}/{name}", pieces, content_type=kind).size

    def remove(self, name: str) -> None:
        """Take one away."""
        self.bucket.delete([f"{self.prefix}/{name}"])


def find_dataset(config_folder: Path | None, args: Args) -> str:
    """The dataset that the flags name: by its id, or as a container's.

    Raises: ConfigError if they name none or two, or one that is no dataset's id.
    """
    given = args.extra["dataset"]
    if given:
        if args.app_name or args.container:
            raise ConfigError("--dataset names the dataset: leave out -a and -c. Nothing was sent.")
        if not FOUR_BY_FOUR.fullmatch(given):
            raise ConfigError(f"{given!r} is no dataset's id such as abcd-1234. Nothing was sent.")
        return str(given)
    if not (args.app_name and args.container):
        raise ConfigError("Give -a and -c, or --dataset abcd-1234. Nothing was sent.")
    config = read_config(config_folder)
    found = find_container(config, args.app_name, args.container, args.env, SYSTEMS)
    return found.require("socrata_resource_id", "back up its dataset or restore it")


def read_path(given: str | None) -> tuple[str, bool]:
    """What --restore names: (a file's path or an object's key, whether it is in S3); "" where it was not given.

    Raises: ConfigError if it was given and names nothing.
    """
    path = (given or "").removeprefix("s3:")
    if given is not None and not path:
        raise ConfigError(
            f"--restore is {given!r}, expected a file, or s3: and the key of an object. Nothing was sent."
        )
    return path, path != given and given is not None


def open_shelf(folder: str, bucket: Bucket | None, prefix: str, four_by_four: str) -> Folder | Prefix:
    """Where the backups of a dataset are kept: a folder of its own under `folder`, or under a prefix in a bucket.

    Raises: ConfigError if the prefix makes keys that not every tool takes.
    """
    if bucket is None:
        return Folder(Path(folder).expanduser().absolute() / four_by_four)
    if not PREFIX.fullmatch(prefix):
        raise ConfigError(
            f"--prefix is {prefix!r}, expected letters, digits, - _ . and single / between them. Nothing was sent."
        )
    return Prefix(bucket, f"{prefix}/{four_by_four}")


def back_up(
    dataset: socrata.Dataset,
    shelf: Shelf,
    *,
    compress: bool,
    keep: int,
    allow_empty: bool,
    dry_run: bool,
    pauses_s: Sequence[float] = PAUSES_S,
) -> tuple[Counts, dict[str, int]]:
    """Keep the dataset as it is now, and of its backups the newest `keep`.

    Read again from its start, after each of the pauses, where it is written to meanwhile. Nothing is taken away
    unless the new one is whole and has rows.
    Returns: counts (rows), and {"bytes", "removed"}: its size, and how many older ones went (would go).
    Raises: PublishError if the dataset is empty and may not be, never holds still, or the shelf fails.
    """
    for pause_s in [*pauses_s, None]:
        mark = socrata.read_mark(dataset)
        if not mark.rows and not allow_empty:
            raise PublishError(
                f"{dataset} is empty. Nothing was written, earlier backups are untouched. If it is meant to be "
                "empty, run again with --allow-empty."
            )
        ending = ".csv.gz" if compress else ".csv"
        name = f"{dataset.four_by_four}_{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}_{mark.rows}{ending}"
        pieces = socrata.dump_csv(dataset, mark)
        if compress:
            pieces = _compress(pieces)
        try:
            size = sum(map(len, pieces)) if dry_run else shelf.keep(name, pieces)
            break
        except socrata.DatasetChanged as error:
            if pause_s is None:
                raise PublishError(
                    f"{str(error).rstrip('.')}, {len(pauses_s) + 1} times over. Nothing was written, earlier backups "
                    "are untouched. Run again when no publisher is at work."
                ) from error
            log.warning("%s; reading it again in %.0f s", str(error).rstrip("."), pause_s)
            pause(pause_s)
    older = find_older(shelf.names(), dataset.four_by_four, name, keep) if mark.rows else []
    log.info(
        "%s: %d rows, %d bytes %s %s/%s; %d older backups %s",
        dataset,
        mark.rows,
        size,
        "would go to" if dry_run else "are in",
        shelf,
        name,
        len(older),
        "would go" if dry_run else "go",
    )
    if not dry_run:
        for one in older:
            shelf.remove(one)
    return Counts(read=mark.rows, inserted=mark.rows), {"bytes": size, "removed": len(older)}


def find_older(names: Iterable[str], four_by_four: str, newest: str, keep: int) -> list[str]:
    """The backups of a dataset beyond the newest `keep`, oldest first; other names never count."""
    found = {name for name in names if (match := _NAME.fullmatch(name)) and match[1] == four_by_four}
    ordered = sorted(found | {newest}, key=lambda name: name.split("_")[1])
    return [name for name in ordered[: max(0, len(ordered) - keep)] if name != newest]


def restore(
    dataset: socrata.Dataset,
    path: str,
    bucket: Bucket | None,
    run: Run,
    *,
    upsert: bool,
    guard: DeleteGuard,
    dry_run: bool,
) -> None:
    """Bring a dataset to what a backup holds; all of it is read before anything is sent.

    The outcome is in `run.counts`.

    Args:
        path: a file, or with a bucket the key of an object.
        upsert: False: it becomes exactly the backup. True: the backup's rows are upserted, others stay.
    Raises: ConfigError if the file is not there or does not fit the dataset; PublishError if it is damaged, the
        guard refuses, or the portal does.
    """
    # What publishers could not deliver is as it was.
    run.sees_all = False
    name = path.rpartition("/")[2]
    known = _NAME.fullmatch(name)
    if known and known[1] != dataset.four_by_four:
        log.warning("%s is a backup of dataset %s, and goes to %s", name, known[1], dataset)
    with _open(path, bucket) as text:
        rows = _count(socrata.read_csv(text, dataset, name), int(known[3]) if known else None, name)
        run.counts = socrata.publish(
            rows,
            dataset,
            key_field=dataset.row_id or "id",
            replace=not upsert,
            guard=guard,
            dry_run=dry_run,
            on_reject=run.reject,
        )
    log.info(
        "%s is as %s has it: run records_to_socrata without --since-last to have what is newer", dataset, name
    )


def _count(rows: Iterator[Row], wanted: int | None, name: str) -> Iterator[Row]:
    """Pass rows on.

    Raises: PublishError where they are not as many as wanted.
    """
    count = 0
    for row in rows:
        count += 1
        yield row
    if wanted is not None and count != wanted:
        raise PublishError(
            f"{name} holds {count} rows, its name says {wanted}: it is not whole. Nothing was sent. Take another one."
        )


@contextlib.contextmanager
def _open(path: str, bucket: Bucket | None) -> Iterator[io.TextIOWrapper]:
    with contextlib.ExitStack() as stack:
        try:
            raw: BinaryIO
            if bucket is None:
                raw = stack.enter_context(open(path, "rb"))
            else:
                raw = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile()))
                bucket.fetch(path, raw)
                raw.seek(0)
            body: Any = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}. Nothing was sent.") from error
        try:
            yield stack.enter_context(io.TextIOWrapper(body, encoding="utf-8", newline=""))
        except ServiceError:
            raise
        except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
            raise PublishError(f"{path} cannot be read: it is damaged or cut. Nothing was sent.") from error


def _compress(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces as one gzip file, which bears no time and no name: the same rows give the same bytes."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()
