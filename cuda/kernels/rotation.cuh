// The rotation of rope.cu, of one pair: each rounding is spelt out, so that every kernel that rotates has the same bits.
#pragma once

namespace tb {

__device__ __forceinline__ float rotated_low(float low, float high, float cosine, float sine) {
  return __fmaf_rn(low, cosine, -__fmul_rn(high, sine));
}
__device__ __forceinline__ float rotated_high(float low, float high, float cosine, float sine) {
  return __fmaf_rn(high, cosine, __fmul_rn(low, sine));
}

// An int8 cache's quantiser of one token's head, from the bits of its largest magnitude: those of NaN lie above every number's.
struct CacheQuantiser {
  float factor, scale;
  bool is_finite;

  static __device__ __forceinline__ CacheQuantiser of(int magnitude_bits) {
    constexpr float kSmallest = 1e-30f;
    float gamma = __int_as_float(magnitude_bits);
    gamma = gamma < kSmallest ? kSmallest : gamma;
    return {__fdiv_rn(127.0f, gamma), __fdiv_rn(gamma, 127.0f), gamma <= 3.4028235e38f};
  }
  __device__ __forceinline__ int8_t operator()(float x) const {
    return is_finite ? int8_t(__float2int_rn(__fmul_rn(x, factor))) : int8_t(1);
  }
};

}  // namespace tb
