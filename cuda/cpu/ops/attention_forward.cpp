// Causal attention with grouped keys and values, forward, without the T x T matrix. Method: attention_tiles.h.
//
// One thread a block of 96 queries of one head, the longest blocks first; a block's result depends on that block alone.
#include <omp.h>

#include "attention_tiles.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, attention_forward,
           (tb_context * context, const float* q, const float* k, const float* v, float* o, float* lse, float scale,
            int64_t B, int64_t T, int64_t H, int64_t G, int64_t E))

namespace tb::TB_ISA {

void attention_forward(tb_context* context, const float* q, const float* k, const float* v, float* o, float* lse,
                       float scale, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E) {
  const int64_t heads = B * H, blocks = ceil_div(T, kQueries);
#pragma omp parallel for num_threads(context->threads) schedule(dynamic, 1) if (heads * T * T * E > 65536)
  for (int64_t unit = 0; unit < heads * blocks; ++unit) {
    const int64_t first = (blocks - 1 - unit / heads) * kQueries, b = unit % heads / H, h = unit % H;
    const int64_t group = b * G + h / (H / G), head = b * H + h;
    Queries block;
    block.q = q + (head * T + first) * E;
    block.k = k + group * T * E;
    block.v = v + group * T * E;
    block.o = o + ((b * T + first) * H + h) * E;
    block.ldo = H * E;
    block.lse = lse + head * T + first;
    block.rows = smaller(kQueries, T - first);
    block.first = first;
    block.E = E;
    block.scale = scale;
    attend(block, static_cast<float*>(context->thread_scratch(omp_get_thread_num())));
  }
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_attention_forward(tb_context* context, tb_dtype dtype, const void* q, const void* k, const void* v,
                                          void* o, float* lse, float scale, int64_t B, int64_t T, int64_t H, int64_t G,
                                          int64_t E) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_attention_forward");
  TB_REQUIRE(context, B >= 0 && T >= 0 && G >= 1 && H >= G && H % G == 0,
             "Cannot run tb_attention_forward as G must divide H, and B and T be at least 0: current values are G %lld, H "
             "%lld, B %lld and T %lld",
             (long long)G, (long long)H, (long long)B, (long long)T);
  TB_REQUIRE(context, E >= 1 && E <= tb::portable::kWidestHead,
             "Cannot run tb_attention_forward as E must be 1 to %lld: current value is %lld",
             (long long)tb::portable::kWidestHead, (long long)E);
  TB_REQUIRE(context, scale > 0 && __builtin_isfinite(scale),
             "Cannot run tb_attention_forward as scale must be finite and above 0: current value is %g", double(scale));
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, q != nullptr && k != nullptr && v != nullptr && o != nullptr && lse != nullptr,
             "Cannot run tb_attention_forward as one of its tensors is null");
  TB_DISPATCH(context, attention_forward,
              (context, static_cast<const float*>(q), static_cast<const float*>(k), static_cast<const float*>(v),
               static_cast<float*>(o), lse, scale, B, T, H, G, E));
  return TB_OK;
}

#endif
