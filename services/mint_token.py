"""Print a PostgREST token for a role, made with PGREST_JWT_SECRET.

PGREST_JWT=$(python services/mint_token.py --role api_publisher --lifetime 90d)
"""

import argparse
import logging
import re
import sys

from services.utils import env, postgrest
from services.utils.errors import ConfigError, ServiceError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_lifetime(text: str) -> int:
    """Seconds from 3600, 60m, 12h or 90d.

    Raises: ConfigError for anything else, and for 0.
    """
    found = re.fullmatch(r"(\d+)([smhd]?)", text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if seconds <= 0:
        raise ConfigError(
            f"--lifetime {text!r} is no lifetime such as 3600, 60m, 12h or 90d. No token was made."
        )
    return seconds


def main(argv: list[str] | None = None) -> str:
    """The token."""
    summary, _, example = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        "mint_token.py",
        description=summary,
        epilog=example.strip("\n"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--role", default=env.get("PGREST_ROLE"), help="default: PGREST_ROLE")
    parser.add_argument("--lifetime", default="1h", help="3600, 60m, 12h, 90d (default 1h)")
    args = parser.parse_args(argv)
    secret = env.get("PGREST_JWT_SECRET")
    missing = [
        name
        for name, value in (("--role or PGREST_ROLE", args.role), ("PGREST_JWT_SECRET", secret))
        if not value
    ]
    if missing:
        raise ConfigError(f"Missing: {', '.join(missing)}. No token was made.")
    return postgrest.mint_token(secret, args.role, parse_lifetime(args.lifetime))


if __name__ == "__main__":
    try:
        sys.stdout.write(main() + "\n")
    except ServiceError as error:
        logging.basicConfig(format="%(levelname)s %(message)s")
        logging.error("%s", error)
        sys.exit(error.exit_code)
