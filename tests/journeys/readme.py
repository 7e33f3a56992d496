"""Journey: README from top to bottom, every block in its order, in one folder."""

import sys

from journeys.blocks import run_pages
from journeys.harness import Walk, program


def journey(walk: Walk) -> None:
    run_pages(walk, ["README.md"])


def main() -> int:
    return program(journey)


if __name__ == "__main__":
    sys.exit(main())
