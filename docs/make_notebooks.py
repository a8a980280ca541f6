"""Writes the example notebooks in docs/notebooks, executed: python docs/make_notebooks.py

Needs nbclient and ipykernel. What is stored are texts and outputs alone: no versions, no times of
execution, no marks of a machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "notebooks"
NOTEBOOKS: dict[str, list[tuple[str, str]]] = {
    "first_search": [
        (
            "markdown",
            "# A first search\n\nWhich recurrent cell learns the parity of a bit string? This "
            "search is far too short to say, but shows everything that a long one has: progress, "
            "the run, its trials as a table, the best cell, its model.",
        ),
        (
            "code",
            "from pathlib import Path\n\nimport cellsearch as cs\n\n"
            'experiment = cs.load_experiment(\n    "parity",\n'
            '    {"trials": 12, "strategy": "grow", "workers": 0, "training.steps": 60,\n'
            '     "training.hidden_size": 12, "training.evaluations": 3},\n)\nexperiment',
        ),
        (
            "markdown",
            "`cs.progress` draws one output anew while the search goes on. Interrupt the kernel "
            "whenever you like: run the cell again, and it goes on where it was.",
        ),
        (
            "code",
            'with cs.Search.open("runs/parity", experiment) as search:\n'
            "    search.run(cs.InProcess(), cs.progress(search))",
        ),
        (
            "markdown",
            "The run is a folder. It can be opened at any time, also from another notebook while "
            "the search goes on, and shows itself: the best trials and baselines, and the best "
            "cell.",
        ),
        ("code", 'run = cs.open_run("runs/parity")\nrun'),
        ("markdown", "A cell is a value: its equations, and its drawing."),
        ("code", "best = run.best()\nprint(best.genome.to_text())\nbest.genome"),
        ("markdown", "All trials as a frame, where pandas or polars is installed."),
        (
            "code",
            'frame = run.trials.to_frame()\nframe[["name", "score", "cell_weights", "status", '
            '"origin"]].head()',
        ),
        (
            "markdown",
            "The trained model of the best cell is an ordinary torch module, and the cell leaves "
            "as source that needs nothing but torch.",
        ),
        (
            "code",
            "print(type(best.layer()).__mro__[1].__name__)\n"
            'best.export("cell.py", force=True)\n'
            'print(Path("cell.py").read_text()[:400])',
        ),
    ],
    "compare_strategies": [
        (
            "markdown",
            "# Which strategy is better?\n\nOne run says little: another seed would have found "
            "another cell. A grid of searches, several seeds each, and a test.",
        ),
        (
            "code",
            "import cellsearch as cs\n"
            "from cellsearch.runs.sweeping import plan_sweep, search_to_the_end\n\n"
            'quick = {"trials": 8, "space": "tiny", "workers": 0, "training.steps": 40,\n'
            '         "training.hidden_size": 8, "training.evaluations": 2}\n'
            'planned = plan_sweep("parity", "runs/sweep", names=["random", "genetic"],\n'
            "                     seeds=[0, 1, 2, 3], overrides=quick)\n"
            "for one in planned:\n"
            "    search_to_the_end(one.experiment, one.folder, cs.InProcess)\n"
            "print([one.name for one in planned])",
        ),
        (
            "markdown",
            "The comparison shows itself: curves with bands over seeds, the exact rank test "
            "against random search, and the cells that several runs have found.",
        ),
        ("code", 'found = cs.compare("runs/sweep")\nfound'),
        ("markdown", "Its numbers, as text for a paper."),
        (
            "code",
            "from cellsearch.reporting.tables import written\n\n"
            'print(written("markdown", found.header(), found.rows(), right=range(1, 9)))',
        ),
        (
            "code",
            "{group.name: (group.scores(found.at), group.p) for group in found.groups}",
        ),
        (
            "markdown",
            "Four runs against four can be significant (the smallest possible p is 0.029); eight "
            "trials of forty steps are not a search. On the command line the same is `cellsearch "
            "sweep`, and it goes on after an interruption.",
        ),
    ],
}


def unexecuted(name: str) -> Any:
    """A notebook as it is before its cells have run."""
    import nbformat  # not everybody has it

    book = nbformat.v4.new_notebook()
    for place, (kind, text) in enumerate(NOTEBOOKS[name]):
        made = nbformat.v4.new_markdown_cell if kind == "markdown" else nbformat.v4.new_code_cell
        book.cells.append(made(text, id=f"cell-{place}"))
    language = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book.metadata = {"kernelspec": kernel, "language_info": language}
    return book


def executed(name: str, folder: Path) -> Any:
    """A notebook with the outputs of its cells, which ran in this folder. Raises the error of a
    cell that fails.
    """
    from nbclient import NotebookClient

    book = unexecuted(name)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=600, kernel_name="python3", resources=resources).execute()
    for cell in book.cells:
        cell.metadata = {}
    book.metadata["language_info"] = unexecuted(name).metadata["language_info"]
    return book


def main() -> None:
    """Write those that are named, or all."""
    import nbformat

    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(name, Path(folder)), FOLDER / f"{name}.ipynb")
        print(f"{name}: {(FOLDER / f'{name}.ipynb').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
