// The frame of the products on tensor cores (gemm_ternary.cu, gemm_bf16.cu): a block's tile, its lines in shared memory, and
// the loop that copies steps of the depth ahead of the warps that multiply them.
//
// A step of the depth is 128 bytes, 128 int8 or 64 bfloat16: a cache line of each row. Shared memory holds `stages` steps. Both
// operands lie in chunks of 16 bytes, the unit of asynchronous copies and of 8 x 8 loads, and a row's chunks are exchanged (xor
// with a number of the row) so that the eight rows of a load lie in eight different groups of banks.
#pragma once

#include "context.cuh"
#include "mma.cuh"

namespace tb {

constexpr int kStepBytes = 128;
constexpr int kChunkBytes = 16;
constexpr int kStepChunks = kStepBytes / kChunkBytes;
constexpr int kStepParts = 4;  // of 32 bytes: the depth of one tensor-core product
constexpr int kMostStages = 4;

template <int Rows, int Columns, int WarpRows, int WarpColumns, int BlocksPerSm>
struct Tile {
  static constexpr int rows = Rows, columns = Columns;
  static constexpr int warp_rows = WarpRows, warp_columns = WarpColumns;
  static constexpr int warps_across = Columns / WarpColumns;
  static constexpr int threads = Rows / WarpRows * warps_across * 32;
  static constexpr int blocks_per_sm = BlocksPerSm;
  static constexpr int row_tiles = WarpRows / 16, column_tiles = WarpColumns / 8;  // 16 x 8 products of a warp
  static constexpr int rows_bytes = Rows * kStepBytes;
  static constexpr int stage_bytes = (Rows + Columns) * kStepBytes;
};

// Large: each byte that a block reads is multiplied 85 times on average, the least traffic that leaves a warp's sums (128
// registers a thread) in place. Small: where the large ones would leave processors idle.
using LargeTile = Tile<128, 256, 64, 64, 1>;
using SmallTile = Tile<64, 128, 32, 64, 2>;

// Steps that fit the card's shared memory with as many blocks a processor as registers allow.
template <class Tile>
int stages_for(const tb_context* context) {
  const int fitting = context->shared_bytes_per_block / Tile::blocks_per_sm / Tile::stage_bytes;
  return fitting < kMostStages ? fitting : kMostStages;
}

// Blocks that run at the same time should share rows and columns, so that what one reads from memory the others find in L2:
// tiles are numbered down columns of kTallTiles tiles.
constexpr int kTallTiles = 16;

struct TilePlace {
  int64_t row, column;  // of the tile's first element
};

template <class Tile>
__device__ __forceinline__ TilePlace place_of_block(int64_t M, int64_t N) {
  const unsigned down = unsigned(ceil_div(M, Tile::rows)), across = unsigned(ceil_div(N, Tile::columns));
  const unsigned first = blockIdx.x / (kTallTiles * across) * kTallTiles;
  const unsigned tall = min(down - first, unsigned(kTallTiles));
  const unsigned index = blockIdx.x % (kTallTiles * across);
  return {int64_t(first + index % tall) * Tile::rows, int64_t(index / tall) * Tile::columns};
}

template <class Tile>
int64_t blocks_of(int64_t M, int64_t N) {
  return ceil_div(M, Tile::rows) * ceil_div(N, Tile::columns);
}

// Whether the large tiles keep every processor busy.
inline bool takes_large_tiles(const tb_context* context, int64_t M, int64_t N) {
  return context->shared_bytes_per_block >= 2 * LargeTile::stage_bytes && blocks_of<LargeTile>(M, N) >= context->sm_count;
}

// ---- Lines: rows that lie along the depth ---------------------------------------------------------------------------

// The order in which an operand's rows become the rows (columns) of the 16 x 8 products, and the number that exchanges chunks.
struct RowsInOrder {
  static __device__ __forceinline__ int row(int product, int i) { return 8 * product + i; }
  static __device__ __forceinline__ int exchange(int row) { return row & 7; }
};

// Dealt out, so that what a thread holds of four products is eight neighbours of the result: 16 or 32 bytes to store at once.
struct RowsDealt {
  static __device__ __forceinline__ int row(int product, int i) {
    return product / 4 * 32 + 8 * (i / 2) + 2 * (product % 4) + i % 2;
  }
  static __device__ __forceinline__ int exchange(int row) { return (row >> 2 & 6) | (row & 1); }
};

template <class Order>
__device__ __forceinline__ uint32_t line_offset(int row, int chunk) {
  return uint32_t(row * kStepBytes + (chunk ^ Order::exchange(row)) * kChunkBytes);
}

// Addresses of a thread's rows are summed up on the way: twelve of them kept would cost the registers that sums need.
template <typename T>
__device__ __forceinline__ const T* not_kept(const T* address) {
  asm volatile("" : "+l"(address));
  return address;
}

// One thread's share in copying `Rows` lines, step after step: one chunk of every kApart-th row.
template <int Rows, int Threads, class Order>
struct LineCopier {
  static constexpr int kCount = Rows * kStepChunks / Threads;
  static constexpr int kApart = Threads / kStepChunks;
  static_assert(Rows * kStepChunks % Threads == 0 && kCount <= 32, "whole rows");

