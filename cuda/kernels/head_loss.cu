// Output head fused with the cross-entropy, a chunk of rows at a time.
//
//   logits = x . headᵀ, float32;  loss = log(sum exp(logits - max)) + max - logits[target], float32 per row.
//   dlogits = grad_scale * (softmax(logits) - onehot(target)), in dtype: over the logits in float32, behind them in bfloat16;
//   dx = dlogits . head;  dhead += dlogitsᵀ . x, chunk after chunk, float32.
// A block a row. Sums: a thread's own columns, then a fixed tree. Ignored rows (target < 0) have dlogits 0; a target >= V makes
// the row's loss and dlogits NaN. exp is exact to an ulp or two in float32; where dlogits is bfloat16 the fast one is taken.
// Chunks are as many rows as fit the workspace, in whole tiles of the products where there are more than that.
#include "context.cuh"
#include "gemm.cuh"
#include "load_store.cuh"
#include "reduce.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 512;
constexpr int64_t kTileRows = 128;

template <bool Fast>
__device__ __forceinline__ float exponential(float x) {
  return Fast ? __expf(x) : expf(x);
}

// One row of logits to its loss and, with Gradient, dlogits, which may be the logits. Count neighbours at once; V divides by it.
template <int Count, bool Gradient, typename T>
__global__ void __launch_bounds__(kThreads) cross_entropy(const float* logits, const int32_t* __restrict__ targets,
                                                          float* __restrict__ loss, T* dlogits, float grad_scale, int64_t V) {
  constexpr bool kFast = sizeof(T) == 2;
  const int64_t row = blockIdx.x;
  const int64_t target = targets[row];
  const float* from = logits + row * V;
  T* to = dlogits + row * V;
  if (target < 0 || target >= V) {
    const float filler = target < 0 ? 0.0f : __int_as_float(0x7fffffff);
    if (threadIdx.x == 0) loss[row] = filler;
    if constexpr (Gradient)
      for (int64_t j = threadIdx.x; j < V; j += kThreads) to[j] = from_float<T>(filler);
    return;
  }
  // The largest so far, and the sum of exponentials below it.
  float top = -__int_as_float(0x7f800000), sum = 0;
  for (int64_t j = int64_t(threadIdx.x) * Count; j < V; j += int64_t(kThreads) * Count) {
    float values[Count];
    load_floats(from + j, values);
    float higher = top;
#pragma unroll
    for (int i = 0; i < Count; ++i) higher = fmaxf(higher, values[i]);  // passes over NaN, which reaches the sum
    if (higher > top) {
      sum *= exponential<kFast>(top - higher);
      top = higher;
    }
#pragma unroll
    for (int i = 0; i < Count; ++i)  // top is -inf too where there was nothing else
      sum += values[i] == -__int_as_float(0x7f800000) ? 0.0f : exponential<kFast>(values[i] - top);
  }
  const float max = block_max<kThreads>(top);
  // A thread without columns has top -inf and sum 0.
  const float denominator = block_sum<kThreads>(sum == 0.0f ? 0.0f : sum * exponential<kFast>(top - max));
  const float target_logit = from[target];
  if (threadIdx.x == 0) loss[row] = (max - target_logit) + logf(denominator);
  if constexpr (Gradient) {
    const float factor = grad_scale / denominator;
    __syncthreads();  // every thread has read the target's logit, which may lie where dlogits goes
    // Backwards: what was read last is still in the L1 cache, what was read first may have left the L2.
    constexpr int64_t kStep = int64_t(kThreads) * Count;
    const int64_t first = int64_t(threadIdx.x) * Count;
    for (int64_t j = first + (V - 1 - first) / kStep * kStep; first < V && j >= first; j -= kStep) {
      float values[Count];
      load_floats(from + j, values);
#pragma unroll
      for (int i = 0; i < Count; ++i)
        values[i] = exponential<kFast>(values[i] - max) * factor - (j + i == target ? grad_scale : 0.0f);
      store_floats(to + j, values);
    }
  }
}

struct Loss {
  const int32_t* targets;
  float* loss;
  float grad_scale;
};

