// AdamW (arXiv:1711.05101), one pass, float32:
//
//   g' = g * clip, clip = min(1, max_grad_norm / grad_norm), or 1 where max_grad_norm is 0
//   m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'²;  w = w (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps)
// computed as w - (lr / c1) m / (sqrt(v) * (1 / sqrt(c2)) + eps), the scalars in double by one thread a block and rounded once.
// hyper and grad_norm are read on the card, so that a recorded step stays right when they change. A grad_norm that is not
// finite, or a bias correction that is not above 0 (which the CPU build refuses), leaves w, m and v untouched.
// Bound by memory: 28 bytes a weight.
#include "context.cuh"
#include "load_store.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 256;

struct AdamScalars {
  float clip, beta1, rest1, beta2, rest2, keep, step, root_scale, eps;
  bool skip;
};

__device__ AdamScalars scalars_of(const float* hyper, const float* grad_norm) {
  const double lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], eps = hyper[3], weight_decay = hyper[4];
  const double correction1 = hyper[5], correction2 = hyper[6], max_grad_norm = hyper[7], norm = grad_norm[0];
  AdamScalars scalars;
  scalars.skip = !isfinite(norm) || !(correction1 > 0) || !(correction2 > 0);
  scalars.clip = float(max_grad_norm > 0 && norm > max_grad_norm ? max_grad_norm / norm : 1.0);
  scalars.beta1 = float(beta1);
  scalars.rest1 = float(1.0 - beta1);
  scalars.beta2 = float(beta2);
  scalars.rest2 = float(1.0 - beta2);
  scalars.keep = float(1.0 - lr * weight_decay);
  scalars.step = float(lr / correction1);
  scalars.root_scale = float(1.0 / sqrt(correction2));
  scalars.eps = float(eps);
  return scalars;
}

template <int Count>
__global__ void __launch_bounds__(kThreads) adamw(float* __restrict__ w, const float* __restrict__ g, float* __restrict__ m,
                                                  float* __restrict__ v, const float* __restrict__ hyper,
                                                  const float* __restrict__ grad_norm, int64_t groups) {
  __shared__ AdamScalars shared;
  if (threadIdx.x == 0) shared = scalars_of(hyper, grad_norm);
  __syncthreads();
  const AdamScalars s = shared;
  if (s.skip) return;
  for (int64_t group = int64_t(blockIdx.x) * kThreads + threadIdx.x; group < groups; group += int64_t(gridDim.x) * kThreads) {
    const int64_t i = group * Count;
    float weight[Count], gradient[Count], first[Count], second[Count];
    load_floats(w + i, weight);
    load_floats(g + i, gradient);
    load_floats(m + i, first);
    load_floats(v + i, second);
#pragma unroll
    for (int k = 0; k < Count; ++k) {
      const float clipped = gradient[k] * s.clip;
      first[k] = s.beta1 * first[k] + s.rest1 * clipped;
      second[k] = s.beta2 * second[k] + s.rest2 * (clipped * clipped);
      weight[k] = s.keep * weight[k] - s.step * first[k] / (sqrtf(second[k]) * s.root_scale + s.eps);
    }
    store_floats(w + i, weight);
    store_floats(m + i, first);
    store_floats(v + i, second);
  }
}

template <int Count>
void launch(tb_context* context, float* w, const float* g, float* m, float* v, const float* hyper, const float* grad_norm,
            int64_t groups) {
  // The scalars cost some hundred cycles a block: blocks stay for several groups, and still fill the card.
  const int64_t wanted = ceil_div(groups, kThreads), most = int64_t(context->sm_count) * 16;
  adamw<Count><<<unsigned(wanted < most ? wanted : most), kThreads, 0, context->stream>>>(w, g, m, v, hyper, grad_norm, groups);
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_adamw(tb_context* context, float* w, const float* g, float* m, float* v, const float* hyper,
                              const float* grad_norm, int64_t n) {
  TB_ENTER(context);
  TB_REQUIRE(context, n >= 0, "Cannot run tb_adamw as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, hyper != nullptr && grad_norm != nullptr, "Cannot run tb_adamw as hyper or grad_norm is null");
  TB_REQUIRE(context, n == 0 || (w != nullptr && g != nullptr && m != nullptr && v != nullptr),
             "Cannot run tb_adamw as one of w, g, m and v is null");
  const bool aligned = tb::is_aligned(w, 16) && tb::is_aligned(g, 16) && tb::is_aligned(m, 16) && tb::is_aligned(v, 16);
  const int64_t groups = aligned ? n / 4 : 0, done = 4 * groups, rest = n - done;
  if (groups > 0) tb::launch<4>(context, w, g, m, v, hyper, grad_norm, groups);
  if (rest > 0) tb::launch<1>(context, w + done, g + done, m + done, v + done, hyper, grad_norm, rest);
  return tb::launched(context, "tb_adamw");
}
