"""One page over many runs: ``python -m mirage_pl.report RUNS... [--baseline METHOD] [--label NAME] [--out DIR]``."""

from mirage_pl.engine.cli import command
from mirage_pl.engine.reports.options import build_parser

main = command("mirage_pl.engine.reports.command.run", build_parser)

if __name__ == "__main__":
    main()
