// ---- Contract -------------------------------------------------------------------------------------------------------
//
// The ternary product of gemm_ternary.cu from 2-bit weights on Hopper's tensor cores, for many rows: y (M, N) float32 or bfloat16 =
// (x (M, K) int8 . wᵀ) * x_scale (M) * w_scale (N) + residual (M, N); w (N, K / 16) words of 16 codes. Sums in int32, exact; the epilogue
// is the other paths', to the last bit:
//   y = fl(fl(float32(sum) * fl(x_scale[m] * w_scale[n])) + residual[m][n]), then y's dtype (half to even).
// K is a multiple of 64, rows of x and of codes begin at multiples of 16 bytes (fits_ternary_packed_sm90). No atomics, no workspace.
//
// The frame is gemm_ternary_sm90.cu's, turned around: the tensor cores' left operand are weights, which they take from registers, the
// right one are lines of x in shared memory. A warp spreads its codes in registers for the next step while tensor cores work on this one:
// int8 weights exist nowhere else. A block has 128 outputs x Columns rows of x; the blocks of a cluster have different outputs and the
// same rows of x, of which each brings its share to all.

#include "gemm_ternary_sm90.cuh"
#include "load_store.cuh"

#if defined(__CUDA_ARCH__) && !defined(TB_HAS_HOPPER_CODE)
#pragma nv_diag_suppress 177  // for other architectures the kernel is empty, and nobody uses what it is made of
#endif

namespace tb {
namespace {

// ---- Tiles --------------------------------------------------------------------------------------------------------------

constexpr int kCodeBytes = kLineBytes / 4;  // of an output in a stage: 128 codes

// Columns: rows of x. Lead: steps by which the first group runs ahead of the second, so that one multiplies while the other writes.
template <int Columns, int Stages, int Cluster, int Lead>
struct PackedTile {
  static constexpr int columns = Columns, stages = Stages, cluster = Cluster, lead = Lead;
  static constexpr int x_bytes = Columns * kLineBytes;
  static constexpr int stage_bytes = x_bytes + kRows * kCodeBytes;
  static constexpr int x_rows = Columns / Cluster;  // that each block of a cluster brings
  static constexpr int shared_bytes = Stages * (stage_bytes + 16);
  static_assert(stage_bytes % kLinesAlignment == 0 && x_rows % 8 == 0 && Lead < Stages,
                "whole groups of eight lines; the first group may not wait for a stage that the second has not freed");
};

// A stage of 128 x 256 takes the tensor cores 1,024 clocks, in which they read 64 KB of x from shared memory and copies bring 36.
using LargeTile = PackedTile<256, 6, 2, 2>;
using MiddleTile = PackedTile<128, 10, 2, 2>;
using SmallTile = PackedTile<64, 12, 1, 2>;

template <class Tile>
struct Shared {
  uint32_t lines, barriers;

  __device__ __forceinline__ explicit Shared(uint32_t base) : lines(base), barriers(base + Tile::stages * Tile::stage_bytes) {}
  __device__ __forceinline__ uint32_t x(int stage) const { return lines + stage * Tile::stage_bytes; }
  __device__ __forceinline__ uint32_t codes(int stage) const { return x(stage) + Tile::x_bytes; }
  __device__ __forceinline__ uint32_t full(int stage) const { return barriers + 8 * stage; }  // bytes have come
  __device__ __forceinline__ uint32_t free(int stage) const { return barriers + 8 * (Tile::stages + stage); }  // nobody reads them
};

// ---- Device: codes to operands ----------------------------------------------------------------------------------------------

__device__ __forceinline__ uint4 load_shared(uint32_t from) {
  uint4 to;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];" : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w) : "r"(from) : "memory");
  return to;
}

// Of two words that follow each other, the four codes 4t .. of each as int8. which: t | (4 + t) << 8.
__device__ __forceinline__ void spread(uint32_t first, uint32_t second, uint32_t which, uint32_t& of_first, uint32_t& of_second) {
  constexpr uint32_t kWeights = 0x020100ff;  // byte c: c - 1
  uint32_t codes = __byte_perm(first, second, which) & 0x00ff00ff;
  codes = (codes | codes << 4) & 0x0f0f0f0f;
  codes = (codes | codes << 2) & 0x33333333;
  of_first = __byte_perm(kWeights, 0, codes);
  of_second = __byte_perm(kWeights, 0, codes >> 16);
}

// A stage of a thread's two outputs, whose codes lie one behind the other from `from` on, as left operands of four products.
__device__ __forceinline__ void prepare(uint32_t (&a)[4][4], uint32_t from, uint32_t which) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint4 low = load_shared(from + half * kCodeBytes), high = load_shared(from + half * kCodeBytes + 16);
    spread(low.x, low.y, which, a[0][half], a[0][2 + half]);
    spread(low.z, low.w, which, a[1][half], a[1][2 + half]);
    spread(high.x, high.y, which, a[2][half], a[2][2 + half]);
    spread(high.z, high.w, which, a[3][half], a[3][2 + half]);
  }
}

