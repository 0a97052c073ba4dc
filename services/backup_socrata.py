"""Back up a Socrata dataset as a dated CSV, in S3 or in a folder, and bring one back.

python services/backup_socrata.py -a traffic-operations -c object_31 -e prod --gzip --keep 30
python services/backup_socrata.py --dataset work-ordr --folder DIR
python services/backup_socrata.py --dataset work-ordr --restore FILE --dry-run
"""
# PYTHON_ARGCOMPLETE_OK

import argparse
from dataclasses import replace

from services.utils import backups, cli, env, runs, s3, socrata
from services.utils.guard import DeleteGuard
from services.utils.postgrest import PostgREST


def main(args: cli.Args) -> cli.Summary:
    """Read the dataset page by page and keep it whole; or read a backup and publish it."""
    resource = backups.find_dataset(cli.config_folder(), args)
    options = args.extra
    path, on_s3 = backups.read_path(options["restore"])
    on_s3 = on_s3 or not (path or options["folder"])
    has_store = bool(env.get("PGREST_ENDPOINT"))
    settings = env.load(["socrata", *["s3"] * on_s3, *["store"] * has_store])
    portal = settings.socrata
    bucket = s3.connect(settings.s3) if on_s3 else None
    shelf = backups.open_shelf(options["folder"], bucket, options["prefix"], resource)
    destination = f"socrata:{portal.host}/{resource}" if path else str(shelf)
    summary = cli.Summary()
    with runs.record_run_if(PostgREST(settings.store) if has_store else None, args, destination) as run:
        client = socrata.connect(portal.url, portal.username, portal.password, portal.app_token)
        dataset = socrata.open_dataset(client, resource)
        if path:
            guard = DeleteGuard(args.max_delete_pct, args.allow_empty)
            upsert = options["upsert"]
            backups.restore(dataset, path, bucket, run, upsert=upsert, guard=guard, dry_run=args.dry_run)
        else:
            run.counts, summary.more = backups.back_up(
                dataset,
                shelf,
                compress=options["gzip"],
                keep=options["keep"],
                allow_empty=args.allow_empty,
                dry_run=args.dry_run,
            )
    if not path:
        would = "would be" if args.dry_run else "were"
        summary.told = f"backup_socrata {resource}: {run.counts.read} rows {would} backed up"
    return replace(summary, status=run.status, counts=run.counts)


def make_parser() -> argparse.ArgumentParser:
    """A container or a dataset, where its backups are, and what is to be done."""
    parser = cli.make_parser("backup_socrata", __doc__, container="named", writes="backups")
    parser.add_argument("--dataset", default="", metavar="4x4", help="the dataset's id, instead of -a and -c")
    parser.add_argument("--folder", default="", metavar="DIR", help="keep backups here instead of in S3")
    parser.add_argument(
        "--prefix",
        default="socrata-backups",
        help="what their keys begin with in AWS_BUCKET_NAME (default socrata-backups)",
    )
    parser.add_argument("--gzip", action="store_true", help="compress them")
    parser.add_argument(
        "--keep",
        type=cli.parse_positive,
        default=30,
        metavar="N",
        help="how many of the dataset's backups to keep, the newest (default 30)",
    )
    parser.add_argument(
        "--restore",
        metavar="FILE",
        help="bring this backup back: a file, or s3: and the key of an object in AWS_BUCKET_NAME",
    )
    parser.add_argument(
        "--upsert", action="store_true", help="with --restore: leave rows that the backup has not"
    )
    return parser


if __name__ == "__main__":
    cli.run_script("backup_socrata", make_parser(), main)
