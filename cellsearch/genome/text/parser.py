"""Reading the text form, statement by statement."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass

from cellsearch.errors import CellSyntaxError, GenomeError
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import INPUTS, MAX_NODES, Node, State, check_written_name
from cellsearch.genome.text.delays import Delays, delays_read, step_of
from cellsearch.genome.text.expressions import MAX_DEPTH, ExpressionReader

__all__ = ["CellText", "parse"]

MAX_TEXT = 262_144
_STEP = re.compile(r"([A-Za-z]\w*?)_?\{\s*t\s*([-\u2212]\s*1)?\s*\}")
"""A step as papers set it: ``h_{t-1}``."""
_SIGNS = re.compile(rf"(?:[-+~]\s*){{{MAX_DEPTH}}}")


@dataclass(frozen=True, slots=True)
class CellText:
    """A parsed ``.cell`` file: the genome and its docstring."""

    genome: Genome
    doc: str


def parse(text: str, *, source: str = "<text>") -> CellText:
    """Read a ``.cell`` text; a byte order mark at its head is skipped. Raises
    :class:`CellSyntaxError` that names the line, whatever the text is.
    """
    return _Parser(text, source).read()


class _Parser(ExpressionReader):
    def __init__(self, text: str, source: str) -> None:
        super().__init__(source)
        self.text = text.removeprefix("\ufeff") if isinstance(text, str) else text
        self.named: set[int] = set()  # values that a statement already defines

    def read(self) -> CellText:
        statements, doc = self.statements()
        initial = self.initial_values(statements)
        assigned = self.assigned_steps(statements)
        self.delays = Delays(assigned, (*self.lines, *initial))
        states = self.order_states(statements, initial, assigned)
        starts = {name: base for name, base, _ in self.delays.takes()}
        self.builder = Builder(
            (State(name, initial.get(starts.get(name, name), (0.0, 0))[0]) for name in states),
            self.inputs(statements),
        )
        for statement in statements:
            self.statement(statement)
        outputs = [name for name in assigned if name not in states]
        if len(outputs) > 1:
            raise self.error(
                f"{' and '.join(outputs)} are assigned with [t] but never read with "
                f"[t-1]: only one output is allowed",
                assigned[outputs[1]],
                hint="drop the [t] of values that are neither states nor the output",
            )
        for name, base, steps in self.delays.takes():
            self.slots[name] = self.earlier(base, steps)
        for name in states:
            self.builder.next_state(name, self.slots[name])
        if outputs:
            self.builder.output(self.slots[outputs[0]], outputs[0])
        try:
            return CellText(self.builder.build(), doc)
        except GenomeError as error:
            name = error.where.removeprefix("node ").removeprefix("state ").removesuffix("[t]")
            base = name.partition(".")[0]  # of a label: ``h.2``, ``h_t``
            line = self.lines.get(base) or self.lines.get(base.removesuffix("_t"), 1)
            raise CellSyntaxError(
                error.message,
                where=f"{self.source}:{line}: {error.where}".rstrip(": "),
                hint=error.hint,
            ) from None

    # -- statements --------------------------------------------------------------------------------

    def statements(self) -> tuple[list[ast.Assign], str]:
        if not isinstance(self.text, str):
            raise self.error(f"expected text, not {type(self.text).__name__}", 1)
        if len(self.text) > MAX_TEXT:
            raise self.error(f"{len(self.text)} characters; at most {MAX_TEXT} are allowed", 1)
        self.check_nesting()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # ast warns of odd literals; the parser rejects them with a line number
                module = ast.parse(self.text)
        except SyntaxError as error:
            raise self.syntax_error(error) from None
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            raise self.error(
                f"cannot be read: {error or type(error).__name__}",
                1,
                hint="write very long sums and products as add(a, b, ...) and mul(a, b, ...)",
            ) from None
        body, doc = module.body, ""
        if (
            body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            doc, body = body[0].value.value, body[1:]
        if not body:
            raise self.error(
                "the cell is empty", 1, hint="a smallest cell: h[t] = tanh(linear(x[t], h[t-1]))"
            )
        if len(body) > MAX_NODES:
            raise self.error(
                f"{len(body)} statements; at most {MAX_NODES} are allowed", body[MAX_NODES].lineno
            )
        statements = []
        for node in body:
            if not isinstance(node, ast.Assign) or len(node.targets) != 1:
                raise self.error(
                    "only assignments are allowed",
                    node.lineno,
                    hint="write name = op(operands), one a line",
                )
            statements.append(node)
        return statements, doc

    def syntax_error(self, error: SyntaxError) -> CellSyntaxError:
        """Python's words, the column, and the line with a mark below it."""
        number, column = error.lineno or 1, max(error.offset or 1, 1)
        lines = self.text.split("\n")
        line = lines[number - 1] if number <= len(lines) else ""
        first = max(0, column - 60)  # of a long line the part around the mark
        shown = "".join(c if c.isprintable() else " " for c in line[first : first + 90])
        mark = " " * (column - 1 - first) + "^"
        step = _STEP.search(line)
        hint = "write name = op(operands), one a line"
        if step:
            hint = f"write {step[1]}[{'t-1' if step[2] else 't'}]"
        elif "\u2212" in line:
            hint = "write the minus of the keyboard, -"
        return self.error(
            f"not a statement: {error.msg} (column {column})\n    {shown}\n    {mark}", number, hint
        )

    def check_nesting(self) -> None:
        """Refuse what the recursive descent below could not survive, before :mod:`ast` sees it."""
        for number, line in enumerate(self.text.split("\n"), start=1):
            depth = deepest = 0
            for character in line:
                depth += (character in "([{") - (character in ")]}")
                deepest = max(deepest, depth)
            if deepest > MAX_DEPTH or _SIGNS.search(line):
                raise self.error(
                    f"nested more than {MAX_DEPTH} deep",
                    number,
                    hint="give the inner parts a name of their own",
                )

    def initial_values(self, statements: list[ast.Assign]) -> dict[str, tuple[float, int]]:
        """``name[0] = number`` lines, taken out of ``statements``."""
        initial: dict[str, tuple[float, int]] = {}
        for statement in list(statements):
            target = statement.targets[0]
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                if (
                    not isinstance(target.value, ast.Name)
                    or target.slice.value != 0
                    or isinstance(target.slice.value, bool)
                ):
                    raise self.error("an initial state is written name[0]", statement.lineno)
                value = self.number(statement.value)
                if value is None:
                    raise self.error(
                        "an initial state is a number",
                        statement.lineno,
                        hint="for example m[0] = -1e30",
                    )
                if target.value.id in initial:
                    raise self.error(f"{target.value.id}[0] is set twice", statement.lineno)
                initial[target.value.id] = (value, statement.lineno)
                statements.remove(statement)
        return initial

    def assigned_steps(self, statements: list[ast.Assign]) -> dict[str, int]:
        """Names assigned with ``[t]``, with their lines; checks every target."""
        assigned: dict[str, int] = {}
        for statement in statements:
            target = statement.targets[0]
            if isinstance(target, ast.Subscript):
                if not (isinstance(target.value, ast.Name) and step_of(target.slice) == 0):
                    raise self.error("an assigned state is written name[t]", statement.lineno)
                name = target.value.id
                assigned.setdefault(name, statement.lineno)
            elif isinstance(target, ast.Name):
                name = target.id
            else:
                raise self.error("the left side is a name, or name[t]", statement.lineno)
            if name in self.lines:
                raise self.error(
                    f"{name} is assigned twice (first in line {self.lines[name]})",
                    statement.lineno,
                    hint="every name is assigned once",
                )
            try:
                check_written_name(name, "value", "")
            except GenomeError as error:
                raise self.error(error.message, statement.lineno, error.hint) from None
            self.lines[name] = statement.lineno
        return assigned

    def inputs(self, statements: list[ast.Assign]) -> tuple[str, ...]:
        """What the cell reads of a step, now or some steps ago: a name that it assigns is its
        own.
        """
        read = {
            node.value.id
            for node in _walk_all(statements)
            if isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and step_of(node.slice) is not None
        }
        return tuple(n for n in INPUTS if n == "x" or (n in read and n not in self.lines))

    def order_states(
        self,
        statements: list[ast.Assign],
        initial: dict[str, tuple[float, int]],
        assigned: dict[str, int],
    ) -> list[str]:
        """States in order of appearance (initial values count as one)."""
        read, given = list(delays_read(_walk_all(statements))), self.inputs(statements)
        for delay in read:
            name = delay.base
            if delay.stepped and name not in given and name not in assigned:
                raise self.error(
                    f"{name}[t-{delay.steps}] is read, but {name}[t] is never assigned",
                    delay.line,
                    hint=f"did you mean {name}[t] = in line {self.lines[name]}?"
                    if name in self.lines
                    else f"add a line {name}[t] = ...",
                )
        states = self.delays.closed(read)
        for name, (_, line) in initial.items():
            if name not in states:
                raise self.error(
                    f"{name}[0] is set, but {name}[t-1] is never read: {name} is not a state", line
                )
        return list(dict.fromkeys((*initial, *states)))

    def earlier(self, base: str, steps: int) -> int:
        """The value of an input, a state or a named value, now or some steps ago."""
        if steps:
            return self.builder.state(self.delays.name(base, steps))
        given = base in self.builder.inputs
        return self.builder.input(base) if given else self.values[base]

    def statement(self, statement: ast.Assign) -> None:
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            value = self.expression(statement.value, 0)
            last = self.builder.nodes[-1] if self.builder.nodes else None
            if not self.is_new(value) or last is None:
                # ``a = b``: a name for a value that has one; an identity keeps it visible.
                value, last = self.builder.node("identity", value), self.builder.nodes[-1]
            self.builder.nodes[-1] = Node(target.id, last.op, last.inputs, last.attrs)
            self.values[target.id] = value
            self.named.add(value)
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            value = self.expression(statement.value, 0)
            self.slots[target.value.id] = value
            self.named.add(value)

    def is_new(self, value: int) -> bool:
        return (
            value == self.builder.first_node + len(self.builder.nodes) - 1
            and value >= self.builder.first_node
            and value not in self.named
        )


def _walk_all(statements: list[ast.Assign]) -> list[ast.AST]:
    """All nodes of the right sides, in the order in which they are written."""
    found: list[ast.AST] = []
    stack: list[ast.AST] = [statement.value for statement in reversed(statements)]
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(reversed(list(ast.iter_child_nodes(node))))
    return found
