"""Trains the network that loss_curve.ts trained, from its weights, on its batches, with its rates, by PyTorch's autograd and
torch.optim.AdamW, and compares the losses of every step.

    deno run -A tests/reference/loss_curve.ts --device cuda --steps 200 --out curve
    python3 tests/reference/loss_curve.py --in curve
    deno run -A tests/reference/plot_curves.ts --out curve/curve.svg --difference curve/torch.json curve/titanbit.json

Ternary weights and 8-bit activations are fake-quantised with straight-through gradients. Precisions are those of
docs/numerics.md: residual stream, statistics, quantisers and optimizer in float32, what passes between layers and the
head's operands in bfloat16 (`--dtype float32`: in float32, as the CPU build), products exact. Writes torch.json beside what
it read, prints a table, and ends with 1 where a loss differs by more than --tolerance or is not finite.
"""

import argparse
import array
import json
import os
import sys

import torch

from torch_model import Precision, Shape, Transformer, load_huggingface, parameter_groups


def read_safetensors(path):
    """Float32 tensors of a safetensors file by name."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = bytearray(file.read())
    tensors = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        if info["dtype"] != "F32":
            raise ValueError(f"{path}: {name} is {info['dtype']}, expected F32")
        begin, end = info["data_offsets"]
        tensors[name] = torch.frombuffer(data, dtype=torch.float32, count=(end - begin) // 4, offset=begin).view(info["shape"])
    return tensors


def read_batches(path, steps, sequences, tokens):
    """Windows of T + 1 ids of every step: (steps, B, T + 1) int64."""
    ids = array.array("i")
    with open(path, "rb") as file:
        ids.frombytes(file.read())
    if len(ids) != steps * sequences * (tokens + 1):
        raise ValueError(f"{path} has {len(ids)} ids, expected {steps} x {sequences} x {tokens + 1}")
    if sys.byteorder == "big":
        ids.byteswap()
    return torch.tensor(ids, dtype=torch.int64).view(steps, sequences, tokens + 1)


def train(run, folder, args):
    """Loss and gradient norm of every step."""
    device = torch.device(args.device)
    model_fields, batch, optimizer_fields = run["model"], run["batch"], run["optimizer"]
    act = getattr(torch, args.dtype)
    shape = Shape(
        hidden=model_fields["hidden_size"], layers=model_fields["num_layers"], heads=model_fields["num_heads"],
        kv_heads=model_fields["num_kv_heads"], intermediate=model_fields["intermediate_size"],
        vocab=model_fields["vocab_size"], tied=model_fields["tie_embeddings"], rope_theta=model_fields["rope_theta"],
        eps=model_fields["rms_norm_eps"])
    ternary = model_fields["quantization"] == "ternary"
    # Unquantised projections multiply copies rounded to the activations' dtype.
    products = torch.float32 if ternary else act
    precision = Precision(ternary=ternary, activations=act, residual=torch.float32, products=products)
    model = Transformer(shape, precision, batch["tokens"]).to(device)
    load_huggingface(model, read_safetensors(os.path.join(folder, run["weights"])))
    windows = read_batches(os.path.join(folder, run["batches"]), len(run["steps"]), batch["sequences"], batch["tokens"])
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), lr=0.0, betas=tuple(optimizer_fields["betas"]),
                                  eps=optimizer_fields["eps"])
    records = []
    for number, hyper in enumerate(run["steps"]):
        window = windows[number].to(device)
        for group in optimizer.param_groups:
            group["lr"] = hyper["lr"]
            group["weight_decay"] = hyper["weight_decay"] if group["decayed"] else 0.0
        optimizer.zero_grad(set_to_none=True)
        loss = model(window[:, :-1].contiguous(), window[:, 1:].contiguous())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), optimizer_fields["max_grad_norm"])
        optimizer.step()
        records.append({"step": number + 1, "loss": loss.item(), "grad_norm": norm.item()})
        if args.verbose:
            print(f"step {number + 1}: loss {loss.item():.6f}, grad norm {norm.item():.5f}", flush=True)
        if number + 1 == args.steps:
            break
    return records


def compare(ours, theirs, tolerance):
    """Prints both curves; returns whether every loss agrees."""
    differences = [a["loss"] / b["loss"] - 1 for a, b in zip(ours, theirs)]
    every = max(1, len(differences) // 20)
    print(f"{'step':>5} {'TitanBit':>10} {'PyTorch':>10} {'difference':>11} {'grad norms':>21}")
    for index, (a, b) in enumerate(zip(ours, theirs)):
        if index % every == 0 or index == len(differences) - 1:
            print(f"{a['step']:>5} {a['loss']:>10.5f} {b['loss']:>10.5f} {100 * differences[index]:>+10.4f}% "
                  f"{a['grad_norm']:>10.4f} {b['grad_norm']:>10.4f}")
    worst = max(range(len(differences)), key=lambda index: abs(differences[index]))
    finite = all(abs(difference) < float("inf") for difference in differences)  # false for NaN too
    mean = sum(map(abs, differences)) / len(differences)
    passed = finite and len(differences) > 0 and abs(differences[worst]) <= tolerance
    print(f"{len(differences)} steps: largest difference {100 * differences[worst]:+.4f}% at step {ours[worst]['step']}, "
          f"mean {100 * mean:.4f}%, allowed {100 * tolerance:g}%: {'pass' if passed else 'FAIL'}")
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in", dest="folder", required=True, help="folder that loss_curve.ts wrote")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="of activations; default: what TitanBit used")
    parser.add_argument("--steps", type=int, help="train this many only")
    parser.add_argument("--tolerance", type=float, default=0.005, help="largest relative difference of a loss")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("highest")  # float32 products are to be exact: no TF32
    with open(os.path.join(args.folder, "run.json"), encoding="utf-8") as file:
        run = json.load(file)
    with open(os.path.join(args.folder, "titanbit.json"), encoding="utf-8") as file:
        ours = json.load(file)
    args.dtype = args.dtype or ours["dtype"]
    theirs = train(run, args.folder, args)
    curve = {
        "name": f"PyTorch {torch.__version__}, {'fake quantisation' if run['model']['quantization'] == 'ternary' else 'unquantised'}",
        "device": torch.cuda.get_device_name() if args.device.startswith("cuda") else "cpu",
        "dtype": args.dtype,
        "tokens_per_step": run["batch"]["sequences"] * run["batch"]["tokens"],
        "steps": theirs,
    }
    with open(os.path.join(args.folder, "torch.json"), "w", encoding="utf-8") as file:
        json.dump(curve, file, indent=1)
        file.write("\n")
    sys.exit(0 if compare(ours["steps"], theirs, args.tolerance) else 1)


if __name__ == "__main__":
    main()
