// ---- Contract -------------------------------------------------------------------------------------------------------
//
// c (M, N) = op(a) . op(b) + residual, all float32 (b also int8 with a factor a row).
//
// Both operands are packed into panels (panels.h), by all threads, as much of them at a time as the scratch holds; then the
// threads take rectangles of tiles of kTileRows x kTileColumns. A tile's sums stay in registers for a block of kDepth steps.
// Each element is, in this order and whatever the number of threads: the residual, plus, block after block of kDepth, the sum
// over the block in ascending k, by fma().
// With M <= kFewRows and b (N, K) nothing is packed: each element is one dot product in kLanes interleaved sums, the lanes
// added pairwise, the rest of the depth after them.

#include "gemm_f32.h"

#include <omp.h>

#include "panels.h"

// ---- Implementation -------------------------------------------------------------------------------------------------

namespace tb::TB_ISA {
namespace {

// A tile's sums, two vectors of b and one factor of a fill the registers: 16 with AVX2 and SSE2, 32 with AVX-512.
constexpr int kTileVectors = 2;
constexpr int kTileColumns = kTileVectors * kLanes;
constexpr int kTileRows = TB_VECTOR_BYTES == 64 ? 12 : TB_VECTOR_BYTES == 32 ? 6 : 4;
// A panel of b (kDepth * kTileColumns floats) stays in L1, kRowBlock rows of a in L2, the rest in L3.
constexpr int64_t kDepth = 256;
constexpr int64_t kRowBlock = 192;
constexpr int64_t kColumnBlock = 256;
// What is packed at a time: blocks of the depth of so many rows and columns at most, fewer blocks where they don't fit.
constexpr int64_t kMaxRows = 3072;
constexpr int64_t kMaxColumns = 4096;
static_assert(kMaxRows % kTileRows == 0 && kRowBlock % kTileRows == 0 && kMaxColumns % kTileColumns == 0);
static_assert(sizeof(float) * kDepth * (kMaxRows + kMaxColumns) <= kScratchBytes);
// Below this many multiply-adds, waking the other threads costs more than they bring.
constexpr int64_t kSmallProduct = 1 << 16;
constexpr int64_t kFewRows = 8;

// One tile over a block of the depth; base (null: zero) is added to the sums.
inline void multiply_tile(const float* a, const float* b, int64_t depth, const float* base, int64_t base_ld, float* c,
                          int64_t ldc) {
  vfloat sums[kTileRows][kTileVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    vfloat columns[kTileVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) columns[v] = load(b + k * kTileColumns + v * kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kTileRows; ++i) {
      const vfloat factor = splat(a[k * kTileRows + i]);
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; ++v) sums[i][v] = fma(factor, columns[v], sums[i][v]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 2
    for (int v = 0; v < kTileVectors; ++v) {
      vfloat value = sums[i][v];
      if (base != nullptr) value += load(base + i * base_ld + v * kLanes);
      store(c + i * ldc + v * kLanes, value);
    }
}

// A tile that the matrix cuts off: computed whole, then copied in part.
void multiply_cut_tile(const float* a, const float* b, int64_t depth, const float* base, int64_t base_ld, float* c,
                       int64_t ldc, int64_t rows, int64_t columns) {
  alignas(64) float tile[kTileRows * kTileColumns];
  multiply_tile(a, b, depth, nullptr, 0, tile, kTileColumns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const float sum = tile[i * kTileColumns + j];
      c[i * ldc + j] = base == nullptr ? sum : sum + base[i * base_ld + j];
    }
}

// pack_a(row, rows, k, depth, out) packs the panel of up to kTileRows rows from `row` on; pack_b does so for columns.
template <class PackA, class PackB>
void multiply(tb_context* context, PackA pack_a, PackB pack_b, const float* residual, int64_t ldr, float* c, int64_t ldc,
              int64_t M, int64_t N, int64_t K) {
  const int wanted = double(M) * double(N) * double(K) < double(kSmallProduct) ? 1 : context->threads;
  const int64_t row_count = (lesser(M, kMaxRows) + kTileRows - 1) / kTileRows * kTileRows;
  const int64_t column_count = (lesser(N, kMaxColumns) + kTileColumns - 1) / kTileColumns * kTileColumns;
  const int64_t capacity = context->threads * kScratchBytes / int64_t(sizeof(float));
  const int64_t span = capacity / (kDepth * (row_count + column_count)) * kDepth;  // of the depth, packed at a time
  float* panels_a = static_cast<float*>(context->thread_scratch(0));
  float* panels_b = panels_a + row_count * lesser(span, K);

#pragma omp parallel num_threads(wanted)
  for (int64_t j0 = 0; j0 < N; j0 += kMaxColumns) {
    const int64_t columns = lesser(kMaxColumns, N - j0);
    const int64_t count_b = (columns + kTileColumns - 1) / kTileColumns;
    for (int64_t s0 = 0; s0 < K; s0 += span) {
      const int64_t depth = lesser(span, K - s0);
      const int64_t blocks = (depth + kDepth - 1) / kDepth;
      for (int64_t i0 = 0; i0 < M; i0 += kMaxRows) {
        const int64_t rows = lesser(kMaxRows, M - i0);
        const int64_t count_a = (rows + kTileRows - 1) / kTileRows;
        // Panel p of depth block d starts at (d * kDepth * panels + p * the block's depth) rows or columns.
#pragma omp for schedule(dynamic, 8) nowait
        for (int64_t p = 0; p < count_a * blocks; ++p) {
          const int64_t d = p / count_a * kDepth, i = p % count_a * kTileRows;
          const int64_t steps = lesser(kDepth, depth - d);
          pack_a(i0 + i, lesser(kTileRows, rows - i), s0 + d, steps, panels_a + d * count_a * kTileRows + i * steps);
        }
        if (i0 == 0) {
#pragma omp for schedule(dynamic, 4) nowait
          for (int64_t p = 0; p < count_b * blocks; ++p) {
            const int64_t d = p / count_b * kDepth, j = p % count_b * kTileColumns;
            const int64_t steps = lesser(kDepth, depth - d);
            pack_b(j0 + j, lesser(kTileColumns, columns - j), s0 + d, steps, panels_b + d * count_b * kTileColumns + j * steps);
          }
        }
#pragma omp barrier
        const TileDeal deal(count_a, count_b, kRowBlock / kTileRows, kColumnBlock / kTileColumns, omp_get_num_threads());
#pragma omp for schedule(dynamic, 1)
        for (int64_t share = 0; share < deal.count(); ++share)
          for (int64_t d = 0; d < depth; d += kDepth) {
            const int64_t steps = lesser(kDepth, depth - d);
            const bool is_first = s0 + d == 0;
            const float* base = is_first ? residual : c;
            const int64_t base_ld = is_first ? ldr : ldc;
            for (int64_t pb = deal.first_column(share); pb < deal.last_column(share); ++pb)
              for (int64_t pa = deal.first_row(share); pa < deal.last_row(share); ++pa) {
                const int64_t i = i0 + pa * kTileRows, j = j0 + pb * kTileColumns;
                const int64_t tile_rows = lesser(kTileRows, M - i);
                const int64_t tile_columns = lesser(kTileColumns, N - j);
                const float* panel_a = panels_a + d * count_a * kTileRows + pa * kTileRows * steps;
                const float* panel_b = panels_b + d * count_b * kTileColumns + pb * kTileColumns * steps;
                const float* tile_base = base == nullptr ? nullptr : base + i * base_ld + j;
                float* to = c + i * ldc + j;
                // The outputs' lines travel while the tile is computed.
                for (int64_t r = 0; r < tile_rows; ++r) __builtin_prefetch(to + r * ldc, 1);
                if (tile_rows == kTileRows && tile_columns == kTileColumns)
                  multiply_tile(panel_a, panel_b, steps, tile_base, base_ld, to, ldc);
                else
                  multiply_cut_tile(panel_a, panel_b, steps, tile_base, base_ld, to, ldc, tile_rows, tile_columns);
              }
          }
      }
    }
  }
}

// ---- Few rows: dot products straight from b's rows, bound by the reading of b.

template <int rows, int columns>
inline void dot_products(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t K, float (*out)[columns]) {
  vfloat sums[rows][columns] = {};
  int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes)
#pragma GCC unroll 4
    for (int j = 0; j < columns; ++j) {
      const vfloat factor = load(b + j * ldb + k);
#pragma GCC unroll 8
      for (int i = 0; i < rows; ++i) sums[i][j] = fma(factor, load(a + i * lda + k), sums[i][j]);
    }
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j) out[i][j] = sum(sums[i][j]);
  for (; k < K; ++k)
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) out[i][j] = fma(a[i * lda + k], b[j * ldb + k], out[i][j]);
}

template <int rows, int columns>
inline void dot_and_store(const float* a, int64_t lda, const float* b, int64_t ldb, const float* residual, int64_t ldr,
                          float* c, int64_t ldc, int64_t K) {
  float out[rows][columns];
  dot_products<rows, columns>(a, lda, b, ldb, K, out);
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < columns; ++j)
      c[i * ldc + j] = residual == nullptr ? out[i][j] : out[i][j] + residual[i * ldr + j];
}

