"""Training speed of the same network in PyTorch under torch.compile, to be measured beside TitanBit's on the same card.

Random tokens, whole steps: forward, backward, clipping, fused AdamW. Parameters and moments are float32, the rest is bfloat16.
Prints one JSON line; tokens_per_s is of the median step.

    python3 tests/reference/torch_speed.py --size 1.3B --mode fakequant --batch 16 --seq 2048
    CUDA_VISIBLE_DEVICES=1 python3 tests/reference/torch_speed.py --shape 768,12,12,12,2560 --tied --mode bf16 --batch 32

Modes: `bf16` is the network unquantised, `fakequant` has BitLinear by straight-through fake quantisation.
"""

import argparse
import json
import time

import torch

from torch_model import SHAPES, Precision, Shape, Transformer, parameter_groups

BATCHES = 4


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SHAPES, default="125M", help="a preset (tied)")
    parser.add_argument("--shape", help="hidden,layers,heads,kv_heads,intermediate in the place of --size")
    parser.add_argument("--tied", action="store_true", help="with --shape: the head is the embedding's matrix")
    parser.add_argument("--untied", action="store_true", help="with --size: the head has a matrix of its own")
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--mode", choices=["bf16", "fakequant"], default="fakequant")
    parser.add_argument("--batch", type=int, default=16, help="sequences of a step")
    parser.add_argument("--seq", type=int, default=2048, help="tokens of a sequence")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed")
    parser.add_argument("--warmup", type=int, default=5, help="steps before them, the compilation among them")
    parser.add_argument("--residual", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--compile", default="default", help="torch.compile's mode, or off")
    parser.add_argument("--device", default="cuda", help="cpu for a trial without a card")
    return parser.parse_args()


def main():
    args = parse()
    sizes = tuple(map(int, args.shape.split(","))) if args.shape else SHAPES[args.size]
    tied = args.tied if args.shape else not args.untied
    shape = Shape(*sizes, vocab=args.vocab, tied=tied)
    device = torch.device(args.device)
    on_card = device.type == "cuda"
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    precision = Precision(ternary=args.mode == "fakequant", residual=getattr(torch, args.residual))
    with device:  # random weights of billions of parameters take a minute on a CPU
        model = Transformer(shape, precision, args.seq)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.1), lr=3e-4, betas=(0.9, 0.95), fused=on_card)
    run = model if args.compile == "off" else torch.compile(model, mode=None if args.compile == "default" else args.compile)
    windows = [torch.randint(0, shape.vocab, (args.batch, args.seq + 1), device=device) for _ in range(BATCHES)]
    batches = [(window[:, :-1].contiguous(), window[:, 1:].contiguous()) for window in windows]

    def step(number):
        loss = run(*batches[number % BATCHES])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    started = time.perf_counter()
    for number in range(args.warmup):
        loss = step(number)
    if on_card:
        torch.cuda.synchronize()
    warmup_s = time.perf_counter() - started

    times = []  # ms
    for number in range(args.steps):
        if on_card:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            loss = step(number)
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end))
        else:
            before = time.perf_counter()
            loss = step(number)
            times.append(1000 * (time.perf_counter() - before))
    times.sort()

    parameters = sum(p.numel() for p in model.parameters())
    multiplied = parameters - (0 if tied else shape.vocab * shape.hidden)
    flops = 6 * multiplied + 6 * shape.layers * shape.hidden * args.seq  # a token; causal attention counted at half
    median = times[len(times) // 2]
    tokens_per_s = args.batch * args.seq / median * 1e3
    print(json.dumps({
        "framework": f"torch {torch.__version__}",
        "device": torch.cuda.get_device_name() if on_card else "cpu",
        "mode": args.mode,
        "size": "custom" if args.shape else args.size,
        "shape": sizes,
        "tied": tied,
        "parameters": parameters,
        "batch_sequences": args.batch,
        "seq_len": args.seq,
        "residual": args.residual,
        "steps": args.steps,
        "step_ms": round(median, 3),
        "fastest_step_ms": round(times[0], 3),
        "slowest_step_ms": round(times[-1], 3),
        "tokens_per_s": round(tokens_per_s),
        "model_tflop_per_s": round(flops * tokens_per_s / 1e12, 1),
        "peak_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if on_card else None,
        "loss": round(loss.item(), 4),
        "warmup_s": round(warmup_s, 1),
    }), flush=True)


main()
