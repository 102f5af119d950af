// The k largest logits of each row, in order: what choosing a token needs of a vocabulary, so that a few bytes go to the host.
//
// Largest first, of equal ones the lower id, NaN before every number. A logit and its id make one 64-bit key: the logit's bits in
// the order of the numbers, above the complement of its id. Exact, so the order of work does not show.
//   k = 1   one block a row keeps the largest key a thread, then of the block
//   else    blocks sort kChunk keys each (bitonic, in shared memory) and pass the first k on, until one block has sorted them all
#include "context.cuh"
#include "overlap.cuh"
#include "reduce.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

using Key = unsigned long long;

constexpr int kMostKept = 256;
constexpr int kChunk = 2048, kSortThreads = kChunk / 2, kMaxThreads = 1024;

// 0 is below the key of every logit.
__device__ __forceinline__ Key key_of(float logit, int64_t id) {
  const unsigned bits = __float_as_uint(logit + 0.0f);  // -0 becomes 0
  const unsigned order = isnan(logit) ? 0xffffffffu : (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return Key(order) << 32 | (0xffffffffu - unsigned(id));
}

__device__ __forceinline__ float logit_of(Key key) {
  const unsigned order = unsigned(key >> 32);
  return __uint_as_float((order & 0x80000000u) != 0 ? order & 0x7fffffffu : ~order);
}

__device__ __forceinline__ int32_t id_of(Key key) { return int32_t(0xffffffffu - unsigned(key)); }

__global__ void __launch_bounds__(kMaxThreads) largest_of_rows(const float* __restrict__ logits, float* __restrict__ values,
                                                               int32_t* __restrict__ ids, int64_t V, int64_t stride) {
  wait_for_earlier();
  __shared__ Key largest[kMaxThreads / kWarp];
  const float* row = logits + int64_t(blockIdx.x) * stride;
  Key best = 0;
#pragma unroll 8
  for (int64_t id = threadIdx.x; id < V; id += kMaxThreads) best = max(best, key_of(row[id], id));
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) best = max(best, __shfl_xor_sync(kAllLanes, best, offset));
  if (threadIdx.x % kWarp == 0) largest[threadIdx.x / kWarp] = best;
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  best = largest[threadIdx.x];
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) best = max(best, __shfl_xor_sync(kAllLanes, best, offset));
  if (threadIdx.x == 0) {
    values[blockIdx.x] = logit_of(best);
    ids[blockIdx.x] = id_of(best);
  }
}

// Block (chunk, row): sorts its part of the row's `count` logits or keys. One chunk a row writes the result, more their first k
// keys, zeros where they have fewer.
template <bool FromLogits>
__global__ void __launch_bounds__(kSortThreads) sort_chunks(const float* __restrict__ logits, int64_t stride,
                                                            const Key* __restrict__ from, Key* __restrict__ to,
                                                            float* __restrict__ values, int32_t* __restrict__ ids, int64_t count,
                                                            int k) {
  wait_for_earlier();
  __shared__ Key keys[kChunk];
  const int64_t row = blockIdx.y, first = int64_t(blockIdx.x) * kChunk;
  for (int i = int(threadIdx.x); i < kChunk; i += kSortThreads) {
    const int64_t at = first + i;
    if constexpr (FromLogits)
      keys[i] = at < count ? key_of(logits[row * stride + at], at) : 0;
    else
      keys[i] = at < count ? from[row * count + at] : 0;
  }
  // Runs of `size` fall and rise in turn; the last, of all, falls. A thread has one pair a step.
  for (int size = 2; size <= kChunk; size *= 2)
    for (int distance = size / 2; distance > 0; distance /= 2) {
      __syncthreads();
      const int low = int(threadIdx.x) / distance * 2 * distance + int(threadIdx.x) % distance, high = low + distance;
      const Key a = keys[low], b = keys[high];
      const bool falls = (low & size) == 0;
      if (falls ? a < b : a > b) {
        keys[low] = b;
        keys[high] = a;
      }
    }
  __syncthreads();
  for (int i = int(threadIdx.x); i < k; i += kSortThreads) {
    if (gridDim.x == 1) {
      values[row * k + i] = logit_of(keys[i]);
      ids[row * k + i] = id_of(keys[i]);
    } else {
      to[(row * gridDim.x + blockIdx.x) * k + i] = keys[i];
    }
  }
}

}  // namespace
}  // namespace tb

// ---- Launcher ---------------------------------------------------------------------------------------------------

extern "C" tb_status tb_top_k(tb_context* context, const float* logits, float* values, int32_t* ids, int64_t N, int64_t V,
                              int64_t stride, int64_t k) {
  using tb::Key;
  TB_ENTER(context);
  TB_REQUIRE(context, N >= 0 && N <= 65535 && V >= 1 && V <= INT32_MAX && stride >= V,
             "Cannot run tb_top_k as N must be 0 to 65535, V 1 to 2^31 - 1 and stride at least V: current values are %lld, %lld and %lld",
             (long long)N, (long long)V, (long long)stride);
  TB_REQUIRE(context, k >= 1 && k <= tb::kMostKept && k <= V,
             "Cannot run tb_top_k as k must be 1 to 256 and at most V %lld: current value is %lld", (long long)V, (long long)k);
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, logits != nullptr && values != nullptr && ids != nullptr, "Cannot run tb_top_k as one of its tensors is null");
  if (k == 1) {
    tb::launch_early(context, tb::largest_of_rows, unsigned(N), tb::kMaxThreads, 0, logits, values, ids, V, stride);
    return tb::launched(context, "tb_top_k");
  }
  // Two halves of the scratch, read and written in turn.
  Key* const scratch = reinterpret_cast<Key*>(context->scratch);
  const int64_t half = tb::kScratchBytes / int64_t(sizeof(Key)) / 2;
  const int64_t kept = N * tb::ceil_div(V, tb::kChunk) * k;
  TB_REQUIRE(context, kept <= half, "Cannot run tb_top_k as N * ceil(V / 2048) * k must be at most %lld: current value is %lld",
             (long long)half, (long long)kept);
  const Key* from = nullptr;
  int64_t count = V;
  for (int level = 0;; ++level) {
    const int64_t chunks = tb::ceil_div(count, tb::kChunk);
    Key* const to = scratch + level % 2 * half;
    const dim3 grid{unsigned(chunks), unsigned(N), 1};
    if (level == 0)
      tb::launch_early(context, tb::sort_chunks<true>, grid, tb::kSortThreads, 0, logits, stride, nullptr, to, values, ids, count, k);
    else
      tb::launch_early(context, tb::sort_chunks<false>, grid, tb::kSortThreads, 0, nullptr, 0, from, to, values, ids, count, k);
    if (chunks == 1) break;
    from = to;
    count = chunks * k;
  }
  return tb::launched(context, "tb_top_k");
}
