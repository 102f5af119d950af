// ---- Contract -------------------------------------------------------------------------------------------------------
//
// y (M, N) = (Q(x) . wᵀ) * s_x (M) * w_scale (N); x (M, K) float32, w (N, K) int8, y float32: the head of a finished model.
//
// Q and s_x are TB_QUANT_ABSMAX's, row by row: gamma = max(max|x|, 1e-5), Q(x) = round(x * (127 / gamma)), half to even, s_x =
// gamma / 127. The integer product is exact: K is limited to 2^15, so |sum| <= 2^29. Then, each rounded on its own,
//   y = fl(float32(sum) * fl(s_x * w_scale))
// so every instruction set, every number of rows and of threads, and the card give the same bits. A row of x that holds NaN or
// an infinity has such a scale, and no finite y.
//
// Bound by the reading of w. As in gemm_ternary_rows.h a thread reads several rows of w side by side. Bytes are widened to int16
// on the way: products of two signed bytes have no instruction of their own, and the one there is would saturate.

#include <omp.h>

#include "gemm_ternary.h"
#include "norm_row.h"

TB_DECLARE(void, gemm_int8,
           (tb_context* context, const float* x, const int8_t* w, const float* w_scale, float* y, int64_t M, int64_t N,
            int64_t K))

// ---- Implementation -------------------------------------------------------------------------------------------------

namespace tb::TB_ISA {
namespace {

constexpr int64_t kRowsAtOnce = 4;
// Values of a vector of int16.
constexpr int64_t kStep = TB_VECTOR_BYTES / 2;

#if TB_ISA_LEVEL == 2
typedef __m512i Wide;
TB_INLINE Wide widen(const int8_t* from) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
TB_INLINE Wide add_products(Wide sum, Wide w, const int16_t* x) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(w, _mm512_loadu_si512(x)));
}
#elif TB_ISA_LEVEL == 1
typedef __m256i Wide;
TB_INLINE Wide widen(const int8_t* from) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
TB_INLINE Wide add_products(Wide sum, Wide w, const int16_t* x) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(w, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))));
}
#endif

// totals[r][s] = row r of x times row s of w. Rows of x are `width` apart and zero behind the depth.
template <int rows, int streams>
TB_INLINE void dot_streams(const int16_t* x, int64_t width, const int8_t* const* w, int64_t K, int32_t (*totals)[streams]) {
#if TB_ISA_LEVEL == 0
  for (int s = 0; s < streams; ++s)
    for (int r = 0; r < rows; ++r) {
      const int16_t* row = x + r * width;
      int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < K; ++k) sum += int32_t(row[k]) * int32_t(w[s][k]);
      totals[r][s] = sum;
    }
#else
  Wide sums[rows][streams] = {};
  const int64_t whole = K / kStep * kStep;
  for (int64_t k = 0; k < whole; k += kStep)
#pragma GCC unroll 8
    for (int s = 0; s < streams; ++s) {
      __builtin_prefetch(w[s] + k + kStreamAhead, 0, 2);
      const Wide values = widen(w[s] + k);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) sums[r][s] = add_products(sums[r][s], values, x + r * width + k);
    }
  if (whole < K)
    for (int s = 0; s < streams; ++s) {
      alignas(64) int8_t rest[kStep] = {};
      memcpy(rest, w[s] + whole, size_t(K - whole));
      for (int r = 0; r < rows; ++r) sums[r][s] = add_products(sums[r][s], widen(rest), x + r * width + whole);
    }
  for (int r = 0; r < rows; ++r)
    for (int s = 0; s < streams; ++s) {
      int32_t lanes[kLanes], sum = 0;
      memcpy(lanes, &sums[r][s], sizeof lanes);
      for (int32_t lane : lanes) sum += lane;
      totals[r][s] = sum;
    }
#endif
}

struct Int8Product {
  const int16_t* x;      // (rows, width)
  const float* x_scale;  // (rows)
  const int8_t* w;
  const float* w_scale;
  float* y;
  int64_t N, K, width;
};

