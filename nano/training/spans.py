"""Attention and experts as a CPU computes them quickest: only the pairs and the experts that count.

Equal to `twin.dense_attention` and the twin's dense experts (the tests compare them); their shapes depend on the
data, so a compiled step on a GPU keeps the dense forms.
"""

import itertools

import numpy
import torch
import torch.nn.functional as functional

from nano.training.twin import dense_attention

CHUNK = 128  # queries that are computed together


def spans(documents: numpy.ndarray) -> list[tuple[int, int, int]]:
    """Row, start and end of each of the packed documents (rows, time)."""
    found = []
    for row, numbers in enumerate(documents):
        edges = [0, *(numpy.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(numbers)]
        found += [(row, start, end) for start, end in itertools.pairwise(edges)]
    return found


def span_attention(q, k, v, sinks, mask):
    """Attention within documents; `mask` holds their spans and the sliding window (None: all that came before)."""
    parts, window = mask
    pieces = []
    for row, start, end in parts:
        for low in range(start, end, CHUNK):
            high = min(low + CHUNK, end)
            first = max(start, low - window + 1) if window else start
            distance = torch.arange(low, high)[:, None] - torch.arange(first, high)[None, :]
            near = (distance >= 0) & (distance < window) if window else distance >= 0
            here = slice(row, row + 1)
            pieces.append(
                dense_attention(q[here, :, low:high], k[here, :, first:high], v[here, :, first:high], sinks, near)
            )
    return torch.cat(pieces, 2).view(q.shape[1], q.shape[0], q.shape[2], q.shape[3]).transpose(0, 1)


def chosen_experts(geometry, layer, x, share, gate_up, down):
    """The experts' sum over (positions, hidden), each expert only where the router chose it."""
    out = share @ layer["down_bias"]
    for number in range(geometry.experts):
        rows = share[:, number].nonzero().squeeze(1)
        hidden = functional.linear(x[rows], gate_up[number], layer["gate_up_bias"][number])
        gate, up = hidden.view(-1, geometry.intermediate, 2).unbind(-1)
        gate = gate.clamp(max=geometry.swiglu_limit)
        up = up.clamp(-geometry.swiglu_limit, geometry.swiglu_limit)
        active = (up + 1) * gate * torch.sigmoid(gate * geometry.swiglu_alpha)
        part = functional.linear(active * share[rows, number].unsqueeze(1), down[number])
        out = out.index_add(0, rows, part)
    return out
