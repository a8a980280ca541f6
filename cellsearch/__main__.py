"""``python -m cellsearch`` is ``cellsearch``."""

from cellsearch.cli import main

if __name__ == "__main__":
    main()
