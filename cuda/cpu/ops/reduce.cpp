// Sums and norms of long float32 vectors.
//
// Every value is widened to double. Blocks of 16384 elements are summed apart (two vectors of partial sums, then a fixed
// tree) and the blocks added in order, so the result depends on n alone, never on the number of threads.
#include <omp.h>

#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, sum_all, (tb_context * context, const float* x, int64_t n, bool squared, double* result))

namespace tb::TB_ISA {

typedef double vdouble __attribute__((vector_size(TB_VECTOR_BYTES)));
typedef float vhalf __attribute__((vector_size(TB_VECTOR_BYTES / 2), aligned(4), may_alias));
constexpr int64_t kDoubles = TB_VECTOR_BYTES / 8;

template <bool Squared>
TB_INLINE double block_sum(const float* x, int64_t n) {
  constexpr int64_t kParts = 4;
  vdouble total[kParts] = {};
  int64_t i = 0;
  for (; i + kParts * kDoubles <= n; i += kParts * kDoubles)
    for (int64_t part = 0; part < kParts; ++part) {
      const vhalf narrow = *reinterpret_cast<const vhalf*>(x + i + part * kDoubles);
      const vdouble value = __builtin_convertvector(narrow, vdouble);
      total[part] += Squared ? value * value : value;
    }
  const vdouble all = (total[0] + total[1]) + (total[2] + total[3]);
  double result = 0;
  for (int64_t lane = 0; lane < kDoubles; ++lane) result += all[lane];
  for (; i < n; ++i) result += Squared ? double(x[i]) * x[i] : double(x[i]);
  return result;
}

void sum_all(tb_context* context, const float* x, int64_t n, bool squared, double* result) {
  // A block grows only where their sums would not fit the scratch (above 68 GB of x).
  int64_t block_size = 16384;
  while (ceil_div(n, block_size) > kScratchBytes / 8) block_size *= 2;
  const int64_t blocks = ceil_div(n, block_size);
  double* sums = static_cast<double*>(context->thread_scratch(0));
#pragma omp parallel for num_threads(context->threads) schedule(static) if (blocks > 1)
  for (int64_t block = 0; block < blocks; ++block) {
    const float* from = x + block * block_size;
    const int64_t count = smaller(block_size, n - block * block_size);
    sums[block] = squared ? block_sum<true>(from, count) : block_sum<false>(from, count);
  }
  double total = 0;
  for (int64_t block = 0; block < blocks; ++block) total += sums[block];
  *result = total;
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_sum(tb_context* context, const float* x, float scale, float* out, int64_t n, int32_t accumulate) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, n >= 0, "Cannot run tb_sum as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, out != nullptr && (n == 0 || x != nullptr), "Cannot run tb_sum as x or out is null");
  double total = 0;
  TB_DISPATCH(context, sum_all, (context, x, n, false, &total));
  *out = float(double(scale) * total + (accumulate != 0 ? double(*out) : 0.0));
  return TB_OK;
}

extern "C" tb_status tb_norm(tb_context* context, const float* x, float* out, int64_t n) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, n >= 0, "Cannot run tb_norm as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, out != nullptr && (n == 0 || x != nullptr), "Cannot run tb_norm as x or out is null");
  double total = 0;
  TB_DISPATCH(context, sum_all, (context, x, n, true, &total));
  *out = float(__builtin_sqrt(total));
  return TB_OK;
}

#endif
