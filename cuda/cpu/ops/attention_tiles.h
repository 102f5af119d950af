// Small blocked products and the causal attention of a block of queries, on one thread.
//
// Products keep kRows x (2 vectors) of the result in registers; the left operand is read one broadcast at a time, the right
// one a row of vectors at a time, so it has padded rows: head widths that are no multiple of the vector are copied with
// zeros behind them. Sums run over k in order, float32 by fma().
//
// attend(): o = softmax(scale * q kᵀ, causal) v by the online softmax (arXiv:2205.14135): keys in blocks of kKeys in order;
// running maximum, sum and output are rescaled when a row's maximum grows. lse = max + ln(sum).
#pragma once

#include <string.h>

#include "vector.h"

namespace tb::TB_ISA {

// Accumulators, two vectors of the right operand and one broadcast fill the 16 (AVX-512: 32) vector registers.
constexpr int64_t kRows = TB_ISA_LEVEL == 2 ? 12 : 6;
constexpr int64_t kKeys = 64;
constexpr int64_t kWidestHead = 256;

// c (R, V vectors) = or += a (R, K) . b (K, V vectors). AByColumn: element (r, k) of a is a[k * lda + r], else a[r * lda + k].
template <int64_t R, int64_t V, bool AByColumn>
TB_INLINE void micro_product(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t K,
                             bool accumulate) {
  vfloat sums[R][V];
#pragma GCC unroll 16
  for (int64_t r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int64_t v = 0; v < V; ++v) sums[r][v] = accumulate ? load(c + r * ldc + v * kLanes) : vfloat{};
  for (int64_t k = 0; k < K; ++k) {
    vfloat right[V];
#pragma GCC unroll 2
    for (int64_t v = 0; v < V; ++v) right[v] = load(b + k * ldb + v * kLanes);
#pragma GCC unroll 16
    for (int64_t r = 0; r < R; ++r) {
      const vfloat left = splat(AByColumn ? a[k * lda + r] : a[r * lda + k]);
#pragma GCC unroll 2
      for (int64_t v = 0; v < V; ++v) sums[r][v] = fma(left, right[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int64_t r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int64_t v = 0; v < V; ++v) store(c + r * ldc + v * kLanes, sums[r][v]);
}

// A strip of at most kRows rows; columns is a multiple of kLanes.
template <int64_t R, bool AByColumn>
inline void strip_of(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t columns,
                     int64_t K, bool accumulate) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes)
    micro_product<R, 2, AByColumn>(a, lda, b + j, ldb, c + j, ldc, K, accumulate);
  if (j < columns) micro_product<R, 1, AByColumn>(a, lda, b + j, ldb, c + j, ldc, K, accumulate);
}

template <bool AByColumn>
inline void strip_product(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int64_t rows,
                          int64_t columns, int64_t K, bool accumulate) {
  const int64_t a_step = AByColumn ? 1 : lda;
  while (rows > 0) {
    int64_t done;
    if (rows >= kRows) {
      strip_of<kRows, AByColumn>(a, lda, b, ldb, c, ldc, columns, K, accumulate);
      done = kRows;
    } else if (rows >= 4) {
      strip_of<4, AByColumn>(a, lda, b, ldb, c, ldc, columns, K, accumulate);
      done = 4;
    } else if (rows >= 2) {
      strip_of<2, AByColumn>(a, lda, b, ldb, c, ldc, columns, K, accumulate);
      done = 2;
    } else {
      strip_of<1, AByColumn>(a, lda, b, ldb, c, ldc, columns, K, accumulate);
      done = 1;
    }
    rows -= done;
    a += done * a_step;
    c += done * ldc;
  }
}

// out (E, kKeys) = transpose of from (rows, E), rows apart by ld; columns from `rows` on are 0.
inline void transpose_block(const float* from, int64_t ld, int64_t rows, int64_t E, float* out) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = E / 4 * 4;
  for (int64_t i = 0; i < whole_rows; i += 4)
    for (int64_t e = 0; e < whole_columns; e += 4) {
      const float* at = from + i * ld + e;
      const float4 r0 = *reinterpret_cast<const float4_anywhere*>(at);
      const float4 r1 = *reinterpret_cast<const float4_anywhere*>(at + ld);
      const float4 r2 = *reinterpret_cast<const float4_anywhere*>(at + 2 * ld);
      const float4 r3 = *reinterpret_cast<const float4_anywhere*>(at + 3 * ld);
      const float4 low01 = shuffle<0, 4, 1, 5>(r0, r1), low23 = shuffle<0, 4, 1, 5>(r2, r3);
      const float4 high01 = shuffle<2, 6, 3, 7>(r0, r1), high23 = shuffle<2, 6, 3, 7>(r2, r3);
      float* to = out + e * kKeys + i;
      *reinterpret_cast<float4_anywhere*>(to) = shuffle<0, 1, 4, 5>(low01, low23);
      *reinterpret_cast<float4_anywhere*>(to + kKeys) = shuffle<2, 3, 6, 7>(low01, low23);
      *reinterpret_cast<float4_anywhere*>(to + 2 * kKeys) = shuffle<0, 1, 4, 5>(high01, high23);
      *reinterpret_cast<float4_anywhere*>(to + 3 * kKeys) = shuffle<2, 3, 6, 7>(high01, high23);
    }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t e = i < whole_rows ? whole_columns : 0; e < E; ++e) out[e * kKeys + i] = from[i * ld + e];
  if (rows < kKeys)
    for (int64_t e = 0; e < E; ++e)
      for (int64_t i = rows; i < kKeys; ++i) out[e * kKeys + i] = 0;
}

