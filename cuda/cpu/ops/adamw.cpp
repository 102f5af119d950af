// AdamW (arXiv:1711.05101), one pass, float32 whatever gradients and moments are kept in:
//
//   g' = g * clip, clip = min(1, max_grad_norm / grad_norm), or 1 where max_grad_norm is 0
//   m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'²;  w = w (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps)
// computed as w - (lr / c1) m / (sqrt(v) * (1 / sqrt(c2)) + eps), the scalars in double and rounded once. Operations, their order,
// and how moments become 16 or 8 bits: host/adamw_math.h; the same bits as the CUDA build's.
// A grad_norm that is not finite leaves w, m and v untouched. Element by element, or block by block of 256 where moments are int8:
// the same for any number of threads and every instruction set.
#include <omp.h>

#include "adamw_math.h"
#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

namespace tb {
struct AdamwOperands {
  float* w;
  tb_dtype g_dtype;
  const void* g;
  void *m, *v;
  float *m_absmax, *v_absmax;
  uint32_t key;  // of the update's random bits
  int64_t n;
};
}  // namespace tb

TB_DECLARE(void, adamw, (tb_context * context, tb_state_dtype state_dtype, const AdamwOperands* operands, const AdamScalars* scalars))

namespace tb::TB_ISA {

TB_INLINE float widened(float value) { return value; }
TB_INLINE float widened(uint16_t value) { return widen_bfloat16(value); }

TB_INLINE void keep(float* to, float value, uint32_t) { *to = value; }
TB_INLINE void keep(uint16_t* to, float value, uint32_t random16) { *to = round_stochastically(value, random16); }

// Moments of one number an element: float32, or bfloat16's bits.
template <typename Gradient, typename Moment>
TB_INLINE void adamw_plain(tb_context* context, const AdamwOperands& o, const AdamScalars& scalars) {
  const AdamScalars s = scalars;
  const uint32_t key = o.key;
  float* w = o.w;
  const Gradient* g = static_cast<const Gradient*>(o.g);
  Moment *m = static_cast<Moment*>(o.m), *v = static_cast<Moment*>(o.v);
#pragma omp parallel for simd num_threads(context->threads) schedule(static) if (parallel : o.n > 8192)
  for (int64_t i = 0; i < o.n; ++i) {
    float weight = w[i], first = widened(m[i]), second = widened(v[i]);
    update_element(s, widened(g[i]), &weight, &first, &second);
    const uint32_t random = sizeof(Moment) == 2 ? random_bits(key, i) : 0;
    w[i] = weight;
    keep(m + i, first, random & 0xffffu);
    keep(v + i, second, random >> 16);
  }
}

constexpr MomentMap kFirstMap = moment_map(true), kSecondMap = moment_map(false);

template <typename Gradient>
TB_INLINE void adamw_block(const AdamwOperands& o, const AdamScalars& s, int64_t block) {
  const int64_t from = block * kMomentBlock;
  const int64_t count = kMomentBlock < o.n - from ? kMomentBlock : o.n - from;
  float* w = o.w + from;
  const Gradient* g = static_cast<const Gradient*>(o.g) + from;
  uint8_t *m = static_cast<uint8_t*>(o.m) + from, *v = static_cast<uint8_t*>(o.v) + from;
  const float m_absmax = o.m_absmax[block], v_absmax = o.v_absmax[block];
  float first[kMomentBlock], second[kMomentBlock];
  float largest_first = 0, largest_second = 0;
#pragma omp simd reduction(max : largest_first, largest_second)
  for (int64_t i = 0; i < count; ++i) {
    float weight = w[i], one = times(kFirstMap.values[m[i]], m_absmax), two = times(kSecondMap.values[v[i]], v_absmax);
    update_element(s, widened(g[i]), &weight, &one, &two);
    w[i] = weight;
    first[i] = one;
    second[i] = two;
    const float magnitude = one < 0 ? -one : one;
    largest_first = magnitude > largest_first ? magnitude : largest_first;
    largest_second = two > largest_second ? two : largest_second;
  }
  const BlockScale of_first = block_scale(largest_first), of_second = block_scale(largest_second);
  o.m_absmax[block] = of_first.absmax;
  o.v_absmax[block] = of_second.absmax;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    m[i] = first_code(first[i], of_first.inverse);
    v[i] = second_code(second[i], of_second.inverse);
  }
}

