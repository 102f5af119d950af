// Sums and maxima over a warp and over a block, in an order that the shape alone decides: the same bits in every run.
//
// The warp's tree is a butterfly: lanes i and i ^ offset add the same two numbers, so that all lanes end with equal bits.
#pragma once

#include <cstdint>

namespace tb {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kAllLanes, value, offset);
  return value;
}

__device__ __forceinline__ int warp_max(int value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = max(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

// Every thread of the block gets the sum; every thread must call it. Threads: a multiple of 32, 1024 at most.
template <int Threads, typename T>
__device__ __forceinline__ T block_sum(T value) {
  static_assert(Threads % kWarp == 0 && Threads <= 1024, "whole warps");
  constexpr int kWarps = Threads / kWarp;
  value = warp_sum(value);
  if constexpr (kWarps > 1) {
    __shared__ T sums[kWarps];
    __syncthreads();  // the sums of an earlier call have been read
    if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = value;
    __syncthreads();
    value = sums[0];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) value += sums[warp];
  }
  return value;
}

template <int Threads>
__device__ __forceinline__ int block_max(int value) {
  static_assert(Threads % kWarp == 0 && Threads <= 1024, "whole warps");
  constexpr int kWarps = Threads / kWarp;
  value = warp_max(value);
  if constexpr (kWarps > 1) {
    __shared__ int largest[kWarps];
    __syncthreads();
    if (threadIdx.x % kWarp == 0) largest[threadIdx.x / kWarp] = value;
    __syncthreads();
    value = largest[0];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) value = max(value, largest[warp]);
  }
  return value;
}

// fmaxf passes over NaN: a row of nothing else gives what the threads began with.
template <int Threads>
__device__ __forceinline__ float block_max(float value) {
  static_assert(Threads % kWarp == 0 && Threads <= 1024, "whole warps");
  constexpr int kWarps = Threads / kWarp;
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
  __shared__ float largest[kWarps];
  __syncthreads();  // the maxima of an earlier call have been read
  if (threadIdx.x % kWarp == 0) largest[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = largest[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) value = fmaxf(value, largest[warp]);
  return value;
}

}  // namespace tb
