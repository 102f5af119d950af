// ---- Contract -------------------------------------------------------------------------------------------------------
//
// y (M, N) float32 = (x (M, K) int8 . wᵀ) * x_scale (M) * w_scale (N) + residual (M, N); w (N, K) in {-1, 0, 1} as int8, or as
// 2-bit codes (pack_ternary.cpp). arXiv:2402.17764 with per-token scales.
//
// The integer product is exact for every int8 activation, -128 included, in whatever order it is summed. The epilogue is one
// fixed order of float32 operations, each rounded on its own (never fused):
//   y = fl(fl(float32(sum) * fl(x_scale[m] * w_scale[n])) + residual[m][n])
// so int8 and 2-bit weights, every instruction set, every number of rows and of threads give the same bits. K is limited to
// 2^17, up to which float32(sum) is exact: |sum| <= 128 * 2^17 = 2^24.
//
// Paths: up to kTernaryFewRows rows stream the weights (gemm_ternary_rows.h); more rows pack panels (gemm_ternary_tiles.h);
// portable code takes dot products of int8 rows.

#include <omp.h>

#include "gemm_ternary.h"
#include "gemm_ternary_rows.h"
#include "gemm_ternary_tiles.h"

TB_DECLARE(void, gemm_ternary,
           (tb_context* context, const int8_t* x, const float* x_scale, const int8_t* w, const int32_t* packed,
            const float* w_scale, const float* residual, float* y, int64_t M, int64_t N, int64_t K))

// ---- Implementation -------------------------------------------------------------------------------------------------

namespace tb::TB_ISA {
namespace {

#if !defined(__AVX2__)
int32_t dot_bytes(const int8_t* a, const int8_t* b, int64_t n) {
  int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) sum += int32_t(int16_t(a[k]) * int16_t(b[k]));
  return sum;
}

// Each thread takes its own columns; a row of 2-bit weights is spread once into the thread's scratch. Activations pass in
// blocks that stay in L1.
void ternary_dot_products(tb_context* context, const TernaryProduct& product) {
  const int64_t K = product.K;
  const int64_t block = (24 << 10) / K + 1;
  const int wanted = double(product.M) * double(product.N) * double(K) < double(1 << 16) ? 1 : context->threads;
#pragma omp parallel num_threads(wanted)
  {
    const int64_t threads = omp_get_num_threads();
    const int64_t thread = omp_get_thread_num();
    auto* spread = static_cast<uint32_t*>(context->thread_scratch(int32_t(thread)));
    for (int64_t m0 = 0; m0 < product.M; m0 += block)
      for (int64_t n = share_start(product.N, thread, threads); n < share_start(product.N, thread + 1, threads); ++n) {
        const char* row = product.w.row(n, K);
        const int8_t* values = reinterpret_cast<const int8_t*>(row);
        if (product.w.packed != nullptr) {
          // Codes 0 to 2 less one in each byte; the lent 0x80 keeps the bytes from borrowing.
          const auto* bytes = reinterpret_cast<const uint8_t*>(row);
          for (int64_t b = 0; b < (K + 3) / 4; ++b)
            spread[b] = ((spread_codes(bytes[b]) | 0x80808080) - 0x01010101) ^ 0x80808080;
          values = reinterpret_cast<const int8_t*>(spread);
        }
        for (int64_t m = m0; m < lesser(m0 + block, product.M); ++m)
          product.finish(m, n, dot_bytes(product.x + m * K, values, K));
      }
  }
}
#endif

}  // namespace

void gemm_ternary(tb_context* context, const int8_t* x, const float* x_scale, const int8_t* w, const int32_t* packed,
                  const float* w_scale, const float* residual, float* y, int64_t M, int64_t N, int64_t K) {
  const TernaryProduct product{x, x_scale, {w, packed, w_scale}, residual, y, M, N, K};
#if defined(__AVX2__)
  if (M > kTernaryFewRows)
    ternary_many_rows(context, product);
  else if (packed != nullptr)
    ternary_up_to_few_rows<true>(context, product);
  else
    ternary_up_to_few_rows<false>(context, product);
#else
  ternary_dot_products(context, product);
#endif
}

}  // namespace tb::TB_ISA

// ---- Launchers ------------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS
namespace {

tb_status run(tb_context* context, const char* op, const int8_t* x, const float* x_scale, const int8_t* w,
              const int32_t* packed, const float* w_scale, tb_dtype dtype, const void* residual, void* y, int64_t M,
              int64_t N, int64_t K) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, op);
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0 && K <= (1 << 17),
             "Cannot run %s as M and N must be positive and K 1 to 131072: current values are %lld, %lld, %lld", op,
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, x != nullptr && x_scale != nullptr && (w != nullptr || packed != nullptr) && w_scale != nullptr && y != nullptr,
             "Cannot run %s as x, its scale, the weights, their scale and y must not be null", op);
  TB_DISPATCH(context, gemm_ternary,
              (context, x, x_scale, w, packed, w_scale, static_cast<const float*>(residual), static_cast<float*>(y), M, N, K));
  return TB_OK;
}

}  // namespace

extern "C" {

tb_status tb_gemm_ternary_forward(tb_context* context, const int8_t* x, const float* x_scale, const int8_t* w,
                                  const float* w_scale, tb_dtype dtype, const void* residual, void* y, int64_t M, int64_t N,
                                  int64_t K) {
  return run(context, "tb_gemm_ternary_forward", x, x_scale, w, nullptr, w_scale, dtype, residual, y, M, N, K);
}

tb_status tb_gemm_ternary_packed_forward(tb_context* context, const int8_t* x, const float* x_scale, const int32_t* packed,
                                         const float* w_scale, tb_dtype dtype, const void* residual, void* y, int64_t M,
                                         int64_t N, int64_t K) {
  return run(context, "tb_gemm_ternary_packed_forward", x, x_scale, nullptr, packed, w_scale, dtype, residual, y, M, N, K);
}

}  // extern "C"
#endif
