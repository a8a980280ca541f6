"""The text form (``.cell``): what people read, diff and write.

A strict subset of Python's grammar, parsed with :mod:`ast` and never evaluated::

    z = sigmoid(linear(x[t], h[t-1]))
    h[t] = blend(z, h[t-1], tanh(linear(x[t], h[t-1])))

A name assigned with ``[t]`` and read with ``[t-1]`` is a state; ``y[t] = ...`` without such a read
is the output. ``m[0] = -1e30`` sets an initial state. Sums and products written with ``+`` and
``*`` take any number of terms: ``a + b + c`` is one node. The state that is put out comes first,
the others in order of appearance.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from dataclasses import dataclass

from cellsearch import ops
from cellsearch.errors import CellSyntaxError, GenomeError
from cellsearch.genome.builder import Builder
from cellsearch.genome.graph import Genome
from cellsearch.genome.parts import MAX_NODES, Node, State, check_name

__all__ = ["CellText", "parse", "render"]

MAX_TEXT = 262_144
MAX_DEPTH = 60
_SIGNS = re.compile(rf"(?:[-+~]\s*){{{MAX_DEPTH}}}")
_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
}
_INFIX = {"add": (" + ", 1), "sub": (" - ", 1), "mul": (" * ", 2), "div": (" / ", 2)}


@dataclass(frozen=True, slots=True)
class CellText:
    """A parsed ``.cell`` file: the genome and its docstring."""

    genome: Genome
    doc: str


def parse(text: str, *, source: str = "<text>") -> CellText:
    """Read a ``.cell`` text. Raises :class:`CellSyntaxError` that names the line, whatever the text
    is.
    """
    return _Parser(text, source).read()


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self.text = text
        self.source = source
        self.values: dict[str, int] = {}
        self.slots: dict[str, int] = {}
        self.lines: dict[str, int] = {}
        self.named: set[int] = set()  # values that a statement already defines
        self.builder = Builder(())

    def error(self, message: str, line: int, hint: str = "") -> CellSyntaxError:
        return CellSyntaxError(message, where=f"{self.source}:{line}", hint=hint)

    def read(self) -> CellText:
        statements, doc = self.statements()
        initial = self.initial_values(statements)
        assigned = self.assigned_steps(statements)
        states = self.order_states(statements, initial, assigned)
        self.builder = Builder(State(name, initial.get(name, (0.0, 0))[0]) for name in states)
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
        for name in states:
            self.builder.next_state(name, self.slots[name])
        if outputs:
            self.builder.output(self.slots[outputs[0]], outputs[0])
        try:
            return CellText(self.builder.build(), doc)
        except GenomeError as error:
            name = error.where.removeprefix("node ").removeprefix("state ").removesuffix("[t]")
            raise CellSyntaxError(
                error.message,
                where=f"{self.source}:{self.lines.get(name, 1)}: {error.where}".rstrip(": "),
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
            raise self.error(
                f"not a statement: {error.msg}",
                error.lineno or 1,
                hint="write name = op(operands), one a line",
            ) from None
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            raise self.error(f"cannot be read: {error or type(error).__name__}", 1) from None
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
                if not (isinstance(target.value, ast.Name) and _is_t(target.slice)):
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
                check_name(name, "value", "")
            except GenomeError as error:
                raise self.error(error.message, statement.lineno, error.hint) from None
            self.lines[name] = statement.lineno
        return assigned

    def order_states(
        self,
        statements: list[ast.Assign],
        initial: dict[str, tuple[float, int]],
        assigned: dict[str, int],
    ) -> list[str]:
        """States in order of appearance (initial values count as one)."""
        read: dict[str, int] = {}
        for statement in statements:
            for node in _walk(statement.value):
                if not (
                    isinstance(node, ast.Subscript)
                    and isinstance(node.value, ast.Name)
                    and _is_t_minus_1(node.slice)
                ):
                    continue
                if (
                    node.value.id != "x"
                ):  # the expression that reads x[t-1] is refused, with what to write instead
                    read.setdefault(node.value.id, node.lineno)
        for name, line in read.items():
            if name not in assigned:
                raise self.error(
                    f"{name}[t-1] is read, but {name}[t] is never assigned",
                    line,
                    hint=f"add a line {name}[t] = ...",
                )
        for name, (_, line) in initial.items():
            if name not in read:
                raise self.error(
                    f"{name}[0] is set, but {name}[t-1] is never read: {name} is not a state", line
                )
        return list(dict.fromkeys((*initial, *read)))

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
            value == len(self.builder.states) + len(self.builder.nodes)
            and value > len(self.builder.states)
            and value not in self.named
        )

    # -- expressions -------------------------------------------------------------------------------

    def expression(self, node: ast.expr, depth: int) -> int:
        if depth > 4 * MAX_DEPTH:
            raise self.error(
                "nested too deeply", node.lineno, hint="give the inner parts a name of their own"
            )
        number = self.number(node)
        if number is not None:
            return self.builder.const(number)
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.Subscript):
            return self.step_value(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self.make("neg", [self.expression(node.operand, depth + 1)], node)
        if isinstance(node, ast.BinOp):
            return self.binary(node, depth)
        if isinstance(node, ast.Call):
            return self.call(node, depth)
        raise self.error(
            f"{type(node).__name__} is not allowed here",
            node.lineno,
            hint="allowed: numbers, names, x[t], h[t-1], + - * /, and ops: "
            + ", ".join(ops.names()),
        )

    def name(self, node: ast.Name) -> int:
        if node.id in self.values:
            return self.values[node.id]
        if (
            node.id == "x"
            or node.id in self.slots
            or any(s.name == node.id for s in self.builder.states)
        ):
            raise self.error(
                f"{node.id} is read without a step",
                node.lineno,
                hint=f"write {node.id}[t]" + ("" if node.id == "x" else f" or {node.id}[t-1]"),
            )
        later = f", it is assigned in line {self.lines[node.id]}" if node.id in self.lines else ""
        raise self.error(
            f"{node.id} is not known here{later}",
            node.lineno,
            hint="assign a name before it is read",
        )

    def step_value(self, node: ast.Subscript) -> int:
        if not isinstance(node.value, ast.Name):
            raise self.error(
                "only names carry a step", node.lineno, hint="write x[t], h[t-1] or c[t]"
            )
        name = node.value.id
        if _is_t_minus_1(node.slice):
            if name == "x":
                raise self.error(
                    "x[t-1] is not available",
                    node.lineno,
                    hint="keep it in a state: p[t] = linear(x[t]), then read p[t-1]",
                )
            return self.builder.state(name)
        if not _is_t(node.slice):
            raise self.error(
                "a step is [t] or [t-1]",
                node.lineno,
                hint="longer delays need a state of their own: p[t] = h[t-1]",
            )
        if name == "x":
            return self.builder.x
        if name not in self.slots:
            raise self.error(
                f"{name}[t] is read before it is assigned",
                node.lineno,
                hint=f"move {name}[t] = ... up, or read {name}[t-1]",
            )
        return self.slots[name]

    def binary(self, node: ast.BinOp, depth: int) -> int:
        op = _BINARY.get(type(node.op))
        if op is None:
            raise self.error(
                f"the operator {type(node.op).__name__} is not allowed",
                node.lineno,
                hint="allowed: + - * /",
            )
        operands = [node.right]
        left: ast.expr = node.left
        if op in ("add", "mul"):  # a + b + c is one sum, not a sum of sums
            while isinstance(left, ast.BinOp) and _BINARY.get(type(left.op)) == op:
                operands.append(left.right)
                left = left.left
        operands.append(left)
        return self.make(
            op, [self.expression(operand, depth + 1) for operand in reversed(operands)], node
        )

    def call(self, node: ast.Call, depth: int) -> int:
        if (
            not isinstance(node.func, ast.Name)
            or node.func.id not in ops.OPS
            or node.func.id == "const"
        ):
            called = (
                node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)[:40]
            )
            raise self.error(
                f"unknown op {called}",
                node.lineno,
                hint="allowed: " + ", ".join(n for n in ops.names() if n != "const"),
            )
        bias = True
        for word in node.keywords:
            if word.arg != "bias" or node.func.id != "linear":
                raise self.error(
                    f"{node.func.id} does not take the option {word.arg}",
                    node.lineno,
                    hint="only linear has one: bias=True or bias=False",
                )
            if not (isinstance(word.value, ast.Constant) and isinstance(word.value.value, bool)):
                raise self.error("bias is True or False", node.lineno)
            bias = word.value.value
        return self.make(
            node.func.id, [self.expression(operand, depth + 1) for operand in node.args], node, bias
        )

    def make(self, op: str, operands: list[int], node: ast.expr, bias: bool = True) -> int:
        if not ops.get(op).accepts(len(operands)):
            raise self.error(
                f"{op} takes {ops.get(op).arity_text()} operands, not {len(operands)}", node.lineno
            )
        if len(self.builder.nodes) >= MAX_NODES:
            raise self.error(f"more than {MAX_NODES} nodes", node.lineno)
        return self.builder.node(op, *operands, bias=bias)

    def number(self, node: ast.expr) -> float | None:
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inner = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        if not isinstance(inner, ast.Constant):
            return None
        if isinstance(inner.value, bool) or not isinstance(inner.value, int | float):
            raise self.error(f"{inner.value!r:.40} is not a number", node.lineno)
        try:
            value = float(inner.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.error("the number is too large", node.lineno)
        return -value if negative else value


def _is_t(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "t"


def _is_t_minus_1(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and _is_t(node.left)
        and isinstance(node.right, ast.Constant)
        and node.right.value == 1
        and not isinstance(node.right.value, bool)
    )


def _walk(node: ast.AST) -> list[ast.AST]:
    """All nodes below, in the order in which they are written."""
    found: list[ast.AST] = []
    stack = [node]
    while stack:
        node = stack.pop()
        found.append(node)
        stack.extend(reversed(list(ast.iter_child_nodes(node))))
    return found


# -- writing ---------------------------------------------------------------------------------------


def render(genome: Genome, doc: str = "") -> str:
    """The text form of a genome, with ``doc`` as its docstring; :func:`parse` reads it back."""
    lines = [_docstring(doc)] if doc else []
    body: list[str] = []
    for value, node in genome.numbered():
        if node.name:
            body.append(f"{node.name} = {_node_text(genome, node)}")
        elif value in genome.slots:
            body.append(f"{genome.slots[value]}[t] = {_node_text(genome, node)}")
    for name, value in zip(
        (*genome.state_names, genome.output_name), (*genome.next_states, genome.output), strict=True
    ):
        line = f"{name}[t] = {_reference(genome, value)}"
        if genome.slots.get(value) != name and line not in body:
            body.append(line)
    lines += _initial_lines(genome, body)
    return "\n".join([*lines, *body]) + "\n"


def _initial_lines(genome: Genome, body: list[str]) -> list[str]:
    """``name[0] = ...`` for states that do not start at 0; for all of them where the order would
    not follow from the text.
    """
    appearance = list(dict.fromkeys(re.findall(r"(\w+)\[t-1\]", "\n".join(body))))
    some = [s.name for s in genome.states if s.initial]
    order = sorted(dict.fromkeys((*some, *appearance)), key=lambda name: name != genome.output_name)
    listed = (
        genome.states
        if tuple(order) != genome.state_names
        else [s for s in genome.states if s.initial]
    )
    return [f"{s.name}[0] = {number_text(s.initial)}" for s in listed]


def number_text(value: float) -> str:
    """The shortest text that reads back as this number."""
    return (
        str(int(value))
        if value.is_integer() and abs(value) < 1e16 and (value or math.copysign(1.0, value) > 0)
        else repr(value)
    )


def _docstring(doc: str) -> str:
    escaped = doc.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{escaped}"""' if not escaped.endswith('"') else f'"""{escaped[:-1]}\\""""'


def _reference(genome: Genome, value: int) -> str:
    if genome.is_input(value):
        return f"{genome.inputs[value]}[t]"
    if genome.is_state(value):
        return f"{genome.states[value - len(genome.inputs)].name}[t-1]"
    if value in genome.slots:
        return f"{genome.slots[value]}[t]"
    return genome.nodes[value - genome.first_node].name


def _operand(genome: Genome, value: int, binding: int, chain: str = "") -> str:
    """Text of an operand, in parentheses where it binds weaker than ``binding``; a sum in a sum is
    written ``add(a, b)``.
    """
    node = genome.node(value)
    if node is None or node.name or value in genome.slots:
        return _reference(genome, value)
    if node.op == chain:
        return f"{node.op}({', '.join(_operand(genome, v, 0) for v in node.inputs)})"
    text = _node_text(genome, node)
    weak = _INFIX[node.op][1] if node.op in _INFIX else 3
    if text.startswith("-"):
        weak = 1
    return f"({text})" if weak < binding else text


def _node_text(genome: Genome, node: Node) -> str:
    if node.op == "const":
        return number_text(node.value)
    if node.op in _INFIX:
        sign, binding = _INFIX[node.op]
        chain = node.op if node.op in ("add", "mul") else ""
        first, *rest = node.inputs
        return sign.join(
            [
                _operand(genome, first, binding, chain),
                *(_operand(genome, v, binding + 1, chain) for v in rest),
            ]
        )
    operands = [_operand(genome, v, 0) for v in node.inputs]
    if node.op == "linear" and not node.bias:
        operands.append("bias=False")
    return f"{node.op}({', '.join(operands)})"
