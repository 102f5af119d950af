// ---- Contract -------------------------------------------------------------------------------------------------------
//
// y (M, N) float32 or bfloat16 = (x (M, K) int8 . wᵀ) * x_scale (M) * w_scale (N) + residual (M, N); w (N, K) in {-1, 0, 1} as
// int8, or as 2-bit codes (pack_ternary.cu). arXiv:2402.17764 with per-token scales.
//
// The integer product is exact in int32. The epilogue is the CPU build's fixed order of float32 operations, each rounded alone:
//   y = fl(fl(float32(sum) * fl(x_scale[m] * w_scale[n])) + residual[m][n])
// then rounded to y's dtype (half to even), so that float32 results equal the CPU build's to the last bit, from int8 and from
// 2-bit weights, whatever path computes them. K is limited to 2^17, up to which float32(sum) is exact.
//
// Paths: 2-bit weights of up to kFewPackedRows rows, gemm_ternary_packed_rows.cu; on Hopper of more, gemm_ternary_packed_sm90.cu, and from
// kUnpackedRows rows on int8 weights made in scratch memory. int8 weights of up to kFewRows rows, gemm_ternary_rows.cuh (a warp an
// output, dp4a); more, wgmma on Hopper (gemm_ternary_sm90.cu), else mma.sync m16n8k32 on tiles of gemm_tiles.cuh. There, activations,
// and int8 weights, that are not whole 16-byte chunks a row are read byte by byte (correct, slow).

#include "gemm_ternary.cuh"
#include "gemm_ternary_rows.cuh"
#include "gemm_tiles.cuh"

namespace tb {
namespace {

// ---- Device: tiles ----------------------------------------------------------------------------------------------------

enum class Weights { bytes, codes };

// What fits no asynchronous copy: lines whose rows begin anywhere, byte by byte; 0 beyond the matrix.
template <int Rows, int Threads, class Order>
struct ByteCopier {
  using Lines = LineCopier<Rows, Threads, Order>;
  Lines lines;
  int64_t left;  // bytes of a row from this thread's chunk on

  __device__ __forceinline__ ByteCopier(const void* matrix, int64_t first_row, int64_t rows, int64_t row_bytes)
      : lines(matrix, first_row, rows, row_bytes), left(row_bytes - Lines::chunk() * kChunkBytes) {}

  __device__ __forceinline__ void copy(char* to) {
    const char* row = lines.from;
#pragma unroll 1
    for (int i = 0; i < Lines::kCount; ++i, row += lines.apart) {
      uint32_t words[4] = {0, 0, 0, 0};
      if ((lines.present >> i & 1) != 0) {
#pragma unroll
        for (int byte = 0; byte < kChunkBytes; ++byte)
          if (byte < left) words[byte / 4] |= uint32_t(uint8_t(row[byte])) << 8 * (byte % 4);
      }
      *reinterpret_cast<uint4*>(to + Lines::offset(i)) = make_uint4(words[0], words[1], words[2], words[3]);
    }
    lines.advance();
    left -= kStepBytes;
  }
};

// 2-bit weights: a word of 16 codes is a chunk of 16 bytes. Words wait in registers while the tensor cores work.
template <int Rows, int Threads, class Order>
struct CodeCopier {
  static constexpr int kCount = Rows * kStepChunks / Threads;
  static constexpr int kApart = Threads / kStepChunks;

  const uint32_t* from;  // this thread's word of its first row, in the next step
  int64_t apart;
  int32_t steps_left;
  uint32_t present;
  uint32_t words[kCount];

  __device__ __forceinline__ CodeCopier(const int32_t* packed, int64_t first_row, int64_t rows, int64_t row_words) {
    const int64_t row = first_row + threadIdx.x / kStepChunks;
    from = reinterpret_cast<const uint32_t*>(packed) + row * row_words + threadIdx.x % kStepChunks;
    apart = kApart * row_words;
    steps_left = int32_t(ceil_div(row_words - threadIdx.x % kStepChunks, kStepChunks));
    present = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) present |= uint32_t(row + i * kApart < rows) << i;
  }

  __device__ __forceinline__ void read() {
    const uint32_t valid = steps_left > 0 ? present : 0;
    const uint32_t* row = from;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      words[i] = valid >> i & 1 ? __ldg(row) : kZeroCodes;
      row = not_kept(row + apart);
    }
    from += kStepChunks;
    --steps_left;
  }

  __device__ __forceinline__ void write(char* to) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      *reinterpret_cast<uint4*>(to + line_offset<Order>(threadIdx.x / kStepChunks + i * kApart, threadIdx.x % kStepChunks)) =
          bytes_of_codes(words[i]);
  }
};

