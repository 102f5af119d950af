// beta = mean |w| over the whole (rows, cols) matrix; s = max(beta, 1e-5) as float32; q = clamp(round(w / s), -1, 1), half to
// even; scale (rows) = s in every element. arXiv:2402.17764, equations 1 to 3.
//
// The sum is taken in double: blocks of kBlock elements, then every block of the second launch adds their sums for itself, by one
// and the same tree. It may differ from the CPU build's in the last place of the double, which changes s, by an ulp, about once
// in ten million matrices; from an equal s all q are equal: 1 where 2 w > s, -1 where 2 w < -s (why that is the rounded
// quotient: cuda/cpu/ops/quantize_weight.cpp). A NaN in w makes s NaN and all of q zero; an infinity makes s infinite and all
// of q zero.
#include "context.cuh"
#include "load_store.cuh"
#include "reduce.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kBlock = 8192;  // 32 KiB: the second launch finds a matrix of some 40 MB in the L2 cache
constexpr float kSmallestScale = 1e-5f;

// Four neighbours, and zeros beyond n.
__device__ __forceinline__ void load_some(const float* w, int64_t i, int64_t n, bool aligned, float (&values)[4]) {
  if (aligned && i + 4 <= n) {
    load_floats(w + i, values);
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) values[k] = i + k < n ? w[i + k] : 0.0f;
}

__global__ void __launch_bounds__(kThreads) sum_magnitudes(const float* __restrict__ w, double* __restrict__ sums, int64_t n,
                                                           int64_t block_size, bool aligned) {
  const int64_t from = int64_t(blockIdx.x) * block_size;
  const int64_t to = from + block_size < n ? from + block_size : n;
  double total = 0;
  for (int64_t i = from + int64_t(threadIdx.x) * 4; i < to; i += kThreads * 4) {
    float values[4];
    load_some(w, i, to, aligned, values);
#pragma unroll
    for (int k = 0; k < 4; ++k) total += double(fabsf(values[k]));
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

__device__ __forceinline__ int8_t ternary(float value, float s) {
  const float twice = 2 * value;
  return int8_t(int(twice > s) - int(twice < -s));
}

__global__ void __launch_bounds__(kThreads) quantise(const float* __restrict__ w, const double* __restrict__ sums, int64_t blocks,
                                                     int8_t* __restrict__ q, float* __restrict__ scale, int64_t rows, int64_t n,
                                                     int64_t block_size, bool aligned) {
  double total = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) total += sums[i];
  const float beta = float(block_sum<kThreads>(total) / double(n));
  const float s = beta < kSmallestScale ? kSmallestScale : beta;  // NaN stays
  const int64_t from = int64_t(blockIdx.x) * block_size;
  const int64_t to = from + block_size < n ? from + block_size : n;
  for (int64_t i = from + int64_t(threadIdx.x) * 4; i < to; i += kThreads * 4) {
    float values[4];
    load_some(w, i, to, aligned, values);
    Pack<int8_t, 4> four;
#pragma unroll
    for (int k = 0; k < 4; ++k) four.values[k] = ternary(values[k], s);
    if (aligned && i + 4 <= to) {
      *reinterpret_cast<Pack<int8_t, 4>*>(q + i) = four;
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (i + k < to) q[i + k] = four.values[k];
    }
  }
  for (int64_t row = int64_t(blockIdx.x) * kThreads + threadIdx.x; row < rows; row += int64_t(gridDim.x) * kThreads)
    scale[row] = s;
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_quantize_weight(tb_context* context, const float* w, int8_t* q, float* scale, int64_t rows,
                                        int64_t cols) {
  TB_ENTER(context);
  TB_REQUIRE(context, rows > 0 && cols > 0,
             "Cannot run tb_quantize_weight as rows and cols must be positive: current values are %lld, %lld", (long long)rows,
             (long long)cols);
  TB_REQUIRE(context, double(rows) * double(cols) <= double(1ll << 34),
             "Cannot run tb_quantize_weight as a matrix may have 2^34 elements: current shape is %lld x %lld",
             (long long)rows, (long long)cols);
  TB_REQUIRE(context, w != nullptr && q != nullptr && scale != nullptr,
             "Cannot run tb_quantize_weight as w, q and scale must not be null");
  const int64_t n = rows * cols;
  // Blocks grow with the matrix, so that few sums are added again and again.
  int64_t block_size = tb::kBlock;
  while (tb::ceil_div(n, block_size) > 4096) block_size *= 2;
  const int64_t blocks = tb::ceil_div(n, block_size);
  const bool aligned = tb::is_aligned(w, 16) && tb::is_aligned(q, 4);
  double* sums = reinterpret_cast<double*>(context->scratch);
  tb::sum_magnitudes<<<unsigned(blocks), tb::kThreads, 0, context->stream>>>(w, sums, n, block_size, aligned);
  tb::quantise<<<unsigned(blocks), tb::kThreads, 0, context->stream>>>(w, sums, blocks, q, scale, rows, n, block_size, aligned);
  return tb::launched(context, "tb_quantize_weight");
}
