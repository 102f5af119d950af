// ---- Contract -------------------------------------------------------------------------------------------------------
//
// c (M, N) float32 or bfloat16 = op(a) . op(b) + residual with a and b bfloat16, all four layouts: the project's own product on
// tensor cores, for where cuBLASLt was not found. mma.sync m16n8k16, sums in float32 in the order of the depth, the residual added
// in float32, one rounding to c's dtype (half to even). Deterministic.
//
// Rows of a and b must be whole, aligned chunks of 16 bytes; gemm_f32.cu takes the rest.

#include "gemm_kernels.cuh"
#include "gemm_tiles.cuh"
#include "load_store.cuh"

namespace tb {
namespace {

constexpr int kStepDepth = kStepBytes / 2;  // of bfloat16

// ---- Device -----------------------------------------------------------------------------------------------------------

// An operand whose rows lie across the depth (a transposed, b not): a step is kStepDepth rows of `Extent` elements.
template <int Extent, int Threads>
struct CrossCopier {
  static constexpr int kRowChunks = Extent / 8;
  static constexpr int kApart = Threads / kRowChunks;
  static constexpr int kCount = kStepDepth / kApart;
  static_assert(kApart % 8 == 0, "a thread's rows exchange chunks alike");

  const bf16* from;     // this thread's chunk of its first row, in the next step
  int64_t apart;        // elements from one of its rows to the next
  int64_t row_length;
  int32_t rows_left;    // of the depth, from its first row on; 0 where its chunk lies beyond the matrix

  __device__ __forceinline__ CrossCopier(const void* matrix, int64_t first, int64_t length, int64_t depth) {
    const int64_t at = first + threadIdx.x % kRowChunks * 8;
    const int row = threadIdx.x / kRowChunks;
    row_length = length;
    apart = kApart * length;
    from = static_cast<const bf16*>(matrix) + row * length + at;
    rows_left = at < length ? int32_t(depth) - row : 0;
  }

  static __device__ __forceinline__ uint32_t offset(int row, int chunk) {
    return uint32_t(row * Extent * 2 + (chunk ^ (row & 7)) * kChunkBytes);
  }

  __device__ __forceinline__ void copy(uint32_t to) {
    const bf16* row = from;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      copy_async<16>(to + offset(threadIdx.x / kRowChunks + i * kApart, threadIdx.x % kRowChunks), row,
                     i * kApart < rows_left ? 16 : 0);
      row = not_kept(row + apart);
    }
    from += kStepDepth * row_length;
    rows_left -= kStepDepth;
  }