// Eight neighbours of a row: sums through the epilogue.
__device__ __forceinline__ void finish_eight(const TernaryProduct& product, int64_t m, int64_t n, const int32_t (&sums)[8],
                                             const float (&w_scale)[8], float x_scale) {
  const int64_t at = m * product.N + n;
  if (!product.wide) {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (n + i < product.N) finish_one(product, at + i, sums[i], x_scale, w_scale[i]);
    return;
  }
  if (n >= product.N) return;
  float values[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = scaled_sum(sums[i], x_scale, w_scale[i]);
  if (product.dtype == TB_BF16) {
    if (product.residual != nullptr) {
      float residual[8];
      load_floats<8>(static_cast<const bf16*>(product.residual) + at, residual);
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] = __fadd_rn(values[i], residual[i]);
    }
    store_floats<8>(static_cast<bf16*>(product.y) + at, values);
    return;
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float four[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) four[i] = values[4 * half + i];
    if (product.residual != nullptr) {
      float residual[4];
      load_floats<4>(static_cast<const float*>(product.residual) + at + 4 * half, residual);
#pragma unroll
      for (int i = 0; i < 4; ++i) four[i] = __fadd_rn(four[i], residual[i]);
    }
    store_floats<4>(static_cast<float*>(product.y) + at + 4 * half, four);
  }
}

// Aligned: rows of x, and of int8 weights, are whole chunks.
template <class Tile, Weights kind, bool Aligned>
__global__ void __launch_bounds__(Tile::threads, Tile::blocks_per_sm) ternary_tiles(const TernaryProduct product, const int stages) {
  extern __shared__ __align__(128) char shared[];
  const uint32_t shared_base = shared_address(shared);
  const int64_t K = product.K;
  const TilePlace place = place_of_block<Tile>(product.M, product.N);
  const int warp = threadIdx.x / 32;
  const int warp_row = warp / Tile::warps_across * Tile::warp_rows;
  const int warp_column = warp % Tile::warps_across * Tile::warp_columns;

  int32_t sums[Tile::row_tiles][Tile::column_tiles][4] = {};
  struct Fragments {
    uint32_t a[Tile::row_tiles][4];
    uint32_t b[Tile::column_tiles / 2][4];
  };

  ByteCopier<Tile::rows, Tile::threads, RowsInOrder> x(product.x, place.row, product.M, K);
  ByteCopier<Tile::columns, Tile::threads, RowsDealt> w(product.w, place.column, product.N, K);
  CodeCopier<Tile::columns, Tile::threads, RowsDealt> codes(product.packed, place.column, product.N, ceil_div(K, 16));

  run_depth<Fragments>(
      int(ceil_div(K, kStepBytes)), stages,
      [&](int stage) {
        const uint32_t at = stage * Tile::stage_bytes;
        if constexpr (Aligned)
          x.lines.copy(shared_base + at);
        else
          x.copy(shared + at);
        if constexpr (kind == Weights::codes)
          codes.read();
        else if constexpr (Aligned)
          w.lines.copy(shared_base + at + Tile::rows_bytes);
        else
          w.copy(shared + at + Tile::rows_bytes);
      },
      [&](int stage) {
        if constexpr (kind == Weights::codes) codes.write(shared + stage * Tile::stage_bytes + Tile::rows_bytes);
      },
      [&](Fragments& to, int stage, int part) {
        const uint32_t lines = shared_base + stage * Tile::stage_bytes;
        load_a_lines(to.a, lines, warp_row, part);
        load_b_lines<RowsDealt>(to.b, lines + Tile::rows_bytes, warp_column, part);
      },
      [&](const Fragments& from) {
#pragma unroll
        for (int i = 0; i < Tile::row_tiles; ++i)
#pragma unroll
          for (int j = 0; j < Tile::column_tiles; ++j)
            multiply_int8(sums[i][j], from.a[i], from.b[j / 2][j % 2 * 2], from.b[j / 2][j % 2 * 2 + 1]);
      });

  // Of each 32 columns a thread has eight, of each 16 rows two.
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int group = 0; group < Tile::column_tiles / 4; ++group) {
    const int64_t n = place.column + warp_column + 32 * group + lane % 4 * 8;
    float w_scale[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) w_scale[i] = n + i < product.N ? __ldg(product.w_scale + n + i) : 0.0f;
#pragma unroll
    for (int i = 0; i < 2 * Tile::row_tiles; ++i) {
      const int64_t m = place.row + warp_row + 8 * i + lane / 4;
      if (m >= product.M) continue;
      int32_t eight[8];
#pragma unroll
      for (int j = 0; j < 8; ++j) eight[j] = sums[i / 2][4 * group + j / 2][i % 2 * 2 + j % 2];
      finish_eight(product, m, n, eight, w_scale, __ldg(product.x_scale + m));
    }
  }
}

// ---- Launchers --------------------------------------------------------------------------------------------------------

