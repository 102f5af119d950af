// What the records of a ternary run tell: counts over a ternary matrix and its latent weights, and over a quantised input.
//
// Two launches each: blocks of kBlock elements count in int32, then one block of threads adds their counts in int64. Counts are
// exact and equal the CPU build's. Near a threshold: (0.5 - margin) * s <= |w| <= (0.5 + margin) * s, each bound one float32
// subtraction or addition and one product, which no compiler can fuse; a NaN on either side counts as not near.
// The mean of the scales is summed in double in an order that their number alone decides; it may differ from the CPU build's in
// the last place of the double. Their maximum is exact and skips NaN.
#include "context.cuh"
#include "load_store.cuh"
#include "reduce.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 256;
constexpr int kFinishThreads = 1024;
constexpr int64_t kBlock = 16384;  // 2^34 elements make 2^20 blocks: 40 MB of counts in the scratch
constexpr int kTernaryCounts = 5;
constexpr int kQuantizedCounts = 2;
static_assert((int64_t(1) << 34) / kBlock * kTernaryCounts * 8 <= kScratchBytes, "the counts fit the scratch");

// Adds every thread's counts and writes the block's, behind those of the blocks before.
template <int Count>
__device__ __forceinline__ void write_counts(const int (&counts)[Count], int64_t* __restrict__ sums) {
#pragma unroll
  for (int k = 0; k < Count; ++k) {
    const int total = block_sum<kThreads>(counts[k]);
    if (threadIdx.x == 0) sums[int64_t(blockIdx.x) * Count + k] = total;
  }
}

__device__ __forceinline__ void count_ternary(float w, int q, bool changed, float low, float high,
                                              int (&counts)[kTernaryCounts]) {
  const float size = fabsf(w);
  counts[0] += int(q < 0);
  counts[1] += int(q == 0);
  counts[2] += int(q > 0);
  counts[3] += int(changed);
  counts[4] += int(size >= low && size <= high);
}

// previous: null counts nothing as changed. aligned: w to 16 bytes, q and previous to 4.
__global__ void __launch_bounds__(kThreads) count_ternary_blocks(const float* __restrict__ w, const int8_t* __restrict__ q,
                                                                 const int8_t* __restrict__ previous,
                                                                 const float* __restrict__ scale, float margin,
                                                                 int64_t* __restrict__ sums, int64_t n, bool aligned) {
  const float s = scale[0];
  const float low = (0.5f - margin) * s;
  const float high = (0.5f + margin) * s;
  const int64_t from = int64_t(blockIdx.x) * kBlock;
  const int64_t to = from + kBlock < n ? from + kBlock : n;
  int counts[kTernaryCounts] = {};
  for (int64_t i = from + int64_t(threadIdx.x) * 4; i < to; i += kThreads * 4) {
    if (aligned && i + 4 <= to) {
      float values[4];
      load_floats(w + i, values);
      const Pack<int8_t, 4> now = load_pack<4>(q + i);
      const Pack<int8_t, 4> before = previous == nullptr ? now : load_pack<4>(previous + i);
#pragma unroll
      for (int k = 0; k < 4; ++k)
        count_ternary(values[k], now.values[k], now.values[k] != before.values[k], low, high, counts);
    } else {
      for (int k = 0; k < 4 && i + k < to; ++k)
        count_ternary(w[i + k], q[i + k], previous != nullptr && q[i + k] != previous[i + k], low, high, counts);
    }
  }
  write_counts(counts, sums);
}

__global__ void __launch_bounds__(kThreads) count_quantized_blocks(const int8_t* __restrict__ q, int low, int high,
                                                                   int64_t* __restrict__ sums, int64_t n, bool aligned) {
  const int64_t from = int64_t(blockIdx.x) * kBlock;
  const int64_t to = from + kBlock < n ? from + kBlock : n;
  int counts[kQuantizedCounts] = {};
  for (int64_t i = from + int64_t(threadIdx.x) * 4; i < to; i += kThreads * 4) {
    Pack<int8_t, 4> four = {};
    int present = 4;
    if (aligned && i + 4 <= to) {
      four = load_pack<4>(q + i);
    } else {
      present = to - i < 4 ? int(to - i) : 4;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < present) four.values[k] = q[i + k];
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int value = four.values[k];
      counts[0] += int(k < present && value == 0);
      counts[1] += int(k < present && (value <= low || value >= high));
    }
  }
  write_counts(counts, sums);
}

// One block. out (Count) = the sums of every block's counts.
template <int Count>
__device__ __forceinline__ void finish_counts(const int64_t* __restrict__ sums, int64_t blocks, int64_t* __restrict__ out) {
  long long totals[Count] = {};
  for (int64_t block = threadIdx.x; block < blocks; block += kFinishThreads)
#pragma unroll
    for (int k = 0; k < Count; ++k) totals[k] += sums[block * Count + k];
#pragma unroll
  for (int k = 0; k < Count; ++k) {
    const long long total = block_sum<kFinishThreads>(totals[k]);
    if (threadIdx.x == 0) out[k] = total;
  }
}

