// Rows of a gated linear unit for norm_row.cuh: h = act(gate) * up, from rows of [gate | up].
//
//   silu(x) = x / (1 + exp(-x)),  relu2(x) = max(x, 0)²  (NaN stays NaN).
// In float32 exp and the quotient are exact to an ulp or two; where gate and up are bfloat16 the fast ones, some ulp of float32
// off, are far below what was lost before.
#pragma once

#include "norm_row.cuh"

namespace tb {

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

// Rows of h, from rows of [gate | up].
template <typename T, bool Relu2>
struct GatedRows {
  static constexpr int kWidth = 16 / sizeof(T), kMostItems = 3;
  const T* gate_up;
  int64_t F;
  struct Row {
    const T* gate;
    const T* up;
    struct Group {
      Pack<T, kWidth> gate, up;
    };
    __device__ __forceinline__ Group fetch(int64_t j) const { return {load_pack<kWidth>(gate + j), load_pack<kWidth>(up + j)}; }
    static __device__ __forceinline__ void widen(const Group& group, float (&h)[kWidth]) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) h[i] = activate<T, Relu2>(to_float(group.gate.values[i])) * to_float(group.up.values[i]);
    }
    __device__ __forceinline__ void load(int64_t j, float (&h)[kWidth]) const { widen(fetch(j), h); }
    __device__ __forceinline__ float at(int64_t j) const { return activate<T, Relu2>(to_float(gate[j])) * to_float(up[j]); }
  };
  __device__ __forceinline__ Row row(int64_t index) const {
    return {gate_up + index * 2 * F, gate_up + index * 2 * F + F};
  }
};

template <typename T>
constexpr int64_t kGatedRow = 1408 * 16 / int64_t(sizeof(T));

}  // namespace tb

// Runs the body with the kThreads and kItems that hold a row of F, F <= kGatedRow. Few threads with much of a row each: sums over
// the block cost less, and many rows are under way. The sums of dweight fit a block's 48 KB.
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

namespace tb {
template <typename T>
RowShape gated_row_shape(int64_t F) {
  TB_WITH_GATED_SHAPE(T, F, { return RowShape{kThreads, kItems}; });
}
}  // namespace tb
