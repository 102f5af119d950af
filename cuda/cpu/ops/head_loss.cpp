// Output head fused with the cross-entropy, a chunk of rows at a time.
//
//   logits = x . headᵀ (float32 product);  loss = log(sum exp(logits - max)) + max - logits[target], float32 per row.
//   dlogits = grad_scale * (softmax(logits) - onehot(target)), in place of the logits;
//   dx = dlogits . head;  dhead += dlogitsᵀ . x, chunk after chunk.
// The sum of exponentials has one accumulator a vector lane, a fixed tree over the lanes; one thread a row. Ignored rows
// (target < 0) have dlogits 0. Chunks are as many rows as fit the workspace: their number changes dhead by rounding alone.
#include <omp.h>

#include "gemm_f32.h"
#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, head_loss,
           (tb_context * context, const float* x, const float* head, const int32_t* targets, float* loss, float* dx,
            float* dhead, float grad_scale, float* logits, int64_t chunk, int64_t N, int64_t D, int64_t V))

namespace tb::TB_ISA {

// Loss of one row; with `gradient` the row becomes grad_scale * (softmax - onehot).
static float loss_row(float* logits, int64_t target, bool gradient, float grad_scale, int64_t V) {
  const float lowest = -__builtin_inff();
  const int64_t whole = V / kLanes * kLanes;
  vfloat top = splat(lowest);
  for (int64_t j = 0; j < whole; j += kLanes) top = larger(load(logits + j), top);
  float max = maximum(top);
  for (int64_t j = whole; j < V; ++j) max = logits[j] > max ? logits[j] : max;
  const float target_logit = logits[target];

  vfloat total = {};
  for (int64_t j = 0; j < whole; j += kLanes) {
    const vfloat p = exp_below(load(logits + j) - max);
    total += p;
    if (gradient) store(logits + j, p);
  }
  float rest = 0;
  if (whole < V) {
    const vfloat p = exp_below(load_first(logits + whole, V - whole) - max);
    float lanes[kLanes];
    store(lanes, p);
    for (int64_t j = whole; j < V; ++j) rest += lanes[j - whole];
    if (gradient) store_first(logits + whole, p, V - whole);
  }
  const float denominator = sum(total) + rest;
  if (gradient) {
    const float factor = grad_scale / denominator;
#pragma omp simd
    for (int64_t j = 0; j < V; ++j) logits[j] *= factor;
    logits[target] -= grad_scale;
  }
  return (max - target_logit) + log(denominator);
}

void head_loss(tb_context* context, const float* x, const float* head, const int32_t* targets, float* loss, float* dx,
               float* dhead, float grad_scale, float* logits, int64_t chunk, int64_t N, int64_t D, int64_t V) {
  const bool gradient = dx != nullptr || dhead != nullptr;
  for (int64_t first = 0; first < N; first += chunk) {
    const int64_t rows = smaller(chunk, N - first);
    const float* inputs = x + first * D;
    gemm_f32(context, inputs, D, false, head, D, true, nullptr, 0, logits, V, rows, V, D);
#pragma omp parallel for num_threads(context->threads) schedule(static) if (rows > 1)
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t target = targets[first + row];
      float* values = logits + row * V;
      if (target >= 0) {
        loss[first + row] = loss_row(values, target, gradient, grad_scale, V);
      } else {
        loss[first + row] = 0;
        if (gradient)
          for (int64_t j = 0; j < V; ++j) values[j] = 0;
      }
    }
    if (dx != nullptr) gemm_f32(context, logits, V, false, head, D, false, nullptr, 0, dx + first * D, D, rows, D, V);
    if (dhead != nullptr) gemm_f32(context, logits, V, true, inputs, D, false, dhead, D, dhead, D, V, D, rows);
  }
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_head_loss(tb_context* context, tb_dtype dtype, const void* x, const void* head,
                                  const int32_t* targets, float* loss, void* dx, float* dhead, float grad_scale,
                                  void* workspace, int64_t workspace_bytes, int64_t N, int64_t D, int64_t V) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_head_loss");
  TB_REQUIRE(context, N >= 0 && D >= 1 && V >= 1,
             "Cannot run tb_head_loss as N must be at least 0, D and V at least 1: current values are %lld, %lld and %lld",
             (long long)N, (long long)D, (long long)V);
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, x != nullptr && head != nullptr && targets != nullptr && loss != nullptr && workspace != nullptr,
             "Cannot run tb_head_loss as x, head, targets, loss or workspace is null");
  TB_REQUIRE(context, workspace_bytes / 4 >= V,
             "Cannot run tb_head_loss as the workspace must hold a row of logits, %lld bytes: current value is %lld",
             (long long)(4 * V), (long long)workspace_bytes);
  for (int64_t row = 0; row < N; ++row)
    TB_REQUIRE(context, targets[row] < V, "Cannot run tb_head_loss as targets must lie below %lld: current value at %lld is %d",
               (long long)V, (long long)row, int(targets[row]));
  const int64_t chunk = workspace_bytes / 4 / V;
  TB_DISPATCH(context, head_loss,
              (context, static_cast<const float*>(x), static_cast<const float*>(head), targets, loss, static_cast<float*>(dx),
               dhead, grad_scale, static_cast<float*>(workspace), chunk, N, D, V));
  return TB_OK;
}

#endif
