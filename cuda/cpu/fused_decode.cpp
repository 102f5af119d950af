// The fused ops of decoding, here the ops that they are made of: what takes time on a CPU is the work, not that it is begun.
#include "context.h"

extern "C" {

tb_status tb_rmsnorm_gemm_ternary_forward(tb_context* context, tb_dtype x_dtype, const void* x, const float* norm_weight, float eps,
                                          tb_activation_quant quant, int8_t* q, float* scale, const int32_t* packed,
                                          const float* w_scale, tb_dtype dtype, const void* residual, void* y, int64_t M, int64_t N,
                                          int64_t K) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, quant == TB_QUANT_ABSMAX || quant == TB_QUANT_ABSMEAN,
             "Cannot run tb_rmsnorm_gemm_ternary_forward as quant must be 1 or 2: current value is %d", int(quant));
  TB_REQUIRE(context, M <= 0 || y != x, "Cannot run tb_rmsnorm_gemm_ternary_forward as y must not be what is normalised");
  const tb_status status = tb_rmsnorm_forward(context, x_dtype, x, norm_weight, eps, quant, q, scale, x_dtype, nullptr, nullptr, M, K);
  return status != TB_OK ? status : tb_gemm_ternary_packed_forward(context, q, scale, packed, w_scale, dtype, residual, y, M, N, K);
}

tb_status tb_glu_norm_gemm_ternary_forward(tb_context* context, tb_dtype x_dtype, const void* gate_up, tb_hidden_act act,
                                           const float* norm_weight, float eps, tb_activation_quant quant, int8_t* q, float* scale,
                                           const int32_t* packed, const float* w_scale, tb_dtype dtype, const void* residual, void* y,
                                           int64_t M, int64_t N, int64_t K) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, quant == TB_QUANT_ABSMAX || quant == TB_QUANT_ABSMEAN,
             "Cannot run tb_glu_norm_gemm_ternary_forward as quant must be 1 or 2: current value is %d", int(quant));
  TB_REQUIRE(context, M <= 0 || y != gate_up, "Cannot run tb_glu_norm_gemm_ternary_forward as y must not be what is normalised");
  const tb_status status = tb_glu_norm_forward(context, x_dtype, gate_up, act, norm_weight, eps, quant, q, scale, nullptr, nullptr, M, K);
  return status != TB_OK ? status : tb_gemm_ternary_packed_forward(context, q, scale, packed, w_scale, dtype, residual, y, M, N, K);
}

tb_status tb_rope_attention_decode(tb_context* context, tb_dtype dtype, const void* qkv, const float* cos_sin, const int32_t* start,
                                   void* q, tb_dtype cache_dtype, void* k_cache, void* v_cache, float* k_scale, float* v_scale, void* o,
                                   float scale, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E, int64_t capacity,
                                   int64_t positions) {
  TB_CHECK_CONTEXT(context);
  const tb_status status = tb_rope_forward(context, dtype, qkv, cos_sin, start, q, cache_dtype, k_cache, v_cache, k_scale, v_scale, B, T,
                                           H, G, E, capacity, positions);
  if (status != TB_OK) return status;
  return tb_attention_decode(context, dtype, q, cache_dtype, k_cache, v_cache, k_scale, v_scale, start, o, scale, B, T, H, G, E, capacity);
}

}  // extern "C"
