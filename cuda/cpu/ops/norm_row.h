// One row of RMSNorm and of the per-token quantiser, shared by the plain and the gated norm.
//
//   rstd = 1 / sqrt(mean(h²) + eps), n = (h * rstd) * weight, all in float32; sums over vectors of kLanes with four
//   accumulators, then over the lanes.
//   absmax:  gamma = max|n|,  q = clamp(round(n * (127 / max(gamma, 1e-5))), -128, 127), scale = max(gamma, 1e-5) / 127.
//   absmean: mu = mean|n|,    q = clamp(round(n * (sqrt 7 / max(mu, 1e-5))), -8, 7),     scale = max(mu, 1e-5) / sqrt 7.
//   round is half to even. A row with a NaN or an infinity has rstd, n or scale NaN or infinite, so whatever it feeds shows
//   it; its q are unspecified int8 values.
//
// Backward of n by h, for g = dL/dn: with c = sum_k(g_k weight_k h_k) rstd² / D,
//   dh_j = rstd * (g_j weight_j - h_j c),  dweight_j = sum over rows of g_j h_j rstd.
#pragma once

#include "vector.h"

namespace tb::TB_ISA {

constexpr float kSqrt7 = 2.6457513110645907f;
constexpr float kSmallestGamma = 1e-5f;

TB_INLINE float sum_of_squares(const float* x, int64_t n) {
  vfloat total[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int64_t part = 0; part < 4; ++part) {
      const vfloat value = load(x + i + part * kLanes);
      total[part] = fma(value, value, total[part]);
    }
  for (; i < n; i += kLanes) {
    const vfloat value = i + kLanes <= n ? load(x + i) : load_first(x + i, n - i);
    total[0] = fma(value, value, total[0]);
  }
  return sum((total[0] + total[1]) + (total[2] + total[3]));
}

TB_INLINE float reciprocal_rms(float squares, float eps, int64_t D) {
  return 1.0f / __builtin_sqrtf(squares / float(D) + eps);
}

// The largest magnitude; NaN where any value is, as the bits of NaN lie above those of every number.
TB_INLINE float largest_magnitude(const float* h, float rstd, const float* weight, int64_t D) {
  int32_t bits = 0;
#pragma omp simd reduction(max : bits)
  for (int64_t j = 0; j < D; ++j) {
    const int32_t magnitude = __builtin_bit_cast(int32_t, h[j] * rstd * weight[j]) & 0x7fffffff;
    bits = magnitude > bits ? magnitude : bits;
  }
  return __builtin_bit_cast(float, bits);
}

TB_INLINE float mean_magnitude(const float* h, float rstd, const float* weight, int64_t D) {
  vfloat total = {};
  int64_t j = 0;
  for (; j + kLanes <= D; j += kLanes) total += magnitude(load(h + j) * rstd * load(weight + j));
  if (j < D) total += magnitude(load_first(h + j, D - j) * rstd * load_first(weight + j, D - j));
  return sum(total) / float(D);
}

// Absmax needs no clamp: |n| <= gamma, so |n * (127 / gamma)| rounds to 127 at most.
template <bool Clamp>
TB_INLINE void round_row(const float* h, float rstd, const float* weight, float factor, int8_t* q, int64_t D) {
#pragma omp simd
  for (int64_t j = 0; j < D; ++j) {
    float value = h[j] * rstd * weight[j] * factor;
    if (Clamp) {
      value = value > -8.0f ? value : -8.0f;
      value = value < 7.0f ? value : 7.0f;
    }
    q[j] = int8_t(nearest(value));
  }
}

// y may be null, and q too where quant is TB_QUANT_NONE.
TB_INLINE void norm_row(const float* h, float rstd, const float* weight, tb_activation_quant quant, int8_t* q, float* scale,
                        float* y, int64_t D) {
  if (y != nullptr) {
#pragma omp simd
    for (int64_t j = 0; j < D; ++j) y[j] = h[j] * rstd * weight[j];
  }
  if (quant == TB_QUANT_NONE) return;
  const bool absmax = quant == TB_QUANT_ABSMAX;
  const float levels = absmax ? 127.0f : kSqrt7;
  float gamma = absmax ? largest_magnitude(h, rstd, weight, D) : mean_magnitude(h, rstd, weight, D);
  gamma = gamma < kSmallestGamma ? kSmallestGamma : gamma;  // NaN stays
  *scale = gamma / levels;
  const float factor = levels / gamma;
  if (absmax)
    round_row<false>(h, rstd, weight, factor, q, D);
  else
    round_row<true>(h, rstd, weight, factor, q, D);
}

// sum_k(g_k weight_k h_k).
TB_INLINE float weighted_dot(const float* g, const float* weight, const float* h, int64_t D) {
  vfloat total[2] = {};
  int64_t j = 0;
  for (; j + 2 * kLanes <= D; j += 2 * kLanes)
    for (int64_t part = 0; part < 2; ++part) {
      const int64_t at = j + part * kLanes;
      total[part] = fma(load(g + at) * load(weight + at), load(h + at), total[part]);
    }
  for (; j < D; j += kLanes) {
    const int64_t count = smaller(kLanes, D - j);
    total[0] = fma(load_first(g + j, count) * load_first(weight + j, count), load_first(h + j, count), total[0]);
  }
  return sum(total[0] + total[1]);
}

// Rows are cut into blocks whose number depends on the shape alone; each block's dweight is summed apart and the blocks in
// order, so that the result is the same for every number of threads. The blocks' sums lie in the context's first
// kScratchBytes / 2; the threads' own rows behind the first half of theirs.
constexpr int64_t kMostRowBlocks = 128;
constexpr int64_t kRowSpaceBytes = kScratchBytes / 2;
constexpr int64_t kLongestRow = kRowSpaceBytes / 4;

TB_INLINE int64_t row_block_count(int64_t N, int64_t D) {
  const int64_t room = kRowSpaceBytes / (4 * D);
  return greater(1, smaller(smaller(kMostRowBlocks, room), ceil_div(N, 16)));
}

TB_INLINE float* row_space(tb_context* context, int thread) {
  return reinterpret_cast<float*>(static_cast<char*>(context->thread_scratch(thread)) + kRowSpaceBytes);
}

// dweight[j] += sum over blocks of partial[block][j]; inside a parallel region.
TB_INLINE void add_partials(const float* partials, int64_t blocks, float* dweight, int64_t D) {
  constexpr int64_t kColumns = 64;
#pragma omp for schedule(static)
  for (int64_t from = 0; from < D; from += kColumns) {
    const int64_t to = smaller(D, from + kColumns);
    for (int64_t block = 0; block < blocks; ++block) {
      const float* partial = partials + block * D;
#pragma omp simd
      for (int64_t j = from; j < to; ++j) dweight[j] += partial[j];
    }
  }
}

}  // namespace tb::TB_ISA
