// Sums of long float32 vectors, and norms of float32 and bfloat16 ones.
//
// Every value is widened to double. Blocks of 16384 elements are summed apart, then one block of threads adds their sums: two
// launches, an order that n alone decides. The last place of the double may differ from the CPU build's.
#include "context.cuh"
#include "load_store.cuh"
#include "reduce.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 256;
constexpr int kFinishThreads = 1024;
constexpr int64_t kBlock = 16384;

template <bool Squared>
__device__ __forceinline__ double term(float value) {
  return Squared ? double(value) * double(value) : double(value);
}

template <bool Squared, typename T>
__global__ void __launch_bounds__(kThreads) sum_blocks(const T* __restrict__ x, double* __restrict__ sums, int64_t n,
                                                       int64_t block_size, bool aligned) {
  const int64_t from = int64_t(blockIdx.x) * block_size;
  const int64_t to = from + block_size < n ? from + block_size : n;
  double total = 0;
  // A thread's elements are the same whether they come four at a time or one by one.
  for (int64_t i = from + int64_t(threadIdx.x) * 4; i < to; i += kThreads * 4) {
    float values[4] = {};
    if (aligned && i + 4 <= to) {
      load_floats(x + i, values);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (i + k < to) values[k] = to_float(x[i + k]);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) total += term<Squared>(values[k]);
  }
  total = block_sum<kThreads>(total);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

__device__ __forceinline__ double sum_of_sums(const double* sums, int64_t blocks) {
  double total = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kFinishThreads) total += sums[i];
  return block_sum<kFinishThreads>(total);
}

__global__ void __launch_bounds__(kFinishThreads) finish_sum(const double* __restrict__ sums, int64_t blocks, float scale,
                                                             float* __restrict__ out, bool accumulate) {
  const double total = sum_of_sums(sums, blocks);
  if (threadIdx.x == 0) *out = float(double(scale) * total + (accumulate ? double(*out) : 0.0));
}

__global__ void __launch_bounds__(kFinishThreads) finish_norm(const double* __restrict__ sums, int64_t blocks,
                                                              float* __restrict__ out, bool accumulate) {
  const double total = sum_of_sums(sums, blocks);
  if (threadIdx.x == 0) *out = float(sqrt(total + (accumulate ? double(*out) * double(*out) : 0.0)));
}

// Launches the first stage; the number of sums in the scratch.
template <bool Squared, typename T>
int64_t launch_blocks(tb_context* context, const T* x, int64_t n) {
  // A block grows only where their sums would not fit the scratch.
  int64_t block_size = kBlock;
  while (ceil_div(n, block_size) > kScratchBytes / 8) block_size *= 2;
  const int64_t blocks = ceil_div(n, block_size);
  if (blocks > 0)
    sum_blocks<Squared><<<unsigned(blocks), kThreads, 0, context->stream>>>(
        x, reinterpret_cast<double*>(context->scratch), n, block_size, is_aligned(x, 4 * sizeof(T)));
  return blocks;
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_sum(tb_context* context, const float* x, float scale, float* out, int64_t n, int32_t accumulate) {
  TB_ENTER(context);
  TB_REQUIRE(context, n >= 0, "Cannot run tb_sum as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, out != nullptr && (n == 0 || x != nullptr), "Cannot run tb_sum as x or out is null");
  const int64_t blocks = tb::launch_blocks<false>(context, x, n);
  tb::finish_sum<<<1, tb::kFinishThreads, 0, context->stream>>>(reinterpret_cast<double*>(context->scratch), blocks, scale, out,
                                                                accumulate != 0);
  return tb::launched(context, "tb_sum");
}

extern "C" tb_status tb_norm(tb_context* context, tb_dtype dtype, const void* x, float* out, int64_t n, int32_t accumulate) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dtype, "tb_norm");
  TB_REQUIRE(context, n >= 0, "Cannot run tb_norm as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, out != nullptr && (n == 0 || x != nullptr), "Cannot run tb_norm as x or out is null");
  const int64_t blocks = dtype == TB_BF16 ? tb::launch_blocks<true>(context, static_cast<const tb::bf16*>(x), n)
                                          : tb::launch_blocks<true>(context, static_cast<const float*>(x), n);
  tb::finish_norm<<<1, tb::kFinishThreads, 0, context->stream>>>(reinterpret_cast<double*>(context->scratch), blocks, out,
                                                                 accumulate != 0);
  return tb::launched(context, "tb_norm");
}
