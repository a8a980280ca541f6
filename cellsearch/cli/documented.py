"""What ``--help`` of a command says besides its text: options in groups, and examples."""

from __future__ import annotations

import click

__all__ = ["EXAMPLES", "Documented"]

EXAMPLES: dict[str, tuple[str, ...]] = {
    "search": (
        "cellsearch search quickstart",
        "cellsearch search quickstart --run runs/mine --set training.steps=100",
        "cellsearch search quickstart --set task_options.text=novel.txt",
    ),
    "sweep": (
        "cellsearch sweep quickstart --strategies random,grow --out runs/sweep",
        "cellsearch sweep parity --strategies random,genetic --compute 20 --at-once 2",
    ),
    "ls": ("cellsearch ls runs/quickstart --top 10", "cellsearch ls runs"),
    "best": ("cellsearch best runs/quickstart",),
    "report": ("cellsearch report runs/quickstart -o report.html",),
    "watch": ("cellsearch watch runs/quickstart",),
    "track": (
        "cellsearch track runs/quickstart --to tensorboard",
        "cellsearch track runs/quickstart --to tensorboard --follow",
    ),
    "finals": (
        "cellsearch finals runs/quickstart --seeds 5 --against gru",
        "cellsearch finals runs/quickstart --suite standard --top 2",
        "cellsearch finals runs/quickstart --on copy --against transformer",
    ),
    "compare": (
        "cellsearch compare runs/sweep",
        "cellsearch compare runs/a runs/b --by seconds -o comparison.html",
    ),
    "ui": (
        "cellsearch ui runs",
        "cellsearch ui runs/a runs/b --open",
    ),
    "show": (
        "cellsearch show lstm",
        "cellsearch show runs/quickstart:7",
        "cellsearch show lstm --svg -o cell.svg",
        "cellsearch show lstm --figure lstm.svg",
    ),
    "diff": ("cellsearch diff lstm gru", "cellsearch diff lstm gru --svg diff.svg"),
    "import": ("cellsearch import cell.txt --from darts -o mine.cell",),
    "export": (
        "cellsearch export lstm --to source -o lstm.py",
        "cellsearch export runs/quickstart --to source -o cell.py",
        "cellsearch export runs/quickstart --to model -o model.py",
    ),
    "predict": (
        "cellsearch predict runs/mine new.csv -o answers.csv",
        "cellsearch predict runs/mine:8 new.csv --group machine --probabilities",
        "cellsearch predict runs/mine new.csv --rolling -o forecasts.json",
        "cellsearch predict runs/mine -",
    ),
    "evaluate": (
        "cellsearch evaluate gru --task parity --steps 300",
        "cellsearch evaluate mine.cell --suite long_memory",
        "cellsearch evaluate mine.cell --task copy --size P=H/2 --size R=8",
    ),
    "ablate": (
        "cellsearch ablate runs/quickstart --seeds 5 --steps 50%",
        "cellsearch ablate runs/quickstart:7",
        "cellsearch ablate lstm --task char_lm --steps 250 --hidden 32",
    ),
    "diagnose": (
        "cellsearch diagnose runs/quickstart -o page.html",
        "cellsearch diagnose lstm --task parity",
    ),
    "generate": ('cellsearch generate runs/quickstart --prompt "In the" --length 200',),
    "experiments": ("cellsearch experiments", "cellsearch experiments quickstart"),
    "spaces": ("cellsearch spaces", "cellsearch spaces lstm_gru"),
    "zoo": ("cellsearch zoo --family gru",),
    "strategies": ("cellsearch strategies", "cellsearch strategies genetic"),
    "schedules": ("cellsearch schedules", "cellsearch schedules halving"),
    "tasks": ("cellsearch tasks", "cellsearch tasks char_lm"),
    "ops": ("cellsearch ops", "cellsearch ops sigmoid"),
    "suites": ("cellsearch suites", "cellsearch suites long_memory"),
    "ask": ("cellsearch ask runs/quickstart --json",),
    "tell": ("cellsearch tell runs/quickstart mine.cell",),
    "benchmark": ("cellsearch benchmark", "cellsearch benchmark cogscale lstm gru --seeds 10"),
    "new": ("cellsearch new experiment mine", "cellsearch new strategy climb"),
    "doctor": ("cellsearch doctor",),
    "help": ("cellsearch help search",),
    "version": ("cellsearch version",),
    "completion": ("cellsearch completion bash >> ~/.bashrc",),
}
"""Commands to copy, by command."""
_GROUPS = {
    "Workers": {"workers", "ray_address"},
    "Data": {"data", "data_dir", "offline"},
    "Output": {"format", "as_json", "output", "force", "plain", "svg", "form", "figure"},
}
"""Names of options by the heading that they stand under; the others come first."""
_FEW = 5
"""So many options need no headings."""


class Documented(click.Command):
    """A command with the text of another, its options in groups, and examples."""

    def __init__(self, command: click.Command) -> None:
        super().__init__(
            command.name,
            context_settings=command.context_settings,
            callback=command.callback,
            params=command.params,
            help=command.help,
            short_help=command.short_help,
        )
        self._examples = EXAMPLES.get(command.name or "", ())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, those of a group below its heading."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Options", *_GROUPS)}
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        for option in options:
            record = option.get_help_record(ctx)
            found = (heading for heading, names in _GROUPS.items() if option.name in names)
            heading = "Options" if len(options) <= _FEW else next(found, "Options")
            groups[heading] += [record] if record else []
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, as they are typed."""
        if self._examples:
            with formatter.section("Examples" if len(self._examples) > 1 else "Example"):
                for example in self._examples:
                    formatter.write(f"{' ' * formatter.current_indent}{example}\n")