__global__ void __launch_bounds__(kFinishThreads) finish_ternary(const int64_t* __restrict__ sums, int64_t blocks,
                                                                 int64_t* __restrict__ counts) {
  finish_counts<kTernaryCounts>(sums, blocks, counts);
}

__global__ void __launch_bounds__(kFinishThreads) finish_quantized(const int64_t* __restrict__ sums, int64_t blocks,
                                                                   const float* __restrict__ scale, int64_t rows,
                                                                   int64_t* __restrict__ counts, float* __restrict__ scales) {
  finish_counts<kQuantizedCounts>(sums, blocks, counts);
  double total = 0;
  int largest = 0;  // bits of a float that is not negative: these order as integers
  for (int64_t row = threadIdx.x; row < rows; row += kFinishThreads) {
    const float value = scale[row];
    total += double(value);
    if (value > 0.0f) largest = max(largest, __float_as_int(value));  // false for NaN
  }
  total = block_sum<kFinishThreads>(total);
  largest = block_max<kFinishThreads>(largest);
  if (threadIdx.x == 0) {
    scales[0] = float(total / double(rows));
    scales[1] = __int_as_float(largest);
  }
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_ternary_statistics(tb_context* context, const float* w, const int8_t* q, const int8_t* previous,
                                           const float* scale, float margin, int64_t rows, int64_t cols, int64_t* counts) {
  TB_ENTER(context);
  TB_REQUIRE(context, rows > 0 && cols > 0,
             "Cannot run tb_ternary_statistics as rows and cols must be positive: current values are %lld, %lld",
             (long long)rows, (long long)cols);
  TB_REQUIRE(context, double(rows) * double(cols) <= double(1ll << 34),
             "Cannot run tb_ternary_statistics as a matrix may have 2^34 elements: current shape is %lld x %lld",
             (long long)rows, (long long)cols);
  TB_REQUIRE(context, margin >= 0.0f && margin <= 0.5f,
             "Cannot run tb_ternary_statistics as margin must be from 0 to 0.5: current value is %g", double(margin));
  TB_REQUIRE(context, w != nullptr && q != nullptr && scale != nullptr && counts != nullptr,
             "Cannot run tb_ternary_statistics as w, q, scale and counts must not be null");
  const int64_t n = rows * cols;
  const int64_t blocks = tb::ceil_div(n, tb::kBlock);
  const bool aligned = tb::is_aligned(w, 16) && tb::is_aligned(q, 4) && tb::is_aligned(previous, 4);  // null is aligned
  int64_t* sums = reinterpret_cast<int64_t*>(context->scratch);
  tb::count_ternary_blocks<<<unsigned(blocks), tb::kThreads, 0, context->stream>>>(w, q, previous, scale, margin, sums, n,
                                                                                   aligned);
  tb::finish_ternary<<<1, tb::kFinishThreads, 0, context->stream>>>(sums, blocks, counts);
  return tb::launched(context, "tb_ternary_statistics");
}

extern "C" tb_status tb_quantized_statistics(tb_context* context, tb_activation_quant quant, const int8_t* q,
                                             const float* scale, int64_t N, int64_t D, int64_t* counts, float* scales) {
  TB_ENTER(context);
  TB_REQUIRE(context, quant == TB_QUANT_ABSMAX || quant == TB_QUANT_ABSMEAN,
             "Cannot run tb_quantized_statistics as quant must be 1 (absmax) or 2 (absmean): current value is %d", int(quant));
  TB_REQUIRE(context, N > 0 && D > 0,
             "Cannot run tb_quantized_statistics as N and D must be positive: current values are %lld, %lld", (long long)N,
             (long long)D);
  TB_REQUIRE(context, double(N) * double(D) <= double(1ll << 34),
             "Cannot run tb_quantized_statistics as an input may have 2^34 elements: current shape is %lld x %lld",
             (long long)N, (long long)D);
  TB_REQUIRE(context, q != nullptr && scale != nullptr && counts != nullptr && scales != nullptr,
             "Cannot run tb_quantized_statistics as q, scale, counts and scales must not be null");
  const int low = quant == TB_QUANT_ABSMAX ? -127 : -8;
  const int high = quant == TB_QUANT_ABSMAX ? 127 : 7;
  const int64_t n = N * D;
  const int64_t blocks = tb::ceil_div(n, tb::kBlock);
  int64_t* sums = reinterpret_cast<int64_t*>(context->scratch);
  tb::count_quantized_blocks<<<unsigned(blocks), tb::kThreads, 0, context->stream>>>(q, low, high, sums, n,
                                                                                     tb::is_aligned(q, 4));
  tb::finish_quantized<<<1, tb::kFinishThreads, 0, context->stream>>>(sums, blocks, scale, N, counts, scales);
  return tb::launched(context, "tb_quantized_statistics");
}
