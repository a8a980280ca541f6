"""Wrote cells.json.gz, once, with commit 0c75b85, before the language of cells grew. Kept to show
what is in the file; not to be run again. Called in the repository's root as
``PYTHONPATH=tests python tests/data/language_1/make.py PATH``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from support.language import write

if __name__ == "__main__":
    write(Path(sys.argv[1]))
