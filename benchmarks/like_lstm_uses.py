"""Checks of ``benchmarks/like_lstm.py``: changed weights, and what else is done with a module."""

from __future__ import annotations

import copy
import io
import os
import pickle
import socket
import threading
from typing import Any

import torch
import torch.distributed as dist
from like_lstm_calls import HX, UNSORTED, Make, X, check, gate, gradient, plain
from like_lstm_transforms import matrices, used
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.rnn import PackedSequence
from torch.optim.swa_utils import AveragedModel

# -- changed weights -------------------------------------------------------------------------------


def trained(layer: nn.Module) -> Any:
    """Two calls and a step between them, by the parameters there are now."""
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    first, _ = layer(X)
    first.square().sum().backward()
    optimizer.step()
    second, _ = layer(X)
    return [first.detach().isfinite().all().item(), torch.equal(first, second), layer.training]


@check("parametrize: orthogonal")
def orthogonal(make: Make) -> Any:
    layer = make()
    holder, name, _ = gate(layer)
    parametrizations.orthogonal(holder, name)
    return trained(layer)


@check("parametrize: weight_norm")
def weight_norm(make: Make) -> Any:
    layer = make()
    holder, name, _ = gate(layer)
    parametrizations.weight_norm(holder, name)
    return [plain(layer(X)), trained(layer)]


@check("parametrize: spectral_norm")
def spectral_norm(make: Make) -> Any:
    layer = make()
    holder, name, _ = gate(layer)
    parametrizations.spectral_norm(holder, name)
    return trained(layer)


@check("weight_norm by hook, removed")
def weight_norm_hook(make: Make) -> Any:
    layer = make()
    holder, name, _ = gate(layer)
    nn.utils.weight_norm(holder, name)
    first = plain(layer(X))
    nn.utils.remove_weight_norm(holder, name)
    return [first, plain(layer(X))]


@check("spectral_norm by hook")
def spectral_norm_hook(make: Make) -> Any:
    layer = make()
    holder, name, _ = gate(layer)
    nn.utils.spectral_norm(holder, name)
    return trained(layer)


@check("prune, then for good")
def pruned(make: Make) -> Any:
    layer = make()
    holder, name, rows = gate(layer)
    mask = torch.ones_like(getattr(holder, name))
    mask[rows] = torch.eye(*mask[rows].shape)
    prune.custom_from_mask(holder, name, mask)
    first = plain(layer(X))
    prune.remove(holder, name)
    return [first, plain(layer(X))]


@check("weights replaced and shared")
def replaced(make: Make) -> Any:
    layer, other = make(), make()
    for mine, theirs in zip(layer.parameters(), other.parameters(), strict=True):
        mine.data = theirs.data * 2
    return plain(layer(X))


@check("reset_parameters()")
def reset(make: Make) -> Any:
    layer = make()
    before = [weight.clone() for weight in layer.parameters()]
    layer.reset_parameters()
    own = [weight for name, weight in layer.named_parameters() if "_projection" not in name]
    bound = max(float(weight.detach().abs().max()) for weight in own) <= 0.5
    return [bound, any(map(torch.equal, before, layer.parameters()))]


@check("flatten_parameters()")
def flattened(make: Make) -> Any:
    layer = make()
    return [layer.flatten_parameters(), plain(layer(X))]


@check("attributes")
def attributes(make: Make) -> Any:
    layer = make(batch_first=True, bidirectional=True, dropout=0.25)
    names = "input_size hidden_size num_layers bias batch_first dropout bidirectional proj_size"
    return [getattr(layer, name) for name in names.split()]


@check("all_weights")
def all_weights(make: Make) -> Any:
    layer = make(bidirectional=True)
    parts = layer.all_weights
    named = {id(weight) for weight in layer.parameters()}
    return [len(parts), {id(weight) for part in parts for weight in part} == named]


# -- what else is done with a module ---------------------------------------------------------------


@check("state_dict, strict loading")
def loaded(make: Make) -> Any:
    layer, other = make(), make()
    other.reset_parameters()
    keys = other.load_state_dict(layer.state_dict(), strict=True)
    return [len(keys.missing_keys), plain(other(X))]


@check("wrong: a key too few, strict")
def key_missing(make: Make) -> Any:
    layer = make()
    state = layer.state_dict()
    state.popitem()
    layer.load_state_dict(state)


