// Normal numbers: the host's generator (cuda/host/random.cpp) straight into the CPU build's memory.
#include "../context.h"

#if TB_LAUNCHERS

#include "random.h"

extern "C" tb_status tb_random_normal(tb_context* context, float* to, int64_t n, float std, uint64_t seed, uint64_t stream) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, n >= 0, "Cannot run tb_random_normal as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, n == 0 || to != nullptr, "Cannot run tb_random_normal as its output is null");
  TB_REQUIRE(context, std >= 0 && __builtin_isfinite(std),
             "Cannot run tb_random_normal as std must be finite and at least 0: current value is %g", double(std));
  tb::random_normal(to, 0, n, std, seed, stream, context->threads);
  return TB_OK;
}

#endif
