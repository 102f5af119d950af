// AdamW (arXiv:1711.05101), one pass, float32:
//
//   g' = g * clip, clip = min(1, max_grad_norm / grad_norm), or 1 where max_grad_norm is 0
//   m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'²;  w = w (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps)
// computed as w - (lr / c1) m / (sqrt(v) * (1 / sqrt(c2)) + eps), the scalars in double and rounded once.
// A grad_norm that is not finite leaves w, m and v untouched. Element by element: the same for any number of threads.
#include <omp.h>

#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

namespace tb {
struct AdamScalars {
  float clip, beta1, rest1, beta2, rest2, keep, step, root_scale, eps;
};
}  // namespace tb

TB_DECLARE(void, adamw,
           (tb_context * context, float* w, const float* g, float* m, float* v, const AdamScalars* scalars, int64_t n))

namespace tb::TB_ISA {

void adamw(tb_context* context, float* w, const float* g, float* m, float* v, const AdamScalars* scalars, int64_t n) {
  const AdamScalars s = *scalars;
#pragma omp parallel for simd num_threads(context->threads) schedule(static) if (parallel : n > 8192)
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = g[i] * s.clip;
    const float first = s.beta1 * m[i] + s.rest1 * gradient;
    const float second = s.beta2 * v[i] + s.rest2 * (gradient * gradient);
    m[i] = first;
    v[i] = second;
    w[i] = s.keep * w[i] - s.step * first / (__builtin_sqrtf(second) * s.root_scale + s.eps);
  }
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_adamw(tb_context* context, float* w, const float* g, float* m, float* v, const float* hyper,
                              const float* grad_norm, int64_t n) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE(context, n >= 0, "Cannot run tb_adamw as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, hyper != nullptr && grad_norm != nullptr, "Cannot run tb_adamw as hyper or grad_norm is null");
  TB_REQUIRE(context, n == 0 || (w != nullptr && g != nullptr && m != nullptr && v != nullptr),
             "Cannot run tb_adamw as one of w, g, m and v is null");
  const double lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], eps = hyper[3], weight_decay = hyper[4];
  const double correction1 = hyper[5], correction2 = hyper[6], max_grad_norm = hyper[7], norm = grad_norm[0];
  TB_REQUIRE(context, correction1 > 0 && correction2 > 0,
             "Cannot run tb_adamw as both bias corrections must be above 0: current values are %g and %g", correction1,
             correction2);
  if (!__builtin_isfinite(norm)) return TB_OK;
  tb::AdamScalars scalars;
  scalars.clip = float(max_grad_norm > 0 && norm > max_grad_norm ? max_grad_norm / norm : 1.0);
  scalars.beta1 = float(beta1);
  scalars.rest1 = float(1.0 - beta1);
  scalars.beta2 = float(beta2);
  scalars.rest2 = float(1.0 - beta2);
  scalars.keep = float(1.0 - lr * weight_decay);
  scalars.step = float(lr / correction1);
  scalars.root_scale = float(1.0 / __builtin_sqrt(correction2));
  scalars.eps = float(eps);
  TB_DISPATCH(context, adamw, (context, w, g, m, v, &scalars, n));
  return TB_OK;
}

#endif