template <int rows>
void multiply_few_rows(tb_context* context, const float* a, int64_t lda, const float* b, int64_t ldb, const float* residual,
                       int64_t ldr, float* c, int64_t ldc, int64_t N, int64_t K) {
  constexpr int columns = rows <= 2 ? 4 : 2;
  const int wanted = double(rows) * double(N) * double(K) < double(kSmallProduct) ? 1 : context->threads;
#pragma omp parallel num_threads(wanted)
  {
    const int64_t threads = omp_get_num_threads();
    const int64_t thread = omp_get_thread_num();
    const int64_t last = share_start(N, thread + 1, threads);
    int64_t n = share_start(N, thread, threads);
    for (; n + columns <= last; n += columns)
      dot_and_store<rows, columns>(a, lda, b + n * ldb, ldb, residual == nullptr ? nullptr : residual + n, ldr, c + n, ldc, K);
    for (; n < last; ++n)
      dot_and_store<rows, 1>(a, lda, b + n * ldb, ldb, residual == nullptr ? nullptr : residual + n, ldr, c + n, ldc, K);
  }
}

// An empty depth leaves the residual. True: nothing is left to do.
bool is_empty_product(const float* residual, int64_t ldr, float* c, int64_t ldc, int64_t M, int64_t N, int64_t K) {
  if (M > 0 && N > 0 && K > 0) return false;
  for (int64_t i = 0; i < M; ++i)
    for (int64_t j = 0; j < N; ++j) c[i * ldc + j] = residual == nullptr ? 0 : residual[i * ldr + j];
  return true;
}