template <class Tile, Weights kind, bool Aligned>
tb_status launch_tiles(tb_context* context, const char* op, const TernaryProduct& product) {
  const int64_t blocks = blocks_of<Tile>(product.M, product.N);
  TB_REQUIRE(context, blocks <= INT32_MAX, "Cannot run %s as M x N may have 2^31 - 1 tiles at most: current values are %lld, %lld",
             op, (long long)product.M, (long long)product.N);
  const int stages = stages_for<Tile>(context);
  const int bytes = stages * Tile::stage_bytes;
  const auto kernel = ternary_tiles<Tile, kind, Aligned>;
  const tb_status status = checked(context, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
                                   "reserve shared memory for the ternary product");
  if (status != TB_OK) return status;
  kernel<<<unsigned(blocks), Tile::threads, bytes, context->stream>>>(product, stages);
  return launched(context, op);
}

// Rows from which on wgmma, on int8 weights that are made in scratch memory first, is the fastest from 2-bit weights: 143 us in the place of
// 210 at 4096 x 11264 x 2048, where unpacking takes a few. Its weights reach the tensor cores without passing through registers.
constexpr int64_t kUnpackedRows = 256;

bool fits_unpacked(const tb_context* context, const TernaryProduct& product, TernaryProduct* unpacked) {
  if (product.packed == nullptr || product.M < kUnpackedRows || product.N * product.K > kScratchBytes) return false;
  *unpacked = product;
  unpacked->w = reinterpret_cast<int8_t*>(context->scratch);
  unpacked->packed = nullptr;
  return fits_ternary_sm90(context, *unpacked);
}

template <Weights kind>
tb_status launch(tb_context* context, const char* op, const TernaryProduct& product) {
  TernaryProduct unpacked;
  if (fits_unpacked(context, product, &unpacked)) {
    const tb_status status = unpack_ternary(context, op, product.packed, reinterpret_cast<int8_t*>(context->scratch), product.N, product.K);
    return status == TB_OK ? ternary_sm90(context, op, unpacked) : status;
  }
  if (fits_ternary_packed_sm90(context, product)) return ternary_packed_sm90(context, op, product);
  if (fits_packed_rows(context, product)) return ternary_packed_rows(context, op, product);
  const bool aligned = product.K % kChunkBytes == 0 && is_aligned(product.x, kChunkBytes) &&
                       (kind == Weights::codes || is_aligned(product.w, kChunkBytes));
  if (product.M <= kFewRows && aligned) return launch_rows<kind == Weights::codes>(context, op, product);
  if (fits_ternary_sm90(context, product)) return ternary_sm90(context, op, product);
  if (!aligned) return launch_tiles<SmallTile, kind, false>(context, op, product);
  if (takes_large_tiles(context, product.M, product.N)) return launch_tiles<LargeTile, kind, true>(context, op, product);
  return launch_tiles<SmallTile, kind, true>(context, op, product);
}

tb_status run(tb_context* context, const char* op, const int8_t* x, const float* x_scale, const int8_t* w, const int32_t* packed,
              const float* w_scale, tb_dtype dtype, const void* residual, void* y, int64_t M, int64_t N, int64_t K) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dtype, op);
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0 && K <= (1 << 17),
             "Cannot run %s as M and N must be positive and K 1 to 131072: current values are %lld, %lld, %lld", op,
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, x != nullptr && x_scale != nullptr && (w != nullptr || packed != nullptr) && w_scale != nullptr && y != nullptr,
             "Cannot run %s as x, its scale, the weights, their scale and y must not be null", op);
  const bool wide = N % 8 == 0 && is_aligned(y, 16) && is_aligned(residual, 16);
  const TernaryProduct product{x, x_scale, w, packed, w_scale, dtype, residual, y, M, N, K, wide};
  return packed != nullptr ? launch<Weights::codes>(context, op, product) : launch<Weights::bytes>(context, op, product);
}

}  // namespace
}  // namespace tb

extern "C" {

tb_status tb_gemm_ternary_forward(tb_context* context, const int8_t* x, const float* x_scale, const int8_t* w,
                                  const float* w_scale, tb_dtype dtype, const void* residual, void* y, int64_t M, int64_t N,
                                  int64_t K) {
  return tb::run(context, "tb_gemm_ternary_forward", x, x_scale, w, nullptr, w_scale, dtype, residual, y, M, N, K);
}

tb_status tb_gemm_ternary_packed_forward(tb_context* context, const int8_t* x, const float* x_scale, const int32_t* packed,
                                         const float* w_scale, tb_dtype dtype, const void* residual, void* y, int64_t M,
                                         int64_t N, int64_t K) {
  return tb::run(context, "tb_gemm_ternary_packed_forward", x, x_scale, nullptr, packed, w_scale, dtype, residual, y, M, N, K);
}

}  // extern "C"
