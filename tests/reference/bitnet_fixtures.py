"""Writes tests/golden/bitnet_*.safetensors: what Hugging Face's BitNet computes, in float32 on a CPU.

Each file holds the weights, the token ids and labels, the logits, the loss and the gradient of every parameter
of a small random `BitNetForCausalLM` whose projections are `AutoBitLinear` in online mode (weights and
activations quantised in every forward pass, straight-through gradients). Its config is in the metadata.

Rounding decides between two integers, so a value that lies on the border may fall to either side in two correct
programs. The script takes the first seed whose values all keep MARGIN away from a border, before rounding.

    python3 tests/reference/bitnet_fixtures.py tests/golden

Needs torch and transformers (versions are written into the metadata). No GPU is used.
"""

import json
import os
import sys

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # the quantisers are decorated with torch.compile

import torch
import transformers
from safetensors.torch import save_file
from transformers import BitNetConfig, BitNetForCausalLM
from transformers.integrations import bitnet

MARGIN = 1e-4

CASES = {
    # grouped heads, tied embeddings, SwiGLU: the project's default topology
    "silu_gqa_tied": dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
                          num_key_value_heads=2, hidden_act="silu", vocab_size=67, tie_word_embeddings=True),
    # one key/value head a query head, own head matrix, squared ReLU: the topology of the released 2B model
    "relu2_untied": dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                         num_key_value_heads=2, hidden_act="relu2", vocab_size=41, tie_word_embeddings=False),
}


class Borders:
    """Collects how near any value comes to a rounding border."""

    def __init__(self):
        self.nearest = float("inf")

    def see(self, scaled, low, high):
        inside = scaled[(scaled > low - 1) & (scaled < high + 1)]
        if inside.numel():
            self.nearest = min(self.nearest, ((inside - inside.floor()) - 0.5).abs().min().item())


def make_linears_ternary(module, borders):
    for name, child in list(module.named_children()):
        if isinstance(child, torch.nn.Linear) and name != "lm_head":
            linear = bitnet.AutoBitLinear(child.in_features, child.out_features, bias=False, online_quant=True)
            linear.weight = child.weight

            def look(linear, inputs):
                x = inputs[0].detach().float()
                borders.see(x * (127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)), -128, 127)
                w = linear.weight.detach().float()
                borders.see(w * (1 / w.abs().mean().clamp(min=1e-5)), -1, 1)

            linear.register_forward_pre_hook(look)
            setattr(module, name, linear)
        else:
            make_linears_ternary(child, borders)


def build(case, seed):
    torch.manual_seed(seed)
    config = BitNetConfig(max_position_embeddings=32, rms_norm_eps=1e-5, rope_theta=10000.0, initializer_range=0.02,
                          attn_implementation="eager", bos_token_id=0, eos_token_id=1, pad_token_id=None, **case)
    model = BitNetForCausalLM(config).float()
    with torch.no_grad():
        for name, p in model.named_parameters():  # larger than at the start of training, and norms away from 1
            p.copy_(1 + 0.2 * torch.randn_like(p) if "norm" in name else 0.15 * torch.randn_like(p))
    borders = Borders()
    make_linears_ternary(model, borders)
    return model, config, borders


def run(name, case, folder):
    for seed in range(5000):
        model, config, borders = build(case, seed)
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, case["vocab_size"], (2, 11), generator=generator)
        out = model(input_ids=ids, labels=ids, use_cache=False)
        if borders.nearest >= MARGIN:
            break
    else:
        raise SystemExit(f"{name}: no seed keeps {MARGIN} away from every rounding border")
    out.loss.backward()
    tensors = {"input_ids": ids.int(), "logits": out.logits.detach(), "loss": out.loss.detach().reshape(1)}
    for key, p in model.named_parameters():
        tensors[f"weights.{key}"] = p.detach()
        tensors[f"gradients.{key}"] = p.grad
    metadata = {
        "format": "pt",
        "config": json.dumps({**case, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}),
        "seed": str(seed),
        "nearest_border": str(borders.nearest),
        "made_with": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }
    path = os.path.join(folder, f"bitnet_{name}.safetensors")
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, path, metadata)
    print(f"{path}: seed {seed}, nearest border {borders.nearest:.2e}, loss {out.loss.item():.6f}")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "golden")
    os.makedirs(folder, exist_ok=True)
    for name, case in CASES.items():
        run(name, case, folder)


main()
