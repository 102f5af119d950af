// ---- Contract -------------------------------------------------------------------------------------------------------
//
// The ternary product of gemm_ternary.cu on Hopper's tensor cores: y (M, N) float32 or bfloat16 = (x (M, K) int8 . wᵀ) * x_scale (M) *
// w_scale (N) + residual (M, N), w (N, K) in {-1, 0, 1} as int8. Sums in int32, exact; the epilogue is the same fixed order of
// float32 operations, so that results equal the other paths' to the last bit:
//   y = fl(fl(float32(sum) * fl(x_scale[m] * w_scale[n])) + residual[m][n]), then y's dtype (half to even).
// Rows of x and w must be whole chunks of 16 bytes, aligned to them (fits_ternary_sm90). No atomics, no workspace: which block
// computes what follows from the shape and the card.
//
// A block has 128 x Columns outputs at a time and stays until all tiles are done. One thread orders copies of 128 bytes of the depth
// (hopper.cuh) into a ring of stages; two groups of four warps own 64 x Columns sums each and multiply whatever stage is full. The
// blocks of a cluster lie below each other and need the same weights: each brings its share of them to all.

#include "gemm_ternary_sm90.cuh"

#if defined(__CUDA_ARCH__) && !defined(TB_HAS_HOPPER_CODE)
#pragma nv_diag_suppress 177  // for other architectures the kernel is empty, and nobody uses what it is made of
#endif

namespace tb {
namespace {

// ---- Tiles --------------------------------------------------------------------------------------------------------------

// Lead: steps by which the first group runs ahead of the second, so that one multiplies while the other writes results.
template <int Columns, int Stages, int Cluster, int Lead>
struct HopperTile {
  static constexpr int columns = Columns, stages = Stages, cluster = Cluster, lead = Lead;
  static constexpr int x_bytes = kRows * kLineBytes;
  static constexpr int stage_bytes = (kRows + Columns) * kLineBytes;
  static constexpr int w_rows = Columns / Cluster;  // that each block of a cluster brings
  static constexpr int shared_bytes = Stages * (stage_bytes + 16);
  static_assert(w_rows % 64 == 0 && Lead < Stages, "whole boxes; the first group may not wait for a stage that the second has not freed");
};

// A stage of 128 x 256 takes the tensor cores 1,024 clocks. In that time shared memory takes 48 KB of copies and gives 80 KB to
// products, 128 bytes a clock, which is all it can; other tiles of as many sums (256 x 128, 64 x 512) would need more. From L2
// come 32 KB, 32 bytes a clock (48 without a cluster of two, more than L2 gives to all multiprocessors at once).
using LargeTile = HopperTile<256, 4, 2, 2>;
using MiddleTile = HopperTile<128, 6, 2, 2>;
using SmallTile = HopperTile<64, 8, 1, 2>;
using PlainTile = HopperTile<128, 6, 1, 2>;  // for columns that fit no packs

// ---- Device: which thread has what ------------------------------------------------------------------------------------------

__device__ __forceinline__ uint4 load_now(const void* from) {
  uint4 to;
  asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w)
               : "l"(__cvta_generic_to_global(from)));
  return to;
}

// How weights' rows lie in a tile so that a thread's sums are packs of 16 bytes of y: line 8p + 2t + e of a set holds row
// kNeighbours t + 2p + e. Thread t of four has columns 8p + 2t + e of a product's result: kNeighbours neighbours of y. The tensor map
// deals them out, as its dimensions are (depth, e, t, p, set).
template <class Out>
struct Packs {
  static constexpr int kNeighbours = 16 / sizeof(Out);
  static constexpr int kColumns = 4 * kNeighbours;  // of a set: four threads
  static constexpr int kSums = 2 * kNeighbours;     // of a thread in a set: two rows
};

// A thread's outputs in dealt tiles: of two rows, 8 apart, a pack in each set. Scales and residuals are under way before the sums are.
template <class Tile, class Out>
struct PackedResults {
  using Pack = Packs<Out>;
  static constexpr int kSets = Tile::columns / Pack::kColumns;
  static constexpr int kAhead = kSets < 4 ? kSets : 4;

  const float* w_scale;  // of this thread's first column
  const Out* residual;   // of its first row and column, or null
  Out* y;
  int64_t apart;  // elements from the first row to the second
  int left;       // columns of the matrix from its first on
  bool present[2];
  float x_scale[2];
  float scales[kAhead][Pack::kNeighbours];
  uint4 residuals[kAhead][2];

