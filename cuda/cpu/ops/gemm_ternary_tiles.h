// Many rows with AVX2 or AVX-512 VNNI: both operands packed into panels of 4-byte units, tiles of sums in registers.
// Weights travel as codes w + 1 in {0, 1, 2}, because the byte products take one unsigned operand; with
// sum((w + 1) x) = sum(w x) + sum(x), each row's sum of activations is taken off at the end. All of it is exact in integers.
#pragma once

#include "gemm_ternary.h"

#if defined(__AVX2__)

#include <immintrin.h>
#include <omp.h>

namespace tb::TB_ISA {

#if TB_ISA_LEVEL == 2
constexpr int kTernaryRows = 12;
#else
constexpr int kTernaryRows = 6;
#endif
constexpr int kTernaryColumns = 2 * kLanes;
// Shared panels in the first thread's scratch: weights, activations, and each row's sum of activations.
constexpr int64_t kWeightPanelBytes = 4 << 20;
constexpr int64_t kActivationPanelBytes = 7 << 19;
constexpr int64_t kTernaryMaxRows = 16384 / kTernaryRows * kTernaryRows;
static_assert(kWeightPanelBytes + kActivationPanelBytes + 4 * kTernaryMaxRows <= kScratchBytes);
// A launcher's limit. Sums stay below 2^24, where float32 holds every integer, and a panel fits its share of the scratch.
constexpr int64_t kTernaryMaxDepth = 1 << 17;
static_assert(kTernaryColumns * kTernaryMaxDepth <= kWeightPanelBytes && kTernaryRows * kTernaryMaxDepth <= kActivationPanelBytes);
// Activations of a block of rows that stay in L2 while the weights' panels pass by.
constexpr int64_t kTernaryRowBlockBytes = 160 << 10;
// Rectangles of tiles for each thread at least: the last to finish is behind by at most one of them.
constexpr int64_t kTernaryRectangles = 16;

// sums[i][v] = activations of row i times the codes of columns v * kLanes ...
#if TB_ISA_LEVEL == 2
__attribute__((noinline)) static void ternary_tile(const uint32_t* x, const uint32_t* w, int64_t units, vint (*sums)[2]) {
  __m512i total[kTernaryRows][2];
#pragma GCC unroll 12
  for (int i = 0; i < kTernaryRows; ++i) total[i][0] = total[i][1] = _mm512_setzero_si512();
  for (int64_t u = 0; u < units; ++u) {
    const __m512i codes0 = _mm512_loadu_si512(w + u * kTernaryColumns);
    const __m512i codes1 = _mm512_loadu_si512(w + u * kTernaryColumns + kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kTernaryRows; ++i) {
      const __m512i four = _mm512_set1_epi32(int32_t(x[u * kTernaryRows + i]));
      total[i][0] = _mm512_dpbusd_epi32(total[i][0], codes0, four);
      total[i][1] = _mm512_dpbusd_epi32(total[i][1], codes1, four);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kTernaryRows; ++i) {
    sums[i][0] = vint(total[i][0]);
    sums[i][1] = vint(total[i][1]);
  }
}
#else
// vpmaddubsw gives sums of two products in int16: code * activation lies in [-256, 254], a pair in [-512, 508]. After 64 of
// them an int16 sum lies in [64 * -512, 64 * 508] = [-32768, 32512]: it still fits, so sums widen to int32 every 64 units.
constexpr int64_t kUnitsPerFlush = 64;

// One row of a unit: both products, then both sums. Byte products run on two of the four vector pipes and sums on all of them:
// in pairs they collide less than one by one. The order is pinned; left to itself the compiler loads the activations of all
// rows first, and the sums spill.
static inline void add_row(__m256i (&pairs)[2], uint32_t x, __m256i codes0, __m256i codes1) {
  __m256i four = _mm256_set1_epi32(int32_t(x));
  __m256i products;
  asm volatile(
      "vpmaddubsw %[four], %[codes0], %[products]\n\t"
      "vpmaddubsw %[four], %[codes1], %[four]\n\t"
      "vpaddw %[products], %[sum0], %[sum0]\n\t"
      "vpaddw %[four], %[sum1], %[sum1]"
      : [sum0] "+x"(pairs[0]), [sum1] "+x"(pairs[1]), [four] "+x"(four), [products] "=&x"(products)
      : [codes0] "x"(codes0), [codes1] "x"(codes1));
}

static inline void add_unit(const uint32_t* x, const uint32_t* w, __m256i (&pairs)[kTernaryRows][2]) {
  const __m256i codes0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
  const __m256i codes1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + kLanes));
#pragma GCC unroll 6
  for (int i = 0; i < kTernaryRows; ++i) add_row(pairs[i], x[i], codes0, codes1);
}

