"""Checks of ``benchmarks/like_lstm.py``: calls, arguments, errors, dtypes, devices, autocast.

Each takes what makes a layer (called as ``torch.nn.LSTM``; without sizes ``(3, 4, 2)``) and gives
what it saw, to be the same in every form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

__all__ = [
    "CHECKS",
    "HX",
    "UNSORTED",
    "Check",
    "Make",
    "X",
    "check",
    "gate",
    "gate_name",
    "gradient",
    "plain",
]

Make = Callable[..., nn.Module]
Check = Callable[[Make], Any]

X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))
HX = tuple(torch.rand(2, 2, 4, generator=torch.Generator().manual_seed(k)) for k in (2, 3))
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    """Put a function into the table."""

    def put(function: Check) -> Check:
        assert CHECKS.get(name, function).__qualname__ == function.__qualname__, name
        CHECKS[name] = function
        return function

    return put


def plain(value: Any) -> Any:
    """Outputs as values: no graph, packed sequences as their parts."""
    if isinstance(value, PackedSequence):
        return [plain(part) for part in value if part is not None]
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    return value.detach() if isinstance(value, Tensor) else value


def calls(name: str, x: Any, hx: Any = None, **options: Any) -> None:
    """Checks of one call, its outputs and the gradient of the input."""

    def run(make: Make) -> Any:
        layer = make(**options)
        given = x() if callable(x) else x
        return plain(layer(given, hx) if hx is not None else layer(given))

    check(name)(run)


def wide(x: Any, dtype: torch.dtype) -> Any:
    """In another dtype, all parts."""
    return tuple(wide(part, dtype) for part in x) if isinstance(x, tuple) else x.to(dtype)


def gate(layer: nn.Module) -> tuple[nn.Module, str, slice]:
    """The module and the name of the recurrent weight of the first gate, and its rows."""
    if isinstance(layer, nn.LSTM):
        return layer, "weight_hh_l0", slice(0, 4)
    path, _, name = gate_name(layer).rpartition(".")
    return layer.get_submodule(path), name, slice(None)


def gate_name(layer: nn.Module) -> str:
    """The weight of a cell that stands for it: of gate i where there is one, else the first matrix
    from a state, or from x where no state has one.
    """
    known = [name for name, weight in layer.named_parameters() if weight.dim() == 2]
    own = [name for name in known if name.startswith("l0.")]
    of_state = [name for name in own if ".weight_h" in name]
    return next((name for name in own if name == "l0.i.weight_h"), (of_state or own)[0])


def gradient(layer: nn.Module) -> Tensor:
    """The gradient of that weight."""
    holder, name, rows = gate(layer)
    return getattr(holder, name).grad[rows].clone()


# -- calls -----------------------------------------------------------------------------------------

LONG = pack_padded_sequence(X, torch.tensor([5, 3]))
UNSORTED = pack_padded_sequence(X, torch.tensor([3, 5]), enforce_sorted=False)
FOUR = tuple(torch.cat([state, state.flip(0)]) for state in HX)

calls("call", X)
calls("call with hx", X, HX)
calls("hx as a list", X, list(HX))
calls("batch_first", X.transpose(0, 1), batch_first=True)
calls("bidirectional", X, bidirectional=True)
calls("bidirectional, hx", X, FOUR, bidirectional=True)
calls("unbatched", X[:, 0])
calls("unbatched, hx", X[:, 0], tuple(state[:, 0] for state in HX))
calls("unbatched, batch_first", X[:, 0], batch_first=True)
calls("packed, sorted", LONG)
calls("packed, sorted, hx", LONG, HX)
calls("packed, unsorted", UNSORTED)
calls("packed, unsorted, hx", UNSORTED, HX)
calls("packed, unsorted, hx, bidirectional", UNSORTED, FOUR, bidirectional=True)
calls("packed, batch_first", UNSORTED, HX, batch_first=True)
calls("packed by pack_sequence", pack_sequence([X[:, 0], X[:2, 1]]))
calls("empty batch", X[:, :0])
calls("empty batch, hx", X[:, :0], tuple(state[:, :0] for state in HX))
calls("T = 0", X[:0])
calls("T = 0, unbatched", X[:0, 0])
calls("T = 1", X[:1])
calls("not contiguous", torch.randn(3, 2, 10)[:, :, ::2].permute(2, 1, 0))
calls("expanded input", X[:1, :1].expand(5, 2, 3))
calls("expanded hx", X, tuple(state[:1, :1].expand(2, 2, 4) for state in HX))
calls("NaN and infinity", torch.where(X > 1, torch.inf, X).nan_to_num(posinf=1e30))
calls("device, dtype arguments", X.double(), device="cpu", dtype=torch.float64)
calls("device as torch.device", X, device=torch.device("cpu"))
calls("dropout of one", X, dropout=1.0)

# -- errors ----------------------------------------------------------------------------------------

calls("wrong: 1-D input", X[0, 0])
calls("wrong: 4-D input", X[None])
calls("wrong: width", X[..., :2])
calls("wrong: width, packed", pack_padded_sequence(X[..., :2], torch.tensor([5, 3])))
calls("wrong: dtype float64", X.double())
calls("wrong: dtype float16", X.half())
calls("wrong: dtype int64", X.long())
calls("wrong: dtype, packed", pack_padded_sequence(X.double(), torch.tensor([5, 3])))
calls("wrong: hx batch", X, tuple(state[:, :1] for state in HX))
calls("wrong: hx layers", X, tuple(state[:1] for state in HX))
calls("wrong: hx width", X, tuple(state[..., :3] for state in HX))
calls("wrong: hx 2-D", X, tuple(state[0] for state in HX))
calls("wrong: hx 3-D, unbatched", X[:, 0], HX)
calls("wrong: hx dtype", X, wide(HX, torch.float64))
calls("wrong: c only", X, (HX[0], HX[1][..., :3]))
calls("wrong: not a tensor", lambda: [[1.0, 2.0, 3.0]])
calls("wrong: None", lambda: None)
calls("wrong: numpy", lambda: X.numpy())
calls("wrong: dropout of 2", X, dropout=2.0)
calls("wrong: dropout of -1", X, dropout=-1.0)
calls("wrong: dropout is a text", X, dropout="0.1")
calls("wrong: batch_first is a text", X, batch_first="yes")
calls("wrong: unknown option", X, nonsense=True)
calls("bias=False", X, bias=False)
calls("bias=True, proj_size=0", X, bias=True, proj_size=0)
calls("proj_size=2", X, proj_size=2)
calls("proj_size of H", X, proj_size=4)


@check("positional (I, H, layers)")
def positional(make: Make) -> Any:
    return plain(make(3, 4, 1)(X))


@check("nn.LSTM's order of positions, up to bias")
def positional_bias(make: Make) -> Any:
    return plain(make(3, 4, 2, True)(X))


@check("positional (I, H, layers, bias, batch_first)")
def positional_all(make: Make) -> Any:
    return plain(make(3, 4, 2, True, True)(X))


@check("dropout draws between layers in training only")
def dropout(make: Make) -> Any:
    layer = make(dropout=0.5)
    train = [layer(X)[0] for _ in range(2)]
    layer.eval()
    return [torch.equal(*train), plain(layer(X))]


for _name, _sizes in {
    "wrong: hidden_size 0": (3, 0),
    "wrong: input_size -1": (-1, 4),
    "wrong: num_layers 0": (3, 4, 0),
    "wrong: hidden_size 4.0": (3, 4.0),
}.items():
    check(_name)(lambda make, sizes=_sizes: plain(make(*sizes)(X)))

# -- dtypes, devices -------------------------------------------------------------------------------

for _dtype in (torch.float64, torch.float16, torch.bfloat16):

    def typed(make: Make, dtype: torch.dtype = _dtype) -> Any:
        layer = make().to(dtype)
        x = X.to(dtype).requires_grad_()
        output, states = layer(x, wide(HX, dtype))
        output.float().square().sum().backward()
        return plain([output, states, x.grad, gradient(layer)])

    def typed_more(make: Make, dtype: torch.dtype = _dtype) -> Any:
        layer = make(bidirectional=True).to(dtype)
        return plain(layer(X.to(dtype)))

    check(f".to({_dtype})")(typed)
    check(f".to({_dtype}), bidirectional")(typed_more)
    check(f"dtype={_dtype}")(lambda make, d=_dtype: plain(make(dtype=d)(X.to(d))))

check(".double()")(lambda make: plain(make().double()(X.double())))
check(".half()")(lambda make: plain(make().half()(X.half())))
check(".bfloat16()")(lambda make: plain(make().bfloat16()(X.bfloat16())))
check(".double().float()")(lambda make: plain(make().double().float()(X)))
check("packed float64")(
    lambda make: plain(make().double()(pack_padded_sequence(X.double(), torch.tensor([5, 3]))))
)
check("float64 weights, float32 input")(lambda make: plain(make().double()(X)))
check("empty batch, float64")(lambda make: plain(make().double()(X[:, :0].double())))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@check("set_default_dtype(float64)")
def under_default_dtype(make: Make) -> Any:
    with default_dtype(torch.float64):
        return plain(make()(X.double()))


check("meta: call")(lambda make: plain(make().to("meta")(X.to("meta"))))
check("meta: hx")(
    lambda make: plain(make().to("meta")(X.to("meta"), tuple(s.to("meta") for s in HX)))
)


@check("meta: device='meta', to_empty, load")
def meta_to_empty(make: Make) -> Any:
    layer = make(device="meta").to_empty(device="cpu")
    layer.load_state_dict(make().state_dict())
    return plain(layer(X))


@check("meta: load with assign=True")
def meta_assign(make: Make) -> Any:
    layer = make(device="meta")
    layer.load_state_dict(make().state_dict(), assign=True)
    return plain(layer(X))


@check("made inside torch.device('meta')")
def made_on_meta(make: Make) -> Any:
    with torch.device("meta"):
        layer = make()
    return [weight.is_meta for weight in layer.parameters()][:1]


@check("CPU layer, meta input")
def mixed_devices(make: Make) -> Any:
    return plain(make()(X.to("meta")))


# -- autocast --------------------------------------------------------------------------------------


def autocast(
    name: str,
    given: Callable[[], Any],
    hx: Any = None,
    dtype: torch.dtype = torch.bfloat16,
    weights: torch.dtype = torch.float32,
    *,
    uniform: bool = False,
) -> None:
    """``uniform``: torch.nn.LSTM leaves some of these calls in float32, as its CPU kernels happen
    to be chosen; a cell treats them as all others. Values and shapes are compared then.
    """

    def run(make: Make) -> Any:
        layer = make().to(weights)
        with torch.autocast("cpu", dtype):
            output, states = layer(given(), hx) if hx else layer(given())
        (output.data if isinstance(output, PackedSequence) else output).float().sum().backward()
        if uniform and isinstance(layer, nn.LSTM):
            output = (
                output._replace(data=output.data.to(dtype))
                if isinstance(output, PackedSequence)
                else output.to(dtype)
            )
            states = wide(states, dtype)
        return plain([output, states, gradient(layer).dtype])

    check(f"autocast: {name}")(run)


autocast("float32 in", lambda: X)
autocast("bfloat16 in", lambda: X.bfloat16())
autocast("float32 in, hx", lambda: X, HX)
autocast("bfloat16 in and hx", lambda: X.bfloat16(), wide(HX, torch.bfloat16))
autocast("bfloat16 in, float32 hx", lambda: X.bfloat16(), HX, uniform=True)
autocast("float16", lambda: X, dtype=torch.float16)
autocast("packed", lambda: UNSORTED, uniform=True)
autocast("packed, hx", lambda: UNSORTED, HX, uniform=True)
autocast("float64 layer", lambda: X.double(), weights=torch.float64)
autocast("bfloat16 layer", lambda: X.bfloat16(), weights=torch.bfloat16)
autocast("empty batch", lambda: X[:, :0], uniform=True)
autocast("unbatched", lambda: X[:, 0])


@check("autocast: state carried on")
def autocast_carried(make: Make) -> Any:
    layer, linear = make(), nn.Linear(3, 3)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    with torch.autocast("cpu", torch.bfloat16):
        _, state = layer(linear(X))
        return plain(layer(linear(X), state))


@check("autocast: inside a model, enabled=False")
def autocast_off(make: Make) -> Any:
    layer = make()
    with torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
        return plain(layer(X))
