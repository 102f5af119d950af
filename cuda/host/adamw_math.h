// What AdamW does to one element, and how a moment is kept in 16 or 8 bits: one text for both builds, and the same bits from both.
//
// Every operation is rounded on its own and in the order written: intrinsics that are never fused on the card, no contraction in the
// CPU build (Makefile: -ffp-contract=off). Divisions and roots are IEEE's in both.
//
// 16 bits. A float32 lies between two bfloat16; the upper one in magnitude is taken with the chance (low half of the bits) / 2^16, by
// adding 16 random bits to the low half and cutting it off. Finite values stay finite, 0 stays 0, NaN becomes 0x7fff. The random bits
// are a hash of the element's index and the number of the update; its low half goes to m, its high half to v.
//
// 8 bits (Dettmers et al., arXiv:2110.02861; bitsandbytes' create_dynamic_map of 8 bits). Entries are 0,
// 1, and for each decade i = 0 .. 6 the middles of k equal parts of [0.1, 1], times 10^(i - 6): k = 2^(i + 1) unsigned, k = 2^i signed
// and then with both signs (but no -1). In ascending order:
//   unsigned  0, then entry j of decade i at k - 1 + j, then 1 at 255
//   signed    0 at 127, entry j of decade i at 127 +- (k + j), 1 at 255
// An entry is rounded to float32 once; bitsandbytes', made in float32 steps, may differ in the last place. The nearest entry is
// computed, not searched: inside of a decade entries are equally far apart. Where a value is within some 1e-5 of a step of the middle
// between two entries, it may get the other of the two. Magnitudes of a block are taken relative to its largest; one below 2^-126 makes
// the block 0, one above float32's range counts as the largest float32.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define TB_EACH static __device__ __forceinline__
#define TB_UNROLL _Pragma("unroll")
#define TB_COMPILED constexpr __host__ __device__
#else
// Of internal linkage: the three compilations of an op may not share code (cpu/dispatch.h).
#define TB_EACH static inline __attribute__((always_inline))
#define TB_UNROLL _Pragma("GCC unroll 8")
#define TB_COMPILED constexpr
#endif

namespace tb {

// ---- Operations -------------------------------------------------------------------------------------------------

#if defined(__CUDACC__)
TB_EACH float plus(float a, float b) { return __fadd_rn(a, b); }
TB_EACH float minus(float a, float b) { return __fsub_rn(a, b); }
TB_EACH float times(float a, float b) { return __fmul_rn(a, b); }
TB_EACH float over(float a, float b) { return __fdiv_rn(a, b); }
TB_EACH float root(float a) { return __fsqrt_rn(a); }
TB_EACH double wide_times(double a, double b) { return __dmul_rn(a, b); }
TB_EACH double wide_root(double a) { return __dsqrt_rn(a); }
TB_EACH bool is_finite(float a) { return isfinite(a); }
TB_EACH uint32_t bits_of(float a) { return __float_as_uint(a); }
TB_EACH float float_of(uint32_t bits) { return __uint_as_float(bits); }
#else
TB_EACH float plus(float a, float b) { return a + b; }
TB_EACH float minus(float a, float b) { return a - b; }
TB_EACH float times(float a, float b) { return a * b; }
TB_EACH float over(float a, float b) { return a / b; }
TB_EACH float root(float a) { return __builtin_sqrtf(a); }
TB_EACH double wide_times(double a, double b) { return a * b; }
TB_EACH double wide_root(double a) { return __builtin_sqrt(a); }
TB_EACH bool is_finite(float a) { return __builtin_isfinite(a); }
TB_EACH uint32_t bits_of(float a) { return __builtin_bit_cast(uint32_t, a); }
TB_EACH float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }
#endif

// ---- The update -------------------------------------------------------------------------------------------------

constexpr int64_t kHyper = 8;  // float32 of a group

