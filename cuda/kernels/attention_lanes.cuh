// Rows of heads spread over the lanes of a warp, for the attention kernels without tensor cores.
//
// A team of kTeam neighbouring lanes holds one row of E elements, each lane kChunks packs of kPack elements: pack c of lane i
// begins at element (c * kTeam + i) * kPack. The warp's 32 / kTeam teams work on different rows. Behind E there are zeros.
#pragma once

#include "attention.cuh"

namespace tb {

template <typename T_, int kPack_, int kChunks_, int kTeam_>
struct Lanes {
  using T = T_;
  static constexpr int kPack = kPack_, kChunks = kChunks_, kTeam = kTeam_;
  static constexpr int kElements = kPack * kChunks, kTeams = kWarp / kTeam;

  static __device__ __forceinline__ int element(int chunk, int lane) { return (chunk * kTeam + lane % kTeam) * kPack; }

  // Of a row of T, or of int8.
  template <typename Stored>
  static __device__ __forceinline__ void load(float (&to)[kElements], const Stored* row, int E, int lane, bool exists = true) {
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      float pack[kPack] = {};
      if (exists && element(chunk, lane) < E) load_floats(row + element(chunk, lane), pack);
#pragma unroll
      for (int i = 0; i < kPack; ++i) to[chunk * kPack + i] = pack[i];
    }
  }

  static __device__ __forceinline__ void store(T* row, const float (&from)[kElements], float factor, int E, int lane) {
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      float pack[kPack];
#pragma unroll
      for (int i = 0; i < kPack; ++i) pack[i] = from[chunk * kPack + i] * factor;
      if (element(chunk, lane) < E) store_floats(row + element(chunk, lane), pack);
    }
  }

  // Of two rows; every lane of the team gets it. All lanes of the warp must call it.
  static __device__ __forceinline__ float dot(const float (&a)[kElements], const float (&b)[kElements]) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kElements; ++i) sum = fmaf(a[i], b[i], sum);
#pragma unroll
    for (int offset = kTeam / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    return sum;
  }

  // Of a value over the warp's teams, lane by lane.
  static __device__ __forceinline__ float over_teams(float value) {
#pragma unroll
    for (int offset = kTeam; offset < kWarp; offset *= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
    return value;
  }
  static __device__ __forceinline__ float largest_of_teams(float value) {
#pragma unroll
    for (int offset = kTeam; offset < kWarp; offset *= 2)
      value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
    return value;
  }
};

// Runs `body` with the Lanes of a dtype and head width: whole packs of 16 bytes (8 for rows of 200) for the widths of the model
// sizes in bfloat16, single elements for every other row.
#define TB_WITH_LANES(dtype, E, L, ...)                                   \
  do {                                                                    \
    if ((dtype) == TB_BF16 && (E) == 64) {                                \
      using L = ::tb::Lanes<::tb::bf16, 8, 1, 8>;                         \
      __VA_ARGS__                                                         \
    } else if ((dtype) == TB_BF16 && (E) == 128) {                        \
      using L = ::tb::Lanes<::tb::bf16, 8, 1, 16>;                        \
      __VA_ARGS__                                                         \
    } else if ((dtype) == TB_BF16 && (E) == 100) {                        \
      using L = ::tb::Lanes<::tb::bf16, 4, 1, 32>;                        \
      __VA_ARGS__                                                         \
    } else if ((dtype) == TB_BF16 && (E) <= 64) {                         \
      using L = ::tb::Lanes<::tb::bf16, 1, 2, 32>;                        \
      __VA_ARGS__                                                         \
    } else if ((dtype) == TB_BF16) {                                      \
      using L = ::tb::Lanes<::tb::bf16, 1, 8, 32>;                        \
      __VA_ARGS__                                                         \
    } else if ((E) <= 64) {                                               \
      using L = ::tb::Lanes<float, 1, 2, 32>;                             \
      __VA_ARGS__                                                         \
    } else {                                                              \
      using L = ::tb::Lanes<float, 1, 8, 32>;                             \
      __VA_ARGS__                                                         \
    }                                                                     \
  } while (0)

}  // namespace tb
