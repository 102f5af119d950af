// Vectors as wide as the instruction set of the compilation (16, 32 or 64 bytes), by the compiler's vector extensions: the
// same source is SSE2 or NEON, AVX2 and AVX-512 code. Everything lives in tb::TB_ISA, so no two compilations share a symbol.
#pragma once

#include <cstdint>
#include <cstring>

#include "../dispatch.h"

namespace tb::TB_ISA {

#if TB_ISA_LEVEL == 2 && defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif TB_ISA_LEVEL >= 1 && defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / 4;

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
typedef float UnalignedFloats __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));

static inline Floats load(const float* from) { return *reinterpret_cast<const UnalignedFloats*>(from); }
static inline void store(float* to, Floats value) { *reinterpret_cast<UnalignedFloats*>(to) = value; }
static inline Floats broadcast(float value) { return value - Floats{}; }

// The lanes in order, always the same order.
static inline float sum_lanes(Floats value) {
  float lanes[kLanes];
  memcpy(lanes, &value, sizeof lanes);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0];
}

// Hides where a product came from, so that the compiler cannot fuse it with a sum: every instruction set then rounds twice,
// and all of them give the same bits.
#if defined(__x86_64__)
static inline Floats rounded(Floats value) {
#if TB_ISA_LEVEL == 2
  asm("" : "+v"(value));
#else
  asm("" : "+x"(value));
#endif
  return value;
}
static inline float rounded(float value) {
  asm("" : "+x"(value));
  return value;
}
#else
static inline Floats rounded(Floats value) {
  asm("" : "+w"(value));
  return value;
}
static inline float rounded(float value) {
  asm("" : "+w"(value));
  return value;
}
#endif

}  // namespace tb::TB_ISA