// Panels of a, whose rows are the product's rows.
auto packer_a(const float* a, int64_t lda, bool transposed) {
  return [=](int64_t row, int64_t rows, int64_t k, int64_t depth, float* out) {
    if (transposed)
      pack_straight<kTileRows>(a + k * lda + row, lda, rows, depth, out);
    else
      pack_turned<kTileRows>(reinterpret_cast<const char*>(a + row * lda + k), lda * 4, rows, depth,
                             reinterpret_cast<uint32_t*>(out));
  };
}

}  // namespace

void gemm_f32(tb_context* context, const float* a, int64_t lda, bool transpose_a, const float* b, int64_t ldb,
              bool transpose_b, const float* residual, int64_t ldr, float* c, int64_t ldc, int64_t M, int64_t N, int64_t K) {
  if (is_empty_product(residual, ldr, c, ldc, M, N, K)) return;
  if (M <= kFewRows && transpose_b && !transpose_a) {
    switch (M) {
#define TB_FEW_ROWS(rows) \
  case rows:              \
    return multiply_few_rows<rows>(context, a, lda, b, ldb, residual, ldr, c, ldc, N, K);
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
  const auto pack_b = [=](int64_t column, int64_t columns, int64_t k, int64_t depth, float* out) {
    if (transpose_b)
      pack_turned<kTileColumns>(reinterpret_cast<const char*>(b + column * ldb + k), ldb * 4, columns, depth,
                                reinterpret_cast<uint32_t*>(out));
    else
      pack_straight<kTileColumns>(b + k * ldb + column, ldb, columns, depth, out);
  };
  multiply(context, packer_a(a, lda, transpose_a), pack_b, residual, ldr, c, ldc, M, N, K);
}

void gemm_f32_int8(tb_context* context, const float* a, int64_t lda, bool transpose_a, const int8_t* b, int64_t ldb,
                   const float* b_scale, const float* residual, int64_t ldr, float* c, int64_t ldc, int64_t M, int64_t N,
                   int64_t K) {
  if (is_empty_product(residual, ldr, c, ldc, M, N, K)) return;
  const auto pack_b = [=](int64_t column, int64_t columns, int64_t k, int64_t depth, float* out) {
    pack_scaled<kTileColumns>(b + k * ldb + column, ldb, b_scale + k, columns, depth, out);
  };
  multiply(context, packer_a(a, lda, transpose_a), pack_b, residual, ldr, c, ldc, M, N, K);
}

}  // namespace tb::TB_ISA

// ---- Launcher -------------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS
extern "C" tb_status tb_gemm(tb_context* context, tb_dtype dtype, const void* a, const void* b, tb_dtype c_dtype,
                             const void* residual, void* c, int64_t M, int64_t N, int64_t K, int32_t transpose_a,
                             int32_t transpose_b) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_gemm");
  TB_REQUIRE_F32(context, c_dtype, "tb_gemm");
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0, "Cannot run tb_gemm as M, N and K must be positive: current values are %lld, %lld, %lld",
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, a != nullptr && b != nullptr && c != nullptr, "Cannot run tb_gemm as a, b and c must not be null");
  TB_DISPATCH(context, gemm_f32,
              (context, static_cast<const float*>(a), transpose_a ? M : K, transpose_a != 0, static_cast<const float*>(b),
               transpose_b ? K : N, transpose_b != 0, static_cast<const float*>(residual), N, static_cast<float*>(c), N, M, N,
               K));
  return TB_OK;
}
#endif
