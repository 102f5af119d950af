// ---- Contract -------------------------------------------------------------------------------------------------------
//
// beta = mean |w| over the whole (rows, cols) matrix; s = max(beta, 1e-5) as float32; q = clamp(round(w / s), -1, 1), half to
// even; scale (rows) = s in every element. arXiv:2402.17764, equations 1 to 3.
//
// The sum is taken in double: blocks of kBlock elements, inside a block kSums interleaved sums that are added pairwise, then
// the blocks in order. No product is involved, so every instruction set and every number of threads gives the same bits.
// round(w / s) with one rounding of the quotient is 1 exactly where 2 w > s, and -1 where 2 w < -s: the first quotient above
// 1/2 lies more than half an ulp above it (s / 2 times 1 + 2^-23 / s with s in [1, 2) is past 1/2 + 2^-25), so no quotient
// above 1/2 rounds back onto 1/2, where half to even gives 0. Hence two comparisons and no division.
// A NaN in w makes beta and s NaN and all of q zero; an infinity makes s infinite and all of q zero.

#include <omp.h>

#include "dispatch.h"

TB_DECLARE(void, quantize_weight, (tb_context* context, const float* w, int8_t* q, float* scale, int64_t rows, int64_t cols))

// ---- Implementation -------------------------------------------------------------------------------------------------

namespace tb::TB_ISA {
namespace {

constexpr int64_t kBlock = 1 << 14;
constexpr int kSums = 16;
constexpr float kSmallestScale = 1e-5f;

double sum_of_magnitudes(const float* w, int64_t n) {
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
#pragma omp simd
    for (int j = 0; j < kSums; ++j) sums[j] += double(__builtin_fabsf(w[i + j]));
  }
  for (int j = 0; i < n; ++i, ++j) sums[j] += double(__builtin_fabsf(w[i]));
  for (int width = kSums / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) sums[j] += sums[j + width];
  return sums[0];
}

}  // namespace

void quantize_weight(tb_context* context, const float* w, int8_t* q, float* scale, int64_t rows, int64_t cols) {
  const int64_t n = rows * cols;
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  double* sums = static_cast<double*>(context->thread_scratch(0));
  const int wanted = blocks < 2 ? 1 : context->threads;
#pragma omp parallel num_threads(wanted)
  {
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t from = block * kBlock;
      sums[block] = sum_of_magnitudes(w + from, n - from < kBlock ? n - from : kBlock);
    }
    // Every thread adds the blocks for itself: the same order, the same result, one barrier less.
    double sum = 0;
    for (int64_t block = 0; block < blocks; ++block) sum += sums[block];
    const float beta = float(sum / double(n));
    const float s = beta < kSmallestScale ? kSmallestScale : beta;
#pragma omp for schedule(static) nowait
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t from = block * kBlock;
      const int64_t to = n - from < kBlock ? n : from + kBlock;
#pragma omp simd
      for (int64_t i = from; i < to; ++i) {
        const float twice = 2 * w[i];
        q[i] = int8_t(int32_t(twice > s) - int32_t(twice < -s));
      }
    }
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows; ++row) scale[row] = s;
  }
}

}  // namespace tb::TB_ISA

// ---- Launcher -------------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS
extern "C" tb_status tb_quantize_weight(tb_context* context, const float* w, int8_t* q, float* scale, int64_t rows,
                                        int64_t cols) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, rows > 0 && cols > 0,
             "Cannot run tb_quantize_weight as rows and cols must be positive: current values are %lld, %lld",
             (long long)rows, (long long)cols);
  // The blocks' sums have to fit the scratch of one thread.
  TB_REQUIRE(context, double(rows) * double(cols) <= double(1ll << 34),
             "Cannot run tb_quantize_weight as a matrix may have 2^34 elements: current shape is %lld x %lld",
             (long long)rows, (long long)cols);
  TB_REQUIRE(context, w != nullptr && q != nullptr && scale != nullptr,
             "Cannot run tb_quantize_weight as w, q and scale must not be null");
  TB_DISPATCH(context, quantize_weight, (context, w, q, scale, rows, cols));
  return TB_OK;
}
#endif
