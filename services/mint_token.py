"""Print a PostgREST token for a role, made with PGREST_JWT_SECRET.

python services/mint_token.py --role api_publisher --lifetime 90d
"""

import argparse
import logging
import sys

from services.utils import cli, env, postgrest
from services.utils.errors import ConfigError, ServiceError


def main(argv: list[str] | None = None) -> str:
    """The token."""
    summary, _, example = __doc__.partition("\n")
    parser = cli.Parser(
        "mint_token.py",
        description=summary,
        epilog=example.strip("\n"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--role", default=env.get("PGREST_ROLE"), help="default: PGREST_ROLE")
    parser.add_argument(
        "--lifetime", type=cli.parse_lifetime, default="1h", help="3600, 60m, 12h, 90d (default 1h)"
    )
    args = parser.parse_args(argv)
    secret = env.get("PGREST_JWT_SECRET")
    missing = [
        name
        for name, value in (("--role or PGREST_ROLE", args.role), ("PGREST_JWT_SECRET", secret))
        if not value
    ]
    if missing:
        raise ConfigError(f"Missing: {', '.join(missing)}. No token was made.")
    return postgrest.mint_token(secret, args.role, args.lifetime)


if __name__ == "__main__":
    try:
        sys.stdout.write(main() + "\n")
    except ServiceError as error:
        logging.basicConfig(format="%(levelname)s %(message)s")
        logging.error("%s", error)
        sys.exit(error.exit_code)
