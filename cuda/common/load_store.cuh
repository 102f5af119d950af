// float32 and bfloat16 in memory, float32 in registers: conversions and loads of several elements at once.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "titanbit.h"

namespace tb {

using bf16 = __nv_bfloat16;

template <typename T>
constexpr tb_dtype kDtypeOf = TB_F32;
template <>
constexpr tb_dtype kDtypeOf<bf16> = TB_BF16;

inline int64_t bytes_of(tb_dtype dtype) { return dtype == TB_BF16 ? 2 : 4; }

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float to_float(int8_t value) { return float(value); }

// Round to nearest even; NaN stays NaN.
template <typename T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) {
  return __float2bfloat16_rn(value);
}

// `Count` neighbours as one access of up to 16 bytes; the address must be aligned to all of them.
template <typename T, int Count>
struct alignas(sizeof(T) * Count) Pack {
  static_assert(sizeof(T) * Count <= 16, "an access has 16 bytes at most");
  T values[Count];
};

template <int Count, typename T>
__device__ __forceinline__ Pack<T, Count> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, Count>*>(from);
}

template <int Count, typename T>
__device__ __forceinline__ void load_floats(const T* from, float (&to)[Count]) {
  const Pack<T, Count> pack = *reinterpret_cast<const Pack<T, Count>*>(from);
#pragma unroll
  for (int i = 0; i < Count; ++i) to[i] = to_float(pack.values[i]);
}

template <int Count, typename T>
__device__ __forceinline__ void store_floats(T* to, const float (&from)[Count]) {
  Pack<T, Count> pack;
#pragma unroll
  for (int i = 0; i < Count; ++i) pack.values[i] = from_float<T>(from[i]);
  *reinterpret_cast<Pack<T, Count>*>(to) = pack;
}

}  // namespace tb

// Runs `body` with the type of a dtype: TB_WITH_TYPE(dtype, T, { kernel<T><<<...>>>(...); });
#define TB_WITH_TYPE(dtype, Type, ...) \
  do {                                 \
    if ((dtype) == TB_BF16) {          \
      using Type = ::tb::bf16;         \
      __VA_ARGS__                      \
    } else {                           \
      using Type = float;              \
      __VA_ARGS__                      \
    }                                  \
  } while (0)
