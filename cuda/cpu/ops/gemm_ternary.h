// The parts of the int8 x ternary product: what every path shares, then one header a path.
#pragma once

#include "panels.h"

namespace tb::TB_ISA {

// Bytes of a row of weights that are asked for before they are needed, where they are used once. The products of the lines at hand
// fill the window of instructions in flight, so that without asking the memory rests while they are computed.
constexpr int64_t kStreamAhead = 1024;

// One of the two is set: (N, K) int8, or (N, ceil(K / 16)) words of 16 codes (pack_ternary.cpp).
struct TernaryWeights {
  const int8_t* values;
  const int32_t* packed;
  const float* scale;  // (N)

  int64_t row_bytes(int64_t K) const { return packed != nullptr ? (K + 15) / 16 * 4 : K; }
  const char* row(int64_t n, int64_t K) const {
    return (packed != nullptr ? reinterpret_cast<const char*>(packed) : reinterpret_cast<const char*>(values)) +
           n * row_bytes(K);
  }
};

struct TernaryProduct {
  const int8_t* x;         // (M, K)
  const float* x_scale;    // (M)
  TernaryWeights w;
  const float* residual;   // (M, N) or null
  float* y;                // (M, N)
  int64_t M, N, K;

  // The one epilogue: float32(sum) times the rounded product of the scales, rounded; then plus the residual, rounded.
  void finish(int64_t m, int64_t n, int32_t sum) const {
    const float scaled = float(sum) * (x_scale[m] * w.scale[n]);
    y[m * N + n] = residual == nullptr ? scaled : scaled + residual[m * N + n];
  }

  // kLanes columns at once: the same operations lane by lane.
  void finish_lanes(int64_t m, int64_t n, vint sums) const {
    const vfloat factors = splat(x_scale[m]) * load(w.scale + n);
    const vfloat scaled = __builtin_convertvector(sums, vfloat) * factors;
    store(y + m * N + n, residual == nullptr ? scaled : scaled + load(residual + m * N + n));
  }
};

// Four codes of a byte, lowest first, into the four bytes of a unit.
static inline uint32_t spread_codes(uint32_t byte) {
  const uint32_t halves = (byte | byte << 12) & 0x000f000f;
  return (halves | halves << 6) & 0x03030303;
}

static inline int32_t sum_of_bytes(const int8_t* x, int64_t n) {
  int32_t sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) sum += x[k];
  return sum;
}

}  // namespace tb::TB_ISA