__attribute__((noinline)) static void ternary_tile(const uint32_t* x, const uint32_t* w, int64_t units, vint (*sums)[2]) {
  for (int64_t from = 0; from < units; from += kUnitsPerFlush) {
    const int64_t count = lesser(kUnitsPerFlush, units - from);
    __m256i pairs[kTernaryRows][2];
#pragma GCC unroll 6
    for (int i = 0; i < kTernaryRows; ++i) pairs[i][0] = pairs[i][1] = _mm256_setzero_si256();
    for (int64_t u = 0; u < count / 2; ++u, x += 2 * kTernaryRows, w += 2 * kTernaryColumns) {
      add_unit(x, w, pairs);
      add_unit(x + kTernaryRows, w + kTernaryColumns, pairs);
    }
    if (count % 2 != 0) add_unit(x, w, pairs);  // the last of all: kUnitsPerFlush is even
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 6
    for (int i = 0; i < kTernaryRows; ++i)
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const vint wide = vint(_mm256_madd_epi16(pairs[i][v], ones));
        sums[i][v] = from == 0 ? wide : sums[i][v] + wide;
      }
  }
}
#endif

// The sum of a row of activations, 32 at a time.
static inline int32_t sum_of_row(const int8_t* x, int64_t n) {
  const __m256i one_bytes = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
  __m256i sums = _mm256_setzero_si256();
  int64_t k = 0;
  for (; k + 32 <= n; k += 32) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + k));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(one_bytes, bytes), ones));
  }
  int32_t lanes[8], sum = sum_of_bytes(x + k, n - k);
  memcpy(lanes, &sums, sizeof lanes);
  for (int32_t lane : lanes) sum += lane;
  return sum;
}

// Up to kTernaryRows rows of activations; the bytes that a last unit lacks are zero.
static inline void pack_activations(const int8_t* x, int64_t rows, int64_t K, uint32_t* out, int32_t* sums) {
  pack_turned<kTernaryRows>(reinterpret_cast<const char*>(x), K, rows, K / 4, out);
  if (K % 4 != 0)
    for (int64_t r = 0; r < kTernaryRows; ++r) {
      uint32_t unit = 0;
      if (r < rows) memcpy(&unit, x + r * K + K / 4 * 4, size_t(K % 4));
      out[K / 4 * kTernaryRows + r] = unit;
    }
  for (int64_t r = 0; r < rows; ++r) sums[r] = sum_of_row(x + r * K, K);
}

// Up to kTernaryColumns rows of w as codes. What stands where a row or a column ends is multiplied by zero or not stored.
static inline void pack_codes(const TernaryWeights& w, int64_t n, int64_t columns, int64_t K, uint32_t* out) {
  const int64_t units = (K + 3) / 4;
  if (w.packed == nullptr) {
    pack_turned<kTernaryColumns>(w.row(n, K), K, columns, K / 4, out, ToCodes());
    if (K % 4 != 0)
      for (int64_t r = 0; r < kTernaryColumns; ++r) {
        uint32_t unit = 0;
        if (r < columns) memcpy(&unit, w.row(n + r, K) + K / 4 * 4, size_t(K % 4));
        out[K / 4 * kTernaryColumns + r] = ToCodes()(unit);
      }
    return;
  }
  // The words are turned into place like units of their own, the last four panels' rows then spread to 4 units each.
  const int64_t words = (K + 15) / 16;
  uint32_t turned[16 * kTernaryColumns];
  for (int64_t from = 0; from < words; from += 16) {
    const int64_t count = lesser(16, words - from);
    pack_turned<kTernaryColumns>(w.row(n, K) + from * 4, words * 4, columns, count, turned);
    for (int64_t word = 0; word < count; ++word)
      for (int64_t byte = 0; byte < 4; ++byte) {
        const int64_t u = (from + word) * 4 + byte;
        if (u >= units) break;
#pragma omp simd
        for (int r = 0; r < kTernaryColumns; ++r)
          out[u * kTernaryColumns + r] = spread_codes((turned[word * kTernaryColumns + r] >> (8 * byte)) & 0xff);
      }
  }
}

// A tile that nothing cuts short: the operations of TernaryProduct::finish_lanes, with what its rows share read once.
template <bool has_residual>
static inline void finish_full_tile(const TernaryProduct& product, int64_t m, int64_t n, const int32_t* row_sums,
                                    const vint (*sums)[2]) {
  const int64_t N = product.N;
  const float* x_scale = product.x_scale + m;
  const float* residual = has_residual ? product.residual + m * N + n : nullptr;
  float* y = product.y + m * N + n;
  const vfloat scale[2] = {load(product.w.scale + n), load(product.w.scale + n + kLanes)};
#pragma GCC unroll 12
  for (int i = 0; i < kTernaryRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const vfloat factors = splat(x_scale[i]) * scale[v];
      const vfloat scaled = __builtin_convertvector(sums[i][v] - row_sums[i], vfloat) * factors;
      const int64_t at = i * N + v * kLanes;
      store(y + at, has_residual ? scaled + load(residual + at) : scaled);
    }
}

