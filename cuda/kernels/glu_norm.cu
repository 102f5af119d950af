// Gated linear unit fused with its RMSNorm and the activation quantiser, forward and backward.
//
//   h = act(gate) * up;  silu(x) = x / (1 + exp(-x)),  relu2(x) = max(x, 0)²  (NaN stays NaN).
//   Then norm_row.cuh over the row of h, which is never stored.
// Backward: h again from gate and up; dh as in norm_row.cuh; dup = dh * act(gate), dgate = dh * up * act'(gate) with
//   silu'(x) = s (1 + x (1 - s)), s = 1 / (1 + exp(-x));  relu2'(x) = 2 max(x, 0).
// In float32 exp and the quotient are exact to an ulp or two; where gate and up are bfloat16 the fast ones, some ulp of float32
// off, are far below what was lost before.
#include "norm_row.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

template <typename T>
__device__ __forceinline__ float sigmoid(float x) {
  if constexpr (sizeof(T) == 2)
    return __fdividef(1.0f, 1.0f + __expf(-x));
  else
    return 1.0f / (1.0f + expf(-x));
}

template <typename T, bool Relu2>
__device__ __forceinline__ float activate(float x) {
  if constexpr (Relu2) {
    const float positive = x < 0.0f ? 0.0f : x;
    return positive * positive;
  } else {
    return x * sigmoid<T>(x);
  }
}

template <typename T, bool Relu2>
__device__ __forceinline__ void activate_with_slope(float x, float* value, float* slope) {
  if constexpr (Relu2) {
    const float positive = x < 0.0f ? 0.0f : x;
    *value = positive * positive;
    *slope = positive + positive;
  } else {
    const float s = sigmoid<T>(x);
    *value = x * s;
    *slope = s * (1.0f + x * (1.0f - s));
  }
}

// Rows of h, from rows of [gate | up].
template <typename T, bool Relu2>
struct GatedRows {
  static constexpr int kWidth = 16 / sizeof(T);
  const T* gate_up;
  int64_t F;
  struct Row {
    const T* gate;
    const T* up;
    __device__ __forceinline__ void load(int64_t j, float (&h)[kWidth]) const {
      float g[kWidth], u[kWidth];
      load_floats(gate + j, g);
      load_floats(up + j, u);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) h[i] = activate<T, Relu2>(g[i]) * u[i];
    }
    __device__ __forceinline__ float at(int64_t j) const { return activate<T, Relu2>(to_float(gate[j])) * to_float(up[j]); }
  };
  __device__ __forceinline__ Row row(int64_t index) const {
    return {gate_up + index * 2 * F, gate_up + index * 2 * F + F};
  }
};

// 512 threads a multiprocessor, in blocks of few: while one waits for its row or at a barrier, the others' copies are under way.
template <int Threads, int Items, typename T, bool Relu2>
__global__ void __launch_bounds__(Threads, 512 / Threads) glu_norm_backward_rows(const T* __restrict__ dy, const T* __restrict__ gate_up,
                                                                  const float* __restrict__ weight,
                                                                  const float* __restrict__ rstd, T* __restrict__ dgate_up,
                                                                  float* __restrict__ partials, int64_t N, int64_t F) {
  constexpr int Width = 16 / sizeof(T);
  extern __shared__ float4 partial[];  // (F / 4); a thread's own columns, so that no barrier is needed
  for (int64_t item = 0, j; (j = (item * Threads + threadIdx.x) * Width) < F; ++item)
    for (int i = 0; i < Width / 4; ++i) partial[j / 4 + i] = make_float4(0, 0, 0, 0);
  const int64_t blocks = gridDim.x, block = blockIdx.x;
  for (int64_t row = N * block / blocks; row < N * (block + 1) / blocks; ++row) {
    const T* gate = gate_up + row * 2 * F;
    const T* up = gate + F;
    // Kept as they were loaded: half the registers where they are bfloat16. The weight comes from the L1 cache each time.
    Pack<T, Width> g[Items], x[Items], u[Items];
    float dot = 0;
#pragma unroll
    for (int item = 0; item < Items; ++item) {
      const int64_t j = (int64_t(item) * Threads + threadIdx.x) * Width;
      if (j >= F) continue;
      g[item] = load_pack<Width>(dy + row * F + j);
      x[item] = load_pack<Width>(gate + j);
      u[item] = load_pack<Width>(up + j);
      float w[Width];
      load_weights(weight + j, w);
#pragma unroll
      for (int i = 0; i < Width; ++i) {
        const float h = activate<T, Relu2>(to_float(x[item].values[i])) * to_float(u[item].values[i]);
        dot += to_float(g[item].values[i]) * w[i] * h;
      }
    }
    const float r = rstd[row];
    const float c = block_sum<Threads>(dot) * r * r / float(F);
#pragma unroll
    for (int item = 0; item < Items; ++item) {
      const int64_t j = (int64_t(item) * Threads + threadIdx.x) * Width;
      if (j >= F) continue;
      float w[Width], dgate[Width], dup[Width];
      load_weights(weight + j, w);
#pragma unroll
      for (int i = 0; i < Width; ++i) {
        float value, slope;
        activate_with_slope<T, Relu2>(to_float(x[item].values[i]), &value, &slope);
        const float gradient = to_float(g[item].values[i]), factor = to_float(u[item].values[i]), h = value * factor;
        const float dh = r * (gradient * w[i] - h * c);
        dup[i] = dh * value;
        dgate[i] = dh * factor * slope;
        w[i] = gradient * (h * r);
      }
#pragma unroll
      for (int i = 0; i < Width / 4; ++i) {
        float4 sum = partial[j / 4 + i];
        sum.x += w[4 * i], sum.y += w[4 * i + 1], sum.z += w[4 * i + 2], sum.w += w[4 * i + 3];
        partial[j / 4 + i] = sum;
      }
      store_floats(dgate_up + row * 2 * F + j, dgate);
      store_floats(dgate_up + row * 2 * F + F + j, dup);
    }
  }
  for (int64_t item = 0, j; (j = (item * Threads + threadIdx.x) * Width) < F; ++item)
    for (int i = 0; i < Width / 4; ++i) reinterpret_cast<float4*>(partials + block * F + j)[i] = partial[j / 4 + i];
}

