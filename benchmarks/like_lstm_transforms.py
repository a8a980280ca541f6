"""Checks of ``benchmarks/like_lstm.py``: gradients, transforms and compilers."""

from __future__ import annotations

from typing import Any

import torch
from like_lstm_calls import HX, UNSORTED, Make, X, check, gate_name, gradient, plain
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, jacrev, jvp, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint


class Model(nn.Module):
    """A layer between two others, called twice."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.readout = nn.Linear(getattr(layer, "battery_width", 4), 2)
        nn.init.constant_(self.readout.weight, 0.3)
        nn.init.zeros_(self.readout.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Both calls' outputs, read out."""
        y, state = self.layer(torch.relu(x))
        again: Tensor = self.readout(self.layer(x, state)[0] + y)
        return again


class Batched(nn.Module):
    """Output and h of a call, for tools that know tensors only."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Output and h."""
        output, states = self.layer(x)
        return output, states[0]


def used(layer: nn.Module, x: Any = X) -> Any:
    """The layer works, then and after: two calls and a gradient."""
    layer.zero_grad()
    output, states = layer(x)
    output.square().sum().backward()
    return plain([output, states, layer(x)[0], gradient(layer)])


# -- gradients -------------------------------------------------------------------------------------


@check("gradients: input, hx, weights")
def gradients(make: Make) -> Any:
    layer = make()
    x, hx = X.clone().requires_grad_(), [s.clone().requires_grad_() for s in HX]
    output, (h, c) = layer(x, tuple(hx))
    (output.square().sum() + h.sum() + (2 * c).sum()).backward()
    return plain([x.grad, *[s.grad for s in hx], gradient(layer)])


@check("gradients: packed")
def gradients_packed(make: Make) -> Any:
    layer = make(bidirectional=True)
    data = UNSORTED.data.clone().requires_grad_()
    output, (h, _) = layer(UNSORTED._replace(data=data))
    (output.data.square().sum() + h.sum()).backward()
    return plain([data.grad, gradient(layer)])


@check("gradients: c alone")
def gradients_c(make: Make) -> Any:
    x = X.clone().requires_grad_()
    make()(x)[1][1].sum().backward()
    return x.grad


@check("retain_graph twice, two losses")
def kept(make: Make) -> Any:
    layer = make()
    output, (h, _) = layer(X)
    output.square().sum().backward(retain_graph=True)
    h.sum().backward(retain_graph=True)
    layer(X)
    output.sum().backward()
    return gradient(layer)


@check("backward twice without retain_graph")
def freed(make: Make) -> Any:
    output, _ = make()(X)
    output.sum().backward()
    output.sum().backward()


@check("weight changed in place before backward")
def changed(make: Make) -> Any:
    layer = make()
    output, _ = layer(X)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(1)
    output.sum().backward()


@check("autograd.functional.jacobian")
def jacobian(make: Make) -> Any:
    layer = make()
    return torch.autograd.functional.jacobian(lambda x: layer(x)[0], X)


@check("jacobian, vectorize=True")
def jacobian_vectorized(make: Make) -> Any:
    layer = make()
    return torch.autograd.functional.jacobian(lambda x: layer(x)[0], X, vectorize=True)


