// Gated linear unit fused with its RMSNorm and the activation quantiser, forward and backward.
//
//   h = act(gate) * up;  silu(x) = x / (1 + exp(-x)),  relu2(x) = max(x, 0)²  (NaN stays NaN).
//   Then norm_row.h over the row of h. h is never stored: each thread keeps one row.
// Backward: h again from gate and up; dh as in norm_row.h; dup = dh * act(gate), dgate = dh * up * act'(gate) with
//   silu'(x) = s (1 + x (1 - s)), s = 1 / (1 + exp(-x));  relu2'(x) = 2 max(x, 0).
// Deterministic for any number of threads: dweight by blocks of rows, summed in order.
#include <omp.h>

#include "norm_row.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, glu_norm_forward,
           (tb_context * context, const float* gate_up, tb_hidden_act act, const float* weight, float eps,
            tb_activation_quant quant, int8_t* q, float* scale, float* y, float* rstd, int64_t N, int64_t F))
TB_DECLARE(void, glu_norm_backward,
           (tb_context * context, const float* dy, const float* gate_up, tb_hidden_act act, const float* weight,
            const float* rstd, float* dgate_up, float* dweight, int64_t N, int64_t F))

namespace tb::TB_ISA {

template <bool Relu2>
TB_INLINE vfloat activate(vfloat x) {
  if constexpr (Relu2) {
    const vfloat positive = x < 0.0f ? vfloat{} : x;
    return positive * positive;
  } else {
    return x * sigmoid(x);
  }
}

template <bool Relu2>
TB_INLINE void activate_with_slope(vfloat x, vfloat* value, vfloat* slope) {
  if constexpr (Relu2) {
    const vfloat positive = x < 0.0f ? vfloat{} : x;
    *value = positive * positive;
    *slope = positive + positive;
  } else {
    const vfloat s = sigmoid(x);
    *value = x * s;
    *slope = s * fma(x, 1.0f - s, splat(1.0f));
  }
}

// h (F) of one row.
template <bool Relu2>
TB_INLINE void gated_row(const float* gate, const float* up, float* h, int64_t F) {
  int64_t j = 0;
  for (; j + kLanes <= F; j += kLanes) store(h + j, activate<Relu2>(load(gate + j)) * load(up + j));
  if (j < F) store_first(h + j, activate<Relu2>(load_first(gate + j, F - j)) * load_first(up + j, F - j), F - j);
}

template <bool Relu2>
void forward_rows(tb_context* context, const float* gate_up, const float* weight, float eps, tb_activation_quant quant,
                  int8_t* q, float* scale, float* y, float* rstd, int64_t N, int64_t F) {
#pragma omp parallel num_threads(context->threads) if (N * F > 4096)
  {
    float* h = row_space(context, omp_get_thread_num());
#pragma omp for schedule(static)
    for (int64_t row = 0; row < N; ++row) {
      gated_row<Relu2>(gate_up + row * 2 * F, gate_up + row * 2 * F + F, h, F);
      const float r = reciprocal_rms(sum_of_squares(h, F), eps, F);
      if (rstd != nullptr) rstd[row] = r;
      norm_row(h, r, weight, quant, q == nullptr ? nullptr : q + row * F, scale + row, y == nullptr ? nullptr : y + row * F, F);
    }
  }
}

template <bool Relu2>
TB_INLINE void backward_row(const float* g, const float* gate, const float* up, const float* h, const float* weight, float r,
                            float c, float* partial, float* dgate, float* dup, int64_t F) {
  int64_t j = 0;
  vfloat value, slope;
  for (; j + kLanes <= F; j += kLanes) {
    activate_with_slope<Relu2>(load(gate + j), &value, &slope);
    const vfloat gradient = load(g + j), hidden = load(h + j);
    store(partial + j, fma(gradient, hidden * r, load(partial + j)));
    const vfloat dh = r * fma(gradient, load(weight + j), -(hidden * c));
    const vfloat through = dh * load(up + j);
    store(dup + j, dh * value);
    store(dgate + j, through * slope);
  }
  if (j == F) return;
  const int64_t count = F - j;
  activate_with_slope<Relu2>(load_first(gate + j, count), &value, &slope);
  const vfloat gradient = load_first(g + j, count), hidden = load_first(h + j, count);
  store_first(partial + j, fma(gradient, hidden * r, load_first(partial + j, count)), count);
  const vfloat dh = r * fma(gradient, load_first(weight + j, count), -(hidden * c));
  const vfloat through = dh * load_first(up + j, count);
  store_first(dup + j, dh * value, count);
  store_first(dgate + j, through * slope, count);
}

template <bool Relu2>
void backward_rows(tb_context* context, const float* dy, const float* gate_up, const float* weight, const float* rstd,
                   float* dgate_up, float* dweight, int64_t N, int64_t F) {
  const int64_t blocks = row_block_count(N, F);
  float* partials = static_cast<float*>(context->thread_scratch(0));
#pragma omp parallel num_threads(context->threads) if (N * F > 4096)
  {
    float* h = row_space(context, omp_get_thread_num());
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; ++block) {
      float* partial = partials + block * F;
      for (int64_t j = 0; j < F; ++j) partial[j] = 0;
      for (int64_t row = N * block / blocks; row < N * (block + 1) / blocks; ++row) {
        const float* gate = gate_up + row * 2 * F;
        const float* g = dy + row * F;
        float* dgate = dgate_up + row * 2 * F;
        gated_row<Relu2>(gate, gate + F, h, F);
        const float r = rstd[row];
        const float c = weighted_dot(g, weight, h, F) * r * r / float(F);
        backward_row<Relu2>(g, gate, gate + F, h, weight, r, c, partial, dgate, dgate + F, F);
      }
    }
    add_partials(partials, blocks, dweight, F);
  }
}

