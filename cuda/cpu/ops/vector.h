// Vectors as wide as the instruction set of this compilation, with the few operations that plain arithmetic lacks.
//
// The bits of a result follow from the source alone: the build forbids the compiler to fuse a product with a sum
// (-ffp-contract=off), fused multiply-adds are written fma(), sums over floats have their order written out, and no function
// of the C library that rounds takes part.
//
// fma(a, b, c): a * b + c, rounded once with AVX2 and AVX-512, twice in portable code, which has no such instruction.
// exp(x): 2^k * p(r), k = round(x / ln 2), r = x - k ln 2 in two steps, p of degree 6 (1e-8 relative over |r| <= ln 2 / 2).
//   Within 2 ulp of the true value. Results below 2^-126 are 0, so exp(-inf) = 0; above the largest float they are +inf;
//   NaN gives NaN.
// log(x): x = 2^k m with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh(s) with s = (m - 1) / (m + 1) and the odd series up to
//   s^9, then + k ln 2. Within 2 ulp of the true value for positive normal x; subnormal x is taken as 2^-126.
//   log(0) = -inf, log(+inf) = +inf; NaN and negative x give NaN.
// sum(v), maximum(v): a fixed tree over the lanes. maximum() skips NaN.
#pragma once

#include "dispatch.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if TB_ISA_LEVEL == 2
#define TB_VECTOR_BYTES 64
#elif TB_ISA_LEVEL == 1
#define TB_VECTOR_BYTES 32
#else
#define TB_VECTOR_BYTES 16
#endif
#define TB_INLINE inline __attribute__((always_inline))

namespace tb::TB_ISA {

constexpr int64_t kLanes = TB_VECTOR_BYTES / 4;

typedef float vfloat __attribute__((vector_size(TB_VECTOR_BYTES)));
typedef int32_t vint __attribute__((vector_size(TB_VECTOR_BYTES)));
typedef float vfloat_anywhere __attribute__((vector_size(TB_VECTOR_BYTES), aligned(4), may_alias));
typedef float float4 __attribute__((vector_size(16)));
typedef float float4_anywhere __attribute__((vector_size(16), aligned(4), may_alias));

TB_INLINE vfloat load(const float* from) { return *reinterpret_cast<const vfloat_anywhere*>(from); }
// bfloat16, the upper half of a float32.
typedef uint16_t vhalves_anywhere __attribute__((vector_size(TB_VECTOR_BYTES / 2), aligned(2), may_alias));
typedef uint32_t vbits __attribute__((vector_size(TB_VECTOR_BYTES)));
TB_INLINE vfloat load(const uint16_t* from) {
  // gcc 12 makes five instructions of a conversion that has one.
#if TB_ISA_LEVEL == 2
  const auto words = reinterpret_cast<vbits>(
      _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));  // the plain one warns
#elif TB_ISA_LEVEL == 1
  const auto words = reinterpret_cast<vbits>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#else
  const auto words = __builtin_convertvector(*reinterpret_cast<const vhalves_anywhere*>(from), vbits);
#endif
  return reinterpret_cast<vfloat>(words << 16);
}
typedef int8_t vbytes_anywhere __attribute__((vector_size(TB_VECTOR_BYTES / 4), aligned(1), may_alias));
TB_INLINE vfloat load(const int8_t* from) {
#if TB_ISA_LEVEL == 2
  const auto values = reinterpret_cast<vint>(
      _mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));  // the plain one warns
#elif TB_ISA_LEVEL == 1
  const auto values = reinterpret_cast<vint>(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
#else
  const auto values = __builtin_convertvector(*reinterpret_cast<const vbytes_anywhere*>(from), vint);
#endif
  return __builtin_convertvector(values, vfloat);
}
TB_INLINE float to_float(float value) { return value; }
TB_INLINE float to_float(int8_t value) { return float(value); }
TB_INLINE float to_float(uint16_t value) { return __builtin_bit_cast(float, uint32_t(value) << 16); }
// To nearest even; every NaN becomes 0x7fff, as cards have it.
TB_INLINE void round_into(float value, uint16_t* to) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  *to = uint16_t((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : rounded);
}
TB_INLINE void round_into(float value, float* to) { *to = value; }
TB_INLINE void store(float* to, vfloat value) { *reinterpret_cast<vfloat_anywhere*>(to) = value; }
TB_INLINE vfloat splat(float value) { return value - vfloat{}; }  // x - 0 is x, for -0 and NaN too

