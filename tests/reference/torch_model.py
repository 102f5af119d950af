"""BitNetTransformer in PyTorch: the network to compare speed and loss with.

The layers are those of lib/model: RMS norm, projections stacked where they share their input (q, k, v; gate, up), rotary
positions by halves, causal attention, sub-norms before the output and down projections, SwiGLU. Parameters are float32.

Letters: B sequences, T tokens of a sequence, D hidden size, F intermediate size, V vocabulary, H query heads, G key/value
heads, E head dimension.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

# Kept in step with MODEL_PRESETS of lib/model/presets.ts by tests/reference/torch_model_test.ts.
SHAPES = {  # hidden, layers, heads, kv_heads, intermediate
    "125M": (768, 12, 12, 12, 2560),
    "350M": (1024, 24, 16, 16, 2816),
    "700M": (1536, 24, 24, 24, 4096),
    "1.3B": (2048, 24, 32, 32, 5632),
    "3B": (3200, 26, 32, 32, 8192),
}


@dataclass(frozen=True)
class Shape:
    """What the network is."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int = 32000
    tied: bool = True
    rope_theta: float = 10000.0
    eps: float = 1e-5
    init_std: float = 0.02

    @property
    def head_dim(self):
        return self.hidden // self.heads


@dataclass(frozen=True)
class Precision:
    """How it is computed. Parameters, norms' statistics, quantisers and the loss are float32 whatever this says."""

    ternary: bool
    # What passes between layers: q, k, v, attention's output, gate and up, the head's input.
    activations: torch.dtype = torch.bfloat16
    # Stream that the layers add to.
    residual: torch.dtype = torch.bfloat16
    # Operands of the projections' products. In float32 a product of ternary weights and 8-bit activations is exact but for the
    # two scales, as with integers; bfloat16 rounds both operands after they are scaled.
    products: torch.dtype = torch.bfloat16


# ---- BitLinear ---------------------------------------------------------------------------------------------------------

def straight_through(x, quantized):
    """The quantised values in the forward pass, exactly; the identity in the backward pass."""
    return quantized.detach() + (x - x.detach())


def fake_quantize_tokens(x):
    """absmax per token: round(x * 127 / max|x|) / (127 / max|x|)."""
    x = x.float()
    scale = 127.0 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    return straight_through(x, (x * scale).round().clamp(-128, 127) / scale)


def fake_quantize_weight(w, parts):
    """beta * clip(round(w / beta), -1, 1) with beta = mean|w| of each of the matrices stacked in w."""
    quantized = []
    for part in w.detach().split(parts):
        beta = part.abs().mean().clamp(min=1e-5)
        quantized.append((part / beta).round().clamp(-1, 1) * beta)
    return straight_through(w, torch.cat(quantized) if len(parts) > 1 else quantized[0])


class Projection(nn.Module):
    """Matrices that share their input, stacked as one product."""

    def __init__(self, in_features, parts, shape, precision):
        super().__init__()
        self.parts = list(parts)
        self.precision = precision
        self.weight = nn.Parameter(torch.randn(sum(parts), in_features) * shape.init_std)

    def forward(self, x):
        w, products = self.weight, self.precision.products
        if self.precision.ternary:
            x, w = fake_quantize_tokens(x), fake_quantize_weight(w, self.parts)
        return F.linear(x.to(products), w.to(products))


