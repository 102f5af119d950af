// ---- Contract -------------------------------------------------------------------------------------------------------
//
// The two gradients of y = (x . wᵀ) * x_scale * w_scale, both quantisers passed straight through:
//   dx (M, K) = dy (M, N) . (w_scale (N) * w (N, K))        dw (N, K) = dyᵀ (N, M) . (x_scale (M) * x (M, K))
// The int8 operand becomes float32 while it is packed (a factor times a small integer, rounded once); products, sums and their
// order are gemm_f32.cpp's. "accumulate" adds to what the output holds. Outputs are float32.
//
// ---- Implementation: gemm_f32_int8 in gemm_f32.cpp ------------------------------------------------------------------

#include "gemm_f32.h"

// ---- Launchers ------------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS
extern "C" {

tb_status tb_gemm_ternary_backward_input(tb_context* context, tb_dtype dtype, const void* dy, const int8_t* w,
                                         const float* w_scale, void* dx, int64_t M, int64_t N, int64_t K,
                                         int32_t accumulate) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_gemm_ternary_backward_input");
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0,
             "Cannot run tb_gemm_ternary_backward_input as M, N and K must be positive: current values are %lld, %lld, %lld",
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, dy != nullptr && w != nullptr && w_scale != nullptr && dx != nullptr,
             "Cannot run tb_gemm_ternary_backward_input as dy, w, w_scale and dx must not be null");
  float* out = static_cast<float*>(dx);
  TB_DISPATCH(context, gemm_f32_int8,
              (context, static_cast<const float*>(dy), N, false, w, K, w_scale, accumulate ? out : nullptr, K, out, K, M, K,
               N));
  return TB_OK;
}

tb_status tb_gemm_ternary_backward_weight(tb_context* context, tb_dtype dtype, const void* dy, const int8_t* x,
                                          const float* x_scale, tb_dtype dw_dtype, void* dw, int64_t M, int64_t N,
                                          int64_t K, int32_t accumulate) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_gemm_ternary_backward_weight");
  if (dw_dtype != TB_F32)
    return tb::fail(context, TB_UNSUPPORTED,
                    "Cannot run tb_gemm_ternary_backward_weight as the CPU build keeps dw in float32: current dw_dtype is %d",
                    int(dw_dtype));
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0,
             "Cannot run tb_gemm_ternary_backward_weight as M, N and K must be positive: current values are %lld, %lld, %lld",
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, dy != nullptr && x != nullptr && x_scale != nullptr && dw != nullptr,
             "Cannot run tb_gemm_ternary_backward_weight as dy, x, x_scale and dw must not be null");
  float* out = static_cast<float*>(dw);
  TB_DISPATCH(context, gemm_f32_int8,
              (context, static_cast<const float*>(dy), N, true, x, K, x_scale, accumulate ? out : nullptr, K, out, K, N, K, M));
  return TB_OK;
}

}  // extern "C"
#endif
