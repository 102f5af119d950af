// Few rows with AVX2 or AVX-512 VNNI (decoding): weights are read once, straight from where they lie, and nothing is packed.
// Codes w + 1 and the row sums are those of gemm_ternary_tiles.h.
//
// 2-bit weights: byte b of a row holds values 4 b .. 4 b + 3, so (word >> 2 i) & 3 of a whole vector gives value 4 b + i in
// byte b. The activations are brought into that order once: vector i of a block holds x[4 b + i].
#pragma once

#include "gemm_ternary.h"

#if defined(__AVX2__)

#include <immintrin.h>
#include <omp.h>

namespace tb::TB_ISA {

constexpr int64_t kTernaryFewRows = 8;

#if TB_ISA_LEVEL == 2
typedef __m512i Bytes;
static inline Bytes load_bytes(const void* from) { return _mm512_loadu_si512(from); }
static inline Bytes codes_of(Bytes values) { return _mm512_add_epi8(values, _mm512_set1_epi8(1)); }
template <int shift>
static inline Bytes codes_at(Bytes packed) {
  return _mm512_and_si512(_mm512_srli_epi16(packed, shift), _mm512_set1_epi8(3));
}
// Sums of products, exact: straight into int32.
struct ByteSums {
  __m512i wide;
  void clear() { wide = _mm512_setzero_si512(); }
  void add(Bytes codes, Bytes x) { wide = _mm512_dpbusd_epi32(wide, codes, x); }
  void widen() {}
  int32_t total() const {
    int32_t lanes[kLanes], sum = 0;
    memcpy(lanes, &wide, sizeof lanes);
    for (int32_t lane : lanes) sum += lane;
    return sum;
  }
};
#else
typedef __m256i Bytes;
static inline Bytes load_bytes(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
static inline Bytes codes_of(Bytes values) { return _mm256_add_epi8(values, _mm256_set1_epi8(1)); }
template <int shift>
static inline Bytes codes_at(Bytes packed) {
  return _mm256_and_si256(_mm256_srli_epi16(packed, shift), _mm256_set1_epi8(3));
}
// Sums of pairs in int16, widened after at most 64 of them (the bound stands in gemm_ternary_tiles.h).
struct ByteSums {
  __m256i pairs, wide;
  void clear() { pairs = wide = _mm256_setzero_si256(); }
  void add(Bytes codes, Bytes x) { pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes, x)); }
  void widen() {
    wide = _mm256_add_epi32(wide, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    pairs = _mm256_setzero_si256();
  }
  int32_t total() const {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return _mm_cvtsi128_si32(half);
  }
};
#endif

// Vectors of activations, [block][row][vector of the block], zero where the depth ends.
static inline void order_activations(const int8_t* x, int64_t M, int64_t K, int64_t blocks, bool is_packed, int8_t* out) {
  const int64_t vectors = is_packed ? 4 : 1;
  const int64_t values = vectors * TB_VECTOR_BYTES;
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t m = 0; m < M; ++m) {
      int8_t* to = out + (block * M + m) * values;
      alignas(64) int8_t from[4 * TB_VECTOR_BYTES] = {};
      memcpy(from, x + m * K + block * values, size_t(lesser(values, K - block * values)));
      if (is_packed) {
        uint32_t units[TB_VECTOR_BYTES];
        memcpy(units, from, sizeof units);
        for (int i = 0; i < 4; ++i)
          for (int b = 0; b < TB_VECTOR_BYTES; ++b) to[i * TB_VECTOR_BYTES + b] = int8_t(uint8_t(units[b] >> (8 * i)));
      } else {
        memcpy(to, from, TB_VECTOR_BYTES);
      }
    }
}

template <int rows, bool is_packed>
static inline void add_block(Bytes w, const int8_t* x, ByteSums* sums) {
  if constexpr (is_packed) {
    const Bytes codes[4] = {codes_at<0>(w), codes_at<2>(w), codes_at<4>(w), codes_at<6>(w)};
#pragma GCC unroll 8
    for (int m = 0; m < rows; ++m)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sums[m].add(codes[i], load_bytes(x + (m * 4 + i) * TB_VECTOR_BYTES));
  } else {
    const Bytes codes = codes_of(w);
#pragma GCC unroll 8
    for (int m = 0; m < rows; ++m) sums[m].add(codes, load_bytes(x + m * TB_VECTOR_BYTES));
  }
}

