// RMSNorm fused with the activation quantiser, forward and backward. Formulas, rounding and order of sums: norm_row.cuh.
//
// x, y, dy and dx are float32 or bfloat16 each; everything between is float32. Bound by memory: forward reads x and writes q,
// backward reads dy and x and writes dx.
#include "norm_row.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

template <int Threads, int Items, typename G, typename X, typename O>
__global__ void __launch_bounds__(Threads) rmsnorm_backward_rows(const G* __restrict__ dy, const X* __restrict__ x,
                                                                 const float* __restrict__ weight,
                                                                 const float* __restrict__ rstd, O* __restrict__ dx,
                                                                 float* __restrict__ partials, int64_t N, int64_t D,
                                                                 bool accumulate) {
  float partial[Items][4] = {};
  const int64_t blocks = gridDim.x, block = blockIdx.x;
  for (int64_t row = N * block / blocks; row < N * (block + 1) / blocks; ++row) {
    // Kept as they were loaded: half the registers where they are bfloat16. The weight comes from the L1 cache each time.
    Pack<G, 4> g[Items];
    Pack<X, 4> h[Items];
    float dot = 0;
#pragma unroll
    for (int item = 0; item < Items; ++item) {
      const int64_t j = (int64_t(item) * Threads + threadIdx.x) * 4;
      if (j >= D) continue;
      g[item] = load_pack<4>(dy + row * D + j);
      h[item] = load_pack<4>(x + row * D + j);
      float w[4];
      load_floats(weight + j, w);
#pragma unroll
      for (int i = 0; i < 4; ++i) dot += to_float(g[item].values[i]) * w[i] * to_float(h[item].values[i]);
    }
    const float r = rstd[row];
    const float c = block_sum<Threads>(dot) * r * r / float(D);
#pragma unroll
    for (int item = 0; item < Items; ++item) {
      const int64_t j = (int64_t(item) * Threads + threadIdx.x) * 4;
      if (j >= D) continue;
      float w[4], out[4] = {};
      load_floats(weight + j, w);
      if (accumulate) load_floats(dx + row * D + j, out);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float gradient = to_float(g[item].values[i]), value = to_float(h[item].values[i]);
        partial[item][i] += gradient * (value * r);
        out[i] += r * (gradient * w[i] - value * c);
      }
      store_floats(dx + row * D + j, out);
    }
  }
#pragma unroll
  for (int item = 0; item < Items; ++item) {
    const int64_t j = (int64_t(item) * Threads + threadIdx.x) * 4;
    if (j < D) store_floats(partials + block * D + j, partial[item]);
  }
}

// A column belongs to one thread of the block, so that its partial sum can stay in memory.
template <typename G, typename X, typename O>
__global__ void __launch_bounds__(kAnyThreads) rmsnorm_backward_any(const G* __restrict__ dy, const X* __restrict__ x,
                                                                    const float* __restrict__ weight,
                                                                    const float* __restrict__ rstd, O* __restrict__ dx,
                                                                    float* __restrict__ partials, int64_t N, int64_t D,
                                                                    bool accumulate) {
  const int64_t blocks = gridDim.x, block = blockIdx.x;
  float* partial = partials + block * D;
  for (int64_t j = threadIdx.x; j < D; j += kAnyThreads) partial[j] = 0;
  for (int64_t row = N * block / blocks; row < N * (block + 1) / blocks; ++row) {
    const G* g = dy + row * D;
    const X* h = x + row * D;
    float dot = 0;
    for (int64_t j = threadIdx.x; j < D; j += kAnyThreads) dot += to_float(g[j]) * weight[j] * to_float(h[j]);
    const float r = rstd[row];
    const float c = block_sum<kAnyThreads>(dot) * r * r / float(D);
    for (int64_t j = threadIdx.x; j < D; j += kAnyThreads) {
      const float gradient = to_float(g[j]), value = to_float(h[j]);
      O* out = dx + row * D + j;
      partial[j] += gradient * (value * r);
      *out = from_float<O>((accumulate ? to_float(*out) : 0.0f) + r * (gradient * weight[j] - value * c));
    }
  }
}

template <typename X, typename Y>
void forward(tb_context* context, const X* x, const float* weight, float eps, tb_activation_quant quant,
             const NormOutputs<Y>& out, int64_t N, int64_t D) {
  const PlainRows<X> rows{x, D};
  const bool in_registers = D % 4 == 0 && D <= kRegisterRow && is_aligned(x, 4 * sizeof(X)) && is_aligned(weight, 16) &&
                            is_aligned(out.y, 4 * sizeof(Y)) && is_aligned(out.q, 4);
  if (in_registers)
    TB_WITH_ROW_SHAPE(D, {
      launch_norm<kThreads, kItems>(context, rows, weight, eps, quant, out, N, D);
    });
  else
    launch_rows(context, N, norm_forward_any<PlainRows<X>, Y>, unsigned(N), kAnyThreads, 0, rows, weight, eps, quant, out, D);
}

