#!/bin/sh
# compute-sanitizer's memcheck and racecheck over the kernel tests, on a machine with a card and CUDA's tools.
#
#     make cuda deps
#     sh tests/reference/sanitizers.sh            # every kernel
#     sh tests/reference/sanitizers.sh attention  # those whose line below has the word
#
# Prints a line a run: the tool's own summary, the tests' count, seconds; exit code 1 where a tool found something, tests failed, none ran or
# time ran out. Reports stay in build/sanitizers. SECONDS_EACH (default 900) ends a run, JOBS (default 1) of them share the card.
# racecheck goes without cuBLAS, in whose own split products it finds hazards.
set -eu
command -v compute-sanitizer >/dev/null || { echo "error: Cannot find compute-sanitizer: put CUDA's bin folder on PATH" >&2; exit 2; }
nvidia-smi -L >/dev/null 2>&1 || { echo "error: Cannot check kernels as nvidia-smi finds no card" >&2; exit 2; }
cd "$(dirname "$0")/../.."
word=${1:-}
out=build/sanitizers
mkdir -p "$out"

# What to run: a name, files or folders of tests/kernels, and a filter of tests where some are left out for their time: those
# of attention whose shapes give each block several tiles.
runs() {
  cat <<'LIST'
adamw adamw
cast cast
cross_entropy cross_entropy
embedding embedding
gemm gemm
gemm_int8 gemm_int8
gemm_ternary gemm_ternary/card_test.ts gemm_ternary/backward_test.ts gemm_ternary/forward_test.ts
gemm_ternary_hopper gemm_ternary/hopper_test.ts
gemm_ternary_packed_rows gemm_ternary/packed_rows_test.ts
glu_norm glu_norm
head_loss head_loss
pack_ternary pack_ternary
quantize_weight quantize_weight
random random
reduce reduce
rmsnorm rmsnorm
rope rope
statistics statistics
top_k top_k
attention attention/attention_test.ts attention/cuda_test.ts
attention_decode_int8 attention/int8_cache_test.ts
attention_decode_rope attention/rope_decode_test.ts
attention_hopper_64 attention/hopper_test.ts --filter=/heads.of.64.(agrees.*one.off|passes)/
attention_hopper_100 attention/hopper_test.ts --filter=/heads.of.100.(agrees.*one.off|passes)/
attention_hopper_128 attention/hopper_test.ts --filter=/heads.of.128.(agrees.*one.off|passes)/
LIST
}

# check TOOL NAME FILES-AND-FILTER: one run and its line.
check() {
  tool=$1 name=$2
  shift 2
  log=$out/$name.$tool.txt
  arguments=
  for argument in "$@"; do
    case $argument in --*) arguments="$arguments $argument" ;; *) arguments="$arguments tests/kernels/$argument" ;; esac
  done
  [ "$tool" = memcheck ] || export TITANBIT_NO_CUBLAS=1
  started=$(date +%s)
  status=0
  # shellcheck disable=SC2086  # arguments are words without blanks
  timeout "${SECONDS_EACH:-900}" compute-sanitizer --tool "$tool" --target-processes all --error-exitcode 9 --log-file "$log.tool" \
    deno test -A --no-check $arguments >"$log" 2>&1 || status=$?
  seconds=$(($(date +%s) - started))
  found=$(grep -hE 'ERROR SUMMARY|RACECHECK SUMMARY' "$log.tool" 2>/dev/null | sed 's/^=* *//' | tail -1)
  tests=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -oE '[0-9]+ passed.*' | tail -1)
  verdict=clean
  [ "$status" = 0 ] || verdict=FAILED
  [ "$status" != 124 ] || verdict=TIMEOUT
  case ${tests:-0 passed} in "0 passed"*) [ "$verdict" != clean ] || verdict=NO-TESTS ;; esac
  printf '%-8s %-10s %-26s %4d s  %s; %s\n' "$verdict" "$tool" "$name" "$seconds" "${found:-no summary}" "${tests:-no tests ran}"
  [ "$verdict" = clean ]
}

if [ "${CHECK_ONE:-}" ]; then
  # shellcheck disable=SC2086
  check $CHECK_ONE
  exit
fi

for tool in memcheck racecheck; do
  runs | sed "s/^/$tool /"
done | { [ -z "$word" ] && cat || grep -- "$word"; } |
  xargs -P "${JOBS:-1}" -d '\n' -I '{}' env CHECK_ONE='{}' sh "$0" || exit 1