template <typename Gradient>
TB_INLINE void adamw_of(tb_context* context, tb_state_dtype state_dtype, const AdamwOperands& o, const AdamScalars& s) {
  if (state_dtype == TB_STATE_F32) return adamw_plain<Gradient, float>(context, o, s);
  if (state_dtype == TB_STATE_BF16) return adamw_plain<Gradient, uint16_t>(context, o, s);
  const int64_t blocks = ceil_div(o.n, kMomentBlock);
#pragma omp parallel for num_threads(context->threads) schedule(static) if (o.n > 8192)
  for (int64_t block = 0; block < blocks; ++block) adamw_block<Gradient>(o, s, block);
}

void adamw(tb_context* context, tb_state_dtype state_dtype, const AdamwOperands* operands, const AdamScalars* scalars) {
  if (operands->g_dtype == TB_BF16)
    adamw_of<uint16_t>(context, state_dtype, *operands, *scalars);
  else
    adamw_of<float>(context, state_dtype, *operands, *scalars);
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_adamw_begin(tb_context* context, const float* grad_norm, int32_t* updates, float* hyper, int64_t groups) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, groups >= 0, "Cannot run tb_adamw_begin as groups must be at least 0: current value is %lld", (long long)groups);
  TB_REQUIRE(context, grad_norm != nullptr && updates != nullptr && (groups == 0 || hyper != nullptr),
             "Cannot run tb_adamw_begin as one of grad_norm, updates and hyper is null");
  if (tb::is_finite(*grad_norm)) ++*updates;
  const int32_t counted = *updates > 1 ? *updates : 1;
  for (int64_t group = 0; group < groups; ++group) {
    float* of_group = hyper + group * tb::kHyper;
    of_group[5] = tb::bias_correction(of_group[1], counted);
    of_group[6] = tb::bias_correction(of_group[2], counted);
  }
  return TB_OK;
}

extern "C" tb_status tb_adamw(tb_context* context, float* w, tb_dtype g_dtype, const void* g, tb_state_dtype state_dtype, void* m,
                              void* v, float* m_absmax, float* v_absmax, const float* hyper, const float* grad_norm,
                              const int32_t* updates, int64_t n) {
  TB_CHECK_CONTEXT(context);
  if (g_dtype != TB_F32 && g_dtype != TB_BF16)
    return tb::fail(context, TB_UNSUPPORTED, "Cannot run tb_adamw as g_dtype must be 0 (float32) or 1 (bfloat16): current value is %d",
                    int(g_dtype));
  if (state_dtype < TB_STATE_F32 || state_dtype > TB_STATE_INT8)
    return tb::fail(context, TB_UNSUPPORTED,
                    "Cannot run tb_adamw as state_dtype must be 0 (float32), 1 (bfloat16) or 2 (int8): current value is %d",
                    int(state_dtype));
  TB_REQUIRE(context, n >= 0, "Cannot run tb_adamw as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, hyper != nullptr && grad_norm != nullptr, "Cannot run tb_adamw as hyper or grad_norm is null");
  TB_REQUIRE(context, n == 0 || (w != nullptr && g != nullptr && m != nullptr && v != nullptr),
             "Cannot run tb_adamw as one of w, g, m and v is null");
  TB_REQUIRE(context, state_dtype != TB_STATE_BF16 || updates != nullptr,
             "Cannot run tb_adamw as updates must be given with bfloat16 moments: it is null");
  TB_REQUIRE(context, state_dtype != TB_STATE_INT8 || n == 0 || (m_absmax != nullptr && v_absmax != nullptr),
             "Cannot run tb_adamw as m_absmax and v_absmax must be given with int8 moments: one of them is null");
  TB_REQUIRE(context, hyper[5] > 0 && hyper[6] > 0,
             "Cannot run tb_adamw as both bias corrections must be above 0: current values are %g and %g", double(hyper[5]),
             double(hyper[6]));
  if (!tb::is_finite(*grad_norm)) return TB_OK;
  const tb::AdamScalars scalars = tb::scalars_of(hyper, *grad_norm);
  const uint32_t key = updates != nullptr ? tb::update_key(*updates) : 0;
  const tb::AdamwOperands operands = {w, g_dtype, g, m, v, m_absmax, v_absmax, key, n};
  TB_DISPATCH(context, adamw, (context, state_dtype, &operands, &scalars));
  return TB_OK;
}

#endif
