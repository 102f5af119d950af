// Rotation, cache and attention of new tokens as one op, here the two ops that it is made of: what takes time on a CPU is the work, not
// that it is begun.
#include "context.h"

extern "C" tb_status tb_rope_attention_decode(tb_context* context, tb_dtype dtype, const void* qkv, const float* cos_sin,
                                              const int32_t* start, void* q, tb_dtype cache_dtype, void* k_cache, void* v_cache,
                                              float* k_scale, float* v_scale, void* o, float scale, int64_t B, int64_t T, int64_t H,
                                              int64_t G, int64_t E, int64_t capacity, int64_t positions) {
  TB_CHECK_CONTEXT(context);
  // Before the cache is touched: rotation alone could do without.
  TB_REQUIRE(context, B <= 0 || T <= 0 || (start != nullptr && o != nullptr),
             "Cannot run tb_rope_attention_decode as neither start nor o may be null");
  const tb_status status = tb_rope_forward(context, dtype, qkv, cos_sin, start, q, cache_dtype, k_cache, v_cache, k_scale, v_scale, B, T,
                                           H, G, E, capacity, positions);
  if (status != TB_OK) return status;
  return tb_attention_decode(context, dtype, q, cache_dtype, k_cache, v_cache, k_scale, v_scale, start, o, scale, B, T, H, G, E, capacity);
}
