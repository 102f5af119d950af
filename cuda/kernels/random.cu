// Normal numbers: the host's generator (cuda/host/random.cpp) a slot of pinned memory at a time, so that both builds start from
// the same weights.
#include <cmath>
#include <thread>

#include "random.h"
#include "staging.cuh"

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_random_normal(tb_context* context, float* to, int64_t n, float std, uint64_t seed, uint64_t stream) {
  TB_ENTER(context);
  TB_REQUIRE(context, n >= 0, "Cannot run tb_random_normal as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, n == 0 || to != nullptr, "Cannot run tb_random_normal as its output is null");
  TB_REQUIRE(context, std >= 0 && std::isfinite(std),
             "Cannot run tb_random_normal as std must be finite and at least 0: current value is %g", double(std));
  TB_REQUIRE(context, !context->capturing, "Cannot run tb_random_normal as ops are being recorded: end the graph first");
  constexpr int64_t kChunk = tb::kStagingBytes / int64_t(sizeof(float));
  static_assert(kChunk % 4 == 0, "a chunk starts at a whole group of the generator");
  const unsigned cores = std::thread::hardware_concurrency();
  for (int64_t first = 0; first < n; first += kChunk) {
    const int64_t count = n - first < kChunk ? n - first : kChunk;
    char* slot;
    if (const tb_status status = tb::next_slot(context, &slot); status != TB_OK) return status;
    tb::random_normal(reinterpret_cast<float*>(slot), first, count, std, seed, stream, cores > 0 ? int32_t(cores) : 1);
    if (const tb_status status = tb::send_slot(context, to + first, count * int64_t(sizeof(float))); status != TB_OK) return status;
  }
  return TB_OK;
}
