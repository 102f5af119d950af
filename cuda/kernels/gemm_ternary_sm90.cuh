// What the ternary products on Hopper share (gemm_ternary_sm90.cu from int8, gemm_ternary_packed_sm90.cu from 2-bit weights): who is
// in a block, the order of tiles, the ring of stages, tensor maps.
#pragma once

#include "gemm_ternary.cuh"
#include "hopper.cuh"

namespace tb {
namespace {

// Up to 64 rows mma.sync's small tiles are as fast or faster: 14 against 18 us at 32 x 6144 x 2048.
constexpr int64_t kLeastRows = 65;

constexpr int kGroups = 2;  // of four warps that multiply
constexpr int kGroupRows = 64, kGroupThreads = 128;
constexpr int kRows = kGroups * kGroupRows;
constexpr int kProducts = kGroups * kGroupThreads;  // threads that multiply
constexpr int kThreads = kProducts + kGroupThreads;  // and those of whom one orders copies
// Registers a thread: 168 at the start (65,536 over 384 threads); whoever orders copies gives his to those who hold sums.
constexpr int kCopyRegisters = 40, kProductRegisters = 232;
constexpr int kTallRows = 2048;  // tiles are numbered down columns of so many rows: neighbours in time share rows and columns in L2

// The tiles of a cluster, one below the other, are a place.
template <class Tile>
struct Places {
  static constexpr unsigned kTall = kTallRows / (kRows * Tile::cluster);
  unsigned down, across, count;

  __host__ __device__ __forceinline__ Places(int64_t M, int64_t N)
      : down(unsigned(ceil_div(M, kRows * Tile::cluster))), across(unsigned(ceil_div(N, Tile::columns))), count(down * across) {}

  __device__ __forceinline__ void find(unsigned index, int& row, int& column) const {
    const unsigned first = index / (kTall * across) * kTall;
    const unsigned tall = min(down - first, kTall);
    const unsigned inside = index % (kTall * across);
    row = int((first + inside % tall) * kRows * Tile::cluster);
    column = int(inside / tall * Tile::columns);
  }
};

// A place in the ring of stages; parity changes with every round.
template <class Tile>
struct Ring {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == Tile::stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

struct MapShape {
  int rank;
  cuuint64_t sizes[5];
  cuuint64_t strides[4];  // bytes, of the second dimension and on
  cuuint32_t box[5];
};

// False: the driver refused, `answer` says how.
inline bool encode_map(const tb_context* context, CUtensorMap* map, const void* matrix, const MapShape& shape, CUtensorMapSwizzle swizzle,
                       int* answer) {
  const auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(context->encode_tensor_map);
  constexpr cuuint32_t kEach[5] = {1, 1, 1, 1, 1};
  *answer = encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, cuuint32_t(shape.rank), const_cast<void*>(matrix), shape.sizes, shape.strides,
                   shape.box, kEach, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                   CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return *answer == CUDA_SUCCESS;
}

constexpr CUtensorMapSwizzle kSwizzled = CU_TENSOR_MAP_SWIZZLE_128B, kPlain = CU_TENSOR_MAP_SWIZZLE_NONE;

// As the five dimensions that the kernel asks for; strides of dimensions of one are never used.
inline MapShape rows_in_order_of_five(int64_t rows, int64_t K, int box_rows) {
  const cuuint64_t k = cuuint64_t(K);
  return {5, {k, cuuint64_t(rows), 1, 1, 1}, {k, k, k, k}, {kLineBytes, cuuint32_t(box_rows), 1, 1, 1}};
}

// Fresh barriers of the ring, seen by all who use them; every thread of the block.
template <class Tile, class Shared>
__device__ __forceinline__ void open_ring(const Shared& shared, const CUtensorMap* x_map, const CUtensorMap* w_map) {
  if (threadIdx.x == 0) {
    if (shared.lines % kLinesAlignment != 0) __trap();
    for (int stage = 0; stage < Tile::stages; ++stage) {
      init_barrier(shared.full(stage), 1);
      init_barrier(shared.free(stage), Tile::cluster * kProducts / 32);
    }
    publish_barriers();
    prefetch_map(x_map);
    prefetch_map(w_map);
  }
  if constexpr (Tile::cluster > 1)
    synchronize_cluster();
  else
    __syncthreads();
}

// What a tile costs, in clocks of a multiprocessor: its step is what tensor cores need, or shared memory or the spreading of codes
// where that is more.
struct Cost {
  int columns, cluster, step;
};
constexpr int kTileClocks = 2000;  // filling the ring, the last results

// The index of the least estimate of rounds of tiles, the first of equals. Tiles of a cluster lie along `down`, their columns along `across`.
template <int Count>
int cheapest(const tb_context* context, const Cost (&costs)[Count], int64_t down, int64_t across, int64_t K) {
  const int64_t steps = ceil_div(K, kLineBytes);
  int best = 0;
  int64_t least = INT64_MAX;
  for (int i = 0; i < Count; ++i) {
    const Cost& cost = costs[i];
    const int64_t places = ceil_div(down, kRows * cost.cluster) * ceil_div(across, cost.columns);
    const int64_t clocks = ceil_div(places, context->sm_count / cost.cluster) * (steps * cost.step + kTileClocks);
    if (clocks < least) {
      least = clocks;
      best = i;
    }
  }
  return best;
}

// As many clusters as there is room for, or places.
template <class Tile, class... Operands>
tb_status start_clusters(tb_context* context, const char* op, void (*kernel)(Operands...), int64_t places, const Operands&... operands) {
  const tb_status status = checked(context, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::shared_bytes),
                                   "reserve shared memory for the ternary product");
  if (status != TB_OK) return status;
  const int64_t clusters = context->sm_count / Tile::cluster;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = Tile::cluster;
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned((places < clusters ? places : clusters) * Tile::cluster));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = Tile::shared_bytes;
  config.stream = context->stream;
  config.attrs = &attribute;
  config.numAttrs = Tile::cluster > 1 ? 1 : 0;
  const cudaError_t code = cudaLaunchKernelEx(&config, kernel, operands...);
  return code == cudaSuccess ? launched(context, op) : checked(context, code, "start the ternary product");
}

}  // namespace
}  // namespace tb
