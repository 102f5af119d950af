// RMSNorm fused with the activation quantiser, forward and backward. Formulas and rounding: norm_row.h.
//
// Forward: one thread a row; a row's result depends on that row alone.
// Backward: dx row by row; dweight by blocks of rows, summed in order (deterministic for any number of threads).
#include <omp.h>

#include "norm_row.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, rmsnorm_forward,
           (tb_context * context, const float* x, const float* weight, float eps, tb_activation_quant quant, int8_t* q,
            float* scale, float* y, float* rstd, int64_t N, int64_t D))
TB_DECLARE(void, rmsnorm_backward,
           (tb_context * context, const float* dy, const float* x, const float* weight, const float* rstd, float* dx,
            float* dweight, int64_t N, int64_t D, bool accumulate))

namespace tb::TB_ISA {

void rmsnorm_forward(tb_context* context, const float* x, const float* weight, float eps, tb_activation_quant quant,
                     int8_t* q, float* scale, float* y, float* rstd, int64_t N, int64_t D) {
#pragma omp parallel for num_threads(context->threads) schedule(static) if (N * D > 8192)
  for (int64_t row = 0; row < N; ++row) {
    const float* h = x + row * D;
    const float r = reciprocal_rms(sum_of_squares(h, D), eps, D);
    if (rstd != nullptr) rstd[row] = r;
    norm_row(h, r, weight, quant, q == nullptr ? nullptr : q + row * D, scale + row, y == nullptr ? nullptr : y + row * D, D);
  }
}

void rmsnorm_backward(tb_context* context, const float* dy, const float* x, const float* weight, const float* rstd,
                      float* dx, float* dweight, int64_t N, int64_t D, bool accumulate) {
  const int64_t blocks = row_block_count(N, D);
  float* partials = static_cast<float*>(context->thread_scratch(0));
#pragma omp parallel num_threads(context->threads) if (N * D > 8192)
  {
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      float* partial = partials + block * D;
      for (int64_t j = 0; j < D; ++j) partial[j] = 0;
      for (int64_t row = N * block / blocks; row < N * (block + 1) / blocks; ++row) {
        const float* g = dy + row * D;
        const float* h = x + row * D;
        float* out = dx + row * D;
        const float r = rstd[row];
        const float c = weighted_dot(g, weight, h, D) * r * r / float(D);
        if (accumulate) {
#pragma omp simd
          for (int64_t j = 0; j < D; ++j) {
            partial[j] = fma(g[j], h[j] * r, partial[j]);
            out[j] = fma(r, fma(g[j], weight[j], -(h[j] * c)), out[j]);
          }
        } else {
#pragma omp simd
          for (int64_t j = 0; j < D; ++j) {
            const float gradient = g[j], value = h[j];
            partial[j] = fma(gradient, value * r, partial[j]);
            out[j] = r * fma(gradient, weight[j], -(value * c));
          }
        }
      }
    }
    add_partials(partials, blocks, dweight, D);
  }
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_rmsnorm_forward(tb_context* context, tb_dtype x_dtype, const void* x, const float* weight, float eps,
                                        tb_activation_quant quant, int8_t* q, float* scale, tb_dtype y_dtype, void* y,
                                        float* rstd, int64_t N, int64_t D) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, x_dtype, "tb_rmsnorm_forward");
  if (y != nullptr) TB_REQUIRE_F32(context, y_dtype, "tb_rmsnorm_forward");
  TB_REQUIRE(context, N >= 0 && D >= 1, "Cannot run tb_rmsnorm_forward as N must be at least 0 and D at least 1: current values are %lld and %lld",
             (long long)N, (long long)D);
  TB_REQUIRE(context, quant >= TB_QUANT_NONE && quant <= TB_QUANT_ABSMEAN,
             "Cannot run tb_rmsnorm_forward as quant must be 0, 1 or 2: current value is %d", int(quant));
  TB_REQUIRE(context, N == 0 || (x != nullptr && weight != nullptr), "Cannot run tb_rmsnorm_forward as x or weight is null");
  TB_REQUIRE(context, N == 0 || (quant == TB_QUANT_NONE ? y != nullptr : q != nullptr && scale != nullptr),
             "Cannot run tb_rmsnorm_forward as quant %d needs %s", int(quant), quant == TB_QUANT_NONE ? "y" : "q and scale");
  TB_DISPATCH(context, rmsnorm_forward,
              (context, static_cast<const float*>(x), weight, eps, quant, q, scale, static_cast<float*>(y), rstd, N, D));
  return TB_OK;
}

extern "C" tb_status tb_rmsnorm_backward(tb_context* context, tb_dtype dy_dtype, const void* dy, tb_dtype x_dtype,
                                         const void* x, const float* weight, const float* rstd, tb_dtype dx_dtype, void* dx,
                                         float* dweight, int64_t N, int64_t D, int32_t accumulate) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dy_dtype, "tb_rmsnorm_backward");
  TB_REQUIRE_F32(context, x_dtype, "tb_rmsnorm_backward");
  TB_REQUIRE_F32(context, dx_dtype, "tb_rmsnorm_backward");
  TB_REQUIRE(context, N >= 0 && D >= 1 && D <= tb::portable::kLongestRow,
             "Cannot run tb_rmsnorm_backward as N must be at least 0 and D 1 to %lld: current values are %lld and %lld",
             (long long)tb::portable::kLongestRow, (long long)N, (long long)D);
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, dy != nullptr && x != nullptr && weight != nullptr && rstd != nullptr && dx != nullptr && dweight != nullptr,
             "Cannot run tb_rmsnorm_backward as one of its tensors is null");
  TB_DISPATCH(context, rmsnorm_backward,
              (context, static_cast<const float*>(dy), static_cast<const float*>(x), weight, rstd, static_cast<float*>(dx),
               dweight, N, D, accumulate != 0));
  return TB_OK;
}

#endif
