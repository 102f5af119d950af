// Rows of the embedding table, and the scatter of their gradients.
//
// Forward copies; the row of an id outside 0 .. V - 1 becomes NaN. Backward: the rows of dout are sorted by id (a stable radix
// sort), then each run of equal ids is added to its row of dtable in the order of N, one column a thread: the order of the CPU
// build, deterministic, without atomics. Ids outside the table sort behind all others and are skipped.
// float32 sums; dout is float32 or bfloat16.
#include <cub/device/device_radix_sort.cuh>

#include "context.cuh"
#include "load_store.cuh"
#include "overlap.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 128;

template <int Count>
__global__ void __launch_bounds__(kThreads) embed(const int32_t* __restrict__ ids, const float* __restrict__ table,
                                                  float* __restrict__ out, int64_t D, int64_t V) {
  wait_for_earlier();
  const int64_t row = blockIdx.x;
  const int64_t id = ids[row];
  const bool known = id >= 0 && id < V;
  for (int64_t j = int64_t(threadIdx.x) * Count; j < D; j += int64_t(kThreads) * Count) {
    float values[Count];
    if (known) {
      load_floats(table + id * D + j, values);
    } else {
#pragma unroll
      for (int i = 0; i < Count; ++i) values[i] = __int_as_float(0x7fffffff);
    }
    store_floats(out + row * D + j, values);
  }
}

__global__ void __launch_bounds__(kThreads) keys_of(const int32_t* __restrict__ ids, uint32_t* __restrict__ keys,
                                                    int32_t* __restrict__ rows, int64_t N, int64_t V) {
  const int64_t row = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= N) return;
  const int64_t id = ids[row];
  keys[row] = uint32_t(id >= 0 && id < V ? id : V);
  rows[row] = int32_t(row);
}

// A block a sorted place and a slice of columns; it works where a run of equal keys begins.
template <int Count, typename T>
__global__ void __launch_bounds__(kThreads) add_runs(const uint32_t* __restrict__ keys, const int32_t* __restrict__ rows,
                                                     const T* __restrict__ dout, float* __restrict__ dtable, int64_t N,
                                                     int64_t D, int64_t V) {
  const int64_t first = blockIdx.x;
  const uint32_t key = keys[first];
  if (int64_t(key) >= V || (first > 0 && keys[first - 1] == key)) return;
  const int64_t j = (int64_t(blockIdx.y) * kThreads + threadIdx.x) * Count;
  if (j >= D) return;
  float sum[Count];
  load_floats(dtable + int64_t(key) * D + j, sum);
  // Rows of a common id come four at a time, so that their loads overlap; they are added one after the other.
  int64_t at = first;
  for (; at + 4 <= N && keys[at + 3] == key; at += 4) {
    float values[4][Count];
#pragma unroll
    for (int k = 0; k < 4; ++k) load_floats(dout + int64_t(rows[at + k]) * D + j, values[k]);
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int i = 0; i < Count; ++i) sum[i] += values[k][i];
  }
  for (; at < N && keys[at] == key; ++at) {
    float values[Count];
    load_floats(dout + int64_t(rows[at]) * D + j, values);
#pragma unroll
    for (int i = 0; i < Count; ++i) sum[i] += values[i];
  }
  store_floats(dtable + int64_t(key) * D + j, sum);
}

int bits_of(int64_t value) {
  int bits = 0;
  for (; value > 0; value >>= 1) ++bits;
  return bits;
}

int64_t padded(int64_t bytes) { return ceil_div(bytes, 256) * 256; }

tb_status check(tb_context* context, const char* op, const void* ids, const void* a, const void* b, int64_t N, int64_t D,
                int64_t V) {
  TB_REQUIRE(context, N >= 0 && N <= INT32_MAX && D >= 1 && V >= 1 && V < INT32_MAX,
             "Cannot run %s as N must be 0 to 2^31 - 1, D at least 1 and V 1 to 2^31 - 2: current values are %lld, %lld and %lld",
             op, (long long)N, (long long)D, (long long)V);
  TB_REQUIRE(context, N == 0 || (ids != nullptr && a != nullptr && b != nullptr), "Cannot run %s as one of its tensors is null",
             op);
  return TB_OK;
}