static inline void finish_tile(const TernaryProduct& product, int64_t m, int64_t n, int64_t rows, int64_t columns,
                               const int32_t* row_sums, const vint (*sums)[2]) {
  if (rows == kTernaryRows && columns == kTernaryColumns) {
    if (product.residual != nullptr)
      finish_full_tile<true>(product, m, n, row_sums, sums);
    else
      finish_full_tile<false>(product, m, n, row_sums, sums);
    return;
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int v = 0; v < 2; ++v) {
      const vint exact = sums[i][v] - row_sums[i];
      const int64_t from = v * kLanes;
      if (from + kLanes <= columns) {
        product.finish_lanes(m + i, n + from, exact);
      } else {
        int32_t lanes[kLanes];
        memcpy(lanes, &exact, sizeof lanes);
        for (int64_t j = from; j < columns; ++j) product.finish(m + i, n + j, lanes[j - from]);
      }
    }
}

static inline void ternary_many_rows(tb_context* context, const TernaryProduct& product) {
  const int64_t M = product.M, N = product.N, K = product.K;
  const int64_t units = (K + 3) / 4;
  char* scratch = static_cast<char*>(context->thread_scratch(0));
  auto* panels_w = reinterpret_cast<uint32_t*>(scratch);
  auto* panels_x = reinterpret_cast<uint32_t*>(scratch + kWeightPanelBytes);
  auto* row_sums = reinterpret_cast<int32_t*>(scratch + kWeightPanelBytes + kActivationPanelBytes);
  const int64_t max_columns = kWeightPanelBytes / (4 * units * kTernaryColumns) * kTernaryColumns;
  const int64_t max_rows =
      lesser(kTernaryMaxRows, kActivationPanelBytes / (4 * units * kTernaryRows) * kTernaryRows);
  const int64_t block = kTernaryRowBlockBytes / (4 * units * kTernaryRows) + 1;
  const int wanted = double(M) * double(N) * double(K) < double(1 << 17) ? 1 : context->threads;

#pragma omp parallel num_threads(wanted)
  for (int64_t n0 = 0; n0 < N; n0 += max_columns) {
    const int64_t columns = lesser(max_columns, N - n0);
    const int64_t count_w = (columns + kTernaryColumns - 1) / kTernaryColumns;
    for (int64_t m0 = 0; m0 < M; m0 += max_rows) {
      const int64_t rows = lesser(max_rows, M - m0);
      const int64_t count_x = (rows + kTernaryRows - 1) / kTernaryRows;
#pragma omp for schedule(dynamic, 4) nowait
      for (int64_t p = 0; p < count_x; ++p) {
        const int64_t i = p * kTernaryRows;
        pack_activations(product.x + (m0 + i) * K, lesser(kTernaryRows, rows - i), K, panels_x + i * units, row_sums + i);
      }
      if (m0 == 0) {
#pragma omp for schedule(dynamic, 2) nowait
        for (int64_t p = 0; p < count_w; ++p) {
          const int64_t j = p * kTernaryColumns;
          pack_codes(product.w, n0 + j, lesser(kTernaryColumns, columns - j), K, panels_w + j * units);
        }
      }
#pragma omp barrier
      const TileDeal deal(count_x, count_w, block, 16, omp_get_num_threads(), kTernaryRectangles);
#pragma omp for schedule(dynamic, 1)
      for (int64_t share = 0; share < deal.count(); ++share)
        for (int64_t pw = deal.first_column(share); pw < deal.last_column(share); ++pw)
          for (int64_t px = deal.first_row(share); px < deal.last_row(share); ++px) {
            const int64_t i = px * kTernaryRows, j = pw * kTernaryColumns;
            // The outputs' lines travel while the tile is computed.
            for (int64_t r = 0; r < lesser(kTernaryRows, rows - i); ++r)
              __builtin_prefetch(product.y + (m0 + i + r) * N + n0 + j, 1);
            vint sums[kTernaryRows][2];
            ternary_tile(panels_x + i * units, panels_w + j * units, units, sums);
            finish_tile(product, m0 + i, n0 + j, lesser(kTernaryRows, rows - i), lesser(kTernaryColumns, columns - j),
                        row_sums + i, sums);
          }
    }
  }
}

}  // namespace tb::TB_ISA

#endif
