#!/bin/sh
# Pretrains 125M parameters on real text for about ten minutes on one H100, and leaves the records for plot_curves.ts.
#
#     sh tests/reference/real_run.sh TOKENS ternary|none NAME [--set section.key=value …]
#     sh tests/reference/real_run.sh data/text-carry ternary 125m-ternary
#     sh tests/reference/real_run.sh data/text-carry none    125m-none
#
# TOKENS is a folder with train.tokens, val.tokens and tokenizer.json, each as it is or as .xz. The records are
# checkpoints/NAME/metrics.jsonl. RUN_TOKENS=220e6 changes the length; arguments after NAME go to `train` as they stand.
#
# Arithmetic
#   tokens/step  64 sequences x 2048 = 131,072
#   steps        220M tokens / 131,072 = 1,679; 1.8 tokens a parameter, so the curves are of a beginning, not of a finished model
#   time         at 380,000 tokens/s 9 min 39 s, and 20 evaluations of at most 262,144 tokens, forward alone
#   FLOPs        0.855 G a token x 220M = 1.9e17
#
# Rates. Ternary weights take the two-stage recipe of "The Era of 1-bit LLMs: Training Tips, Code and FAQ" with the rates of
# configs/125m.yaml, 2e-3 and from the middle 1.4e-3, and no weight decay in the second half. Unquantised weights take
# 6e-4, GPT-3's rate at 125M parameters, down to a tenth of it on a cosine, and keep the weight decay. Both warm up for 100
# steps, 6% of the run; the recipe's 375 are of a far longer one. Everything else is equal: initial weights, batches and
# their order.
set -eu

usage() {
  sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//' >&2
  exit 2
}
[ $# -ge 3 ] || usage
folder=$1 quantization=$2 name=$3
shift 3

case $quantization in
ternary) lr=2e-3 schedule='{ type: bitnet, warmup_steps: 100, switch_at: 0.5, second_lr: 1.4e-3 }' ;;
none) lr=6e-4 schedule='{ type: cosine, warmup_steps: 100, min_lr_ratio: 0.1 }' ;;
*) usage ;;
esac

for file in train.tokens val.tokens tokenizer.json; do
  if [ ! -f "$folder/$file" ]; then
    if [ ! -f "$folder/$file.xz" ]; then
      echo "error: Cannot train as $folder/$file is missing: make it with tests/reference/fetch_text.sh and deno task tokenize" >&2
      exit 1
    fi
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), open(sys.argv[2], "wb"), 1 << 20)' \
      "$folder/$file.xz" "$folder/$file.part"
    mv "$folder/$file.part" "$folder/$file"
  fi
done

exec deno task train --config configs/125m.yaml \
  --set model.quantization="$quantization" \
  --set optimizer.lr="$lr" \
  --set optimizer.schedule="$schedule" \
  --set data.train="$folder/train.tokens" \
  --set data.validation="$folder/val.tokens" \
  --set data.tokenizer="$folder/tokenizer.json" \
  --set training.tokens="${RUN_TOKENS:-220e6}" \
  --set training.batch_sequences=64 \
  --set training.micro_batch=32 \
  --set training.recompute=none \
  --set optimizer.state=fp32 \
  --set training.eval_every=84 \
  --set training.eval_tokens=262144 \
  --set checkpoint.run="$name" \
  --set checkpoint.every_steps=0 \
  --set checkpoint.keep_every=0 \
  --set logging.every_steps=2 \
  --set logging.console=plain \
  "$@"