template <int rows, int streams>
TB_INLINE void multiply_columns(const Int8Product& product, int64_t n, int64_t apart) {
  const int8_t* w[streams];
  int32_t totals[rows][streams];
  for (int s = 0; s < streams; ++s) w[s] = product.w + (n + s * apart) * product.K;
  dot_streams<rows, streams>(product.x, product.width, w, product.K, totals);
  for (int r = 0; r < rows; ++r)
    for (int s = 0; s < streams; ++s) {
      const int64_t column = n + s * apart;
      product.y[r * product.N + column] = float(totals[r][s]) * (product.x_scale[r] * product.w_scale[column]);
    }
}

template <int rows>
void multiply_share(const Int8Product& product, int64_t first, int64_t last) {
  constexpr int streams = rows <= 2 ? 4 : 2;
  const int64_t apart = (last - first) / streams;
  for (int64_t n = first; n < first + apart; ++n) multiply_columns<rows, streams>(product, n, apart);
  for (int64_t n = first + apart * streams; n < last; ++n) multiply_columns<rows, 1>(product, n, 0);
}

// One row of x as integers of 16 bits; gives its scale.
float quantize_row(const float* x, int64_t K, int64_t width, int16_t* q) {
  int32_t bits = 0;
#pragma omp simd reduction(max : bits)
  for (int64_t k = 0; k < K; ++k) {
    const int32_t magnitude = __builtin_bit_cast(int32_t, x[k]) & 0x7fffffff;
    bits = magnitude > bits ? magnitude : bits;
  }
  float gamma = __builtin_bit_cast(float, bits);
  gamma = gamma < kSmallestGamma ? kSmallestGamma : gamma;  // NaN stays
  const float factor = 127.0f / gamma;
  // Of a row that is not finite, what is no number becomes one: its scale tells.
  const bool is_finite = gamma <= 3.4028235e38f;
#pragma omp simd
  for (int64_t k = 0; k < K; ++k) q[k] = is_finite ? nearest(x[k] * factor) : int16_t(1);
  for (int64_t k = K; k < width; ++k) q[k] = 0;
  return gamma / 127.0f;
}

}  // namespace

void gemm_int8(tb_context* context, const float* x, const int8_t* w, const float* w_scale, float* y, int64_t M, int64_t N,
               int64_t K) {
  const int64_t width = round_up(K, kStep);
  auto* quantized = static_cast<int16_t*>(context->thread_scratch(0));
  float scales[kRowsAtOnce];
  const int wanted = double(N) * double(K) < double(1 << 16) ? 1 : context->threads;
  for (int64_t m = 0; m < M; m += kRowsAtOnce) {
    const int64_t rows = smaller(kRowsAtOnce, M - m);
    for (int64_t r = 0; r < rows; ++r) scales[r] = quantize_row(x + (m + r) * K, K, width, quantized + r * width);
    const Int8Product product{quantized, scales, w, w_scale, y + m * N, N, K, width};
#pragma omp parallel num_threads(wanted)
    {
      const int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
      const int64_t first = N * thread / threads, last = N * (thread + 1) / threads;
      switch (rows) {
        case 1:
          multiply_share<1>(product, first, last);
          break;
        case 2:
          multiply_share<2>(product, first, last);
          break;
        case 3:
          multiply_share<3>(product, first, last);
          break;
        default:
          multiply_share<4>(product, first, last);
      }
    }
  }
}

}  // namespace tb::TB_ISA

// ---- Launcher -------------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS
extern "C" tb_status tb_gemm_int8(tb_context* context, tb_dtype dtype, const void* x, const int8_t* w, const float* w_scale,
                                  float* y, int64_t M, int64_t N, int64_t K) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_gemm_int8");
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0 && K <= (1 << 15),
             "Cannot run tb_gemm_int8 as M and N must be positive and K 1 to 32768: current values are %lld, %lld, %lld",
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, x != nullptr && w != nullptr && w_scale != nullptr && y != nullptr,
             "Cannot run tb_gemm_int8 as x, w, its scale and y must not be null");
  TB_DISPATCH(context, gemm_int8, (context, static_cast<const float*>(x), w, w_scale, y, M, N, K));
  return TB_OK;
}
#endif