void glu_norm_forward(tb_context* context, const float* gate_up, tb_hidden_act act, const float* weight, float eps,
                      tb_activation_quant quant, int8_t* q, float* scale, float* y, float* rstd, int64_t N, int64_t F) {
  if (act == TB_RELU2)
    forward_rows<true>(context, gate_up, weight, eps, quant, q, scale, y, rstd, N, F);
  else
    forward_rows<false>(context, gate_up, weight, eps, quant, q, scale, y, rstd, N, F);
}

void glu_norm_backward(tb_context* context, const float* dy, const float* gate_up, tb_hidden_act act, const float* weight,
                       const float* rstd, float* dgate_up, float* dweight, int64_t N, int64_t F) {
  if (act == TB_RELU2)
    backward_rows<true>(context, dy, gate_up, weight, rstd, dgate_up, dweight, N, F);
  else
    backward_rows<false>(context, dy, gate_up, weight, rstd, dgate_up, dweight, N, F);
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_glu_norm_forward(tb_context* context, tb_dtype dtype, const void* gate_up, tb_hidden_act act,
                                         const float* weight, float eps, tb_activation_quant quant, int8_t* q, float* scale,
                                         void* y, float* rstd, int64_t N, int64_t F) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_glu_norm_forward");
  TB_REQUIRE(context, N >= 0 && F >= 1 && F <= tb::portable::kLongestRow,
             "Cannot run tb_glu_norm_forward as N must be at least 0 and F 1 to %lld: current values are %lld and %lld",
             (long long)tb::portable::kLongestRow, (long long)N, (long long)F);
  TB_REQUIRE(context, act == TB_SILU || act == TB_RELU2, "Cannot run tb_glu_norm_forward as act must be 0 or 1: current value is %d",
             int(act));
  TB_REQUIRE(context, quant >= TB_QUANT_NONE && quant <= TB_QUANT_ABSMEAN,
             "Cannot run tb_glu_norm_forward as quant must be 0, 1 or 2: current value is %d", int(quant));
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, gate_up != nullptr && weight != nullptr, "Cannot run tb_glu_norm_forward as gate_up or weight is null");
  TB_REQUIRE(context, quant == TB_QUANT_NONE ? y != nullptr : q != nullptr && scale != nullptr,
             "Cannot run tb_glu_norm_forward as quant %d needs %s", int(quant), quant == TB_QUANT_NONE ? "y" : "q and scale");
  TB_DISPATCH(context, glu_norm_forward,
              (context, static_cast<const float*>(gate_up), act, weight, eps, quant, q, scale, static_cast<float*>(y), rstd, N,
               F));
  return TB_OK;
}

extern "C" tb_status tb_glu_norm_backward(tb_context* context, tb_dtype dtype, const void* dy, const void* gate_up,
                                          tb_hidden_act act, const float* weight, const float* rstd, void* dgate_up,
                                          float* dweight, int64_t N, int64_t F) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_glu_norm_backward");
  TB_REQUIRE(context, N >= 0 && F >= 1 && F <= tb::portable::kLongestRow,
             "Cannot run tb_glu_norm_backward as N must be at least 0 and F 1 to %lld: current values are %lld and %lld",
             (long long)tb::portable::kLongestRow, (long long)N, (long long)F);
  TB_REQUIRE(context, act == TB_SILU || act == TB_RELU2, "Cannot run tb_glu_norm_backward as act must be 0 or 1: current value is %d",
             int(act));
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, dy != nullptr && gate_up != nullptr && weight != nullptr && rstd != nullptr && dgate_up != nullptr &&
                          dweight != nullptr,
             "Cannot run tb_glu_norm_backward as one of its tensors is null");
  TB_REQUIRE(context, dgate_up != gate_up, "Cannot run tb_glu_norm_backward as dgate_up must not be gate_up");
  TB_DISPATCH(context, glu_norm_backward,
              (context, static_cast<const float*>(dy), static_cast<const float*>(gate_up), act, weight, rstd,
               static_cast<float*>(dgate_up), dweight, N, F));
  return TB_OK;
}

#endif