// A column belongs to one thread of the block, so that its partial sum can stay in memory.
template <typename T, bool Relu2>
__global__ void __launch_bounds__(kAnyThreads) glu_norm_backward_any(const T* __restrict__ dy, const T* __restrict__ gate_up,
                                                                     const float* __restrict__ weight,
                                                                     const float* __restrict__ rstd, T* __restrict__ dgate_up,
                                                                     float* __restrict__ partials, int64_t N, int64_t F) {
  const int64_t blocks = gridDim.x, block = blockIdx.x;
  const GatedRows<T, Relu2> rows{gate_up, F};
  float* partial = partials + block * F;
  for (int64_t j = threadIdx.x; j < F; j += kAnyThreads) partial[j] = 0;
  for (int64_t row = N * block / blocks; row < N * (block + 1) / blocks; ++row) {
    const auto gated = rows.row(row);
    const T* g = dy + row * F;
    float dot = 0;
    for (int64_t j = threadIdx.x; j < F; j += kAnyThreads) dot += to_float(g[j]) * weight[j] * gated.at(j);
    const float r = rstd[row];
    const float c = block_sum<kAnyThreads>(dot) * r * r / float(F);
    for (int64_t j = threadIdx.x; j < F; j += kAnyThreads) {
      float value, slope;
      activate_with_slope<T, Relu2>(to_float(gated.gate[j]), &value, &slope);
      const float up = to_float(gated.up[j]), gradient = to_float(g[j]), h = value * up;
      partial[j] += gradient * (h * r);
      const float dh = r * (gradient * weight[j] - h * c);
      dgate_up[row * 2 * F + j] = from_float<T>(dh * up * slope);
      dgate_up[row * 2 * F + F + j] = from_float<T>(dh * value);
    }
  }
}

// Runs the body with the kThreads and kItems that hold a row of F, F <= kGatedRow. Few threads with much of a row each: sums over
// the block cost less, and many rows are under way. The sums of dweight fit a block's 48 KB.
template <typename T>
constexpr int64_t kGatedRow = 1408 * 16 / int64_t(sizeof(T));
#define TB_WITH_GATED_SHAPE(T, F, ...)          \
  do {                                          \
    const int64_t groups = (F) / int64_t(16 / sizeof(T)); \
    if (groups <= 128) {                        \
      constexpr int kThreads = 128, kItems = 1; \
      __VA_ARGS__                               \
    } else if (groups <= 256) {                 \
      constexpr int kThreads = 128, kItems = 2; \
      __VA_ARGS__                               \
    } else if (groups <= 384) {                 \
      constexpr int kThreads = 128, kItems = 3; \
      __VA_ARGS__                               \
    } else if (groups <= 512) {                 \
      constexpr int kThreads = 256, kItems = 2; \
      __VA_ARGS__                               \
    } else if (groups <= 768) {                 \
      constexpr int kThreads = 256, kItems = 3; \
      __VA_ARGS__                               \
    } else if (groups <= 1024) {                \
      constexpr int kThreads = 512, kItems = 2; \
      __VA_ARGS__                               \
    } else {                                    \
      constexpr int kThreads = 512, kItems = 3; \
      __VA_ARGS__                               \
    }                                           \
  } while (0)

template <typename T, bool Relu2>
void forward(tb_context* context, const T* gate_up, const float* weight, float eps, tb_activation_quant quant,
             const NormOutputs<T>& out, int64_t N, int64_t F) {
  const GatedRows<T, Relu2> rows{gate_up, F};
  constexpr int kWidth = GatedRows<T, Relu2>::kWidth;
  const bool in_registers = F % kWidth == 0 && F <= kGatedRow<T> && is_aligned(gate_up, 16) && is_aligned(weight, 16) &&
                            is_aligned(out.y, 16) && is_aligned(out.q, kWidth);
  if (in_registers)
    TB_WITH_GATED_SHAPE(T, F, {
      launch_norm<kThreads, kItems>(context, rows, weight, eps, quant, out, N, F);
    });
  else
    launch_rows(context, N, norm_forward_any<GatedRows<T, Relu2>, T>, unsigned(N), kAnyThreads, 0, rows, weight, eps, quant, out, F);
}

