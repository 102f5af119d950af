// Products of up to 16 rows with a wide matrix whose rows lie along the depth: the heads of decoding. The weights are read once, at
// the memory's speed; the tensor cores do the sums.
//
//   sums (M, N) = x (M, K) . wᵀ, w (N, K); bfloat16 with float32 sums, or int8 with exact int32 sums
// A warp takes 8 rows of w at a time, four lanes a row, each 16 bytes: neighbouring lanes read 64 bytes, the next step those beside
// them. Which element of the depth a lane's byte is does not matter to a sum as long as x has the same order: a lane's 16 bytes of x
// and of w are the operands of two products of the tensor cores, which take 8 bytes of each. A row's sums depend on that row alone,
// in an order that K alone decides: the same bits for any M and any card.
//
// Letters: g = lane / 4, a row of x and a row of w; t = lane % 4, a quarter of a step's 64 bytes.
#pragma once

#include <algorithm>

#include "context.cuh"
#include "load_store.cuh"
#include "mma.cuh"
#include "overlap.cuh"
#include "reduce.cuh"

namespace tb {

constexpr int kFewRows = 16, kFewColumns = 8, kFewWarps = 8, kFewThreads = kWarp * kFewWarps;
constexpr int kFewStepBytes = 64, kFewAhead = 8;  // of a row a step; steps whose loads are under way at once
// Rows of x in shared memory are this far from a multiple of 128 bytes, so that two rows fill the banks.
constexpr int kFewPadBytes = 64;

__device__ __forceinline__ void multiply_few(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_bf16(sums, a, b0, b1);
}
__device__ __forceinline__ void multiply_few(int32_t (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_int8(sums, a, b0, b1);
}

inline int64_t few_rows_stride(int64_t row_bytes) {
  return (row_bytes + 127) / 128 * 128 + kFewPadBytes;
}

// Whether the kernel takes the product: whole steps, 16-byte addresses, and x fits the shared memory.
inline bool fits_few_rows(const tb_context* context, const void* x, const void* w, int64_t M, int64_t row_bytes) {
  return M <= kFewRows && row_bytes % kFewStepBytes == 0 && is_aligned(x, 16) && is_aligned(w, 16) &&
         M * few_rows_stride(row_bytes) <= context->shared_bytes_per_block && !is_set("TITANBIT_NO_FEW_ROWS");
}

// Element: bf16 or int8_t. Calls finish(m, n, sum) for each element of the result.
template <typename Element, typename Sum, typename Finish>
__global__ void __launch_bounds__(kFewThreads) few_rows(const Element* __restrict__ x, const Element* __restrict__ w, int M, int64_t N,
                                                        int64_t row_bytes, int stride, Finish finish) {
  wait_for_earlier();
  extern __shared__ uint4 few_rows_shared[];
  char* const rows = reinterpret_cast<char*>(few_rows_shared);
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp, g = lane / 4, t = lane % 4;
  const int chunks = int(row_bytes / 16);  // of 16 bytes a row
  for (int i = int(threadIdx.x); i < M * chunks; i += kFewThreads) {
    const int m = i / chunks, chunk = i % chunks;
    *reinterpret_cast<uint4*>(rows + m * stride + chunk * 16) = reinterpret_cast<const uint4*>(x)[i];
  }
  __syncthreads();
  const char* const upper = rows + g * stride + t * 16;  // of row g, and of row g + 8
  const char* const lower = upper + 8 * stride;
  const bool has_upper = g < M, has_lower = g + 8 < M;
  const int steps = int(row_bytes / kFewStepBytes);
  const int64_t tiles = ceil_div(N, kFewColumns);
  for (int64_t tile = int64_t(blockIdx.x) * kFewWarps + warp; tile < tiles; tile += int64_t(gridDim.x) * kFewWarps) {
    const int64_t first = tile * kFewColumns, row = first + g < N ? first + g : N - 1;
    const char* from = reinterpret_cast<const char*>(w) + row * row_bytes + t * 16;
    Sum sums[4] = {};
    for (int step = 0; step < steps; step += kFewAhead) {
      uint4 weights[kFewAhead];
#pragma unroll
      for (int i = 0; i < kFewAhead; ++i)
        weights[i] = step + i < steps ? __ldcs(reinterpret_cast<const uint4*>(from + (step + i) * kFewStepBytes)) : uint4{};
#pragma unroll
      for (int i = 0; i < kFewAhead; ++i) {
        if (step + i >= steps) break;
        const int at = (step + i) * kFewStepBytes;
        const uint4 high = has_upper ? *reinterpret_cast<const uint4*>(upper + at) : uint4{};
        const uint4 low = has_lower ? *reinterpret_cast<const uint4*>(lower + at) : uint4{};
        const uint32_t a[2][4] = {{high.x, low.x, high.y, low.y}, {high.z, low.z, high.w, low.w}};
        multiply_few(sums, a[0], weights[i].x, weights[i].y);
        multiply_few(sums, a[1], weights[i].z, weights[i].w);
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int m = g + i / 2 * 8;
      const int64_t n = first + 2 * t + i % 2;
      if (m < M && n < N) finish(m, n, sums[i]);
    }
  }
}

template <typename Element, typename Sum, typename Finish>
tb_status launch_few_rows(tb_context* context, const char* op, const Element* x, const Element* w, int64_t M, int64_t N,
                          int64_t row_bytes, Finish finish) {
  const int64_t stride = few_rows_stride(row_bytes), shared = M * stride;
  const auto kernel = few_rows<Element, Sum, Finish>;
  const tb_status status = checked(context, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)),
                                   "set the shared memory of a product of few rows");
  if (status != TB_OK) return status;
  // Blocks that are there at once, so that x is brought to each multiprocessor a few times, not once a tile.
  const int64_t resident = std::max(int64_t(1), std::min(int64_t(4), int64_t(context->shared_bytes_per_block) / shared));
  const int64_t blocks = std::min(ceil_div(N, int64_t(kFewColumns) * kFewWarps), resident * context->sm_count);
  launch_early(context, kernel, unsigned(blocks), kFewThreads, shared, x, w, M, N, row_bytes, stride, finish);
  return launched(context, op);
}

}  // namespace tb
