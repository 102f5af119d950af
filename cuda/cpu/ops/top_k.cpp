// The k largest logits of each row, in order: what choosing a token needs of a vocabulary.
//
// Largest first, of equal ones the lower id, NaN before every number. A sorted list of k takes each logit that beats its last; past
// the first few hundred few do. One thread a row.
#include <omp.h>

#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, top_k,
           (tb_context * context, const float* logits, float* values, int32_t* ids, int64_t N, int64_t V, int64_t stride, int64_t k))

namespace tb::TB_ISA {

// Whether a, of the higher id, comes before b all the same. -0 and 0 are equal.
static inline bool comes_first(float a, float b) { return a > b || (a != a && b == b); }

void top_k(tb_context* context, const float* logits, float* values, int32_t* ids, int64_t N, int64_t V, int64_t stride, int64_t k) {
#pragma omp parallel for num_threads(context->threads) schedule(static) if (N > 1 && N * V > 65536)
  for (int64_t row = 0; row < N; ++row) {
    const float* from = logits + row * stride;
    float* value = values + row * k;
    int32_t* id = ids + row * k;
    int64_t count = 0;
    for (int64_t i = 0; i < V; ++i) {
      const float candidate = from[i];
      if (count == k && !comes_first(candidate, value[k - 1])) continue;
      int64_t at = count < k ? count++ : k - 1;
      for (; at > 0 && comes_first(candidate, value[at - 1]); --at) {
        value[at] = value[at - 1];
        id[at] = id[at - 1];
      }
      value[at] = candidate == 0 ? 0.0f : candidate;
      id[at] = int32_t(i);
    }
  }
}

}  // namespace tb::TB_ISA

// ---- Launcher ---------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_top_k(tb_context* context, const float* logits, float* values, int32_t* ids, int64_t N, int64_t V,
                              int64_t stride, int64_t k) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, N >= 0 && V >= 1 && V <= INT32_MAX && stride >= V,
             "Cannot run tb_top_k as N must be at least 0, V 1 to 2^31 - 1 and stride at least V: current values are %lld, %lld and %lld",
             (long long)N, (long long)V, (long long)stride);
  TB_REQUIRE(context, k >= 1 && k <= 256 && k <= V, "Cannot run tb_top_k as k must be 1 to 256 and at most V %lld: current value is %lld",
             (long long)V, (long long)k);
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, logits != nullptr && values != nullptr && ids != nullptr, "Cannot run tb_top_k as one of its tensors is null");
  TB_DISPATCH(context, top_k, (context, logits, values, ids, N, V, stride, k));
  return TB_OK;
}

#endif
