// Activations from one dtype to another: float32 and bfloat16. Rounding is to nearest even; every NaN becomes 0x7fff in
// bfloat16. The same bits as the CPU build.
#include "context.cuh"
#include "load_store.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 256;

template <int Count, typename From, typename To>
__global__ void __launch_bounds__(kThreads) cast_groups(const From* __restrict__ from, To* __restrict__ to, int64_t groups) {
  const int64_t group = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (group >= groups) return;
  float values[Count];
  load_floats(from + group * Count, values);
  store_floats(to + group * Count, values);
}

template <typename From, typename To>
void cast(tb_context* context, const From* from, To* to, int64_t n) {
  const int64_t groups = is_aligned(from, 4 * sizeof(From)) && is_aligned(to, 4 * sizeof(To)) ? n / 4 : 0;
  const int64_t rest = n - 4 * groups;
  if (groups > 0) cast_groups<4><<<blocks_for(groups, kThreads), kThreads, 0, context->stream>>>(from, to, groups);
  if (rest > 0)
    cast_groups<1><<<blocks_for(rest, kThreads), kThreads, 0, context->stream>>>(from + 4 * groups, to + 4 * groups, rest);
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_cast(tb_context* context, tb_dtype from_dtype, const void* from, tb_dtype to_dtype, void* to, int64_t n) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, from_dtype, "tb_cast");
  TB_REQUIRE_DTYPE(context, to_dtype, "tb_cast");
  TB_REQUIRE(context, n >= 0, "Cannot run tb_cast as n must be at least 0: current value is %lld", (long long)n);
  if (n == 0) return TB_OK;
  TB_REQUIRE(context, from != nullptr && to != nullptr, "Cannot run tb_cast as from or to is null");
  if (from_dtype == to_dtype)
    return tb::checked(context,
                       cudaMemcpyAsync(to, from, size_t(n * tb::bytes_of(to_dtype)), cudaMemcpyDeviceToDevice, context->stream),
                       "run tb_cast");
  if (to_dtype == TB_BF16)
    tb::cast(context, static_cast<const float*>(from), static_cast<tb::bf16*>(to), n);
  else
    tb::cast(context, static_cast<const tb::bf16*>(from), static_cast<float*>(to), n);
  return tb::launched(context, "tb_cast");
}
