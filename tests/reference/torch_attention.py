"""Causal attention in PyTorch, forward and backward, with each of its kernels: to be measured beside `deno task bench --suite attention`.

    python3 tests/reference/torch_attention.py

Prints one JSON line a shape and kernel, with milliseconds (median) and TFLOP/s, of causal FLOPs: two products with half a T x T
matrix forward, five backward.
"""

import json

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

SHAPES = [(32, 12, 2048, 64), (16, 24, 2048, 64), (16, 32, 2048, 64), (4, 32, 2048, 100), (4, 32, 2048, 128)]  # B, H, T, E
KERNELS = {"FlashAttention": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
SAMPLES, LAUNCHES = 9, 10


def milliseconds(run):
    """Of one run: the median over samples of several launches each."""
    for _ in range(3):
        run()
    samples = []
    for _ in range(SAMPLES):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(LAUNCHES):
            run()
        end.record()
        end.synchronize()
        samples.append(begin.elapsed_time(end) / LAUNCHES)
    return sorted(samples)[SAMPLES // 2]


for B, H, T, E in SHAPES:
    q, k, v, dout = (torch.randn(B, H, T, E, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    for tensor in (q, k, v):
        tensor.requires_grad_()
    for name, kernel in KERNELS.items():
        line = {"shape": [B, H, T, E], "kernel": name, "torch": torch.__version__, "device": torch.cuda.get_device_name()}
        try:
            with sdpa_kernel(kernel):
                out = scaled_dot_product_attention(q, k, v, is_causal=True)
                forward = milliseconds(lambda: scaled_dot_product_attention(q, k, v, is_causal=True))
                backward = milliseconds(lambda: torch.autograd.grad(out, (q, k, v), dout, retain_graph=True))
        except RuntimeError as error:
            print(json.dumps(line | {"error": str(error).splitlines()[0]}), flush=True)
            continue
        flops = B * H * T * T * E  # one product with half of the matrix: 2 of half
        print(json.dumps(line | {
            "forward_ms": round(forward, 4),
            "backward_ms": round(backward, 4),
            "forward_tflop_per_s": round(2 * flops / forward / 1e9, 1),
            "backward_tflop_per_s": round(5 * flops / backward / 1e9, 1),
        }), flush=True)
