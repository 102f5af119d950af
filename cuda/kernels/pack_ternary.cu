// packed (rows, ceil(cols / 16)) int32: value j of a row sits in bits 2 (j % 16) of word j / 16 as code q + 1. Code 1 (value 0)
// fills a last word. Values other than -1, 0 and 1 are not representable: (q + 1) mod 4 is stored; code 3 unpacks to 2. The same
// bits as the CPU build.
#include "gemm_ternary.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 256;
constexpr int kValues = 16;
constexpr int kWordsEach = 4;  // of a thread, all on their way before the first is spread

// A word a thread; whole words of aligned rows are one load.
__global__ void __launch_bounds__(kThreads) pack(const int8_t* __restrict__ q, uint32_t* __restrict__ packed, int64_t total,
                                                 int64_t words, int64_t cols, bool aligned) {
  const int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= total) return;
  const int64_t row = index / words, first = index % words * kValues;
  const int8_t* from = q + row * cols + first;
  Pack<int8_t, kValues> values;
  if (aligned) {
    values = load_pack<kValues>(from);
  } else {
#pragma unroll
    for (int j = 0; j < kValues; ++j) values.values[j] = first + j < cols ? from[j] : int8_t(0);
  }
  uint32_t word = 0;
#pragma unroll
  for (int j = 0; j < kValues; ++j) word |= (uint32_t(int32_t(values.values[j]) + 1) & 3u) << (2 * j);
  packed[index] = word;
}

__global__ void __launch_bounds__(kThreads) unpack(const uint32_t* __restrict__ packed, int8_t* __restrict__ q, int64_t total,
                                                   int64_t words, int64_t cols) {
  const int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= total) return;
  const int64_t row = index / words, first = index % words * kValues;
  const uint32_t word = packed[index];
  int8_t* to = q + row * cols + first;
#pragma unroll
  for (int j = 0; j < kValues; ++j)
    if (first + j < cols) to[j] = int8_t(int(word >> (2 * j) & 3u) - 1);
}

// Aligned rows of whole words follow each other in both forms: chunk i is word i.
__global__ void __launch_bounds__(kThreads) unpack_whole(const uint32_t* __restrict__ packed, uint4* __restrict__ q, int64_t total) {
  const int64_t first = int64_t(blockIdx.x) * kThreads * kWordsEach + threadIdx.x;
  uint32_t words[kWordsEach];
#pragma unroll
  for (int i = 0; i < kWordsEach; ++i) words[i] = first + i * kThreads < total ? packed[first + i * kThreads] : 0;
#pragma unroll
  for (int i = 0; i < kWordsEach; ++i)
    if (first + i * kThreads < total) q[first + i * kThreads] = bytes_of_codes(words[i]);
}

tb_status check(tb_context* context, const char* op, const void* q, const void* packed, int64_t rows, int64_t cols) {
  TB_REQUIRE(context, rows > 0 && cols > 0, "Cannot run %s as rows and cols must be positive: current values are %lld, %lld", op,
             (long long)rows, (long long)cols);
  TB_REQUIRE(context, double(rows) * double(cols) <= double(1ll << 40),
             "Cannot run %s as a matrix may have 2^40 elements: current shape is %lld x %lld", op, (long long)rows,
             (long long)cols);
  TB_REQUIRE(context, q != nullptr && packed != nullptr, "Cannot run %s as q and packed must not be null", op);
  return TB_OK;
}

}  // namespace

tb_status unpack_ternary(tb_context* context, const char* op, const int32_t* packed, int8_t* q, int64_t rows, int64_t cols) {
  const int64_t words = ceil_div(cols, kValues), total = rows * words;
  const auto* from = reinterpret_cast<const uint32_t*>(packed);
  if (cols % kValues == 0 && is_aligned(q, 16))
    unpack_whole<<<blocks_for(total, kThreads * kWordsEach), kThreads, 0, context->stream>>>(from, reinterpret_cast<uint4*>(q), total);
  else
    unpack<<<blocks_for(total, kThreads), kThreads, 0, context->stream>>>(from, q, total, words, cols);
  return launched(context, op);
}

}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_pack_ternary(tb_context* context, const int8_t* q, int32_t* packed, int64_t rows, int64_t cols) {
  TB_ENTER(context);
  if (const tb_status status = tb::check(context, "tb_pack_ternary", q, packed, rows, cols); status != TB_OK) return status;
  const int64_t words = tb::ceil_div(cols, tb::kValues), total = rows * words;
  const bool aligned = cols % tb::kValues == 0 && tb::is_aligned(q, 16);
  tb::pack<<<tb::blocks_for(total, tb::kThreads), tb::kThreads, 0, context->stream>>>(
      q, reinterpret_cast<uint32_t*>(packed), total, words, cols, aligned);
  return tb::launched(context, "tb_pack_ternary");
}

extern "C" tb_status tb_unpack_ternary(tb_context* context, const int32_t* packed, int8_t* q, int64_t rows, int64_t cols) {
  TB_ENTER(context);
  if (const tb_status status = tb::check(context, "tb_unpack_ternary", q, packed, rows, cols); status != TB_OK) return status;
  return tb::unpack_ternary(context, "tb_unpack_ternary", packed, q, rows, cols);
}
