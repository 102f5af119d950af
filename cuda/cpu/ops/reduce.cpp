// Sums of long float32 vectors, and norms of float32 and bfloat16 ones.
//
// Every value is widened to double. Blocks of 16384 elements are summed apart (two vectors of partial sums, then a fixed
// tree) and the blocks added in order, so the result depends on n alone, never on the number of threads.
#include <omp.h>

#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, sum_all, (tb_context * context, tb_dtype dtype, const void* x, int64_t n, bool squared, double* result))

namespace tb::TB_ISA {

typedef double vdouble __attribute__((vector_size(TB_VECTOR_BYTES)));
typedef float vhalf __attribute__((vector_size(TB_VECTOR_BYTES / 2), aligned(4), may_alias));
typedef uint32_t vword __attribute__((vector_size(TB_VECTOR_BYTES / 2)));
typedef uint16_t vbfloat16 __attribute__((vector_size(TB_VECTOR_BYTES / 4), aligned(2), may_alias));
constexpr int64_t kDoubles = TB_VECTOR_BYTES / 8;

TB_INLINE vhalf load_half(const float* from) { return *reinterpret_cast<const vhalf*>(from); }
TB_INLINE vhalf load_half(const uint16_t* from) {
  const vword wide = __builtin_convertvector(*reinterpret_cast<const vbfloat16*>(from), vword) << 16;
  return (vhalf)wide;
}
TB_INLINE double load_one(const float* from) { return double(*from); }
TB_INLINE double load_one(const uint16_t* from) { return double(__builtin_bit_cast(float, uint32_t(*from) << 16)); }

// x: float32, or the bits of bfloat16.
template <bool Squared, typename T>
TB_INLINE double block_sum(const T* x, int64_t n) {
  constexpr int64_t kParts = 4;
  vdouble total[kParts] = {};
  int64_t i = 0;
  for (; i + kParts * kDoubles <= n; i += kParts * kDoubles)
    for (int64_t part = 0; part < kParts; ++part) {
      const vdouble value = __builtin_convertvector(load_half(x + i + part * kDoubles), vdouble);
      total[part] += Squared ? value * value : value;
    }
  const vdouble all = (total[0] + total[1]) + (total[2] + total[3]);
  double result = 0;
  for (int64_t lane = 0; lane < kDoubles; ++lane) result += all[lane];
  for (; i < n; ++i) {
    const double value = load_one(x + i);
    result += Squared ? value * value : value;
  }
  return result;
}

template <bool Squared, typename T>
TB_INLINE double sum_blocks(tb_context* context, const T* x, int64_t n) {
  // A block grows only where their sums would not fit the scratch (above 68 GB of x).
  int64_t block_size = 16384;
  while (ceil_div(n, block_size) > kScratchBytes / 8) block_size *= 2;
  const int64_t blocks = ceil_div(n, block_size);
  double* sums = static_cast<double*>(context->thread_scratch(0));
#pragma omp parallel for num_threads(context->threads) schedule(static) if (blocks > 1)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t from = block * block_size;
    sums[block] = block_sum<Squared>(x + from, smaller(block_size, n - from));
  }
  double total = 0;
  for (int64_t block = 0; block < blocks; ++block) total += sums[block];
  return total;
}

void sum_all(tb_context* context, tb_dtype dtype, const void* x, int64_t n, bool squared, double* result) {
  if (!squared)
    *result = sum_blocks<false>(context, static_cast<const float*>(x), n);
  else if (dtype == TB_BF16)
    *result = sum_blocks<true>(context, static_cast<const uint16_t*>(x), n);
  else
    *result = sum_blocks<true>(context, static_cast<const float*>(x), n);
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_sum(tb_context* context, const float* x, float scale, float* out, int64_t n, int32_t accumulate) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, n >= 0, "Cannot run tb_sum as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, out != nullptr && (n == 0 || x != nullptr), "Cannot run tb_sum as x or out is null");
  double total = 0;
  TB_DISPATCH(context, sum_all, (context, TB_F32, x, n, false, &total));
  *out = float(double(scale) * total + (accumulate != 0 ? double(*out) : 0.0));
  return TB_OK;
}

extern "C" tb_status tb_norm(tb_context* context, tb_dtype dtype, const void* x, float* out, int64_t n, int32_t accumulate) {
  TB_CHECK_CONTEXT(context);
  if (dtype != TB_F32 && dtype != TB_BF16)
    return tb::fail(context, TB_UNSUPPORTED, "Cannot run tb_norm as dtype must be 0 (float32) or 1 (bfloat16): current value is %d",
                    int(dtype));
  TB_REQUIRE(context, n >= 0, "Cannot run tb_norm as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, out != nullptr && (n == 0 || x != nullptr), "Cannot run tb_norm as x or out is null");
  double total = 0;
  TB_DISPATCH(context, sum_all, (context, dtype, x, n, true, &total));
  *out = float(__builtin_sqrt(total + (accumulate != 0 ? double(*out) * double(*out) : 0.0)));
  return TB_OK;
}

#endif