template <int rows, bool is_packed>
static void ternary_few_rows(tb_context* context, const TernaryProduct& product) {
  constexpr int64_t stride = rows * (is_packed ? 4 : 1) * TB_VECTOR_BYTES;
  constexpr int64_t blocks_per_flush = is_packed ? 16 : 64;
  const int64_t N = product.N, K = product.K;
  const int64_t row_bytes = product.w.row_bytes(K);
  const int64_t full = row_bytes / TB_VECTOR_BYTES;
  const int64_t blocks = (row_bytes + TB_VECTOR_BYTES - 1) / TB_VECTOR_BYTES;
  auto* x = static_cast<int8_t*>(context->thread_scratch(0));
  order_activations(product.x, rows, K, blocks, is_packed, x);
  int32_t row_sums[rows];
  for (int m = 0; m < rows; ++m) row_sums[m] = sum_of_bytes(product.x + m * K, K);
  const int wanted = double(N) * double(K) < double(1 << 17) ? 1 : context->threads;

#pragma omp parallel num_threads(wanted)
  {
    const int64_t threads = omp_get_num_threads();
    const int64_t thread = omp_get_thread_num();
    for (int64_t n = share_start(N, thread, threads); n < share_start(N, thread + 1, threads); ++n) {
      const char* w = product.w.row(n, K);
      ByteSums sums[rows];
#pragma GCC unroll 8
      for (int m = 0; m < rows; ++m) sums[m].clear();
      for (int64_t from = 0; from < full; from += blocks_per_flush) {
        const int64_t to = lesser(from + blocks_per_flush, full);
        for (int64_t block = from; block < to; ++block) {
          // With more rows the products take longer than the reading.
          if (rows <= 4) __builtin_prefetch(w + block * TB_VECTOR_BYTES + 4 * kStreamAhead, 0, 2);
          add_block<rows, is_packed>(load_bytes(w + block * TB_VECTOR_BYTES), x + block * stride, sums);
        }
#pragma GCC unroll 8
        for (int m = 0; m < rows; ++m) sums[m].widen();
      }
      if (full < blocks) {
        alignas(64) char rest[TB_VECTOR_BYTES] = {};
        memcpy(rest, w + full * TB_VECTOR_BYTES, size_t(row_bytes - full * TB_VECTOR_BYTES));
        add_block<rows, is_packed>(load_bytes(rest), x + full * stride, sums);
#pragma GCC unroll 8
        for (int m = 0; m < rows; ++m) sums[m].widen();
      }
#pragma GCC unroll 8
      for (int m = 0; m < rows; ++m) product.finish(m, n, sums[m].total() - row_sums[m]);
    }
  }
}

// ---- One row from 2-bit weights (decoding) --------------------------------------------------------------------------

// Rows of the weights that a thread reads side by side, each from its own part of the matrix: as many streams for the
// hardware's prefetchers, and each load of x serves them all.
constexpr int kStreams = 4;

// sums[r] = codes of row r times x. `blocks` counts a last, cut one too.
template <int streams>
static TB_INLINE void dot_streams(const char* const* w, const int8_t* x, int64_t row_bytes, int32_t* totals) {
  constexpr int64_t blocks_per_flush = 16;
  const int64_t full = row_bytes / TB_VECTOR_BYTES;
  ByteSums sums[streams];
#pragma GCC unroll 8
  for (int r = 0; r < streams; ++r) sums[r].clear();
  for (int64_t from = 0; from < full; from += blocks_per_flush) {
    const int64_t to = lesser(from + blocks_per_flush, full);
    for (int64_t block = from; block < to; ++block) {
#pragma GCC unroll 8
      for (int r = 0; r < streams; ++r) {
        __builtin_prefetch(w[r] + block * TB_VECTOR_BYTES + kStreamAhead, 0, 2);
        add_block<1, true>(load_bytes(w[r] + block * TB_VECTOR_BYTES), x + block * 4 * TB_VECTOR_BYTES, sums + r);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < streams; ++r) sums[r].widen();
  }
  if (full * TB_VECTOR_BYTES < row_bytes) {
#pragma GCC unroll 8
    for (int r = 0; r < streams; ++r) {
      alignas(64) char rest[TB_VECTOR_BYTES] = {};
      memcpy(rest, w[r] + full * TB_VECTOR_BYTES, size_t(row_bytes - full * TB_VECTOR_BYTES));
      add_block<1, true>(load_bytes(rest), x + full * 4 * TB_VECTOR_BYTES, sums + r);
      sums[r].widen();
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < streams; ++r) totals[r] = sums[r].total();
}

static void ternary_one_row(tb_context* context, const TernaryProduct& product) {
  const int64_t N = product.N, K = product.K;
  const int64_t row_bytes = product.w.row_bytes(K);
  auto* x = static_cast<int8_t*>(context->thread_scratch(0));
  order_activations(product.x, 1, K, (row_bytes + TB_VECTOR_BYTES - 1) / TB_VECTOR_BYTES, true, x);
  const int32_t row_sum = sum_of_bytes(product.x, K);
  const int wanted = double(N) * double(K) < double(1 << 17) ? 1 : context->threads;

#pragma omp parallel num_threads(wanted)
  {
    const int64_t threads = omp_get_num_threads();
    const int64_t thread = omp_get_thread_num();
    const int64_t first = share_start(N, thread, threads), last = share_start(N, thread + 1, threads);
    const int64_t apart = (last - first) / kStreams;
    for (int64_t n = first; n < first + apart; ++n) {
      const char* w[kStreams];
      int32_t totals[kStreams];
      for (int r = 0; r < kStreams; ++r) w[r] = product.w.row(n + r * apart, K);
      dot_streams<kStreams>(w, x, row_bytes, totals);
      for (int r = 0; r < kStreams; ++r) product.finish(0, n + r * apart, totals[r] - row_sum);
    }
    for (int64_t n = first + apart * kStreams; n < last; ++n) {
      const char* w = product.w.row(n, K);
      int32_t total;
      dot_streams<1>(&w, x, row_bytes, &total);
      product.finish(0, n, total - row_sum);
    }
  }
}

template <bool is_packed>
static inline void ternary_up_to_few_rows(tb_context* context, const TernaryProduct& product) {
  if (is_packed && product.M == 1) return ternary_one_row(context, product);
  switch (product.M) {
#define TB_FEW_ROWS(rows) \
  case rows:              \
    return ternary_few_rows<rows, is_packed>(context, product);
    TB_FEW_ROWS(1)
    TB_FEW_ROWS(2)
    TB_FEW_ROWS(3)
    TB_FEW_ROWS(4)
    TB_FEW_ROWS(5)
    TB_FEW_ROWS(6)
    TB_FEW_ROWS(7)
    TB_FEW_ROWS(8)
#undef TB_FEW_ROWS
  }
}

}  // namespace tb::TB_ISA

#endif