template <typename G, typename X, typename O>
void backward(tb_context* context, const G* dy, const X* x, const float* weight, const float* rstd, O* dx, float* dweight,
              int64_t N, int64_t D, bool accumulate) {
  const unsigned blocks = unsigned(row_block_count(N, D));
  float* partials = reinterpret_cast<float*>(context->scratch);
  const bool in_registers = D % 4 == 0 && D <= kBackwardRow && is_aligned(dy, 4 * sizeof(G)) &&
                            is_aligned(x, 4 * sizeof(X)) && is_aligned(weight, 16) && is_aligned(dx, 4 * sizeof(O));
  if (in_registers)
    TB_WITH_BACKWARD_ROW_SHAPE(D, {
      rmsnorm_backward_rows<kThreads, kItems>
          <<<blocks, kThreads, 0, context->stream>>>(dy, x, weight, rstd, dx, partials, N, D, accumulate);
    });
  else
    rmsnorm_backward_any<<<blocks, kAnyThreads, 0, context->stream>>>(dy, x, weight, rstd, dx, partials, N, D, accumulate);
  launch_add_partials(context, partials, blocks, dweight, D);
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_rmsnorm_forward(tb_context* context, tb_dtype x_dtype, const void* x, const float* weight, float eps,
                                        tb_activation_quant quant, int8_t* q, float* scale, tb_dtype y_dtype, void* y,
                                        float* rstd, int64_t N, int64_t D) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, x_dtype, "tb_rmsnorm_forward");
  if (y != nullptr) TB_REQUIRE_DTYPE(context, y_dtype, "tb_rmsnorm_forward");
  TB_REQUIRE(context, N >= 0 && N <= INT32_MAX && D >= 1,
             "Cannot run tb_rmsnorm_forward as N must be 0 to 2^31 - 1 and D at least 1: current values are %lld and %lld",
             (long long)N, (long long)D);
  TB_REQUIRE(context, quant >= TB_QUANT_NONE && quant <= TB_QUANT_ABSMEAN,
             "Cannot run tb_rmsnorm_forward as quant must be 0, 1 or 2: current value is %d", int(quant));
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, x != nullptr && weight != nullptr, "Cannot run tb_rmsnorm_forward as x or weight is null");
  TB_REQUIRE(context, quant == TB_QUANT_NONE ? y != nullptr : q != nullptr && scale != nullptr,
             "Cannot run tb_rmsnorm_forward as quant %d needs %s", int(quant), quant == TB_QUANT_NONE ? "y" : "q and scale");
  TB_WITH_TYPE(x_dtype, X, {
    TB_WITH_TYPE(y_dtype, Y, {
      tb::forward(context, static_cast<const X*>(x), weight, eps, quant,
                  tb::NormOutputs<Y>{q, scale, static_cast<Y*>(y), rstd}, N, D);
    });
  });
  return tb::launched(context, "tb_rmsnorm_forward");
}

extern "C" tb_status tb_rmsnorm_backward(tb_context* context, tb_dtype dy_dtype, const void* dy, tb_dtype x_dtype,
                                         const void* x, const float* weight, const float* rstd, tb_dtype dx_dtype, void* dx,
                                         float* dweight, int64_t N, int64_t D, int32_t accumulate) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dy_dtype, "tb_rmsnorm_backward");
  TB_REQUIRE_DTYPE(context, x_dtype, "tb_rmsnorm_backward");
  TB_REQUIRE_DTYPE(context, dx_dtype, "tb_rmsnorm_backward");
  TB_REQUIRE(context, N >= 0 && D >= 1 && D <= tb::kLongestRow,
             "Cannot run tb_rmsnorm_backward as N must be at least 0 and D 1 to %lld: current values are %lld and %lld",
             (long long)tb::kLongestRow, (long long)N, (long long)D);
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, dy != nullptr && x != nullptr && weight != nullptr && rstd != nullptr && dx != nullptr && dweight != nullptr,
             "Cannot run tb_rmsnorm_backward as one of its tensors is null");
  TB_WITH_TYPE(dy_dtype, G, {
    TB_WITH_TYPE(x_dtype, X, {
      TB_WITH_TYPE(dx_dtype, O, {
        tb::backward(context, static_cast<const G*>(dy), static_cast<const X*>(x), weight, rstd, static_cast<O*>(dx), dweight,
                     N, D, accumulate != 0);
      });
    });
  });
  return tb::launched(context, "tb_rmsnorm_backward");
}