  __device__ __forceinline__ PackedResults(const TernaryProduct& product, int64_t row, int64_t column) {
    const int64_t at = row * product.N + column;
    w_scale = product.w_scale + column;
    residual = product.residual == nullptr ? nullptr : static_cast<const Out*>(product.residual) + at;
    y = static_cast<Out*>(product.y) + at;
    apart = 8 * product.N;
    left = int(product.N - column);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      present[half] = row + 8 * half < product.M;
      x_scale[half] = present[half] ? __ldg(product.x_scale + row + 8 * half) : 0.0f;
    }
#pragma unroll
    for (int set = 0; set < kAhead; ++set) fetch(set);
  }

  __device__ __forceinline__ void fetch(int set) {
    const int slot = set % kAhead;
    const bool inside = set * Pack::kColumns < left;
#pragma unroll
    for (int i = 0; i < Pack::kNeighbours; i += 4) {
      const uint4 four = inside ? load_now(w_scale + set * Pack::kColumns + i) : make_uint4(0, 0, 0, 0);
      scales[slot][i] = __uint_as_float(four.x);
      scales[slot][i + 1] = __uint_as_float(four.y);
      scales[slot][i + 2] = __uint_as_float(four.z);
      scales[slot][i + 3] = __uint_as_float(four.w);
    }
    if (residual == nullptr) return;
#pragma unroll
    for (int half = 0; half < 2; ++half)
      residuals[slot][half] = inside && present[half] ? load_now(residual + half * apart + set * Pack::kColumns) : make_uint4(0, 0, 0, 0);
  }

  template <int Count>
  __device__ __forceinline__ void finish(const int32_t (&sums)[Count]) {
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float values[Pack::kNeighbours];
#pragma unroll
        for (int i = 0; i < Pack::kNeighbours; ++i)
          values[i] = scaled_sum(sums[set * Pack::kSums + i / 2 * 4 + half * 2 + i % 2], x_scale[half], scales[set % kAhead][i]);
        if (residual != nullptr) {
          const uint4& pack = residuals[set % kAhead][half];
          const Out* others = reinterpret_cast<const Out*>(&pack);
#pragma unroll
          for (int i = 0; i < Pack::kNeighbours; ++i) values[i] = __fadd_rn(values[i], to_float(others[i]));
        }
        if (set * Pack::kColumns < left && present[half])
          store_floats<Pack::kNeighbours>(y + half * apart + set * Pack::kColumns, values);
      }
      if (set + kAhead < kSets) fetch(set + kAhead);
    }
  }
};

// In order, pairs of neighbours, whatever N and the alignment are: one by one.
template <int Count>
__device__ __forceinline__ void finish_pairs(const TernaryProduct& product, int64_t row, int64_t column, const int32_t (&sums)[Count]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t m = row + 8 * half;
    if (m >= product.M) continue;
    const float x_scale = __ldg(product.x_scale + m);
#pragma unroll
    for (int i = 0; i < Count / 2; ++i) {
      const int64_t n = column + i / 2 * 8 + i % 2;
      if (n < product.N)
        finish_one(product, m * product.N + n, sums[i / 2 * 4 + half * 2 + i % 2], x_scale, __ldg(product.w_scale + n));
    }
  }
}

// ---- Device: the two kinds of warps -----------------------------------------------------------------------------------------

template <class Tile>
struct Shared {
  uint32_t lines, barriers;

  __device__ __forceinline__ explicit Shared(uint32_t base) : lines(base), barriers(base + Tile::stages * Tile::stage_bytes) {}
  __device__ __forceinline__ uint32_t x(int stage) const { return lines + stage * Tile::stage_bytes; }
  __device__ __forceinline__ uint32_t w(int stage) const { return x(stage) + Tile::x_bytes; }
  __device__ __forceinline__ uint32_t full(int stage) const { return barriers + 8 * stage; }  // bytes have come
  __device__ __forceinline__ uint32_t free(int stage) const { return barriers + 8 * (Tile::stages + stage); }  // nobody reads them
};