// to (rows, width) = from (rows, E), rows apart by ld; columns from E on are 0.
inline void copy_padded(const float* from, int64_t ld, int64_t rows, int64_t E, int64_t width, float* to) {
  for (int64_t i = 0; i < rows; ++i) {
    memcpy(to + i * width, from + i * ld, size_t(E) * sizeof(float));
    for (int64_t e = E; e < width; ++e) to[i * width + e] = 0;
  }
}

// One block of queries of one head against the keys that they see.
struct Queries {
  const float* q;  // (rows, E), query r at position first + r
  const float* k;  // keys 0 .. first + rows - 1, (.., E); null where they are bfloat16
  const float* v;
  const uint16_t* short_k = nullptr;
  const uint16_t* short_v = nullptr;
  float* o;  // rows apart by ldo
  int64_t ldo;
  float* lse;  // (rows) or null
  int64_t rows;
  int64_t first;
  int64_t E;
  float scale;
};

constexpr int64_t kQueries = 96;  // a multiple of kRows; the transpose of a key block is shared by that many

// Scores (columns) of one row, masked from `visible` on, to exp(score * scale - new maximum); updates the row's running
// maximum and sum and gives the factor for what was summed before.
TB_INLINE float soften_row(float* scores, int64_t visible, int64_t columns, float scale, float* max, float* sum_of_row) {
  const float lowest = -__builtin_inff();
  for (int64_t j = visible; j < columns; ++j) scores[j] = lowest;
  vfloat top = splat(lowest);
  for (int64_t j = 0; j < columns; j += kLanes) top = larger(load(scores + j), top);
  const float before = *max, seen = maximum(top) * scale;
  const float now = seen > before ? seen : before;
  vfloat total = {};
  for (int64_t j = 0; j < columns; j += kLanes) {
    const vfloat p = exp_below(fma(load(scores + j), splat(scale), splat(-now)));
    store(scores + j, p);
    total += p;
  }
  const float factor = now == before ? 1.0f : exp_below(before - now);
  *max = now;
  *sum_of_row = fma(*sum_of_row, factor, sum(total));
  return factor;
}

// Rows of a cache as float32: where they are, or widened into `room`.
inline const float* widened(const float* from, const uint16_t* short_from, int64_t at, int64_t n, float* room) {
  if (short_from == nullptr) return from + at;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) room[i] = to_float(short_from[at + i]);
  return room;
}

// scratch: (E + kQueries) * kKeys + (3 * kKeys + kQueries) * round_up(E) floats, below 512 KiB.
inline void attend(const Queries& block, float* scratch) {
  const int64_t E = block.E, width = round_up(E, kLanes);
  const bool padded = width != E;
  float* k_columns = scratch;                   // (E, kKeys)
  float* scores = k_columns + E * kKeys;        // (kRows, kKeys)
  float* v_rows = scores + kQueries * kKeys;    // (kKeys, width), where padded
  float* sums = v_rows + kKeys * width;         // (rows, width)
  float* wide_k = sums + kQueries * width;      // (kKeys, E), where bfloat16, then the same for values
  float* wide_v = wide_k + kKeys * E;
  float max[kQueries], total[kQueries];
  for (int64_t r = 0; r < block.rows; ++r) {
    max[r] = -__builtin_inff();
    total[r] = 0;
  }
  const int64_t keys = block.first + block.rows;
  for (int64_t j0 = 0; j0 < keys; j0 += kKeys) {
    const int64_t count = smaller(kKeys, keys - j0);
    transpose_block(widened(block.k, block.short_k, j0 * E, count * E, wide_k), E, count, E, k_columns);
    const float* values = widened(block.v, block.short_v, j0 * E, count * E, wide_v);
    if (padded) {
      copy_padded(values, E, count, E, width, v_rows);
      values = v_rows;
    }
    for (int64_t r0 = 0; r0 < block.rows; r0 += kRows) {
      const int64_t rows = smaller(kRows, block.rows - r0);
      const int64_t limit = smaller(count, block.first + r0 + rows - j0);  // keys that the strip's last row sees
      if (limit <= 0) continue;
      const int64_t columns = round_up(limit, kLanes);
      strip_product<false>(block.q + r0 * E, E, k_columns, kKeys, scores, kKeys, rows, columns, E, false);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t visible = greater(0, smaller(limit, block.first + r0 + r - j0 + 1));
        const float factor =
            soften_row(scores + r * kKeys, visible, columns, block.scale, max + r0 + r, total + r0 + r);
        float* row = sums + (r0 + r) * width;
        if (j0 > 0 && factor != 1.0f)
          for (int64_t e = 0; e < width; e += kLanes) store(row + e, load(row + e) * factor);
      }
      strip_product<false>(scores, kKeys, values, width, sums + r0 * width, width, rows, width, limit, j0 > 0);
    }
  }
  for (int64_t r = 0; r < block.rows; ++r) {
    const float inverse = 1.0f / total[r];
    const float* row = sums + r * width;
    float* out = block.o + r * block.ldo;
#pragma omp simd
    for (int64_t e = 0; e < E; ++e) out[e] = row[e] * inverse;
    if (block.lse != nullptr) block.lse[r] = max[r] + log(total[r]);
  }
}

}  // namespace tb::TB_ISA