struct AdamScalars {
  float clip, beta1, rest1, beta2, rest2, keep, step, root_scale, eps;
};

// 1 - beta^updates by repeated squaring: the same products in both builds, which their pow() would not be.
TB_EACH float bias_correction(float beta, int32_t updates) {
  double power = 1, square = beta;
  for (uint32_t left = uint32_t(updates); left > 0; left /= 2) {
    if (left % 2 == 1) power = wide_times(power, square);
    square = wide_times(square, square);
  }
  return float(1.0 - power);
}

// In double, rounded once; lr * weight_decay is exact there.
TB_EACH AdamScalars scalars_of(const float* hyper, float grad_norm) {
  const double lr = hyper[0], beta1 = hyper[1], beta2 = hyper[2], max_grad_norm = hyper[7], norm = grad_norm;
  AdamScalars scalars;
  scalars.clip = float(max_grad_norm > 0 && norm > max_grad_norm ? max_grad_norm / norm : 1.0);
  scalars.beta1 = hyper[1];
  scalars.rest1 = float(1.0 - beta1);
  scalars.beta2 = hyper[2];
  scalars.rest2 = float(1.0 - beta2);
  scalars.keep = float(1.0 - wide_times(lr, double(hyper[4])));
  scalars.step = float(lr / double(hyper[5]));
  scalars.root_scale = float(1.0 / wide_root(double(hyper[6])));
  scalars.eps = hyper[3];
  return scalars;
}

TB_EACH void update_element(const AdamScalars& s, float gradient, float* weight, float* first, float* second) {
  const float clipped = times(gradient, s.clip);
  *first = plus(times(s.beta1, *first), times(s.rest1, clipped));
  *second = plus(times(s.beta2, *second), times(s.rest2, times(clipped, clipped)));
  const float divisor = plus(times(root(*second), s.root_scale), s.eps);
  *weight = minus(times(s.keep, *weight), over(times(s.step, *first), divisor));
}

// ---- 16 bits ----------------------------------------------------------------------------------------------------