@check("double backward")
def twice(make: Make) -> Any:
    layer, x = make(), X.clone().requires_grad_()
    (first,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    first.square().sum().backward()
    return [x.grad, gradient(layer)]


@check("autograd.functional.hessian")
def hessian(make: Make) -> Any:
    layer = make().double()
    x = X[:2].double()
    return torch.autograd.functional.hessian(lambda x: layer(x)[0].square().sum(), x)


@check("gradcheck, float64")
def checked(make: Make) -> Any:
    layer = make().double()
    return torch.autograd.gradcheck(
        lambda x: layer(x)[0], X[:2].double().requires_grad_(), check_batched_grad=False
    )


@check("frozen weights")
def frozen(make: Make) -> Any:
    layer = make().requires_grad_(False)
    x = X.clone().requires_grad_()
    layer(x)[0].sum().backward()
    return plain(
        [x.grad, layer(X)[0].requires_grad, all(w.grad is None for w in layer.parameters())]
    )


@check("one frozen weight")
def frozen_one(make: Make) -> Any:
    layer = make()
    last = list(layer.parameters())[-1].requires_grad_(False)
    layer(X)[0].sum().backward()
    return [last.grad is None, gradient(layer)]


@check("no_grad, then training")
def no_grad(make: Make) -> Any:
    layer = make()
    with torch.no_grad():
        output, _ = layer(X)
    return plain([output.requires_grad, output, used(layer)])


@check("inference_mode, then training")
def inference(make: Make) -> Any:
    layer = make()
    with torch.inference_mode():
        output, _ = layer(X)
        seen = output.is_inference()
    return [seen, output.clone(), used(layer)]


@check("made inside inference_mode")
def made_in_inference(make: Make) -> Any:
    with torch.inference_mode():
        return plain(make()(X)[0].clone())


for _reentrant in (False, True):

    def checkpointed(make: Make, reentrant: bool = _reentrant) -> Any:
        layer, x = make(), X.clone().requires_grad_()
        output = checkpoint(lambda x: layer(x)[0], x, use_reentrant=reentrant)
        output.sum().backward()
        return plain([output, x.grad, gradient(layer)])

    check(f"checkpointing, use_reentrant={_reentrant}")(checkpointed)


@check("saved_tensors_hooks")
def saved(make: Make) -> Any:
    layer = make()
    with torch.autograd.graph.save_on_cpu():
        output, _ = layer(X)
    output.sum().backward()
    return gradient(layer)


@check("detect_anomaly")
def anomaly(make: Make) -> Any:
    with torch.autograd.detect_anomaly():
        return used(make())


# -- transforms ------------------------------------------------------------------------------------


def weights_of(layer: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, without a graph."""
    return {name: weight.detach() for name, weight in layer.named_parameters()}


def of_gate(layer: nn.Module, values: dict[str, Tensor], dim: int = 0) -> Tensor:
    """The value for the recurrent weight of the first gate; its rows are those of ``dim``."""
    known = isinstance(layer, nn.LSTM)
    return values["weight_hh_l0"].narrow(dim, 0, 4) if known else values[gate_name(layer)]


def matrices(layer: nn.Module) -> list[nn.Parameter]:
    """All weights but the biases, of which torch.nn.LSTM has two where a cell has one."""
    return [weight for weight in layer.parameters() if weight.dim() == 2]


@check("functional_call")
def functional(make: Make) -> Any:
    layer = make()
    halves = {name: weight / 2 for name, weight in weights_of(layer).items()}
    return [plain(functional_call(layer, halves, (X,))), used(layer)]


@check("torch.func.grad over weights")
def func_grad(make: Make) -> Any:
    layer = make()
    found = grad(lambda w: functional_call(layer, w, (X,))[0].square().sum())(weights_of(layer))
    return [of_gate(layer, found), used(layer)]


@check("torch.func.grad over the input")
def func_grad_input(make: Make) -> Any:
    layer = make()
    return [grad(lambda x: layer(x)[0].square().sum())(X), used(layer)]


@check("torch.func.jacrev")
def func_jacrev(make: Make) -> Any:
    layer = make()
    return [jacrev(lambda x: layer(x)[0].sum(-1))(X), used(layer)]


@check("torch.func.vjp")
def func_vjp(make: Make) -> Any:
    layer = make()
    output, back = vjp(lambda x: layer(x)[0], X)
    return [plain(output), plain(back(torch.ones_like(output))), used(layer)]


@check("torch.func.vmap over the input")
def func_vmap(make: Make) -> Any:
    layer = make()
    return [plain(vmap(lambda x: layer(x)[0])(torch.stack([X, 2 * X]))), used(layer)]


@check("torch.func.vmap over weights")
def func_vmap_weights(make: Make) -> Any:
    layer = make()
    two = {name: torch.stack([weight, weight / 2]) for name, weight in weights_of(layer).items()}
    return [vmap(lambda w: functional_call(layer, w, (X,))[0])(two), used(layer)]


@check("torch.func.jvp")
def func_jvp(make: Make) -> Any:
    layer = make()
    return [plain(jvp(lambda x: layer(x)[0], (X,), (X,))), used(layer)]


@check("per-sample gradients")
def per_sample(make: Make) -> Any:
    layer = make()

    def loss(w: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(layer, w, (x,))[0].square().sum()

    found = vmap(grad(loss), (None, 1))(weights_of(layer), X)
    return [of_gate(layer, found, 1), used(layer)]


@check("FakeTensorMode")
def fake(make: Make) -> Any:
    layer = make()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        shape = layer(mode.from_tensor(X))[0].shape
    return [tuple(shape), used(layer)]


@check("make_fx")
def fx(make: Make) -> Any:
    layer = make()
    return [plain(make_fx(lambda x: layer(x)[0])(X)(2 * X)), used(layer)]


# -- compilers -------------------------------------------------------------------------------------


for _training in (True, False):

    def compiled(make: Make, training: bool = _training) -> Any:
        torch.compiler.reset()
        layer = make().train(training)
        return used(torch.compile(layer, backend="eager")._orig_mod) and plain(
            [torch.compile(layer, backend="eager")(X), torch.compile(layer, backend="eager")(X, HX)]
        )

    check(f"torch.compile alone, training={_training}")(compiled)


@check("torch.compile in a model, training")
def compiled_model(make: Make) -> Any:
    torch.compiler.reset()
    model = Model(make())
    fast = torch.compile(model, backend="aot_eager")
    fast(X).square().sum().backward()
    return plain([fast(X), fast(X[:3]), gradient(model.layer)])


@check("torch.compile, packed")
def compiled_packed(make: Make) -> Any:
    torch.compiler.reset()
    return plain(torch.compile(make(), backend="eager")(UNSORTED, HX))


@check("torch.compile, autocast")
def compiled_autocast(make: Make) -> Any:
    torch.compiler.reset()
    fast = torch.compile(Model(make()), backend="eager")
    with torch.autocast("cpu", torch.bfloat16):
        return plain(fast(X))


@check("module.compile()")
def compiled_in_place(make: Make) -> Any:
    torch.compiler.reset()
    layer = make()
    layer.compile(backend="eager")
    return used(layer)


@check("torch.export, static")
def exported(make: Make) -> Any:
    program = torch.export.export(Batched(make().eval()), (X,))
    return plain(program.module()(2 * X))


@check("torch.export in a model, with hx")
def exported_model(make: Make) -> Any:
    return plain(torch.export.export(Model(make()).eval(), (X,)).module()(2 * X))


@check("jit.trace")
def traced(make: Make) -> Any:
    layer = make()
    return [plain(torch.jit.trace(Batched(layer), X)(2 * X)), used(layer)]


@check("jit.script")
def scripted(make: Make) -> Any:
    return plain(torch.jit.script(Batched(make()))(X))
