"""Commands about one cell: ``show``, and ``diff`` for two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cellsearch import zoo
from cellsearch.cli.output import (
    emit_json,
    figure_option,
    json_option,
    print_table,
    refuse_other_kind,
    size_option,
    table_option,
)
from cellsearch.errors import ConfigError, amount
from cellsearch.files import refuse_existing, write_new
from cellsearch.genome.drawing.svg import diff_svg, to_svg
from cellsearch.genome.parameters import size_names
from cellsearch.genome.recognise import MAX_COMPARED, difference
from cellsearch.options import table_of
from cellsearch.reporting.figures import paper_drawing, write_figure
from cellsearch.runs.facts import cell_facts, drawing, predicted, relatives, trained_sizes
from cellsearch.runs.locate import Located, locate
from cellsearch.runs.trial import trial_record
from cellsearch.space import LayerSizes

__all__ = ["COMMANDS"]

EDITS = 20


@click.command("show")
@click.argument("cell")
@click.option("--svg", "form", flag_value="svg", help="The drawing as SVG.")
@click.option("--dot", "form", flag_value="dot", help="The graph in Graphviz's language.")
@click.option("--mermaid", "form", flag_value="mermaid", help="The graph in Mermaid's language.")
@click.option("--latex", "form", flag_value="latex", help="The equations in LaTeX.")
@click.option("--program", "form", flag_value="program", help="What the compiler makes of a step.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write the drawing to this file."
)
@figure_option("the drawing")
@click.option("--force", is_flag=True, help="Overwrite these files.")
@click.option(
    "--input-size",
    "-I",
    type=click.IntRange(min=1),
    help="I for the counts.  [default: the run's, or 64]",
)
@click.option(
    "--hidden-size",
    "-H",
    type=click.IntRange(min=1),
    help="H for the counts.  [default: the run's, or 64]",
)
@size_option
@table_option
def show(
    cell: str,
    form: str | None,
    output: Path | None,
    figure: Path | None,
    force: bool,
    input_size: int | None,
    hidden_size: int | None,
    sizes: dict[str, int | str],
    as_json: bool,
) -> None:
    """Show CELL: its equations, size, class, and the zoo cell it equals or is nearest to.

    CELL is a zoo name, a .cell or .json file, a run folder (its best cell), or RUN:TRIAL.
    For a cell whose sizes have names, `linear(..., size=P)`, say them: `--size P=H/2`.
    """
    if output is not None:
        if form is None:
            raise click.UsageError(
                "--output needs one of --svg, --dot, --mermaid, --latex, --program"
            )
        refuse_other_kind(output, form)
        refuse_existing(output, force=force)
    if figure is not None:
        refuse_existing(figure, force=force)
    located = locate(cell)
    if figure is not None:
        write_figure(figure, paper_drawing(to_svg(located.genome)), force=force)
    if form is not None:
        text = drawing(located.genome, form)
        if output is not None:
            write_new(output, text, force=force)
        if as_json:
            emit_json({"name": located.label, form: text if output is None else str(output)})
        elif output is None:
            click.echo(text, nl=not text.endswith("\n"))
        else:
            click.echo(f"{form}: {output}")
        return
    layer = _sizes(located, input_size, hidden_size, sizes)
    facts = cell_facts(located.genome, layer) | {
        "predicted": predicted(
            located.genome, layer.input_size, layer.hidden_size, dict(layer.named)
        )
    }
    if as_json:
        near = relatives(located.genome)
        document = {"name": located.label, "doc": located.doc, **facts, **near}
        if located.trial:
            document["trial"] = trial_record(located.trial.trial)
        for name in _found(near):
            document["found"] = table_of(zoo.card(name))
        emit_json(document)
        return
    click.echo(located.genome.to_text(located.doc))
    _print_facts(located, facts, relatives(located.genome))
    if figure is not None:
        click.echo(f"figure: {figure}")


@click.command("diff")
@click.argument("one")
@click.argument("other")
@click.option(
    "--svg",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value="-",
    metavar="FILE",
    help="Write one picture with the differences marked; without FILE, print it.",
)
@figure_option("that picture")
@click.option("--force", is_flag=True, help="Overwrite these files.")
@json_option
def diff(
    one: str, other: str, svg: Path | None, figure: Path | None, force: bool, as_json: bool
) -> None:
    """Show the edits that lead from cell ONE to cell OTHER, both simplified."""
    printed = svg == Path("-") and not as_json
    if svg is not None and not printed:
        refuse_other_kind(svg, "svg")
        refuse_existing(svg, force=force)
    if figure is not None:
        refuse_existing(figure, force=force)
    first, second = locate(one), locate(other)
    found = difference(first.genome, second.genome)
    if svg is not None or figure is not None:
        title = f"from {first.label} to {second.label}"
        drawn = diff_svg(found.one, found.other, dict(found.pairs), title=title)
        if figure is not None:
            write_figure(figure, paper_drawing(drawn), force=force)
        if printed:
            click.echo(drawn)
            return
        if svg is not None:
            write_new(svg, drawn, force=force)
    if as_json:
        edits = [{"mark": edit.mark, "what": edit.what, "text": edit.text} for edit in found.edits]
        emit_json(
            {"from": first.label, "to": second.label, "distance": found.distance, "edits": edits}
        )
        return
    click.echo(f"from {first.label} to {second.label}: {amount(found.distance, 'edit')}")
    for edit in found.edits:
        click.echo(f"  {edit}")
    for what, path in (("svg", svg), ("figure", figure)):
        if path is not None:
            click.echo(f"{what}: {path}")


def _sizes(
    located: Located,
    input_size: int | None,
    hidden_size: int | None,
    named: dict[str, int | str],
) -> LayerSizes:
    """The sizes to count at: those asked for, those that the run trains, or 64."""
    names = size_names(located.genome)
    for name in named:
        if name not in names:
            raise ConfigError(
                f"{located.label} has no size {name}",
                where="--size",
                hint=f"it has {', '.join(names) or 'none with a name'}",
            )
    if located.trial is None:
        return LayerSizes(input_size or 64, hidden_size or 64, named=tuple(named.items()))
    sizes = trained_sizes(located.trial.run)
    known = {**dict(sizes.named), **named}
    if hidden_size is not None:
        return LayerSizes(input_size or 64, hidden_size, named=tuple(known.items()))
    width = input_size or sizes.input_size
    return replace(sizes, input_size=width, named=tuple(known.items()))


def _predicted_text(predicted: dict[str, Any]) -> str:
    training, inference = predicted["training"], predicted["inference"]
    return (
        f"{training['microseconds']:.0f} us a step of {predicted['sequences']} "
        f"sequences in training "
        f"({training['multiply_adds'] / 1e6:.2g} million multiply-adds, "
        f"{training['bytes'] / 1e3:.0f} kB), "
        f"{inference['microseconds']:.0f} us in inference, on this machine"
    )


def _print_facts(located: Located, facts: dict[str, Any], relatives: dict[str, Any]) -> None:
    sizes = f"for I = {facts['input_size']}, H = {facts['hidden_size']}"
    layer = LayerSizes(
        *(facts[key] for key in ("input_size", "hidden_size", "layers", "directions"))
    )
    matrices = amount(facts["matrices"], "matrix", "matrices")
    rows = [
        ("states", f"{', '.join(facts['states'])}; puts out {facts['output']}"),
        ("nodes", str(facts["nodes"])),
        ("cell weights", f"{facts['cell_weights']:,} for {layer} ({matrices})"),
        ("multiply-adds", f"{facts['multiply_adds']:,} a step {sizes}"),
        ("state floats", f"{facts['state_floats']:,} carried from a step to the next {sizes}"),
        *([("predicted", _predicted_text(facts["predicted"]))] if facts["predicted"] else []),
        ("class", f"{facts['class']}, GEMM depth {facts['gemm_depth']}"),
        ("key", facts["key"]),
    ]
    if relatives["equals"]:
        rows.append(("equals", ", ".join(relatives["equals"])))
    near = ", ".join(
        f"{cell['name']} ({amount(cell['edits'], 'edit')})" for cell in relatives["nearest"]
    )
    rows.append(("nearest", near or f"not compared: more than {MAX_COMPARED} nodes, simplified"))
    rows += [("note", finding["text"]) for finding in relatives["findings"]]
    if located.trial is not None:
        trial, result = located.trial.trial, located.trial.result
        score = (
            f"score {result.score:.4f} after {amount(result.steps, 'step')}, {trial.status.value}"
            if result
            else trial.status.value
        )
        said = f"{trial.number} of {located.trial.run.path}: {score}, {trial.proposal.origin}"
        about = [("trial", said)]
        if trial.proposal.reason:
            about.append(("reason", trial.proposal.reason))
        if trial.failure is not None:
            about.append(("failed", f"{trial.failure.kind}: {trial.failure.message}"))
        if result is not None:
            rows.insert(3, ("model weights", f"{result.parameters:,} as trained"))
        rows = about + rows
    print_table((), rows, wrap=1)
    edits = relatives["edits_from_nearest"]
    if not relatives["equals"] and edits:
        click.echo(f"\nfrom {relatives['nearest'][0]['name']}:")
        for edit in edits[:EDITS]:
            click.echo(f"  {edit}")
        if len(edits) > EDITS:
            click.echo(f"  and {len(edits) - EDITS} more")
    for name in _found(relatives):
        click.echo("\n" + "\n".join(zoo.card(name).lines()))


def _found(relatives: dict[str, Any]) -> list[str]:
    """The cells of the zoo that a search of this program found, among those that this one is."""
    return [name for name in relatives["equals"] if name in zoo.found()]


COMMANDS = (show, diff)