// ---- Device: results --------------------------------------------------------------------------------------------------------

// sums[4j + 2h + e]: output n + h of row m + 8j + e. Pairs of outputs are one access; eight lanes write 32 bytes of bfloat16 that follow
// each other, whole sectors.
template <class Out, int Count>
__device__ __forceinline__ void finish_pairs(const TernaryProduct& product, int64_t m, int64_t n, const int32_t (&sums)[Count]) {
  constexpr int kTogether = 4;
  if (n >= product.N) return;
  const float w_scale[2] = {__ldg(product.w_scale + n), __ldg(product.w_scale + n + 1)};
  const float* x_scale = product.x_scale + m;
  const int64_t at = m * product.N + n;
  const Out* residual = product.residual == nullptr ? nullptr : static_cast<const Out*>(product.residual) + at;
  Out* y = static_cast<Out*>(product.y) + at;
  const int left = int(product.M - m);
#pragma unroll
  for (int first = 0; first < Count / 4; first += kTogether) {
    float scales[kTogether][2];
    Pack<Out, 2> others[kTogether][2];
#pragma unroll
    for (int j = 0; j < kTogether; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = 8 * (first + j) + e;
        scales[j][e] = row < left ? __ldg(x_scale + row) : 0.0f;
        if (residual != nullptr && row < left) others[j][e] = load_pack<2>(residual + row * product.N);
      }
#pragma unroll
    for (int j = 0; j < kTogether; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = 8 * (first + j) + e;
        if (row >= left) continue;
        float values[2];
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          values[h] = scaled_sum(sums[4 * (first + j) + 2 * h + e], scales[j][e], w_scale[h]);
          if (residual != nullptr) values[h] = __fadd_rn(values[h], to_float(others[j][e].values[h]));
        }
        store_floats<2>(y + row * product.N, values);
      }
  }
}

// The same whatever N and the alignment are: one by one.
template <int Count>
__device__ __forceinline__ void finish_each(const TernaryProduct& product, int64_t m, int64_t n, const int32_t (&sums)[Count]) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (n + h >= product.N) continue;
    const float w_scale = __ldg(product.w_scale + n + h);
#pragma unroll
    for (int i = 0; i < Count / 2; ++i) {
      const int64_t row = m + i / 2 * 8 + i % 2;
      if (row < product.M)
        finish_one(product, row * product.N + n + h, sums[i / 2 * 4 + 2 * h + i % 2], __ldg(product.x_scale + row), w_scale);
    }
  }
}

// ---- Device: the two kinds of warps -----------------------------------------------------------------------------------------

// One thread.
template <class Tile>
__device__ __forceinline__ void bring_stages(const CUtensorMap* x_map, const CUtensorMap* codes_map, const Shared<Tile>& shared,
                                             const Places<Tile>& places, int rank, unsigned cluster, unsigned clusters, int K) {
  Ring<Tile> ring;
  for (unsigned index = cluster; index < places.count; index += clusters) {
    int output, x_row;
    places.find(index, output, x_row);
    output += rank * kRows;
    x_row += rank * Tile::x_rows;
#pragma unroll 1
    for (int k = 0; k < K; k += kLineBytes) {
      wait_phase(shared.free(ring.stage), ring.parity ^ 1);
      const uint32_t full = shared.full(ring.stage), x = shared.x(ring.stage) + rank * Tile::x_rows * kLineBytes;
      arrive_expecting(full, Tile::stage_bytes);
      copy_box(shared.codes(ring.stage), codes_map, full, k / 4, output);
      if constexpr (Tile::cluster > 1)
        copy_box_to(uint16_t((1 << Tile::cluster) - 1), x, x_map, full, k, x_row, 0);
      else
        copy_box(x, x_map, full, k, x_row, 0);
      ring.advance();
    }
  }
}

