// The token that attention_decode.cu adds to the cache on its way: rotated, and quantised where the cache is, as rope.cu does it, to the
// last bit. Its query and key never go through memory between the two.
#pragma once

#include <type_traits>

#include "attention_lanes.cuh"
#include "rotation.cuh"

namespace tb {

// Operands beside those of AttentionForward, whose caches these are.
struct FreshTokens {
  const void* qkv;       // (B, (H + 2G) E)
  const float* cos_sin;  // (positions, E)
  void *k, *v;           // (B, G, capacity, E)
  float *k_scale, *v_scale;
  int64_t positions;
};

// Neighbours of a row of angles.
template <int Count>
__device__ __forceinline__ void load_angles(const float* from, float (&to)[Count]) {
  if constexpr (Count % 4 == 0) {
#pragma unroll
    for (int i = 0; i < Count; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      to[i] = four.x, to[i + 1] = four.y, to[i + 2] = four.z, to[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < Count; ++i) to[i] = from[i];
  }
}

// A lane's part of a head's row, rotated, in float32; 0 behind E.
template <typename L>
__device__ __forceinline__ void load_rotated(float (&to)[L::kElements], const typename L::T* row, const float* angles, int E, int lane) {
  const int half = E / 2;
#pragma unroll
  for (int chunk = 0; chunk < L::kChunks; ++chunk) {
    const int first = L::element(chunk, lane);
    float own[L::kPack] = {}, other[L::kPack] = {}, c[L::kPack] = {}, s[L::kPack] = {};
    if (first < E && half % L::kPack == 0) {
      const int j = first < half ? first : first - half;
      load_floats(row + first, own);
      load_floats(row + (first < half ? first + half : j), other);
      load_angles(angles + j, c);
      load_angles(angles + half + j, s);
    } else if (first < E) {  // a pack that reaches over the middle
#pragma unroll
      for (int i = 0; i < L::kPack; ++i) {
        const int e = first + i, j = e < half ? e : e - half;
        own[i] = to_float(row[e]);
        other[i] = to_float(row[e < half ? e + half : j]);
        c[i] = angles[j];
        s[i] = angles[half + j];
      }
    }
#pragma unroll
    for (int i = 0; i < L::kPack; ++i)
      to[chunk * L::kPack + i] =
          first + i < half ? rotated_low(own[i], other[i], c[i], s[i]) : rotated_high(other[i], own[i], c[i], s[i]);
  }
}

// As it is after a row has been stored as T.
template <typename T, int Count>
__device__ __forceinline__ void round_to(float (&values)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) values[i] = to_float(from_float<T>(values[i]));
}

// What a cache gives back of a row: `values` rounded to the cache's dtype, and their scale. All lanes of the warp must call it.
template <typename L, typename Cache>
__device__ __forceinline__ float as_cached(float (&values)[L::kElements]) {
  if constexpr (std::is_same_v<Cache, int8_t>) {
    int bits = 0;
#pragma unroll
    for (int e = 0; e < L::kElements; ++e) bits = max(bits, __float_as_int(values[e]) & 0x7fffffff);
#pragma unroll
    for (int offset = L::kTeam / 2; offset > 0; offset /= 2) bits = max(bits, __shfl_xor_sync(kAllLanes, bits, offset));
    const CacheQuantiser quantise = CacheQuantiser::of(bits);
#pragma unroll
    for (int e = 0; e < L::kElements; ++e) values[e] = float(quantise(values[e]));
    return quantise.scale;
  } else {
    round_to<Cache>(values);
    return 1.0f;
  }
}

// A team's row, which is of the cache's dtype already, to the cache.
template <typename L, typename Cache>
__device__ __forceinline__ void store_cached(Cache* row, const float (&values)[L::kElements], int E, int lane) {
#pragma unroll
  for (int chunk = 0; chunk < L::kChunks; ++chunk) {
    if (L::element(chunk, lane) >= E) continue;
    Pack<Cache, L::kPack> pack;
#pragma unroll
    for (int i = 0; i < L::kPack; ++i) {
      const float value = values[chunk * L::kPack + i];
      if constexpr (std::is_same_v<Cache, int8_t>)
        pack.values[i] = int8_t(value);
      else
        pack.values[i] = from_float<Cache>(value);
    }
    *reinterpret_cast<Pack<Cache, L::kPack>*>(row + L::element(chunk, lane)) = pack;
  }
}

// A team's row to another, bit by bit: by way of float32 a NaN would change its own.
template <typename L>
__device__ __forceinline__ void copy_row(typename L::T* to, const typename L::T* from, int E, int lane) {
#pragma unroll
  for (int chunk = 0; chunk < L::kChunks; ++chunk) {
    const int at = L::element(chunk, lane);
    if (at < E) *reinterpret_cast<Pack<typename L::T, L::kPack>*>(to + at) = load_pack<L::kPack>(from + at);
  }
}

}  // namespace tb
