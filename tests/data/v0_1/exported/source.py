"""A recurrent cell, one step and over time, in plain PyTorch. Exported by cellsearch.

Equations, one step:

    n1 = linear(x[t], h[t-1])
    h[t] = sigmoid(n1) * h[t-1] + tanh(linear(x[t], tanh(h[t-1])))

Trial 5 of the experiment genetic (genetic, parity), score 0.4219 after 27 steps.

Use:

    layer = Recurrent(input_size=6, hidden_size=6)
    layer.load_state_dict(torch.load("source.pt", weights_only=True))
    output, h = layer(torch.randn(20, 4, 6))
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence


class RecurrentCell(nn.Module):
    """One step: x [B, I] and the states (h) [B, H] each -> output [B, H], next states."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.n1 = nn.ParameterDict(
            {
                "weight_x": torch.empty((hidden_size, input_size)),
                "weight_h": torch.empty((hidden_size, hidden_size)),
                "bias": torch.empty((hidden_size,)),
            }
        )
        self.h = nn.ParameterDict(
            {
                "weight_x": torch.empty((hidden_size, input_size)),
                "weight_1": torch.empty((hidden_size, hidden_size)),
                "bias": torch.empty((hidden_size,)),
            }
        )
        self.reset_parameters(hidden_size)

    def reset_parameters(self, hidden_size: int) -> None:
        """Uniform in +-1/sqrt(H), as in torch.nn.LSTM; gates of connections (scale) start at a constant."""
        bound = hidden_size**-0.5
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute one step."""
        (h,) = states
        n1 = x @ self.n1.weight_x.T + h @ self.n1.weight_h.T + self.n1.bias
        h_5 = torch.tanh(x @ self.h.weight_x.T + torch.tanh(h) @ self.h.weight_1.T + self.h.bias)
        h_t = torch.sigmoid(n1) * h + h_5
        return h_t, (h_t,)


class Recurrent(nn.Module):
    """The cell over sequences, called like torch.nn.LSTM.

    Input [T, B, I] ([B, T, I] with batch_first), [T, I] without a batch, or a PackedSequence. hx: the states (h), each
    [num_layers * directions, B, H]; one state is passed and returned without a tuple. Returns (output [T, B, H * directions], states).
    """

    def __init__(
        self,
        input_size: int = 6,
        hidden_size: int = 6,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * self.directions
            for suffix in ("", "_reverse")[: self.directions]:
                self.add_module(f"l{layer}{suffix}", RecurrentCell(width, hidden_size))
        self.to(device=device, dtype=dtype)

    def forward(self, input: Tensor | PackedSequence, hx=None):
        """Run over whole sequences."""
        if isinstance(input, PackedSequence):
            data, sizes, sort, unsort = input
            x, _ = pad_packed_sequence(PackedSequence(data, sizes))
            states = self._states(hx, x, 3)
            states = states if sort is None else tuple(state[:, sort] for state in states)
            output, states = self._layers(x, states, sizes.tolist())
            states = states if unsort is None else tuple(state[:, unsort] for state in states)
            packed = torch.cat([output[t, :n] for t, n in enumerate(sizes.tolist())])
            return PackedSequence(packed, sizes, sort, unsort), self._packed(states)
        if input.dim() not in (2, 3):
            raise ValueError(f"RNN: Expected input to be 2D or 3D, got {input.dim()}D tensor instead")
        batched = input.dim() == 3
        x = input if batched else input.unsqueeze(0 if self.batch_first else 1)
        x = x.transpose(0, 1) if self.batch_first else x
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        output, states = self._layers(x, self._states(hx, x, input.dim()), [x.shape[1]] * x.shape[0])
        output = output.transpose(0, 1) if self.batch_first else output
        if not batched:
            return output.squeeze(0 if self.batch_first else 1), self._packed([state.squeeze(1) for state in states])
        return output, self._packed(states)

    def _states(self, hx, x: Tensor, dim: int) -> tuple[Tensor, ...]:
        """The given states, or those that the cell starts with."""
        if x.shape[-1] != self.input_size:
            raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}")
        shape = (self.num_layers * self.directions, x.shape[1], self.hidden_size)
        if hx is None:
            largest = torch.finfo(x.dtype).max  # -1e30, which stands for the logarithm of nothing, is no infinity in float16
            return tuple(x.new_tensor(min(max(value, -largest), largest)).expand(shape) for value in (0.0,))
        states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
        states = states if dim == 3 else tuple(state.unsqueeze(1) for state in states)
        if len(states) != 1 or any(tuple(state.shape) != shape for state in states):
            raise RuntimeError(f"Expected 1 hidden state(s) of size {shape}, got {[list(state.shape) for state in states]}")
        return states

    @staticmethod
    def _packed(states):
        return states[0] if len(states) == 1 else tuple(states)

    def _layers(self, x: Tensor, states: tuple[Tensor, ...], sizes: list[int]) -> tuple[Tensor, list[Tensor]]:
        """Run x [T, B, I], longest sequence first; sizes: how many sequences are still running at each position."""
        finals = []
        for layer in range(self.num_layers):
            if layer:
                x = functional.dropout(x, self.dropout, self.training)
            outputs = []
            for direction in range(self.directions):
                cell = getattr(self, f"l{layer}{'_reverse' if direction else ''}")
                row = layer * self.directions + direction
                output, final = self._run(cell, x, tuple(state[row] for state in states), sizes, backwards=direction == 1)
                outputs.append(output)
                finals.append(final)
            x = torch.cat(outputs, -1)
        return x, [torch.stack(state) for state in zip(*finals, strict=True)]

    @staticmethod
    def _run(
        cell: nn.Module, x: Tensor, states: tuple[Tensor, ...], sizes: list[int], backwards: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer in one direction; a sequence whose end has been passed keeps its state, and its output is zero."""
        outputs = []
        steps = range(len(sizes))
        for t in reversed(steps) if backwards else steps:
            n = sizes[t]
            shape = states[0][:n].shape
            output, new = cell(x[t, :n], tuple(state[:n] for state in states))
            states = tuple(torch.cat([now.expand(shape), old[n:]]) for now, old in zip(new, states, strict=True))
            outputs.append(functional.pad(output.expand(shape), (0, 0, 0, x.shape[1] - n)))
        return torch.stack(outputs[::-1] if backwards else outputs), states