// One thread. set_columns: columns that a step of the map's last dimension stands for; 0: of its second.
template <class Tile>
__device__ __forceinline__ void bring_lines(const CUtensorMap* x_map, const CUtensorMap* w_map, const Shared<Tile>& shared,
                                            const Places<Tile>& places, int rank, unsigned cluster, unsigned clusters, int K,
                                            int set_columns) {
  constexpr int kWBytes = Tile::w_rows * kLineBytes;
  Ring<Tile> ring;
  for (unsigned index = cluster; index < places.count; index += clusters) {
    int row, column;
    places.find(index, row, column);
    row += rank * kRows;
    column += rank * Tile::w_rows;
    const int y = set_columns == 0 ? column : 0, v = set_columns == 0 ? 0 : column / set_columns;
#pragma unroll 1
    for (int k = 0; k < K; k += kLineBytes) {
      wait_phase(shared.free(ring.stage), ring.parity ^ 1);
      const uint32_t full = shared.full(ring.stage);
      arrive_expecting(full, Tile::stage_bytes);
      copy_box(shared.x(ring.stage), x_map, full, k, row);
      const uint32_t w = shared.w(ring.stage) + rank * kWBytes;
      if constexpr (Tile::cluster > 1)
        copy_box_to(uint16_t((1 << Tile::cluster) - 1), w, w_map, full, k, y, v);
      else
        copy_box(w, w_map, full, k, y, v);
      ring.advance();
    }
  }
}

// Four warps. `rank` is this block's in its cluster, `group` 0 or 1.
template <class Tile, class Out, bool Dealt>
__device__ __forceinline__ void multiply(const TernaryProduct& product, const Shared<Tile>& shared, const Places<Tile>& places, int rank,
                                         unsigned cluster, unsigned clusters, int group) {
  const int lane = threadIdx.x % 32, thread = threadIdx.x % kGroupThreads;
  const int steps = int(ceil_div(product.K, kLineBytes));
  const uint64_t x_lines = describe_lines(shared.x(0) + group * kGroupRows * kLineBytes), w_lines = describe_lines(shared.w(0));
  const auto release = [&](int stage) {
    if (lane < Tile::cluster) arrive_at(shared.free(stage), lane);
  };

  Ring<Tile> ring;
  int32_t sums[Tile::columns / 2] = {};
  int steps_ahead = min(Tile::lead, steps);
  if (Tile::lead > 0 && group == 1) wait_named(1, kProducts);
  for (unsigned index = cluster; index < places.count; index += clusters) {
    int row, column;
    places.find(index, row, column);
    row += rank * kRows + group * kGroupRows;

    // Residuals come from memory while the sums are made.
    if (Dealt && product.residual != nullptr && thread < kGroupRows && row + thread < product.M) {
      const int64_t wide = min(int64_t(Tile::columns), product.N - column);
      prefetch_l2(static_cast<const Out*>(product.residual) + (row + thread) * product.N + column, uint32_t(wide * sizeof(Out)));
    }

    int before = 0;
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
      wait_phase(shared.full(ring.stage), ring.parity);
      const uint64_t at = uint64_t(ring.stage * (Tile::stage_bytes / 16));
      start_products();
#pragma unroll
      for (int part = 0; part < 4; ++part)
        multiply_lines(sums, x_lines + at + part * kNextDepth, w_lines + at + part * kNextDepth, step | part);
      commit_products();
      if (step > 0) {
        wait_products<1>();
        release(before);
      }
      before = ring.stage;
      ring.advance();
      if (Tile::lead > 0 && group == 0 && --steps_ahead == 0) arrive_named(1, kProducts);
    }

    row += thread / 32 * 16 + lane / 4;
    if constexpr (Dealt) {
      PackedResults<Tile, Out> results(product, row, column + lane % 4 * Packs<Out>::kNeighbours);
      wait_products<0>();
      keep_sums(sums);
      release(before);
      results.finish(sums);
    } else {
      wait_products<0>();
      keep_sums(sums);
      release(before);
      finish_pairs(product, row, column + lane % 4 * 2, sums);
    }
  }
}

// Dealt: w_map deals rows out and y is of Out; else rows lie in order and y's dtype is read from the product.
template <class Tile, class Out, bool Dealt>
__global__ void __launch_bounds__(kThreads, 1)
    ternary_sm90_tiles(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map, const TernaryProduct product) {
#ifdef TB_HAS_HOPPER_CODE
  extern __shared__ __align__(kLinesAlignment) char memory[];
  const Shared<Tile> shared(shared_address(memory));
  const int rank = Tile::cluster > 1 ? int(rank_in_cluster()) : 0;
  const unsigned cluster = blockIdx.x / Tile::cluster, clusters = gridDim.x / Tile::cluster;
  const Places<Tile> places(product.M, product.N);
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0);  // known to be the same in all lanes

  open_ring<Tile>(shared, &x_map, &w_map);

  if (warp >= kProducts / 32) {
    give_registers<kCopyRegisters>();
    if (threadIdx.x == kProducts)
      bring_lines<Tile>(&x_map, &w_map, shared, places, rank, cluster, clusters, int(product.K), Dealt ? Packs<Out>::kColumns : 0);
    if constexpr (Tile::cluster > 1) synchronize_cluster();  // nobody leaves while others still arrive at its barriers
  } else {
    take_registers<kProductRegisters>();
    multiply<Tile, Out, Dealt>(product, shared, places, rank, cluster, clusters, warp / 4);
    if constexpr (Tile::cluster > 1) synchronize_cluster();
  }