  const char* from;    // this thread's chunk of its first row, in the next step
  int64_t apart;       // bytes from one of its rows to the next
  int32_t steps_left;  // in which the row still has bytes of this chunk
  uint32_t present;    // bit i: the matrix has row i of this thread

  __device__ __forceinline__ LineCopier(const void* matrix, int64_t first_row, int64_t rows, int64_t row_bytes) {
    const int64_t row = first_row + threadIdx.x / kStepChunks;
    from = static_cast<const char*>(matrix) + row * row_bytes + chunk() * kChunkBytes;
    apart = kApart * row_bytes;
    steps_left = int32_t(ceil_div(row_bytes - chunk() * kChunkBytes, kStepBytes));
    present = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) present |= uint32_t(row + i * kApart < rows) << i;
  }

  static __device__ __forceinline__ int chunk() { return threadIdx.x % kStepChunks; }
  static __device__ __forceinline__ uint32_t offset(int i) {
    return line_offset<Order>(threadIdx.x / kStepChunks + i * kApart, chunk());
  }

  // The next step. Rows must be whole chunks, aligned to them. What lies beyond the matrix becomes 0 and is not read.
  __device__ __forceinline__ void copy(uint32_t to) {
    const uint32_t valid = steps_left > 0 ? present : 0;
    const char* row = from;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      copy_async<16>(to + offset(i), row, valid >> i & 1 ? 16 : 0);
      row = not_kept(row + apart);
    }
    advance();
  }

  __device__ __forceinline__ void advance() {
    from += kStepBytes;
    --steps_left;
  }
};

// Fragments (mma.cuh) of a warp's rows, operand a: quarter `part` of the step whose lines begin at `lines`.
template <int Tiles>
__device__ __forceinline__ void load_a_lines(uint32_t (&a)[Tiles][4], uint32_t lines, int first_row, int part) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < Tiles; ++i)
    load_matrices(a[i], lines + line_offset<RowsInOrder>(first_row + 16 * i + lane % 16, 2 * part + lane / 16));
}

// Of a warp's columns, operand b: b[i] has the two registers of product 2i, then those of 2i + 1.
template <class Order, int Pairs>
__device__ __forceinline__ void load_b_lines(uint32_t (&b)[Pairs][4], uint32_t lines, int first_column, int part) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < Pairs; ++i) {
    const int column = first_column + Order::row(2 * i + lane / 16, lane % 8);
    load_matrices(b[i], lines + line_offset<Order>(column, 2 * part + lane / 8 % 2));
  }
}

// ---- The loop over the depth ------------------------------------------------------------------------------------------

__device__ __forceinline__ void wait_copies_but(int pending) {
  if (pending >= 2)
    wait_copies<2>();
  else if (pending == 1)
    wait_copies<1>();
  else
    wait_copies<0>();
}

// start(stage) begins to bring the next step into a stage, finish(stage) may complete what start left in registers;
// load(fragments, stage, part) reads a quarter of a step; multiply(fragments) adds its products to the sums. Copies run stages - 1
// steps ahead, loads one quarter ahead. One barrier a step: behind it, the next stage is filled and the one before is free.
template <class Fragments, class Start, class Finish, class Load, class Multiply>
__device__ __forceinline__ void run_depth(int steps, int stages, Start start, Finish finish, Load load, Multiply multiply) {
  static_assert(kStepParts == 4 && kMostStages <= 4, "parts alternate between two sets of fragments; wait_copies_but");
  for (int stage = 0; stage < stages - 1; ++stage) {
    if (stage < steps) {
      start(stage);
      finish(stage);
    }
    commit_copies();
  }
  wait_copies_but(stages - 2);
  __syncthreads();
  Fragments fragments[2];
  load(fragments[0], 0, 0);
  int stage = 0, free = stages - 1;
  for (int step = 0; step < steps; ++step) {
    const bool more = step + stages - 1 < steps;
#pragma unroll
    for (int part = 0; part < kStepParts; ++part) {
      if (part < kStepParts - 1) {
        load(fragments[(part + 1) % 2], stage, part + 1);
      } else {
        wait_copies_but(stages - 2);
        __syncthreads();
        stage = stage + 1 == stages ? 0 : stage + 1;
        if (step + 1 < steps) load(fragments[0], stage, 0);
      }
      if (part == 0) {
        if (more) start(free);
        commit_copies();
      }
      multiply(fragments[part % 2]);
      if (part == kStepParts - 2) {
        if (more) finish(free);
        free = free + 1 == stages ? 0 : free + 1;
      }
    }
  }
}

}  // namespace tb
