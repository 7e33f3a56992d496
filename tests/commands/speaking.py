"""Runs commands one after another in one process, as a user would, and marks on both streams where each begins.

python speaking.py FILE    FILE: a JSON list of command lines, each a list of words
"""

import json
import sys
from pathlib import Path

from ecamp_fast import cli

MARK = "=== "


def main() -> None:
    for words in json.loads(Path(sys.argv[1]).read_text()):
        for stream in (sys.stdout, sys.stderr):
            print(f"{MARK}{' '.join(words)}", file=stream, flush=True)
        try:
            cli.main(words)
        except SystemExit as left:
            print(f"left with {left.code}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