TB_INLINE float fma(float a, float b, float c) {
#if TB_ISA_LEVEL > 0
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
TB_INLINE vfloat fma(vfloat a, vfloat b, vfloat c) {
#if TB_ISA_LEVEL == 2
  return _mm512_fmadd_ps(a, b, c);
#elif TB_ISA_LEVEL == 1
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// a > b ? a : b and a < b ? a : b, so b where either is NaN: one instruction that the compiler makes of no expression.
TB_INLINE vfloat larger(vfloat a, vfloat b) {
#if !defined(__x86_64__)
  return a > b ? a : b;
#elif TB_ISA_LEVEL == 2
  return _mm512_maskz_max_ps(0xffff, a, b);  // the plain one warns in gcc 12
#elif TB_ISA_LEVEL == 1
  return _mm256_max_ps(a, b);
#else
  return _mm_max_ps(a, b);
#endif
}
TB_INLINE vfloat lesser(vfloat a, vfloat b) {
#if !defined(__x86_64__)
  return a < b ? a : b;
#elif TB_ISA_LEVEL == 2
  return _mm512_maskz_min_ps(0xffff, a, b);
#elif TB_ISA_LEVEL == 1
  return _mm256_min_ps(a, b);
#else
  return _mm_min_ps(a, b);
#endif
}

// Elements i, j, k, l of the eight that a and b have; for vectors of four words.
template <int i, int j, int k, int l, class Four>
TB_INLINE Four shuffle(Four a, Four b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, i, j, k, l);
#else  // g++ has the other one from version 12 on
  typedef int32_t Picks __attribute__((vector_size(16)));
  return __builtin_shuffle(a, b, Picks{i, j, k, l});
#endif
}

// The integer nearest to a value within +-2^22, half to even; of any other value an integer within 16 bits. Adding 1.5 * 2^23 leaves
// it in the low bits: no conversion that C++ leaves undefined, no function of the C library, and every compiler vectorises it.
TB_INLINE int16_t nearest(float value) { return int16_t(__builtin_bit_cast(uint32_t, value + 12582912.0f)); }

TB_INLINE vfloat magnitude(vfloat v) {
  return reinterpret_cast<vfloat>(reinterpret_cast<vint>(v) & 0x7fffffff);
}

TB_INLINE float4 halves_sum(vfloat v) {
#if TB_ISA_LEVEL == 2
  const __m256 half = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, v, 0), _mm512_maskz_extractf32x8_ps(0xff, v, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif TB_ISA_LEVEL == 1
  return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
#else
  return v;
#endif
}

TB_INLINE float sum(vfloat v) {
  const float4 four = halves_sum(v);
  const float4 two = four + shuffle<2, 3, 0, 1>(four, four);
  return two[0] + two[1];
}

TB_INLINE float maximum(vfloat v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int64_t width = kLanes / 2; width > 0; width /= 2)
    for (int64_t lane = 0; lane < width; ++lane)
      lanes[lane] = lanes[lane] > lanes[lane + width] ? lanes[lane] : lanes[lane + width];
  return lanes[0];
}

constexpr float kExpLowest = -87.33654f;   // 2^-126
constexpr float kExpHighest = 88.722835f;  // the largest float

