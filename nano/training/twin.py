"""The gpt-oss architecture in plain torch, small and quick to train: every expert computed densely.

Equal to transformers' GptOssForCausalLM up to rounding (the tests compare their logits). The experts' weights pass
through MXFP4 with a straight-through gradient, so that the trained numbers exist in both forms of the checkpoint.
"""

import math

import torch
import torch.nn.functional as functional
from torch import nn

from helpers.instack.nano.geometry import VOCABULARY, CheckpointGeometry
from helpers.instack.nano.weights import dequantise, pack, quantise


def through_mxfp4(weight: torch.Tensor) -> torch.Tensor:
    """The weight as MXFP4 keeps it; the gradient goes to the weight itself."""
    with torch.no_grad():
        kept = dequantise(*quantise(weight))
    return weight + (kept - weight).detach()


def rotary(geometry: CheckpointGeometry, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of the yarn rotary embedding, each (..., head_dim / 2), for positions (...)."""
    g = geometry
    half = torch.arange(0, g.head_dim, 2, device=positions.device, dtype=torch.float32) / g.head_dim
    frequency = 1.0 / g.rope_theta**half

    def dimension(rotations: float) -> float:
        span = g.rope_original_context / (rotations * 2 * math.pi)
        return g.head_dim * math.log(span) / (2 * math.log(g.rope_theta))

    low, high = max(dimension(g.rope_beta_fast), 0), min(dimension(g.rope_beta_slow), g.head_dim - 1)
    index = torch.arange(g.head_dim // 2, device=positions.device, dtype=torch.float32)
    interpolated = ((index - low) / max(high - low, 0.001)).clamp(0, 1)
    frequency = frequency / g.rope_factor * interpolated + frequency * (1 - interpolated)
    scale = 0.1 * math.log(g.rope_factor) + 1.0
    angles = positions.float().unsqueeze(-1) * frequency
    return angles.cos() * scale, angles.sin() * scale


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Apply the rotary embedding to (batch, heads, time, head_dim)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Root-mean-square norm computed in float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon) * weight.to(x.dtype).float()).to(x.dtype)


def dense_attention(q, k, v, sinks, allowed):
    """Attention with a sink logit per head; `allowed` (batch, 1, time, time) is where a query may look."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = (q.float() @ k.float().transpose(-1, -2)) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~allowed, float("-inf"))
    sink = sinks.float().view(1, -1, 1, 1).expand(q.shape[0], -1, q.shape[2], 1)
    weights = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
    return weights.to(v.dtype) @ v


def flex_attention(q, k, v, sinks, block_mask):
    """The same through torch's flex attention: the sink only rescales the output by its share."""
    from torch.nn.attention.flex_attention import flex_attention as flex

    out, lse = flex(q, k, v, block_mask=block_mask, enable_gqa=True, return_lse=True)
    return out * torch.sigmoid(lse - sinks.float().view(1, -1, 1)).unsqueeze(-1).to(out.dtype)


def allowed_pairs(documents: torch.Tensor, window: int | None) -> torch.Tensor:
    """Which pairs of positions of packed documents (batch, time) may attend: (batch, 1, time, time)."""
    time = torch.arange(documents.shape[1], device=documents.device)
    distance = time[:, None] - time[None, :]
    near = (distance >= 0) & (distance < window) if window else distance >= 0
    return ((documents[:, :, None] == documents[:, None, :]) & near).unsqueeze(1)


class BlockMasks:
    """Flex attention's masks for sliding and full layers over packed documents, in buffers that stay in place."""

    def __init__(self, batch: int, time: int, window: int, device: str, block: int = 128):
        from torch.nn.attention.flex_attention import BlockMask

        self.documents = torch.zeros(batch, time, dtype=torch.int32, device=device)
        self.block, self.window = block, window
        documents, blocks = self.documents, time // block

        def full(row, _head, query, key):
            return (documents[row, query] == documents[row, key]) & (query >= key)

        def sliding(row, _head, query, key):
            return (documents[row, query] == documents[row, key]) & (query >= key) & (query - key < window)

        self._counts = [torch.zeros(batch, 1, blocks, dtype=torch.int32, device=device) for _ in range(2)]
        self._indices = [torch.zeros(batch, 1, blocks, blocks, dtype=torch.int32, device=device) for _ in range(2)]
        self._build = lambda: [
            BlockMask.from_kv_blocks(count, index, BLOCK_SIZE=block, mask_mod=mask)
            for count, index, mask in zip(self._counts, self._indices, (sliding, full), strict=True)
        ]
        self.masks = None

    def update(self, documents: torch.Tensor) -> list:
        """The masks [sliding, full] for these documents, whose numbers rise along each row."""
        self.documents.copy_(documents)
        parts = self.documents.unflatten(1, (-1, self.block))
        lowest, highest = parts.amin(-1), parts.amax(-1)
        index = torch.arange(parts.shape[1], device=documents.device)
        distance = index[:, None] - index[None, :]
        touching = (highest[:, None, :] >= lowest[:, :, None]) & (distance >= 0)
        reach = (self.window - 2) // self.block + 1
        for slot, seen in enumerate((touching & (distance <= reach), touching)):
            self._counts[slot].copy_(seen.sum(-1, dtype=torch.int32).unsqueeze(1))
            order = seen.to(torch.int8).argsort(dim=-1, descending=True, stable=True)
            self._indices[slot].copy_(order.to(torch.int32).unsqueeze(1))
        self.masks = self._build()  # also the transposed lists that the backward pass walks
        return self.masks


class Twin(nn.Module):
    """gpt-oss over a compact vocabulary of `tokens` ids and one class for all the others (the last row)."""

    def __init__(self, geometry: CheckpointGeometry, tokens: int, tied: bool = False):
        super().__init__()
        self.geometry, self.tokens, self.tied = geometry, tokens, tied
        self.experts = None  # another way to compute them (`spans.chosen_experts` on a CPU)
        g = geometry
        query, kv = g.query_heads * g.head_dim, g.kv_heads * g.head_dim

        def normal(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape) * scale)

        self.embed = normal(tokens + 1, g.hidden, scale=0.05)
        self.unembed = self.embed if tied else normal(tokens + 1, g.hidden, scale=0.02)
        self.norm = nn.Parameter(torch.ones(g.hidden))
        self.register_buffer("unused_log", torch.tensor(math.log(VOCABULARY - tokens)))
        self.layers = nn.ModuleList()
        for _ in range(g.layers):
            layer = nn.ParameterDict()
            out_scale = 0.5 / math.sqrt(2 * g.layers)
            for name, rows, columns, gain in (
                ("q", query, g.hidden, 1),
                ("k", kv, g.hidden, 1),
                ("v", kv, g.hidden, 1),
                ("o", g.hidden, query, out_scale),
            ):
                layer[f"{name}_weight"] = normal(rows, columns, scale=gain / math.sqrt(columns))
                layer[f"{name}_bias"] = nn.Parameter(torch.zeros(rows))
            layer["sinks"] = nn.Parameter(torch.zeros(g.query_heads))
            layer["norm1"], layer["norm2"] = (nn.Parameter(torch.ones(g.hidden)), nn.Parameter(torch.ones(g.hidden)))
            layer["router_weight"] = normal(g.experts, g.hidden, scale=0.02)
            layer["router_bias"] = nn.Parameter(torch.zeros(g.experts))
            layer["gate_up_weight"] = normal(g.experts, 2 * g.intermediate, g.hidden, scale=1 / math.sqrt(g.hidden))
            layer["gate_up_bias"] = nn.Parameter(torch.zeros(g.experts, 2 * g.intermediate))
            layer["down_weight"] = normal(
                g.experts, g.hidden, g.intermediate, scale=out_scale / math.sqrt(g.intermediate)
            )
            layer["down_bias"] = nn.Parameter(torch.zeros(g.experts, g.hidden))
            self.layers.append(layer)

    def _experts(self, layer, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mixture of experts over (positions, hidden), and the share of router weight each expert got."""
        g, kind = self.geometry, x.dtype
        logits = functional.linear(x, layer["router_weight"].to(kind), layer["router_bias"].to(kind)).float()
        top, chosen = logits.topk(g.experts_per_token, dim=-1)
        share = torch.zeros_like(logits).scatter(-1, chosen, top.softmax(-1))
        gate_up, down = (through_mxfp4(layer[f"{name}_weight"]).to(kind) for name in ("gate_up", "down"))
        if self.experts is None:
            hidden = functional.linear(x, gate_up.flatten(0, 1), layer["gate_up_bias"].to(kind).flatten())
            gate, up = hidden.view(-1, g.experts, g.intermediate, 2).unbind(-1)
            gate, up = gate.clamp(max=g.swiglu_limit), up.clamp(-g.swiglu_limit, g.swiglu_limit)
            active = (up + 1) * gate * torch.sigmoid(gate * g.swiglu_alpha) * share.to(kind).unsqueeze(-1)
            second = down.transpose(0, 1).flatten(1)
            out = functional.linear(active.flatten(1), second) + share.to(kind) @ layer["down_bias"].to(kind)
        else:
            out = self.experts(g, layer, x, share, gate_up, down)
        probability = logits.softmax(-1)
        balance = g.experts * ((share > 0).float().mean(0) * probability.mean(0)).sum() / g.experts_per_token
        return out, balance

    def forward(self, tokens, positions, masks, attention, kind=torch.float32):
        """Hidden states (batch, time, hidden) after the last norm, and the experts' balance loss.

        `masks` are those of the sliding and the full layers, in the form that `attention` takes.
        """
        g = self.geometry
        cos, sin = (part.unsqueeze(1).to(kind) for part in rotary(g, positions))
        x = functional.embedding(tokens, self.embed).to(kind)
        batch, time = tokens.shape
        balance = 0.0
        for index, layer in enumerate(self.layers):
            y = norm(x, layer["norm1"], g.norm_epsilon)
            heads = []
            for name in "qkv":
                projected = functional.linear(y, layer[f"{name}_weight"].to(kind), layer[f"{name}_bias"].to(kind))
                heads.append(projected.view(batch, time, -1, g.head_dim).transpose(1, 2))
            q, k, v = rotate(heads[0], cos, sin), rotate(heads[1], cos, sin), heads[2]
            seen = attention(q, k, v, layer["sinks"].to(kind), masks[index % 2]).transpose(1, 2).flatten(2)
            x = x + functional.linear(seen, layer["o_weight"].to(kind), layer["o_bias"].to(kind))
            y = norm(x, layer["norm2"], g.norm_epsilon)
            out, share = self._experts(layer, y.flatten(0, 1))
            x = x + out.view_as(x)
            balance = balance + share
        return norm(x, self.norm, g.norm_epsilon), balance / g.layers

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores of the compact vocabulary, the last class standing for every token without a row."""
        scores = functional.linear(hidden, self.unembed.to(hidden.dtype)).float()
        return torch.cat([scores[..., :-1], scores[..., -1:] + self.unused_log], -1)

    @torch.no_grad()
    def compact(self, token_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """The compact weights: BF16, the experts in MXFP4."""
        weights = {"embed": self.embed, "norm": self.norm} | ({} if self.tied else {"unembed": self.unembed})
        for index, layer in enumerate(self.layers):
            prefix = f"layers.{index}."
            for name in "qkvo":
                weights[prefix + f"{name}_proj.weight"] = layer[f"{name}_weight"]
                weights[prefix + f"{name}_proj.bias"] = layer[f"{name}_bias"]
            weights |= {prefix + name: layer[name] for name in ("sinks", "norm1", "norm2")}
            weights[prefix + "router.weight"], weights[prefix + "router.bias"] = (
                layer["router_weight"],
                layer["router_bias"],
            )
            for name in ("gate_up", "down"):
                weights[prefix + f"{name}.bias"] = layer[f"{name}_bias"]
        weights = {name: tensor.detach().bfloat16() for name, tensor in weights.items()}
        for index, layer in enumerate(self.layers):
            for name in ("gate_up", "down"):
                codes, scales = quantise(layer[f"{name}_weight"])
                weights[f"layers.{index}.{name}.blocks"], weights[f"layers.{index}.{name}.scales"] = (
                    pack(codes),
                    scales,
                )
        return {name: tensor.cpu().contiguous() for name, tensor in weights.items()} | {
            "token_ids": token_ids.int().cpu()
        }

    @torch.no_grad()
    def load_compact(self, weights: dict[str, torch.Tensor]) -> None:
        """Take the numbers of compact weights."""
        from helpers.instack.nano.weights import unpack

        self.embed.copy_(weights["embed"])
        self.unembed.copy_(weights.get("unembed", weights["embed"]))
        self.norm.copy_(weights["norm"])
        for index, layer in enumerate(self.layers):
            prefix = f"layers.{index}."
            for name in "qkvo":
                layer[f"{name}_weight"].copy_(weights[prefix + f"{name}_proj.weight"])
                layer[f"{name}_bias"].copy_(weights[prefix + f"{name}_proj.bias"])
            for name in ("sinks", "norm1", "norm2"):
                layer[name].copy_(weights[prefix + name])
            layer["router_weight"].copy_(weights[prefix + "router.weight"])
            layer["router_bias"].copy_(weights[prefix + "router.bias"])
            for name in ("gate_up", "down"):
                layer[f"{name}_weight"].copy_(
                    dequantise(unpack(weights[prefix + f"{name}.blocks"]), weights[prefix + f"{name}.scales"])
                )
                layer[f"{name}_bias"].copy_(weights[prefix + f"{name}.bias"])