// Four warps. `rank` is this block's in its cluster, `group` 0 or 1.
template <class Tile, class Out, bool Paired>
__device__ __forceinline__ void multiply(const TernaryProduct& product, const Shared<Tile>& shared, const Places<Tile>& places, int rank,
                                         unsigned cluster, unsigned clusters, int group) {
  const int lane = threadIdx.x % 32, thread = threadIdx.x % kGroupThreads, g = lane / 4, t = lane % 4;
  const int steps = int(ceil_div(product.K, kLineBytes));
  const int first_output = group * kGroupRows + thread / 32 * 16 + 2 * g;  // of this thread's two in the block's 128
  const uint64_t x_lines = describe_lines(shared.x(0));
  const uint32_t codes = shared.codes(0) + first_output * kCodeBytes, which = uint32_t(t | (4 + t) << 8);
  const bool whole_residual = product.residual != nullptr && reinterpret_cast<uint64_t>(product.residual) % 16 == 0 &&
                              product.N * sizeof(Out) % 16 == 0;

  Ring<Tile> ring;
  int before = 0, steps_ahead = min(Tile::lead, steps);
  int32_t sums[Tile::columns / 2] = {};
  uint32_t operands[2][4][4] = {};
  // Starts the products of a step whose operands are `now`, then makes the next step's.
  const auto turn = [&](uint32_t(&now)[4][4], uint32_t(&next)[4][4], int step) {
    const int stage = ring.stage;
    const uint64_t lines = x_lines + uint64_t(stage * (Tile::stage_bytes / 16));
    keep_operands(now);
    start_products();
#pragma unroll
    for (int part = 0; part < 4; ++part) multiply_lines(sums, now[part], lines + part * kNextDepth, step | part);
    commit_products();
    if (step > 0) {
      wait_products<1>();
      if (lane < Tile::cluster) arrive_at(shared.free(before), lane);
    }
    keep_operands(next);  // the products that read it are done
    before = stage;
    ring.advance();
    if (Tile::lead > 0 && group == 0 && --steps_ahead == 0) arrive_named(1, kProducts);
    if (step + 1 < steps) {
      wait_phase(shared.full(ring.stage), ring.parity);
      prepare(next, codes + ring.stage * Tile::stage_bytes, which);
    }
  };

  if (Tile::lead > 0 && group == 1) wait_named(1, kProducts);
  for (unsigned index = cluster; index < places.count; index += clusters) {
    int output, x_row;
    places.find(index, output, x_row);
    output += rank * kRows;

    // Residuals come from memory while the sums are made.
    const int64_t wide = min(int64_t(kGroupRows), product.N - output - group * kGroupRows);
    if (Paired && whole_residual && wide > 0)
      for (int i = thread; i < Tile::columns && x_row + i < product.M; i += kGroupThreads)
        prefetch_l2(static_cast<const Out*>(product.residual) + (x_row + i) * product.N + output + group * kGroupRows,
                    uint32_t(wide * sizeof(Out)));

    wait_phase(shared.full(ring.stage), ring.parity);
    prepare(operands[0], codes + ring.stage * Tile::stage_bytes, which);
#pragma unroll 1
    for (int step = 0; step < steps; step += 2) {
      turn(operands[0], operands[1], step);
      if (step + 1 < steps) turn(operands[1], operands[0], step + 1);
    }
    wait_products<0>();
    keep_sums(sums);
    if (lane < Tile::cluster) arrive_at(shared.free(before), lane);
    if constexpr (Paired)
      finish_pairs<Out>(product, x_row + 2 * t, output + first_output, sums);
    else
      finish_each(product, x_row + 2 * t, output + first_output, sums);
  }
}