// p and k of exp(x) = p * 2^k for x within kExpLowest .. kExpHighest, or NaN: then p is NaN.
TB_INLINE vfloat exp_parts(vfloat x, vint* k) {
  // Adding 1.5 * 2^23 leaves the rounded integer in the low bits.
  const vfloat shifter = splat(12582912.0f);
  const vfloat shifted = fma(x, splat(1.44269504f), shifter);
  const vfloat whole = shifted - shifter;
  *k = reinterpret_cast<vint>(shifted) - reinterpret_cast<vint>(shifter);
  const vfloat r = fma(whole, splat(2.12194440e-4f), fma(whole, splat(-0.693359375f), x));
  vfloat p = splat(1.392617611993558e-3f);
  p = fma(p, r, splat(8.363173074513711e-3f));
  p = fma(p, r, splat(4.1666554662050534e-2f));
  p = fma(p, r, splat(1.666657702559799e-1f));
  p = fma(p, r, splat(0.5f));
  return fma(p, r * r, r) + 1.0f;
}

TB_INLINE vfloat power_of_two(vint k) { return reinterpret_cast<vfloat>((k + 127) << 23); }

// exp(x) where x <= 88: one factor holds the power of two. What stands above 88 gives nonsense.
TB_INLINE vfloat exp_below(vfloat x) {
  vint k;
  const vfloat p = exp_parts(larger(splat(kExpLowest), x), &k);
  return x < splat(kExpLowest) ? vfloat{} : p * power_of_two(k);
}

TB_INLINE vfloat exp(vfloat x) {
  const vfloat lowest = splat(kExpLowest), highest = splat(kExpHighest);
  vint k;
  const vfloat p = exp_parts(lesser(highest, larger(lowest, x)), &k);
  const vint half = k >> 1;  // k reaches 128, which no single exponent holds
  const vfloat result = p * power_of_two(half) * power_of_two(k - half);
  return x > highest ? splat(__builtin_inff()) : x < lowest ? vfloat{} : result;
}

// 1 / (1 + exp(-x)) = e / (1 + e) with e = exp(-|x|) below 0, where nothing overflows.
TB_INLINE vfloat sigmoid(vfloat x) {
  const vfloat e = exp_below(lesser(-x, x));  // NaN: lesser gives its second
  return (x < 0.0f ? e : splat(1.0f)) / (1.0f + e);
}

TB_INLINE float exp_below(float x) { return exp_below(splat(x))[0]; }

TB_INLINE float log(float x) {
  if (!(x > 0) || x > 3.4028235e38f) return x == 0 ? -__builtin_inff() : x > 0 ? x : __builtin_nanf("");
  const float normal = x < 1.17549435e-38f ? 1.17549435e-38f : x;
  const uint32_t bits = __builtin_bit_cast(uint32_t, normal), above = bits - 0x3f3504f3u;  // sqrt(1/2)
  const float exponent = float(int32_t(above) >> 23);
  const float m = __builtin_bit_cast(float, (above & 0x007fffffu) + 0x3f3504f3u);
  const float f = m - 1.0f, s = f / (2.0f + f), z = s * s;
  float series = fma(z, 2.0f / 9.0f, 2.0f / 7.0f);
  series = fma(z, series, 2.0f / 5.0f);
  series = fma(z, series, 2.0f / 3.0f);
  // ln m = 2 s + s z series = f - s (f - z series): f is exact, so what is rounded is small.
  const float fraction = f - s * (f - z * series);
  return fma(exponent, 0.693359375f, fma(exponent, -2.12194440e-4f, fraction));
}

// The first `count` floats and zeros; a store of the first `count`. For the ends of rows.
template <class T>
TB_INLINE vfloat load_first(const T* from, int64_t count) {
  float lanes[kLanes] = {};
  for (int64_t lane = 0; lane < count; ++lane) lanes[lane] = to_float(from[lane]);
  return load(lanes);
}
TB_INLINE void store_first(float* to, vfloat value, int64_t count) {
  float lanes[kLanes];
  store(lanes, value);
  for (int64_t lane = 0; lane < count; ++lane) to[lane] = lanes[lane];
}

TB_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
TB_INLINE int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
TB_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
TB_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace tb::TB_ISA
