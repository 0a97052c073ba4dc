"""What every command shares: flags, log lines, stopping cleanly, exit codes, the summary line.

flags.py    the parser, and how values of flags are read
args.py     what a run was told
run.py      a command from its start to its exit code
summary.py  how a run ended

A script gives its `main(args) -> Summary` and is started by `run_script`, which alone decides how a
process ends: 0 done, 1 failed or stopped, 2 wrong flags or configuration, 3 some records refused or differ.
"""

from services.utils.cli.args import Args, config_folder, read_args
from services.utils.cli.flags import (
    Parser,
    make_parser,
    parse_count,
    parse_date,
    parse_lifetime,
    parse_positive,
    parse_when,
)
from services.utils.cli.run import run_script
from services.utils.cli.summary import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_PARTIAL,
    Summary,
    describe_outcome,
)

__all__ = [
    "EXIT_CONFIG",
    "EXIT_FAILED",
    "EXIT_OK",
    "EXIT_PARTIAL",
    "Args",
    "Parser",
    "Summary",
    "config_folder",
    "describe_outcome",
    "make_parser",
    "parse_count",
    "parse_date",
    "parse_lifetime",
    "parse_positive",
    "parse_when",
    "read_args",
    "run_script",
]