template <typename T>
void launch_add_runs(tb_context* context, const uint32_t* keys, const int32_t* rows, const T* dout, float* dtable, int64_t N,
                     int64_t D, int64_t V) {
  if (D % 4 == 0 && is_aligned(dout, 4 * sizeof(T)) && is_aligned(dtable, 16)) {
    const dim3 grid(unsigned(N), blocks_for(D, 4 * kThreads));
    add_runs<4><<<grid, kThreads, 0, context->stream>>>(keys, rows, dout, dtable, N, D, V);
  } else {
    const dim3 grid(unsigned(N), blocks_for(D, kThreads));
    add_runs<1><<<grid, kThreads, 0, context->stream>>>(keys, rows, dout, dtable, N, D, V);
  }
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_embedding_forward(tb_context* context, const int32_t* ids, const float* table, float* out, int64_t N,
                                          int64_t D, int64_t V) {
  TB_ENTER(context);
  if (const tb_status status = tb::check(context, "tb_embedding_forward", ids, table, out, N, D, V); status != TB_OK)
    return status;
  if (N == 0) return TB_OK;
  if (D % 4 == 0 && tb::is_aligned(table, 16) && tb::is_aligned(out, 16))
    tb::launch_rows(context, N, tb::embed<4>, unsigned(N), tb::kThreads, 0, ids, table, out, D, V);
  else
    tb::launch_rows(context, N, tb::embed<1>, unsigned(N), tb::kThreads, 0, ids, table, out, D, V);
  return tb::launched(context, "tb_embedding_forward");
}

extern "C" tb_status tb_embedding_backward(tb_context* context, const int32_t* ids, tb_dtype dout_dtype, const void* dout,
                                           float* dtable, int64_t N, int64_t D, int64_t V) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dout_dtype, "tb_embedding_backward");
  if (const tb_status status = tb::check(context, "tb_embedding_backward", ids, dout, dtable, N, D, V); status != TB_OK)
    return status;
  TB_REQUIRE(context, D <= 65535 * int64_t(tb::kThreads), "Cannot run tb_embedding_backward as D may be %lld: current value is %lld",
             (long long)(65535 * int64_t(tb::kThreads)), (long long)D);
  if (N == 0) return TB_OK;
  // In the scratch: keys and rows, unsorted and sorted, then what the sort asks for.
  const int64_t column = tb::padded(4 * N);
  const int bits = tb::bits_of(V);
  uint32_t* keys = reinterpret_cast<uint32_t*>(context->scratch);
  uint32_t* sorted_keys = reinterpret_cast<uint32_t*>(context->scratch + column);
  int32_t* rows = reinterpret_cast<int32_t*>(context->scratch + 2 * column);
  int32_t* sorted_rows = reinterpret_cast<int32_t*>(context->scratch + 3 * column);
  size_t sort_bytes = 0;
  cudaError_t code = cub::DeviceRadixSort::SortPairs(nullptr, sort_bytes, keys, sorted_keys, rows, sorted_rows, int(N), 0, bits,
                                                     context->stream);
  if (code != cudaSuccess) return tb::checked(context, code, "run tb_embedding_backward");
  TB_REQUIRE(context, 4 * column + int64_t(sort_bytes) <= tb::kScratchBytes,
             "Cannot run tb_embedding_backward as N rows must be sorted in %lld bytes: current N is %lld, which needs %lld",
             (long long)tb::kScratchBytes, (long long)N, (long long)(4 * column + int64_t(sort_bytes)));
  tb::keys_of<<<tb::blocks_for(N, tb::kThreads), tb::kThreads, 0, context->stream>>>(ids, keys, rows, N, V);
  code = cub::DeviceRadixSort::SortPairs(context->scratch + 4 * column, sort_bytes, keys, sorted_keys, rows, sorted_rows, int(N),
                                         0, bits, context->stream);
  if (code != cudaSuccess) return tb::checked(context, code, "run tb_embedding_backward");
  TB_WITH_TYPE(dout_dtype, T, {
    tb::launch_add_runs(context, sorted_keys, sorted_rows, static_cast<const T*>(dout), dtable, N, D, V);
  });
  return tb::launched(context, "tb_embedding_backward");
}