// A bijection of 32 bits in which each bit of the result depends on each of the argument (Wellons' lowbias32).
TB_EACH uint32_t mix(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

TB_EACH uint32_t update_key(int32_t updates) { return mix(uint32_t(updates) * 0x9e3779b9u); }

TB_EACH uint32_t random_bits(uint32_t key, int64_t index) {
  return mix(uint32_t(index) ^ mix(key + uint32_t(uint64_t(index) >> 32)));
}

TB_EACH uint16_t round_stochastically(float value, uint32_t random16) {
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
  uint32_t rounded = (bits + random16) >> 16;
  rounded -= (rounded & 0x7fffu) == 0x7f80u ? 1u : 0u;  // the largest finite one rather than infinity
  rounded = magnitude == 0x7f800000u ? bits >> 16 : rounded;
  return uint16_t(magnitude > 0x7f800000u ? 0x7fffu : rounded);
}

TB_EACH float widen_bfloat16(uint16_t bits) { return float_of(uint32_t(bits) << 16); }

// ---- 8 bits -----------------------------------------------------------------------------------------------------

constexpr int64_t kMomentBlock = 256;
constexpr int kDecades = 7;

// 10^(6 - decade).
TB_COMPILED double decades_down(int decade) {
  double power = 1;
  for (int i = decade; i < kDecades - 1; ++i) power *= 10;
  return power;
}

TB_COMPILED int parts_of(bool is_signed, int decade) { return 1 << (is_signed ? decade : decade + 1); }

// 10^(decade - 6) (0.1 + 0.9 (j + 1/2) / k), as one division of whole numbers.
TB_COMPILED double entry_of(bool is_signed, int decade, int j) {
  const int k = parts_of(is_signed, decade);
  return double(2 * k + 9 * (2 * j + 1)) / (20.0 * k * decades_down(decade));
}

struct MomentMap {
  float values[256];
};

TB_COMPILED MomentMap moment_map(bool is_signed) {
  MomentMap map = {};
  for (int decade = 0; decade < kDecades; ++decade) {
    const int k = parts_of(is_signed, decade);
    for (int j = 0; j < k; ++j) {
      const float entry = float(entry_of(is_signed, decade, j));
      map.values[is_signed ? 127 + k + j : k - 1 + j] = entry;
      if (is_signed) map.values[127 - k - j] = -entry;
    }
  }
  map.values[255] = 1.0f;
  return map;
}

// What the nearest entry is computed with.
struct MomentSteps {
  float borders[kDecades];  // the lowest magnitude of each decade; [0]: the middle between 0 and the smallest entry
  float scales[kDecades];   // steps of a decade in 1: entry j is nearest where j <= x * scale - k / 9 < j + 1
  float top;                // above it 1 is nearest
};

TB_COMPILED MomentSteps moment_steps(bool is_signed) {
  MomentSteps steps = {};
  for (int decade = 0; decade < kDecades; ++decade) {
    const int k = parts_of(is_signed, decade);
    const double below = decade == 0 ? 0.0 : entry_of(is_signed, decade - 1, k / 2 - 1);
    steps.borders[decade] = float((below + entry_of(is_signed, decade, 0)) / 2);
    steps.scales[decade] = float(decades_down(decade) * k / 0.9);
  }
  const int last = parts_of(is_signed, kDecades - 1) - 1;
  steps.top = float((entry_of(is_signed, kDecades - 1, last) + 1) / 2);
  return steps;
}

// k + j of the entry that is nearest to x >= 0 among those above 0 and below 1.
template <bool Signed>
TB_EACH int32_t nearest_place(float x) {
  constexpr MomentSteps steps = moment_steps(Signed);
  float scale = steps.scales[0];
  int32_t decade = 0;
  TB_UNROLL
  for (int i = 1; i < kDecades; ++i) {
    const bool above = x > steps.borders[i];
    scale = above ? steps.scales[i] : scale;
    decade += above ? 1 : 0;
  }
  const int32_t k = (Signed ? 1 : 2) << decade;
  // 2^decade / 9 (k / 9), made in the exponent.
  const float first = float_of(bits_of(Signed ? 1.0f / 9 : 2.0f / 9) + (uint32_t(decade) << 23));
  const int32_t j = int32_t(minus(times(x, scale), first));
  return k + (j < k - 1 ? j : k - 1);
}

// The largest magnitude of a block as it is kept, and what its values are multiplied by.
struct BlockScale {
  float absmax, inverse;
};

TB_EACH BlockScale block_scale(float largest) {
  const float absmax = largest < 3.402823466e38f ? largest : 3.402823466e38f;
  if (absmax < 1.175494351e-38f) return {0, 0};
  return {absmax, over(1, absmax)};
}

// A share of the largest; NaN becomes 1, so that every code is defined.
TB_EACH float share_of(float magnitude, float inverse) {
  const float x = times(magnitude, inverse);
  return x < 1.0f ? x : 1.0f;
}

TB_EACH uint8_t first_code(float value, float inverse) {
  constexpr MomentSteps steps = moment_steps(true);
  const bool negative = value < 0;
  const float x = share_of(negative ? -value : value, inverse);
  const int32_t place = nearest_place<true>(x);
  int32_t code = 127 + (negative ? -place : place);
  code = x > steps.top && !negative ? 255 : code;
  return uint8_t(x > steps.borders[0] ? code : 127);
}

// Never the code of 0 for a value above 0.
TB_EACH uint8_t second_code(float value, float inverse) {
  constexpr MomentSteps steps = moment_steps(false);
  const float x = share_of(value, inverse);
  const int32_t code = x > steps.top ? 255 : nearest_place<false>(x) - 1;
  return uint8_t(value > 0 ? code : 0);
}

}  // namespace tb