template <typename T, bool Relu2>
void backward(tb_context* context, const T* dy, const T* gate_up, const float* weight, const float* rstd, T* dgate_up,
              float* dweight, int64_t N, int64_t F) {
  const unsigned blocks = unsigned(row_block_count(N, F));
  float* partials = reinterpret_cast<float*>(context->scratch);
  const bool in_registers = F % GatedRows<T, Relu2>::kWidth == 0 && F <= kGatedRow<T> && is_aligned(dy, 16) &&
                            is_aligned(gate_up, 16) && is_aligned(weight, 16) && is_aligned(dgate_up, 16);
  if (in_registers)
    TB_WITH_GATED_SHAPE(T, F, {
      glu_norm_backward_rows<kThreads, kItems, T, Relu2>
          <<<blocks, kThreads, 4 * F, context->stream>>>(dy, gate_up, weight, rstd, dgate_up, partials, N, F);
    });
  else
    glu_norm_backward_any<T, Relu2>
        <<<blocks, kAnyThreads, 0, context->stream>>>(dy, gate_up, weight, rstd, dgate_up, partials, N, F);
  launch_add_partials(context, partials, blocks, dweight, F);
}

tb_status check(tb_context* context, const char* op, tb_dtype dtype, tb_hidden_act act, int64_t N, int64_t F) {
  TB_REQUIRE_DTYPE(context, dtype, op);
  TB_REQUIRE(context, N >= 0 && N <= INT32_MAX && F >= 1 && F <= kLongestRow,
             "Cannot run %s as N must be 0 to 2^31 - 1 and F 1 to %lld: current values are %lld and %lld", op,
             (long long)kLongestRow, (long long)N, (long long)F);
  TB_REQUIRE(context, act == TB_SILU || act == TB_RELU2, "Cannot run %s as act must be 0 or 1: current value is %d", op, int(act));
  return TB_OK;
}

}  // namespace
}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_glu_norm_forward(tb_context* context, tb_dtype dtype, const void* gate_up, tb_hidden_act act,
                                         const float* weight, float eps, tb_activation_quant quant, int8_t* q, float* scale,
                                         void* y, float* rstd, int64_t N, int64_t F) {
  TB_ENTER(context);
  if (const tb_status status = tb::check(context, "tb_glu_norm_forward", dtype, act, N, F); status != TB_OK) return status;
  TB_REQUIRE(context, quant >= TB_QUANT_NONE && quant <= TB_QUANT_ABSMEAN,
             "Cannot run tb_glu_norm_forward as quant must be 0, 1 or 2: current value is %d", int(quant));
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, gate_up != nullptr && weight != nullptr, "Cannot run tb_glu_norm_forward as gate_up or weight is null");
  TB_REQUIRE(context, quant == TB_QUANT_NONE ? y != nullptr : q != nullptr && scale != nullptr,
             "Cannot run tb_glu_norm_forward as quant %d needs %s", int(quant), quant == TB_QUANT_NONE ? "y" : "q and scale");
  TB_WITH_TYPE(dtype, T, {
    const tb::NormOutputs<T> out{q, scale, static_cast<T*>(y), rstd};
    const auto run = act == TB_RELU2 ? tb::forward<T, true> : tb::forward<T, false>;
    run(context, static_cast<const T*>(gate_up), weight, eps, quant, out, N, F);
  });
  return tb::launched(context, "tb_glu_norm_forward");
}

extern "C" tb_status tb_glu_norm_backward(tb_context* context, tb_dtype dtype, const void* dy, const void* gate_up,
                                          tb_hidden_act act, const float* weight, const float* rstd, void* dgate_up,
                                          float* dweight, int64_t N, int64_t F) {
  TB_ENTER(context);
  if (const tb_status status = tb::check(context, "tb_glu_norm_backward", dtype, act, N, F); status != TB_OK) return status;
  if (N == 0) return TB_OK;
  TB_REQUIRE(context, dy != nullptr && gate_up != nullptr && weight != nullptr && rstd != nullptr && dgate_up != nullptr &&
                          dweight != nullptr,
             "Cannot run tb_glu_norm_backward as one of its tensors is null");
  TB_REQUIRE(context, dgate_up != gate_up, "Cannot run tb_glu_norm_backward as dgate_up must not be gate_up");
  TB_WITH_TYPE(dtype, T, {
    const auto run = act == TB_RELU2 ? tb::backward<T, true> : tb::backward<T, false>;
    run(context, static_cast<const T*>(dy), static_cast<const T*>(gate_up), weight, rstd, static_cast<T*>(dgate_up), dweight, N,
        F);
  });
  return tb::launched(context, "tb_glu_norm_backward");
}