  // 8 x 8 block of the depth from `k` on and of the extent from `at` on; lane % 8 picks the row.
  static __device__ __forceinline__ uint32_t block_row(uint32_t base, int k, int at) {
    return base + offset(k + threadIdx.x % 8, at / 8);
  }
};

__device__ __forceinline__ float element(const void* values, tb_dtype dtype, int64_t at) {
  return dtype == TB_BF16 ? to_float(static_cast<const bf16*>(values)[at]) : static_cast<const float*>(values)[at];
}

// Two neighbours of a row of c.
__device__ __forceinline__ void finish_two(const Product& product, int64_t m, int64_t n, float first, float second, bool paired) {
  const int64_t at = m * product.row_stride() + n;
  const bool both = n + 1 < product.N;
  if (product.residual != nullptr) {
    first = __fadd_rn(first, element(product.residual, product.c_dtype, at));
    if (both) second = __fadd_rn(second, element(product.residual, product.c_dtype, at + 1));
  }
  const float two[2] = {first, second};
  if (product.c_dtype == TB_BF16) {
    bf16* c = static_cast<bf16*>(product.c) + at;
    if (paired && both)
      store_floats<2>(c, two);
    else {
      c[0] = from_float<bf16>(first);
      if (both) c[1] = from_float<bf16>(second);
    }
  } else {
    float* c = static_cast<float*>(product.c) + at;
    if (paired && both)
      store_floats<2>(c, two);
    else {
      c[0] = first;
      if (both) c[1] = second;
    }
  }
}

// paired: neighbours of c from an even column on are aligned.
template <class Tile, bool TransposeA, bool TransposeB>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_per_sm) bf16_tiles(const Product product, const int stages,
                                                                                 const bool paired) {
  extern __shared__ __align__(128) char shared[];
  const uint32_t shared_base = shared_address(shared);
  const TilePlace place = place_of_block<Tile>(product.M, product.N);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_row = warp / Tile::warps_across * Tile::warp_rows;
  const int warp_column = warp % Tile::warps_across * Tile::warp_columns;

  float sums[Tile::row_tiles][Tile::column_tiles][4] = {};
  struct Fragments {
    uint32_t a[Tile::row_tiles][4];
    uint32_t b[Tile::column_tiles / 2][4];
  };

  using ALines = LineCopier<Tile::rows, Tile::threads, RowsInOrder>;
  using BLines = LineCopier<Tile::columns, Tile::threads, RowsInOrder>;
  using ACross = CrossCopier<Tile::rows, Tile::threads>;
  using BCross = CrossCopier<Tile::columns, Tile::threads>;
  ALines a_lines(product.a, place.row, product.M, 2 * product.K);
  BLines b_lines(product.b, place.column, product.N, 2 * product.K);
  ACross a_cross(product.a, place.row, product.M, product.K);
  BCross b_cross(product.b, place.column, product.N, product.K);

  run_depth<Fragments>(
      int(ceil_div(product.K, kStepDepth)), stages,
      [&](int stage) {
        const uint32_t to = shared_base + stage * Tile::stage_bytes;
        if constexpr (TransposeA)
          a_cross.copy(to);
        else
          a_lines.copy(to);
        if constexpr (TransposeB)
          b_lines.copy(to + Tile::rows_bytes);
        else
          b_cross.copy(to + Tile::rows_bytes);
      },
      [](int) {},
      [&](Fragments& to, int stage, int part) {
        const uint32_t a = shared_base + stage * Tile::stage_bytes, b = a + Tile::rows_bytes;
        if constexpr (TransposeA) {
#pragma unroll
          for (int i = 0; i < Tile::row_tiles; ++i)
            load_matrices_transposed(to.a[i], ACross::block_row(a, 16 * part + lane / 16 * 8, warp_row + 16 * i + lane / 8 % 2 * 8));
        } else {
          load_a_lines(to.a, a, warp_row, part);
        }
        if constexpr (TransposeB) {
          load_b_lines<RowsInOrder>(to.b, b, warp_column, part);
        } else {
#pragma unroll
          for (int i = 0; i < Tile::column_tiles / 2; ++i)
            load_matrices_transposed(to.b[i],
                                     BCross::block_row(b, 16 * part + lane / 8 % 2 * 8, warp_column + 16 * i + lane / 16 * 8));
        }
      },
      [&](const Fragments& from) {
#pragma unroll
        for (int i = 0; i < Tile::row_tiles; ++i)
#pragma unroll
          for (int j = 0; j < Tile::column_tiles; ++j)
            multiply_bf16(sums[i][j], from.a[i], from.b[j / 2][j % 2 * 2], from.b[j / 2][j % 2 * 2 + 1]);
      });

#pragma unroll
  for (int i = 0; i < 2 * Tile::row_tiles; ++i) {
    const int64_t m = place.row + warp_row + 8 * i + lane / 4;
    if (m >= product.M) continue;
#pragma unroll
    for (int j = 0; j < Tile::column_tiles; ++j) {
      const int64_t n = place.column + warp_column + 8 * j + lane % 4 * 2;
      if (n < product.N) finish_two(product, m, n, sums[i / 2][j][i % 2 * 2], sums[i / 2][j][i % 2 * 2 + 1], paired);
    }
  }
}

// ---- Launchers --------------------------------------------------------------------------------------------------------

template <class Tile, bool TransposeA, bool TransposeB>
tb_status launch(tb_context* context, const char* op, const Product& product) {
  const int64_t blocks = blocks_of<Tile>(product.M, product.N);
  TB_REQUIRE(context, blocks <= INT32_MAX && product.K <= INT32_MAX,
             "Cannot run %s as K and the tiles of M x N must be at most 2^31 - 1: current values are %lld, %lld x %lld", op,
             (long long)product.K, (long long)product.M, (long long)product.N);
  const int stages = stages_for<Tile>(context);
  const int bytes = stages * Tile::stage_bytes;
  const auto kernel = bf16_tiles<Tile, TransposeA, TransposeB>;
  const tb_status status = checked(context, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
                                   "reserve shared memory for the bfloat16 product");
  if (status != TB_OK) return status;
  const bool paired = product.row_stride() % 2 == 0 && is_aligned(product.c, 2 * bytes_of(product.c_dtype));
  kernel<<<unsigned(blocks), Tile::threads, bytes, context->stream>>>(product, stages, paired);
  return launched(context, op);
}

template <class Tile>
tb_status launch_layout(tb_context* context, const char* op, const Product& product) {
  if (product.transpose_a)
    return product.transpose_b ? launch<Tile, true, true>(context, op, product) : launch<Tile, true, false>(context, op, product);
  return product.transpose_b ? launch<Tile, false, true>(context, op, product) : launch<Tile, false, false>(context, op, product);
}

}  // namespace

bool fits_gemm_bf16(const Product& product) {
  const int64_t a_row = product.transpose_a ? product.M : product.K, b_row = product.transpose_b ? product.K : product.N;
  return a_row % 8 == 0 && b_row % 8 == 0 && is_aligned(product.a, kChunkBytes) && is_aligned(product.b, kChunkBytes);
}

tb_status gemm_bf16(tb_context* context, const char* op, const Product& product) {
  if (takes_large_tiles(context, product.M, product.N)) return launch_layout<LargeTile>(context, op, product);
  return launch_layout<SmallTile>(context, op, product);
}

}  // namespace tb