@check("deepcopy")
def copied(make: Make) -> Any:
    layer = make()
    layer(X)
    twin = copy.deepcopy(layer)
    layer.reset_parameters()
    return used(twin)


@check("pickle")
def pickled(make: Make) -> Any:
    layer = make()
    layer(X)
    return used(pickle.loads(pickle.dumps(layer)))  # noqa: S301 written here


@check("torch.save and load, whole")
def saved_whole(make: Make) -> Any:
    layer, file = make(), io.BytesIO()
    layer(X)
    torch.save(layer, file)
    file.seek(0)
    return used(torch.load(file, weights_only=False))


@check("torch.save and load, weights_only")
def saved_weights(make: Make) -> Any:
    layer, file = make(), io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    layer.reset_parameters()
    layer.load_state_dict(torch.load(file, weights_only=True))
    return plain(layer(X))


@check("hooks: forward, pre, backward")
def hooked(make: Make) -> Any:
    layer, seen = make(), []
    layer.register_forward_pre_hook(lambda *_: seen.append("pre"))
    layer.register_forward_hook(lambda *_: seen.append("forward"))
    layer.register_full_backward_hook(lambda *_: seen.append("backward"))
    x = X.clone().requires_grad_()
    layer(x)[0].sum().backward()
    return [seen, x.grad]


@check("hooks: on a weight, after accumulation")
def weight_hooks(make: Make) -> Any:
    layer, seen = make(), []
    for weight in layer.parameters():
        weight.register_hook(lambda _: seen.append("gradient"))
        weight.register_post_accumulate_grad_hook(lambda _: seen.append("accumulated"))
    layer(X)[0].sum().backward()
    return [sorted(set(seen)), len(seen) == 2 * len(list(layer.parameters()))]


@check("threads")
def threads(make: Make) -> Any:
    layer, found = make(), [None] * 4

    def run(k: int) -> None:
        for _ in range(5):
            output = layer(X * (k + 1))[0]
            output.sum()
        found[k] = plain(output)

    workers = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return found


@check("share_memory()")
def shared(make: Make) -> Any:
    layer = make().share_memory()
    return [all(weight.is_shared() for weight in layer.parameters()), used(layer)]


@check("DataParallel on the CPU")
def parallel(make: Make) -> Any:
    return plain(nn.DataParallel(make())(X))


@check("DistributedDataParallel, gloo, one process")
def distributed(make: Make) -> Any:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = {name: os.environ.get(name) for name in ("GLOO_SOCKET_IFNAME",)}
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    try:
        layer = make()
        output, states = nn.parallel.DistributedDataParallel(layer)(X)
        output.sum().backward()
        return plain([output, states, gradient(layer)])
    finally:
        dist.destroy_process_group()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@check("AveragedModel")
def averaged(make: Make) -> Any:
    layer = make()
    average = AveragedModel(layer)
    average.update_parameters(layer)
    return plain(average(X))


for _name, _kind, _options in [
    ("SGD foreach", torch.optim.SGD, {"foreach": True}),
    ("AdamW foreach", torch.optim.AdamW, {"foreach": True}),
    ("Adam fused", torch.optim.Adam, {"fused": True}),
]:

    def optimized(make: Make, kind: Any = _kind, options: Any = _options) -> Any:
        layer = make()
        optimizer = kind(matrices(layer), lr=1e-3, **options)
        layer(X)[0].square().sum().backward()
        nn.utils.clip_grad_norm_(matrices(layer), 1e3)
        optimizer.step()
        return plain(layer(X)[0])

    check(f"optimiser: {_name}")(optimized)


@check("parameters_to_vector and back")
def vectors(make: Make) -> Any:
    layer = make()
    vector = nn.utils.parameters_to_vector(layer.parameters())
    nn.utils.vector_to_parameters(vector / 2, layer.parameters())
    return plain(layer(X))


@check("Sequential, ModuleList, apply")
def contained(make: Make) -> Any:
    both = nn.Sequential(nn.Identity(), make())
    both.apply(lambda module: module)
    return plain(both(X))


@check("train() and eval() reach it")
def modes(make: Make) -> Any:
    layer = make()
    return [layer.eval().training, layer.train().training]


@check("output of a packed sequence is packed")
def packed_type(make: Make) -> Any:
    output, _ = make()(UNSORTED)
    return isinstance(output, PackedSequence)


@check("keyword names input, hx")
def keywords(make: Make) -> Any:
    return plain(make()(input=X, hx=HX))
