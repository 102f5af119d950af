// Prefills against an int8 cache: what the tokens see of it is widened to bfloat16 in the scratch, for the tensor cores' kernel.
#include "attention_decode.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kWarps = 4;  // of a block

// A warp a token of a head: k and v of an int8 cache in bfloat16, of the tokens that a prefill sees.
__global__ void __launch_bounds__(32 * kWarps) widen_cache(const AttentionForward task, bf16* __restrict__ k, bf16* __restrict__ v) {
  const AttentionShape& shape = task.shape;
  const int64_t row = int64_t(blockIdx.x) * kWarps + warp_index(), b = row / shape.capacity / shape.G;
  if (b >= shape.B || row % shape.capacity >= first_position(task, b) + shape.T) return;
  const float k_scale = task.k_scale[row], v_scale = task.v_scale[row];
  for (int64_t e = row * shape.E + threadIdx.x % kWarp; e < (row + 1) * shape.E; e += kWarp) {
    k[e] = from_float<bf16>(to_float(static_cast<const int8_t*>(task.k)[e]) * k_scale);
    v[e] = from_float<bf16>(to_float(static_cast<const int8_t*>(task.v)[e]) * v_scale);
  }
}

}  // namespace

// ---- Launcher ---------------------------------------------------------------------------------------------------

bool fits_attention_prefill_int8(const AttentionShape& shape) {
  const int64_t rows = shape.B * shape.G * shape.capacity;
  return 4 * rows * shape.E + 256 <= kScratchBytes && rows < INT32_MAX;
}

tb_status attention_prefill_int8(tb_context* context, const char* op, const AttentionForward& task) {
  const int64_t rows = task.shape.B * task.shape.G * task.shape.capacity;
  bf16* const k = reinterpret_cast<bf16*>(context->scratch);
  bf16* const v = k + ceil_div(rows * task.shape.E, 128) * 128;
  widen_cache<<<blocks_for(rows, kWarps), 32 * kWarps, 0, context->stream>>>(task, k, v);
  if (const tb_status status = launched(context, op); status != TB_OK) return status;
  return attention_forward_tiles(context, op, {task.q, k, v, task.start, task.o, task.lse, task.shape});
}

}  // namespace tb
