// ---- Contract -------------------------------------------------------------------------------------------------------
//
// What the records of a ternary run tell: counts over a ternary matrix and its latent weights, and over a quantised input.
//
// Counts are exact: they are added in int64, so that neither threads nor instruction sets nor builds change them. Near a
// threshold: (0.5 - margin) * s <= |w| <= (0.5 + margin) * s, each bound one float32 subtraction or addition and one product,
// which no compiler can fuse; a NaN on either side counts as not near.
// The mean of the scales is summed in double, in blocks of kScales that are added in order; their maximum skips NaN.

#include <omp.h>

#include "vector.h"

TB_DECLARE(void, ternary_statistics,
           (tb_context* context, const float* w, const int8_t* q, const int8_t* previous, const float* scale, float margin,
            int64_t n, int64_t* counts))
TB_DECLARE(void, quantized_statistics,
           (tb_context* context, const int8_t* q, const float* scale, int32_t low, int32_t high, int64_t rows, int64_t n,
            int64_t* counts, float* scales))

// ---- Implementation -------------------------------------------------------------------------------------------------

namespace tb::TB_ISA {

constexpr int64_t kElements = 1 << 14;  // a block's counts fit int32
constexpr int64_t kScales = 1 << 12;

void ternary_statistics(tb_context* context, const float* w, const int8_t* q, const int8_t* previous, const float* scale,
                        float margin, int64_t n, int64_t* counts) {
  const float s = scale[0];
  const float low = (0.5f - margin) * s;
  const float high = (0.5f + margin) * s;
  const int64_t blocks = ceil_div(n, kElements);
  int64_t minus = 0, zero = 0, plus = 0, flipped = 0, near = 0;
#pragma omp parallel for num_threads(context->threads) schedule(static) if (blocks > 1) \
    reduction(+ : minus, zero, plus, flipped, near)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t from = block * kElements;
    const int64_t to = smaller(n, from + kElements);
    int32_t below = 0, none = 0, above = 0, changed = 0, close = 0;
#pragma omp simd reduction(+ : below, none, above)
    for (int64_t i = from; i < to; ++i) {
      below += int32_t(q[i] < 0);
      none += int32_t(q[i] == 0);
      above += int32_t(q[i] > 0);
    }
#pragma omp simd reduction(+ : close)
    for (int64_t i = from; i < to; ++i) {
      const float size = __builtin_fabsf(w[i]);
      close += int32_t(size >= low) & int32_t(size <= high);
    }
    if (previous != nullptr) {
#pragma omp simd reduction(+ : changed)
      for (int64_t i = from; i < to; ++i) changed += int32_t(q[i] != previous[i]);
    }
    minus += below;
    zero += none;
    plus += above;
    flipped += changed;
    near += close;
  }
  counts[0] = minus;
  counts[1] = zero;
  counts[2] = plus;
  counts[3] = flipped;
  counts[4] = near;
}

void quantized_statistics(tb_context* context, const int8_t* q, const float* scale, int32_t low, int32_t high, int64_t rows,
                          int64_t n, int64_t* counts, float* scales) {
  const int64_t blocks = ceil_div(n, kElements);
  int64_t zeros = 0, clipped = 0;
#pragma omp parallel for num_threads(context->threads) schedule(static) if (blocks > 1) reduction(+ : zeros, clipped)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t from = block * kElements;
    const int64_t to = smaller(n, from + kElements);
    int32_t none = 0, limit = 0;
#pragma omp simd reduction(+ : none, limit)
    for (int64_t i = from; i < to; ++i) {
      none += int32_t(q[i] == 0);
      limit += int32_t(q[i] <= low) | int32_t(q[i] >= high);
    }
    zeros += none;
    clipped += limit;
  }
  counts[0] = zeros;
  counts[1] = clipped;
  double total = 0;
  float largest = 0;
  for (int64_t from = 0; from < rows; from += kScales) {
    double sum = 0;
    for (int64_t row = from; row < smaller(rows, from + kScales); ++row) {
      sum += double(scale[row]);
      if (scale[row] > largest) largest = scale[row];
    }
    total += sum;
  }
  scales[0] = float(total / double(rows));
  scales[1] = largest;
}

}  // namespace tb::TB_ISA

// ---- Launchers ------------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_ternary_statistics(tb_context* context, const float* w, const int8_t* q, const int8_t* previous,
                                           const float* scale, float margin, int64_t rows, int64_t cols, int64_t* counts) {
  TB_CHECK_CONTEXT(context);
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
  TB_DISPATCH(context, ternary_statistics, (context, w, q, previous, scale, margin, rows * cols, counts));
  return TB_OK;
}

extern "C" tb_status tb_quantized_statistics(tb_context* context, tb_activation_quant quant, const int8_t* q,
                                             const float* scale, int64_t N, int64_t D, int64_t* counts, float* scales) {
  TB_CHECK_CONTEXT(context);
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
  const int32_t low = quant == TB_QUANT_ABSMAX ? -127 : -8;
  const int32_t high = quant == TB_QUANT_ABSMAX ? 127 : 7;
  TB_DISPATCH(context, quantized_statistics, (context, q, scale, low, high, N, N * D, counts, scales));
  return TB_OK;
}

#endif
