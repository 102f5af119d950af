#!/bin/sh
# Trains 125M parameters for some two minutes on one H100, with faults on purpose or without, for docs/stability.md.
#
#     deno task fetch-corpus
#     deno task tokenize --input data/sotu/train --output data/sotu32k.tokens --train-vocab 32000 --val-fraction 0.02
#     sh tests/reference/fault_run.sh data faulty --inject tests/reference/faults.yaml
#     sh tests/reference/fault_run.sh data clean
#     deno task report --run checkpoints/faulty --run checkpoints/clean
#
# 400 steps of 64 x 2048 tokens, 52.4M, which is the corpus 28 times over: a test of the machinery, not of a model. Every
# observer is on. Arguments after the name go to `train` as they stand.
set -eu
[ $# -ge 2 ] || { sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//' >&2; exit 2; }
folder=$1 name=$2
shift 2

exec deno task train --config configs/125m.yaml \
  --set data.train="$folder/sotu32k.tokens" \
  --set data.validation="$folder/sotu32k.val.tokens" \
  --set data.tokenizer="$folder/tokenizer.json" \
  --set training.tokens=52428800 \
  --set training.batch_sequences=64 \
  --set training.micro_batch=16 \
  --set training.recompute=none \
  --set training.eval_every=50 \
  --set training.eval_tokens=32768 \
  --set optimizer.state=fp32 \
  --set optimizer.lr=1e-3 \
  --set optimizer.schedule='{ type: cosine, warmup_steps: 60, min_lr_ratio: 0.1 }' \
  --set stability.on_loss_outlier=rollback \
  --set stability.outlier_threshold=30 \
  --set stability.snapshot_every=50 \
  --set stability.stable_after=20 \
  --set checkpoint.run="$name" \
  --set checkpoint.every_steps=200 \
  --set checkpoint.keep_every=0 \
  --set logging.every_steps=1 \
  --set logging.ternary_every=100 \
  --set logging.flip_rate=true \
  --set logging.machine_every_s=2 \
  --set logging.samples='{ every_steps: 100, prompts: ["My fellow citizens,"], max_tokens: 40 }' \
  --set logging.console=plain \
  "$@"