#endif
}

// ---- Launchers ----------------------------------------------------------------------------------------------------------

MapShape rows_in_order(int64_t rows, int64_t K, int box_rows) {
  return {2, {cuuint64_t(K), cuuint64_t(rows)}, {cuuint64_t(K)}, {kLineBytes, cuuint32_t(box_rows)}};
}
template <class Out>
MapShape rows_dealt(int64_t rows, int64_t K, int box_rows) {
  using Pack = Packs<Out>;
  constexpr int kPairs = Pack::kNeighbours / 2;
  const cuuint64_t k = cuuint64_t(K);
  return {5,
          {k, 2, 4, kPairs, cuuint64_t(rows / Pack::kColumns)},
          {k, Pack::kNeighbours * k, 2 * k, Pack::kColumns * k},
          {kLineBytes, 2, 4, kPairs, cuuint32_t(box_rows / Pack::kColumns)}};
}

template <class Tile, class Out, bool Dealt>
tb_status launch_tiles(tb_context* context, const char* op, const TernaryProduct& product) {
  CUtensorMap x_map, w_map;
  int answer = 0;
  const MapShape w_shape = Dealt ? rows_dealt<Out>(product.N, product.K, Tile::w_rows) : rows_in_order_of_five(product.N, product.K, Tile::w_rows);
  if (!encode_map(context, &x_map, product.x, rows_in_order(product.M, product.K, kRows), kSwizzled, &answer) ||
      !encode_map(context, &w_map, product.w, w_shape, kSwizzled, &answer))
    return fail(context, TB_INTERNAL,
                "Cannot run %s as the driver of %s made no tensor map of %lld x %lld x %lld: it answered %d; TITANBIT_NO_WGMMA=1 uses "
                "another kernel",
                op, context->name, (long long)product.M, (long long)product.N, (long long)product.K, answer);
  return start_clusters<Tile>(context, op, ternary_sm90_tiles<Tile, Out, Dealt>, Places<Tile>(product.M, product.N).count, x_map, w_map,
                              product);
}

constexpr Cost kCosts[] = {
    {LargeTile::columns, LargeTile::cluster, 1024},   // tensor cores and shared memory alike
    {MiddleTile::columns, MiddleTile::cluster, 640},  // shared memory: 32 KB in, 48 KB out
    {SmallTile::columns, SmallTile::cluster, 448},    // shared memory: 24 KB in, 32 KB out
};

template <class Out>
tb_status launch_dealt(tb_context* context, const char* op, const TernaryProduct& product) {
  switch (cheapest(context, kCosts, product.M, product.N, product.K)) {
    case 0: return launch_tiles<LargeTile, Out, true>(context, op, product);
    case 1: return launch_tiles<MiddleTile, Out, true>(context, op, product);
    default: return launch_tiles<SmallTile, Out, true>(context, op, product);
  }
}

// Whether y, residual and w_scale are packs of 16 bytes as Packs deals them.
template <class Out>
bool is_packed(const TernaryProduct& product) {
  return product.N % Packs<Out>::kColumns == 0 && is_aligned(product.y, 16) && is_aligned(product.residual, 16) &&
         is_aligned(product.w_scale, 16);
}

}  // namespace

bool fits_ternary_sm90(const tb_context* context, const TernaryProduct& product) {
  return context->encode_tensor_map != nullptr && product.M >= kLeastRows && product.w != nullptr && product.K % 16 == 0 && is_aligned(product.x, 16) &&
         is_aligned(product.w, 16) && product.M <= INT32_MAX - kTallRows && product.N <= INT32_MAX - kTallRows &&
         ceil_div(product.M, kRows) * ceil_div(product.N, SmallTile::columns) <= INT32_MAX;
}

tb_status ternary_sm90(tb_context* context, const char* op, const TernaryProduct& product) {
  if (product.dtype == TB_BF16 && is_packed<bf16>(product)) return launch_dealt<bf16>(context, op, product);
  if (product.dtype == TB_F32 && is_packed<float>(product)) return launch_dealt<float>(context, op, product);
  return launch_tiles<PlainTile, float, false>(context, op, product);
}

}  // namespace tb
