"""``cellsearch compare``: several runs and strategies beside one another."""

from __future__ import annotations

from pathlib import Path

import click

from cellsearch.cli.output import (
    data_option,
    emit_json,
    figure_option,
    print_table,
    refuse_other_kind,
    table_option,
)
from cellsearch.files import refuse_existing, write_new
from cellsearch.reporting.comparison import AXES, BY_SEED, SHARED_COLUMNS, RunComparison, spent_text
from cellsearch.reporting.figures import paper_figure, write_figure
from cellsearch.runs.comparing import compare

__all__ = ["COMMANDS", "print_comparison"]


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--by",
    type=click.Choice(list(AXES)),
    default="trials",
    show_default=True,
    help="What every group is given as much of; compute: optimizer steps times multiply-adds.",
)
@click.option(
    "--at",
    type=click.FloatRange(min=0, min_open=True),
    help="Compare when so much was spent.  [default: what the shortest run has]",
)
@click.option(
    "--against",
    default="",
    metavar="GROUP",
    help="The control that the others are tested against.  [default: random search, or the first]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write one self-contained HTML page as well.",
)
@figure_option("the curves")
@click.option("--force", is_flag=True, help="Overwrite these files.")
@data_option
@table_option
def compare_runs(
    runs: tuple[str, ...],
    by: str,
    at: float | None,
    against: str,
    output: Path | None,
    figure: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Compare RUN... (folders of runs, or folders that hold runs): how fast the best score of each
    kind of search fell, whether that is more than chance, and which cells they share.

    Runs that differ by their seed alone are one group. Groups are tested against a control by the
    exact rank test of the best scores of their runs, with Holm's correction. Scores are those of
    the search, on validation data: cellsearch finals judges the cells.
    """
    if output is not None:
        refuse_other_kind(output, "html")
        refuse_existing(output, force=force)
    if figure is not None:
        refuse_existing(figure, force=force)
    found = compare(*runs, by=by, at=at or 0.0, against=against)
    if output is not None:
        write_new(output, found.to_html(), force=force)
    if figure is not None:
        write_figure(figure, paper_figure(found.to_svg()), force=force)
    if as_json:
        emit_json(found.to_document())
        return
    print_comparison(found)
    for what, path in (("page", output), ("figure", figure)):
        if path is not None:
            click.echo(f"{what}: {path}")


def print_comparison(found: RunComparison) -> None:
    """Print the tables of a comparison, and what they say."""
    click.echo(
        f"{found.task}: best score on validation data ({found.metric}; lower is better) at "
        f"{spent_text(found.at)} {AXES[found.axis]}\n"
    )
    columns = found.header()
    print_table(columns, found.rows(), right=[k for k in range(1, len(columns)) if k != BY_SEED])
    if found.baselines:
        levels = ", ".join(f"{name} {score:.4f}" for name, score in found.baselines.items())
        click.echo(f"\nbaselines, mean over the runs: {levels}")
    if said := (*found.sentences, *(f"note: {note}" for note in found.notes)):
        click.echo("\n" + "\n".join(said))
    click.echo(f"\n{found.overlap}")
    if found.shared:
        click.echo()
        headers = [text for text, _ in SHARED_COLUMNS]
        right = [k for k, (_, numbers) in enumerate(SHARED_COLUMNS) if numbers]
        print_table(headers, found.shared_rows(), right=right)


COMMANDS = (compare_runs,)