// Paired: pairs of neighbours of y and residual, of Out, are aligned; else y's dtype is read from the product.
template <class Tile, class Out, bool Paired>
__global__ void __launch_bounds__(kThreads, 1)
    packed_sm90_tiles(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap codes_map,
                      const TernaryProduct product) {
#ifdef TB_HAS_HOPPER_CODE
  extern __shared__ __align__(kLinesAlignment) char memory[];
  const Shared<Tile> shared(shared_address(memory));
  const int rank = Tile::cluster > 1 ? int(rank_in_cluster()) : 0;
  const unsigned cluster = blockIdx.x / Tile::cluster, clusters = gridDim.x / Tile::cluster;
  const Places<Tile> places(product.N, product.M);
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);  // known to be the same in all lanes

  open_ring<Tile>(shared, &x_map, &codes_map);

  if (warp >= kProducts / 32) {
    give_registers<kCopyRegisters>();
    if (threadIdx.x == kProducts) bring_stages<Tile>(&x_map, &codes_map, shared, places, rank, cluster, clusters, int(product.K));
    if constexpr (Tile::cluster > 1) synchronize_cluster();  // nobody leaves while others still arrive at its barriers
  } else {
    take_registers<kProductRegisters>();
    multiply<Tile, Out, Paired>(product, shared, places, rank, cluster, clusters, warp / 4);
    if constexpr (Tile::cluster > 1) synchronize_cluster();
  }
#endif
}

// ---- Launchers ----------------------------------------------------------------------------------------------------------

MapShape codes_in_order(int64_t rows, int64_t K) {
  return {2, {cuuint64_t(K / 4), cuuint64_t(rows)}, {cuuint64_t(K / 4)}, {kCodeBytes, kRows}};
}

template <class Tile, class Out, bool Paired>
tb_status launch_tiles(tb_context* context, const char* op, const TernaryProduct& product) {
  CUtensorMap x_map, codes_map;
  int answer = 0;
  if (!encode_map(context, &x_map, product.x, rows_in_order_of_five(product.M, product.K, Tile::x_rows), kSwizzled, &answer) ||
      !encode_map(context, &codes_map, product.packed, codes_in_order(product.N, product.K), kPlain, &answer))
    return fail(context, TB_INTERNAL,
                "Cannot run %s as the driver of %s made no tensor map of %lld x %lld x %lld: it answered %d; TITANBIT_NO_WGMMA=1 uses "
                "another kernel",
                op, context->name, (long long)product.M, (long long)product.N, (long long)product.K, answer);
  return start_clusters<Tile>(context, op, packed_sm90_tiles<Tile, Out, Paired>, Places<Tile>(product.N, product.M).count, x_map,
                              codes_map, product);
}

constexpr Cost kCosts[] = {{LargeTile::columns, LargeTile::cluster, 1024},
                           {MiddleTile::columns, MiddleTile::cluster, 560},
                           {SmallTile::columns, SmallTile::cluster, 340}};

template <class Out>
tb_status launch_paired(tb_context* context, const char* op, const TernaryProduct& product) {
  switch (cheapest(context, kCosts, product.N, product.M, product.K)) {
    case 0: return launch_tiles<LargeTile, Out, true>(context, op, product);
    case 1: return launch_tiles<MiddleTile, Out, true>(context, op, product);
    default: return launch_tiles<SmallTile, Out, true>(context, op, product);
  }
}

}  // namespace

bool fits_ternary_packed_sm90(const tb_context* context, const TernaryProduct& product) {
  return context->encode_tensor_map != nullptr && !context->no_packed_wgmma && product.M > kFewPackedRows && product.packed != nullptr &&
         product.K % 64 == 0 &&
         is_aligned(product.x, 16) && is_aligned(product.packed, 16) && product.M <= INT32_MAX - kTallRows &&
         product.N <= INT32_MAX - kTallRows && ceil_div(product.N, kRows) * ceil_div(product.M, SmallTile::columns) <= INT32_MAX;
}

tb_status ternary_packed_sm90(tb_context* context, const char* op, const TernaryProduct& product) {
  const int64_t pair = 2 * bytes_of(product.dtype);
  const bool paired = product.N % 2 == 0 && is_aligned(product.y, pair) && is_aligned(product.residual, pair);
  if (!paired) return launch_tiles<MiddleTile, float, false>(context, op, product);
  return product.dtype == TB_BF16 ? launch_paired<bf16>(context, op, product) : launch_paired<float>(context, op, product);
}

}  // namespace tb