template <bool Gradient, typename T>
void launch_cross_entropy(tb_context* context, const float* logits, T* dlogits, const Loss& loss, int64_t rows, int64_t V) {
  if (V % 4 == 0 && is_aligned(logits, 16) && is_aligned(dlogits, 4 * sizeof(T)))
    cross_entropy<4, Gradient><<<unsigned(rows), kThreads, 0, context->stream>>>(logits, loss.targets, loss.loss, dlogits,
                                                                                 loss.grad_scale, V);
  else
    cross_entropy<1, Gradient><<<unsigned(rows), kThreads, 0, context->stream>>>(logits, loss.targets, loss.loss, dlogits,
                                                                                 loss.grad_scale, V);
}

template <typename T>
tb_status run(tb_context* context, const T* x, const T* head, const Loss& loss, T* dx, float* dhead, float* logits,
              int64_t chunk, int64_t N, int64_t D, int64_t V) {
  constexpr const char* kOp = "tb_head_loss";
  constexpr tb_dtype kType = kDtypeOf<T>;
  const bool gradient = dx != nullptr || dhead != nullptr;
  T* dlogits = kType == TB_F32 ? reinterpret_cast<T*>(logits) : reinterpret_cast<T*>(logits + chunk * V);
  for (int64_t first = 0; first < N; first += chunk) {
    const int64_t rows = N - first < chunk ? N - first : chunk;
    const T* inputs = x + first * D;
    const Loss part{loss.targets + first, loss.loss + first, loss.grad_scale};
    tb_status status = gemm_any(context, kOp, {kType, inputs, head, TB_F32, nullptr, logits, rows, V, D, false, true, 0});
    if (status != TB_OK) return status;
    if (gradient)
      launch_cross_entropy<true>(context, logits, dlogits, part, rows, V);
    else
      launch_cross_entropy<false>(context, logits, dlogits, part, rows, V);
    if (dx != nullptr) {
      status = gemm_any(context, kOp, {kType, dlogits, head, kType, nullptr, dx + first * D, rows, D, V, false, false, 0});
      if (status != TB_OK) return status;
    }
    if (dhead != nullptr) {
      status = gemm_any(context, kOp, {kType, dlogits, inputs, TB_F32, dhead, dhead, V, D, rows, true, false, 0});
      if (status != TB_OK) return status;
    }
  }
  return launched(context, kOp);
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_head_loss(tb_context* context, tb_dtype dtype, const void* x, const void* head,
                                  const int32_t* targets, float* loss, void* dx, float* dhead, float grad_scale,
                                  void* workspace, int64_t workspace_bytes, int64_t N, int64_t D, int64_t V) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dtype, "tb_head_loss");
  TB_REQUIRE(context, N >= 0 && D >= 1 && V >= 1 && V <= INT32_MAX,
             "Cannot run tb_head_loss as N must be at least 0, D at least 1 and V 1 to 2^31 - 1: current values are %lld, %lld "
             "and %lld",
             (long long)N, (long long)D, (long long)V);
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, x != nullptr && head != nullptr && targets != nullptr && loss != nullptr && workspace != nullptr,
             "Cannot run tb_head_loss as x, head, targets, loss or workspace is null");
  const bool gradient = dx != nullptr || dhead != nullptr;
  const int64_t row_bytes = dtype == TB_BF16 && gradient ? 6 * V : 4 * V;
  TB_REQUIRE(context, workspace_bytes >= row_bytes,
             "Cannot run tb_head_loss as the workspace must hold a row of logits, %lld bytes: current value is %lld",
             (long long)row_bytes, (long long)workspace_bytes);
  int64_t chunk = workspace_bytes / row_bytes;
  if (chunk > N) chunk = N;
  // Whole tiles; four rows at least put bfloat16 dlogits on an address that the products load by 16 bytes.
  if (chunk < N) {
    if (chunk > tb::kTileRows)
      chunk -= chunk % tb::kTileRows;
    else if (chunk > 4)
      chunk -= chunk % 4;
  }
  const tb::Loss outputs{targets, loss, grad_scale};
  float* logits = static_cast<float*>(workspace);
  TB_WITH_TYPE(dtype, T, {
    return tb::run(context, static_cast<const T*>(x), static_cast<const T*>(head), outputs, static_cast<T*>(dx), dhead, logits,
                   chunk, N, D, V);
  });
}
