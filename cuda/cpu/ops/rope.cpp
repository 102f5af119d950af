// Rotary embedding (arXiv:2104.09864, halves rotated as in Hugging Face's LLaMA) fused with the split into heads.
//
// With c = cos_sin[p][j], s = cos_sin[p][E/2 + j] of position p = start[b] + t:
//   out[j] = x[j] c - x[j + E/2] s,  out[j + E/2] = x[j + E/2] c + x[j] s;  v is copied. Backward: the transpose (s negated).
// Element by element in float32; one thread a token. For an int8 cache a head is rotated, then quantised by its largest magnitude.
#include <omp.h>

#include <cstring>

#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, rope_forward,
           (tb_context * context, const float* qkv, const float* cos_sin, const int32_t* start, float* q, tb_dtype cache_dtype,
            void* k, void* v, float* k_scale, float* v_scale, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E, int64_t capacity))
TB_DECLARE(void, rope_backward,
           (tb_context * context, const float* dq, const float* dk, const float* dv, const float* cos_sin, float* dqkv,
            int64_t B, int64_t T, int64_t H, int64_t G, int64_t E))

namespace tb::TB_ISA {

template <bool Backward, class T>
TB_INLINE void rotate(const float* x, const float* angles, T* out, int64_t half) {
  const float* c = angles;
  const float* s = angles + half;
#pragma omp simd
  for (int64_t j = 0; j < half; ++j) {
    const float low = x[j], high = x[j + half], sine = Backward ? -s[j] : s[j];
    round_into(fma(low, c[j], -(high * sine)), out + j);
    round_into(fma(high, c[j], low * sine), out + j + half);
  }
}

constexpr int64_t kWidestQuantized = 256;

// A head's E values as integers from -127 to 127; the factor that gives them back.
static float quantize_head(const float* x, int8_t* q, int64_t E) {
  float gamma = 1e-30f;
  for (int64_t e = 0; e < E; ++e) {
    const float size = __builtin_fabsf(x[e]);
    gamma = !(size <= gamma) ? size : gamma;  // NaN stays, as nothing compares with it
    if (gamma != gamma) break;
  }
  const float factor = 127.0f / gamma;
  const bool is_finite = gamma <= 3.4028235e38f;
  for (int64_t e = 0; e < E; ++e) q[e] = is_finite ? int8_t(nearest(x[e] * factor)) : int8_t(1);
  return gamma / 127.0f;
}

template <class Cache>
void rope_forward_into(tb_context* context, const float* qkv, const float* cos_sin, const int32_t* start, float* q, Cache* k,
                       Cache* v, float* k_scale, float* v_scale, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E,
                       int64_t capacity) {
  const int64_t width = (H + 2 * G) * E;
#pragma omp parallel for num_threads(context->threads) schedule(static) if (B * T * width > 8192)
  for (int64_t row = 0; row < B * T; ++row) {
    const int64_t b = row / T, t = row % T;
    const int64_t position = (start == nullptr ? 0 : int64_t(start[b])) + t;
    const float* angles = cos_sin + position * E;
    const float* from = qkv + row * width;
    for (int64_t h = 0; h < H; ++h, from += E) rotate<false>(from, angles, q + ((b * H + h) * T + t) * E, E / 2);
    for (int64_t g = 0; g < G; ++g, from += E) {
      const int64_t at = (b * G + g) * capacity + position;
      if constexpr (sizeof(Cache) == 1) {
        float rotated[kWidestQuantized];
        rotate<false>(from, angles, rotated, E / 2);
        k_scale[at] = quantize_head(rotated, k + at * E, E);
      } else {
        rotate<false>(from, angles, k + at * E, E / 2);
      }
    }
    for (int64_t g = 0; g < G; ++g, from += E) {
      const int64_t at = (b * G + g) * capacity + position;
      if constexpr (sizeof(Cache) == 1)
        v_scale[at] = quantize_head(from, v + at * E, E);
      else
        for (int64_t e = 0; e < E; ++e) round_into(from[e], v + at * E + e);
    }
  }
}

void rope_forward(tb_context* context, const float* qkv, const float* cos_sin, const int32_t* start, float* q,
                  tb_dtype cache_dtype, void* k, void* v, float* k_scale, float* v_scale, int64_t B, int64_t T, int64_t H,
                  int64_t G, int64_t E, int64_t capacity) {
  const auto into = [&](auto* keys, auto* values) {
    rope_forward_into(context, qkv, cos_sin, start, q, keys, values, k_scale, v_scale, B, T, H, G, E, capacity);
  };
  if (cache_dtype == TB_I8)
    into(static_cast<int8_t*>(k), static_cast<int8_t*>(v));
  else if (cache_dtype == TB_BF16)
    into(static_cast<uint16_t*>(k), static_cast<uint16_t*>(v));
  else
    into(static_cast<float*>(k), static_cast<float*>(v));
}

void rope_backward(tb_context* context, const float* dq, const float* dk, const float* dv, const float* cos_sin, float* dqkv,
                   int64_t B, int64_t T, int64_t H, int64_t G, int64_t E) {
  const int64_t width = (H + 2 * G) * E;
#pragma omp parallel for num_threads(context->threads) schedule(static) if (B * T * width > 8192)
  for (int64_t row = 0; row < B * T; ++row) {
    const int64_t b = row / T, t = row % T;
    const float* angles = cos_sin + t * E;
    float* to = dqkv + row * width;
    for (int64_t h = 0; h < H; ++h, to += E) rotate<true>(dq + ((b * H + h) * T + t) * E, angles, to, E / 2);
    for (int64_t g = 0; g < G; ++g, to += E) rotate<true>(dk + ((b * G + g) * T + t) * E, angles, to, E / 2);
    for (int64_t g = 0; g < G; ++g, to += E) memcpy(to, dv + ((b * G + g) * T + t) * E, size_t(E) * sizeof(float));
  }
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

static tb_status check_rope(tb_context* context, const char* op, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E) {
  TB_REQUIRE(context, B >= 0 && T >= 0 && H >= 1 && G >= 1,
             "Cannot run %s as B and T must be at least 0, H and G at least 1: current values are %lld, %lld, %lld and %lld", op,
             (long long)B, (long long)T, (long long)H, (long long)G);
  TB_REQUIRE(context, E >= 2 && E % 2 == 0, "Cannot run %s as E must be even: current value is %lld", op, (long long)E);
  return TB_OK;
}

extern "C" tb_status tb_rope_forward(tb_context* context, tb_dtype dtype, const void* qkv, const float* cos_sin,
                                     const int32_t* start, void* q, tb_dtype cache_dtype, void* k, void* v, float* k_scale,
                                     float* v_scale, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E, int64_t capacity,
                                     int64_t positions) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_rope_forward");
  TB_REQUIRE(context, cache_dtype == TB_F32 || cache_dtype == TB_BF16 || cache_dtype == TB_I8,
             "Cannot run tb_rope_forward as cache_dtype must be 0 (float32), 1 (bfloat16) or 2 (int8): current value is %d",
             int(cache_dtype));
  TB_REQUIRE(context, (k_scale != nullptr) == (cache_dtype == TB_I8) && (v_scale != nullptr) == (cache_dtype == TB_I8),
             "Cannot run tb_rope_forward as scales go with an int8 cache, and with no other: current cache_dtype is %d",
             int(cache_dtype));
  TB_REQUIRE(context, cache_dtype != TB_I8 || E <= tb::portable::kWidestQuantized,
             "Cannot run tb_rope_forward with an int8 cache as E must be at most 256: current value is %lld", (long long)E);
  const tb_status status = check_rope(context, "tb_rope_forward", B, T, H, G, E);
  if (status != TB_OK) return status;
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, qkv != nullptr && cos_sin != nullptr && q != nullptr && k != nullptr && v != nullptr,
             "Cannot run tb_rope_forward as one of its tensors is null");
  for (int64_t b = 0; b < B; ++b) {
    const int64_t first = start == nullptr ? 0 : int64_t(start[b]);
    TB_REQUIRE(context, first >= 0 && first + T <= capacity && first + T <= positions,
               "Cannot run tb_rope_forward as tokens must end within the capacity %lld and the %lld positions: current start "
               "of sequence %lld is %lld, with %lld tokens",
               (long long)capacity, (long long)positions, (long long)b, (long long)first, (long long)T);
  }
  TB_DISPATCH(context, rope_forward,
              (context, static_cast<const float*>(qkv), cos_sin, start, static_cast<float*>(q), cache_dtype, k, v, k_scale,
               v_scale, B, T, H, G, E, capacity));
  return TB_OK;
}

extern "C" tb_status tb_rope_backward(tb_context* context, tb_dtype dtype, const void* dq, const void* dk, const void* dv,
                                      const float* cos_sin, void* dqkv, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E,
                                      int64_t positions) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_rope_backward");
  const tb_status status = check_rope(context, "tb_rope_backward", B, T, H, G, E);
  if (status != TB_OK) return status;
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, T <= positions, "Cannot run tb_rope_backward as T must be at most the %lld positions: current value is %lld",
             (long long)positions, (long long)T);
  TB_REQUIRE(context, dq != nullptr && dk != nullptr && dv != nullptr && cos_sin != nullptr && dqkv != nullptr,
             "Cannot run tb_rope_backward as one of its tensors is null");
  TB_DISPATCH(context, rope_backward,
              (context, static_cast<const float*>(dq), static_cast<const float*>(dk), static_cast<const float*>(dv), cos_sin,
               static_cast<float*>(dqkv), B, T, H, G, E));
  return TB_OK;
}

#endif
