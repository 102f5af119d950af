// Packing of matrices into the panels that the products' inner loops read front to back. A panel holds R rows (or columns) of
// the product as units of 4 bytes, out[k * R + r]: a float32, or four int8 that lie beside each other along the depth.
// Units are only moved, never read as numbers. Rows that a last panel lacks are zero.
#pragma once

#include <cstring>

#include "vector.h"

namespace tb::TB_ISA {

// std::min is a symbol that the three compilations would share.
static inline int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

typedef uint32_t Quad __attribute__((vector_size(16)));
typedef uint32_t UnalignedQuad __attribute__((vector_size(16), aligned(1), may_alias));

static inline uint32_t load_unit(const char* from) {
  uint32_t unit;
  memcpy(&unit, from, 4);
  return unit;
}

// What becomes of a unit on its way: nothing, or ternary values become codes w + 1, byte by byte (the top bits are kept apart, so
// no carry crosses into a neighbour). Both take one unit or a vector of them.
struct AsItIs {
  template <class Units>
  Units operator()(Units units) const {
    return units;
  }
};
struct ToCodes {
  template <class Units>
  Units operator()(Units units) const {
    return ((units & 0x7f7f7f7fu) + 0x01010101u) ^ (units & 0x80808080u);
  }
};

// Four units of `rows` rows, rows = 4 or 2, turned and written R apart.
template <int R, int rows, class Change>
static inline void turn_units(const char* const* row, int64_t offset, Change change, uint32_t* out) {
  Quad in[4] = {};
  for (int r = 0; r < rows; ++r) in[r] = change(Quad(*reinterpret_cast<const UnalignedQuad*>(row[r] + offset)));
  const Quad low01 = shuffle<0, 4, 1, 5>(in[0], in[1]);
  const Quad high01 = shuffle<2, 6, 3, 7>(in[0], in[1]);
  const Quad low23 = shuffle<0, 4, 1, 5>(in[2], in[3]);
  const Quad high23 = shuffle<2, 6, 3, 7>(in[2], in[3]);
  const Quad turned[4] = {
      shuffle<0, 1, 4, 5>(low01, low23), shuffle<2, 3, 6, 7>(low01, low23),
      shuffle<0, 1, 4, 5>(high01, high23), shuffle<2, 3, 6, 7>(high01, high23)};
  for (int unit = 0; unit < 4; ++unit) memcpy(out + unit * R, &turned[unit], rows * 4);
}

// From rows along the depth: unit k of row r lies at `from + r * row_bytes + 4 k`.
template <int R, class Change = AsItIs>
static inline void pack_turned(const char* from, int64_t row_bytes, int64_t rows, int64_t units, uint32_t* out,
                               Change change = {}) {
  int64_t k = 0;
  if (rows == R) {
    const char* row[R];
    for (int r = 0; r < R; ++r) row[r] = from + r * row_bytes;
    // 16 units are a cache line of a row: used up before rows a power of two apart can push it out.
    for (; k + 4 <= units; k += 16) {
      const int64_t end = lesser(k + 16, units) - 3;
      for (int r = 0; r + 4 <= R; r += 4)
        for (int64_t u = k; u < end; u += 4) turn_units<R, 4>(row + r, 4 * u, change, out + u * R + r);
      if constexpr (R % 4 != 0)
        for (int64_t u = k; u < end; u += 4) turn_units<R, 2>(row + R / 4 * 4, 4 * u, change, out + u * R + R / 4 * 4);
    }
    k = units / 4 * 4;
  }
  for (; k < units; ++k) {
    for (int64_t r = 0; r < rows; ++r) out[k * R + r] = change(load_unit(from + r * row_bytes + 4 * k));
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

// Share `part` of `parts` even shares of n things.
static inline int64_t share_start(int64_t n, int64_t part, int64_t parts) { return n * part / parts; }

// How a product's tiles are dealt to the threads: rectangles of whole panels, taken by whichever thread is free, so that a thread
// that the system holds up delays the others by one rectangle. Which thread computes a tile does not change its bits.
struct TileDeal {
  int64_t row_panels, column_panels;  // in all
  int64_t row_shares, column_shares;

  // row_block, column_block: panels of a rectangle that fits the caches; halved until every thread has `rectangles` to take.
  TileDeal(int64_t row_panels, int64_t column_panels, int64_t row_block, int64_t column_block, int64_t threads,
           int64_t rectangles = 6)
      : row_panels(row_panels), column_panels(column_panels) {
    for (;;) {
      row_shares = (row_panels + row_block - 1) / row_block;
      column_shares = (column_panels + column_block - 1) / column_block;
      if (threads == 1 || row_shares * column_shares >= rectangles * threads) return;
      if (column_block > 2)
        column_block /= 2;
      else if (row_block > 2)
        row_block /= 2;
      else
        return;
    }
  }

  int64_t count() const { return row_shares * column_shares; }
  int64_t first_row(int64_t i) const { return share_start(row_panels, i / column_shares, row_shares); }
  int64_t last_row(int64_t i) const { return share_start(row_panels, i / column_shares + 1, row_shares); }
  int64_t first_column(int64_t i) const { return share_start(column_panels, i % column_shares, column_shares); }
  int64_t last_column(int64_t i) const { return share_start(column_panels, i % column_shares + 1, column_shares); }
};

}  // namespace tb::TB_ISA
