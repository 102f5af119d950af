// Activations from one dtype to another: float32 and bfloat16, the upper half of a float32.
//
// Rounding is to nearest even; values beyond the largest bfloat16 become infinite; every NaN becomes 0x7fff, as cards have it.
#include <omp.h>

#include <cstring>
#include <initializer_list>

#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, narrow, (tb_context * context, const float* from, uint16_t* to, int64_t n))
TB_DECLARE(void, widen, (tb_context * context, const uint16_t* from, float* to, int64_t n))

namespace tb::TB_ISA {

constexpr int64_t kWorthThreads = 65536;

void narrow(tb_context* context, const float* from, uint16_t* to, int64_t n) {
#pragma omp parallel for simd num_threads(context->threads) schedule(static) if (n > kWorthThreads)
  for (int64_t i = 0; i < n; ++i) round_into(from[i], to + i);
}

void widen(tb_context* context, const uint16_t* from, float* to, int64_t n) {
#pragma omp parallel for simd num_threads(context->threads) schedule(static) if (n > kWorthThreads)
  for (int64_t i = 0; i < n; ++i) to[i] = to_float(from[i]);
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_cast(tb_context* context, tb_dtype from_dtype, const void* from, tb_dtype to_dtype, void* to, int64_t n) {
  TB_CHECK_CONTEXT(context);
  for (const tb_dtype dtype : {from_dtype, to_dtype})
    if (dtype != TB_F32 && dtype != TB_BF16)
      return tb::fail(context, TB_UNSUPPORTED, "Cannot run tb_cast as dtypes must be 0 (float32) or 1 (bfloat16): current value is %d",
                      int(dtype));
  TB_REQUIRE(context, n >= 0, "Cannot run tb_cast as n must be at least 0: current value is %lld", (long long)n);
  if (n == 0) return TB_OK;
  TB_REQUIRE(context, from != nullptr && to != nullptr, "Cannot run tb_cast as from or to is null");
  if (from_dtype == to_dtype)
    memmove(to, from, size_t(n) * (from_dtype == TB_BF16 ? 2 : 4));
  else if (to_dtype == TB_BF16)
    TB_DISPATCH(context, narrow, (context, static_cast<const float*>(from), static_cast<uint16_t*>(to), n));
  else
    TB_DISPATCH(context, widen, (context, static_cast<const uint16_t*>(from), static_cast<float*>(to), n));
  return TB_OK;
}

#endif
