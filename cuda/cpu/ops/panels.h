// Packing of matrices into the panels that the products' inner loops read front to back. A panel holds R rows (or columns) of
// the product as units of 4 bytes, out[k * R + r]: a float32, or four int8 that lie beside each other along the depth.
// Units are only moved, never read as numbers. Rows that a last panel lacks are zero.
#pragma once

#include <cstring>

#include "vector.h"

namespace tb::TB_ISA {

typedef uint32_t Quad __attribute__((vector_size(16)));
typedef uint32_t UnalignedQuad __attribute__((vector_size(16), aligned(1), may_alias));

static inline uint32_t load_unit(const char* from) {
  uint32_t unit;
  memcpy(&unit, from, 4);
  return unit;
}

// Four units of `rows` rows, rows = 4 or 2, turned and written R apart.
template <int R, int rows>
static inline void turn_units(const char* const* row, int64_t offset, uint32_t* out) {
  Quad in[4] = {};
  for (int r = 0; r < rows; ++r) in[r] = *reinterpret_cast<const UnalignedQuad*>(row[r] + offset);
  const Quad low01 = __builtin_shuffle(in[0], in[1], Quad{0, 4, 1, 5});
  const Quad high01 = __builtin_shuffle(in[0], in[1], Quad{2, 6, 3, 7});
  const Quad low23 = __builtin_shuffle(in[2], in[3], Quad{0, 4, 1, 5});
  const Quad high23 = __builtin_shuffle(in[2], in[3], Quad{2, 6, 3, 7});
  const Quad turned[4] = {
      __builtin_shuffle(low01, low23, Quad{0, 1, 4, 5}), __builtin_shuffle(low01, low23, Quad{2, 3, 6, 7}),
      __builtin_shuffle(high01, high23, Quad{0, 1, 4, 5}), __builtin_shuffle(high01, high23, Quad{2, 3, 6, 7})};
  for (int unit = 0; unit < 4; ++unit) memcpy(out + unit * R, &turned[unit], rows * 4);
}

// From rows along the depth: unit k of row r lies at `from + r * row_bytes + 4 k`.
template <int R>
static inline void pack_turned(const char* from, int64_t row_bytes, int64_t rows, int64_t units, uint32_t* out) {
  int64_t k = 0;
  if (rows == R) {
    const char* row[R];
    for (int r = 0; r < R; ++r) row[r] = from + r * row_bytes;
    for (; k + 4 <= units; k += 4) {
      for (int r = 0; r + 4 <= R; r += 4) turn_units<R, 4>(row + r, 4 * k, out + k * R + r);
      if constexpr (R % 4 != 0) turn_units<R, 2>(row + R / 4 * 4, 4 * k, out + k * R + R / 4 * 4);
    }
  }
  for (; k < units; ++k) {
    for (int64_t r = 0; r < rows; ++r) out[k * R + r] = load_unit(from + r * row_bytes + 4 * k);
    for (int64_t r = rows; r < R; ++r) out[k * R + r] = 0;
  }
}

// From rows across the depth: unit r of depth k lies at `from[k * ld + r]`.
template <int R>
static inline void pack_straight(const float* from, int64_t ld, int64_t rows, int64_t depth, float* out) {
  if (rows == R) {
    for (int64_t k = 0; k < depth; ++k) memcpy(out + k * R, from + k * ld, R * sizeof(float));
    return;
  }
  for (int64_t k = 0; k < depth; ++k)
    for (int64_t r = 0; r < R; ++r) out[k * R + r] = r < rows ? from[k * ld + r] : 0;
}

// The same from int8 with one factor a depth.
template <int R>
static inline void pack_scaled(const int8_t* from, int64_t ld, const float* scale, int64_t rows, int64_t depth, float* out) {
  if (rows == R) {
    for (int64_t k = 0; k < depth; ++k) {
      const float factor = scale[k];
#pragma omp simd
      for (int r = 0; r < R; ++r) out[k * R + r] = factor * float(from[k * ld + r]);
    }
    return;
  }
  for (int64_t k = 0; k < depth; ++k)
    for (int64_t r = 0; r < R; ++r) out[k * R + r] = r < rows ? scale[k] * float(from[k * ld + r]) : 0;
}

// std::min is a symbol that the three compilations would share.
static inline int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

// Share `part` of `parts` even shares of n things.
static inline int64_t share_start(int64_t n, int64_t part, int64_t parts) { return n * part / parts; }

// How many of the team's threads stand along the rows: the grid whose largest share of tiles is smallest.
static inline int64_t threads_along_rows(int64_t threads, int64_t row_panels, int64_t column_panels) {
  int64_t best = 1, best_share = INT64_MAX;
  for (int64_t along = 1; along <= threads; ++along) {
    if (threads % along != 0) continue;
    const int64_t across = threads / along;
    const int64_t share = ((row_panels + along - 1) / along) * ((column_panels + across - 1) / across);
    if (share < best_share) {
      best = along;
      best_share = share;
    }
  }
  return best;
}

}  // namespace tb::TB_ISA