class RmsNorm(nn.Module):
    """Statistics in float32; the result too where a quantiser follows, since that is not stored."""

    def __init__(self, width, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = shape.eps

    def forward(self, x, out):
        x = x.float()
        return (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight).to(out)


# ---- The network --------------------------------------------------------------------------------------------------------

def rotate(x, cos, sin):
    """Rotary positions on (B, H, T, E), the pairs being E / 2 apart."""
    low, high = x.float().chunk(2, -1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1).to(x.dtype)


class Block(nn.Module):
    def __init__(self, shape, precision):
        super().__init__()
        self.shape, self.precision = shape, precision
        kv_width = shape.kv_heads * shape.head_dim
        self.input_norm = RmsNorm(shape.hidden, shape)
        self.qkv = Projection(shape.hidden, (shape.hidden, kv_width, kv_width), shape, precision)
        self.attention_norm = RmsNorm(shape.hidden, shape)
        self.output = Projection(shape.hidden, (shape.hidden,), shape, precision)
        self.middle_norm = RmsNorm(shape.hidden, shape)
        self.gate_up = Projection(shape.hidden, (shape.intermediate, shape.intermediate), shape, precision)
        self.down_norm = RmsNorm(shape.intermediate, shape)
        self.down = Projection(shape.intermediate, (shape.hidden,), shape, precision)

    def forward(self, x, cos, sin):
        shape, act, residual = self.shape, self.precision.activations, self.precision.residual
        normed = torch.float32 if self.precision.ternary else act
        batch, tokens, hidden = x.shape
        kv_width = shape.kv_heads * shape.head_dim
        q, k, v = self.qkv(self.input_norm(x, normed)).to(act).split((hidden, kv_width, kv_width), -1)
        q = rotate(q.view(batch, tokens, shape.heads, shape.head_dim).transpose(1, 2), cos, sin)
        k = rotate(k.view(batch, tokens, shape.kv_heads, shape.head_dim).transpose(1, 2), cos, sin)
        v = v.view(batch, tokens, shape.kv_heads, shape.head_dim).transpose(1, 2)
        grouped = shape.heads != shape.kv_heads
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        y = y.transpose(1, 2).reshape(batch, tokens, hidden)
        x = x + self.output(self.attention_norm(y, normed)).to(residual)
        gate, up = self.gate_up(self.middle_norm(x, normed)).to(act).chunk(2, -1)
        gated = F.silu(gate.float()) * up.float()
        return x + self.down(self.down_norm(gated, normed)).to(residual)


class Transformer(nn.Module):
    """Token ids (B, T) and their targets (B, T) to the mean cross-entropy in nats."""

    def __init__(self, shape, precision, tokens):
        super().__init__()
        self.shape, self.precision = shape, precision
        self.embedding = nn.Parameter(torch.randn(shape.vocab, shape.hidden) * shape.init_std)
        self.blocks = nn.ModuleList(Block(shape, precision) for _ in range(shape.layers))
        self.norm = RmsNorm(shape.hidden, shape)
        self.head = None if shape.tied else nn.Parameter(torch.randn(shape.vocab, shape.hidden) * shape.init_std)
        frequencies = shape.rope_theta ** (-torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim)
        angles = torch.arange(tokens, dtype=torch.float64)[:, None] * frequencies
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, ids, targets):
        act, products = self.precision.activations, self.precision.products
        x = F.embedding(ids, self.embedding).to(self.precision.residual)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        head = self.embedding if self.head is None else self.head
        logits = F.linear(self.norm(x, act).to(products), head.to(act).to(products))
        return F.cross_entropy(logits.float().view(-1, self.shape.vocab), targets.view(-1))


def parameter_groups(model, weight_decay):
    """AdamW's groups: matrices decay, norms do not."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    norms = [p for p in model.parameters() if p.dim() == 1]
    return [dict(params=matrices, weight_decay=weight_decay, decayed=True),
            dict(params=norms, weight_decay=0.0, decayed=False)]


def huggingface_names(shape):
    """Hugging Face's names of each parameter of Transformer; several are stacked."""
    names = {"embedding": ["model.embed_tokens"], "norm.weight": ["model.norm"]}
    for layer in range(shape.layers):
        def of(*parts):
            return [f"model.layers.{layer}.{part}" for part in parts]

        names |= {f"blocks.{layer}.{key}.weight": value for key, value in {
            "input_norm": of("input_layernorm"),
            "qkv": of("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            "attention_norm": of("self_attn.attn_sub_norm"),
            "output": of("self_attn.o_proj"),
            "middle_norm": of("post_attention_layernorm"),
            "gate_up": of("mlp.gate_proj", "mlp.up_proj"),
            "down_norm": of("mlp.ffn_sub_norm"),
            "down": of("mlp.down_proj"),
        }.items()}
    if not shape.tied:
        names["head"] = ["lm_head"]
    return {key: [name + ".weight" for name in value] for key, value in names.items()}


@torch.no_grad()
def load_huggingface(model, tensors):
    """Copies a dict of tensors by Hugging Face's names into the model; every name must be used."""
    names = huggingface_names(model.shape)
    for key, parameter in model.named_parameters():
        value = torch.cat([tensors[name] for name in names[key]]) if len(names[key]) > 1 else tensors[names[key][0]]
        if value.shape != parameter.shape:
            raise ValueError(f"{key} has shape {tuple(parameter.shape)}, the file gives {tuple(value.shape)}")
        parameter.copy_(value)
    used = {name for key, _ in model.named_parameters() for name in names[key]}
    if used != set(tensors):
        raise ValueError(f"the file has other parameters too: {sorted(set(tensors) - used)[:3]}")
