"""Decoding speed of the same network in PyTorch: bfloat16 weights, a static KV cache, a step without the host's help.

Decodes greedily from a context of random tokens. Prints one JSON line; tokens_per_s is of the median round, of all sequences
together. tests/inference/decode_bench.ts measures the same of TitanBit.

    python3 tests/reference/torch_decode.py --size 1.3B --batch 1 --context 512
    python3 tests/reference/torch_decode.py --size 1.3B --mode compile-graph

Modes: `reduce-overhead` is torch.compile with its own CUDA graphs, `compile-graph` torch.compile with the whole step (argmax and
position included) captured by hand, `graph` the plain ops captured by hand, `eager` the plain ops.
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F

from torch_model import SHAPES, Precision, Shape, Transformer, rotate

MODES = ("reduce-overhead", "compile-graph", "graph", "eager")


class Decoder(torch.nn.Module):
    """A token of each sequence: ids (B, 1) and position (1) to logits (B, V), over caches (B, G, capacity, E) of each layer."""

    def __init__(self, model, batch, capacity):
        super().__init__()
        shape = model.shape
        self.model = model
        cache = (batch, shape.kv_heads, capacity, shape.head_dim)
        for layer in range(shape.layers):
            for name in ("k", "v"):
                self.register_buffer(f"{name}{layer}", torch.zeros(cache, dtype=torch.bfloat16), persistent=False)
        self.register_buffer("seen", torch.ones(capacity, capacity).tril().bool(), persistent=False)

    def block(self, block, layer, x, position, cos, sin, mask):
        shape, act = block.shape, torch.bfloat16
        batch, _, hidden = x.shape
        kv_width = shape.kv_heads * shape.head_dim
        q, k, v = block.qkv(block.input_norm(x, act)).split((hidden, kv_width, kv_width), -1)
        q = rotate(q.view(batch, 1, shape.heads, shape.head_dim).transpose(1, 2), cos, sin)
        k = rotate(k.view(batch, 1, shape.kv_heads, shape.head_dim).transpose(1, 2), cos, sin)
        v = v.view(batch, 1, shape.kv_heads, shape.head_dim).transpose(1, 2)
        keys, values = getattr(self, f"k{layer}"), getattr(self, f"v{layer}")
        keys.index_copy_(2, position, k)
        values.index_copy_(2, position, v)
        grouped = shape.heads != shape.kv_heads
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=grouped)
        x = x + block.output(block.attention_norm(y.transpose(1, 2).reshape(batch, 1, hidden), act))
        gate, up = block.gate_up(block.middle_norm(x, act)).chunk(2, -1)
        return x + block.down(block.down_norm(F.silu(gate.float()) * up.float(), act))

    def logits(self, ids, position):
        model = self.model
        x = F.embedding(ids, model.embedding)
        cos, sin, mask = model.cos[position], model.sin[position], self.seen[position][None, None]
        for layer, block in enumerate(model.blocks):
            x = self.block(block, layer, x, position, cos, sin, mask)
        head = model.embedding if model.head is None else model.head
        return F.linear(model.norm(x, torch.bfloat16), head)[:, 0]

    def forward(self, ids, position):
        return self.logits(ids, position).argmax(-1, keepdim=True)


def whole_logits(model, ids):
    """Logits (B, V) of the last token, without a cache."""
    x = F.embedding(ids, model.embedding)
    for block in model.blocks:
        x = block(x, model.cos[:ids.shape[1]], model.sin[:ids.shape[1]])
    head = model.embedding if model.head is None else model.head
    return F.linear(model.norm(x[:, -1:], torch.bfloat16), head)[:, 0]


def check(decoder, model, prompt):
    """Reads the prompt token by token, and holds the last logits to those of a whole pass."""
    for t in range(prompt.shape[1]):
        logits = decoder.logits(prompt[:, t:t + 1], torch.tensor([t], device=prompt.device))
    expected = whole_logits(model, prompt).float()
    error = (logits.float() - expected).norm() / expected.norm()
    if not error < 0.05:
        raise SystemExit(f"error: decoding gives other logits than a whole pass: they differ by {error:.3f} of their size")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SHAPES, default="1.3B", help="a preset (tied)")
    parser.add_argument("--shape", help="hidden,layers,heads,kv_heads,intermediate in the place of --size")
    parser.add_argument("--untied", action="store_true", help="the head has a matrix of its own")
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--mode", choices=MODES, default="reduce-overhead")
    parser.add_argument("--batch", type=int, default=1, help="sequences")
    parser.add_argument("--context", type=int, default=512, help="tokens in the cache when the clock starts")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of a round")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that are timed")
    parser.add_argument("--device", default="cuda", help="cpu for a trial without a card")
    return parser.parse_args()


def stepper(decoder, mode, ids, position):
    """A function that runs one token: the next ids and position stay in these tensors."""
    def plain():
        ids.copy_(decoder(ids, position))
        position.add_(1)

    if mode == "eager":
        return plain
    if mode == "reduce-overhead":
        compiled = torch.compile(decoder, mode="reduce-overhead", fullgraph=True)

        def compiled_step():
            torch.compiler.cudagraph_mark_step_begin()
            ids.copy_(compiled(ids, position))
            position.add_(1)
        return compiled_step
    run = torch.compile(decoder, fullgraph=True) if mode == "compile-graph" else decoder

    def body():
        ids.copy_(run(ids, position))
        position.add_(1)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm up: compile, choose algorithms
        for _ in range(3):
            body()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


@torch.no_grad()
def main():
    args = parse()
    sizes = tuple(map(int, args.shape.split(","))) if args.shape else SHAPES[args.size]
    shape = Shape(*sizes, vocab=args.vocab, tied=not args.untied)
    device = torch.device(args.device)
    on_card = device.type == "cuda"
    torch.manual_seed(0)
    capacity = -(-(args.context + args.tokens) // 64) * 64
    with device:
        model = Transformer(shape, Precision(ternary=False), capacity).eval()
        for parameter in model.parameters():
            parameter.data = parameter.data.to(torch.bfloat16)
        decoder = Decoder(model, args.batch, capacity)
        prompt = torch.randint(0, shape.vocab, (args.batch, 12))
        ids = torch.randint(0, shape.vocab, (args.batch, 1))
        position = torch.zeros(1, dtype=torch.long)
    check(decoder, model, prompt)
    for buffer in decoder.buffers():  # a context of any values; norms bound what they do
        if buffer.dtype == torch.bfloat16:
            buffer.normal_()
    started = time.perf_counter()
    step = stepper(decoder, args.mode, ids, position)

    def round_ms():
        position.fill_(args.context)
        if on_card:
            torch.cuda.synchronize()
        before = time.perf_counter()
        for _ in range(args.tokens):
            step()
        if on_card:
            torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - before) / args.tokens

    for _ in range(3):
        round_ms()
    warmup_s = time.perf_counter() - started
    times = sorted(round_ms() for _ in range(args.rounds))
    median = times[len(times) // 2]
    print(json.dumps({
        "framework": f"torch {torch.__version__}",
        "device": torch.cuda.get_device_name() if on_card else "cpu",
        "mode": args.mode,
        "size": "custom" if args.shape else args.size,
        "shape": sizes,
        "batch": args.batch,
        "context": args.context,
        "weights_mb": round(sum(p.numel() * p.element_size() for p in model.parameters()) / 1e6, 1),
        "ms_per_token": round(median, 4),
        "fastest_ms_per_token": round(times[0], 4),
        "tokens_per_s": round(args.batch * 1000 / median, 1),
        "warmup_s": round(warmup_s, 1),
    }), flush=True)


main()
