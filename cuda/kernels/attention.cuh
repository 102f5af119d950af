// What the attention kernels share: their operands, the checks of a launcher, tiles of heads in shared memory for the tensor
// cores, and the order in which blocks take their tiles.
//
// Three families of kernels compute the same thing:
//   tensor cores  bfloat16 of head widths kTileHeads; products of 16 x 8 x 16, sums and softmax in float32
//   Hopper        the same in training, where the card has its instructions; attention_sm90.cuh
//   lanes         float32 and every other head width up to kWidestHead; attention_lanes.cuh
#pragma once

#include <initializer_list>

#include "context.cuh"
#include "load_store.cuh"
#include "mma.cuh"
#include "reduce.cuh"

namespace tb {

constexpr int64_t kWidestHead = 256;
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kMinusInfinity = -__builtin_huge_valf();

struct AttentionShape {
  int64_t B, T, H, G, E;
  int64_t capacity;  // rows of k and v a head; T in training
  float scale;
};

// o = softmax(scale * q kᵀ, causal) v, where query t of sequence b stands at start[b] + t, or at t where start is null.
// lse may be null. A sequence whose tokens would not end within the capacity gets NaN. Where k_scale is given, k and v are int8, each
// row times its scale (B, G, capacity); the lanes' kernels alone read those.
struct AttentionForward {
  const void *q, *k, *v;
  const int32_t* start;
  void* o;
  float* lse;
  AttentionShape shape;
  const float *k_scale = nullptr, *v_scale = nullptr;
};

struct AttentionBackward {
  const void *dout, *q, *k, *v, *o;
  const float* lse;
  float* delta;
  void *dq, *dk, *dv;
  AttentionShape shape;
};

// Head widths that the tensor-core kernels are made for: those of the model sizes, and the common 128.
inline bool has_attention_tiles(tb_dtype dtype, int64_t E) {
  return dtype == TB_BF16 && (E == 64 || E == 100 || E == 128);
}

// Launches with tiles of the tensor cores; has_attention_tiles() must hold.
tb_status attention_forward_tiles(tb_context* context, const char* op, const AttentionForward& task);
tb_status attention_backward_tiles(tb_context* context, const char* op, const AttentionBackward& task);
// The same from an int8 cache, where bfloat16 copies of what the tokens see fit into the scratch.
bool fits_attention_prefill_int8(const AttentionShape& shape);
tb_status attention_prefill_int8(tb_context* context, const char* op, const AttentionForward& task);
// Launches Hopper's kernels of training (start is null, lse is not); has_attention_tiles() and fits_attention_sm90() must hold.
tb_status attention_forward_sm90(tb_context* context, const char* op, const AttentionForward& task);
tb_status attention_backward_sm90(tb_context* context, const char* op, const AttentionBackward& task);
// Launches the lanes' kernels. `splits`: see attention_decode.cu; 1 writes o and lse at once.
tb_status attention_forward_lanes(tb_context* context, const char* op, tb_dtype dtype, const AttentionForward& task,
                                  int64_t keys_per_split, int64_t splits);
tb_status attention_backward_lanes(tb_context* context, const char* op, tb_dtype dtype, const AttentionBackward& task);
// delta (B, H, T) = rowsum(dout * o), the first step of both backward passes.
void attention_delta(tb_context* context, tb_dtype dtype, const AttentionBackward& task);

// Whether the card has Hopper's kernels, and tensors of this shape their form: rows of no whole chunks of 16 bytes go in pairs, of
// tokens and, in o and dout, of heads (attention_sm90.cuh). A row of statistics a 64 tokens must fit into the scratch memory.
inline bool fits_attention_sm90(const tb_context* context, const AttentionShape& shape) {
  constexpr int64_t kMostTokens = int64_t(1) << 30, kCounters = 256, kStatistics = 2 * 64 * sizeof(float);
  return context->encode_tensor_map != nullptr && (shape.E % 8 == 0 || (shape.T % 2 == 0 && shape.H % 2 == 0)) &&
         shape.T <= kMostTokens && kCounters + shape.B * shape.H * ceil_div(shape.T, 64) * kStatistics <= kScratchBytes;
}

// The rules of all three ops. Grids have fewer than 2^31 blocks.
inline tb_status check_attention(tb_context* context, const char* op, tb_dtype dtype, const AttentionShape& shape) {
  TB_REQUIRE_DTYPE(context, dtype, op);
  TB_REQUIRE(context, shape.B >= 0 && shape.T >= 0 && shape.G >= 1 && shape.H >= shape.G && shape.H % shape.G == 0,
             "Cannot run %s as G must divide H, and B and T be at least 0: current values are G %lld, H %lld, B %lld and T %lld",
             op, (long long)shape.G, (long long)shape.H, (long long)shape.B, (long long)shape.T);
  TB_REQUIRE(context, shape.E >= 1 && shape.E <= kWidestHead,
             "Cannot run %s as E must be 1 to %lld: current value is %lld", op, (long long)kWidestHead, (long long)shape.E);
  TB_REQUIRE(context, shape.scale > 0 && __builtin_isfinite(shape.scale),
             "Cannot run %s as scale must be finite and above 0: current value is %g", op, double(shape.scale));
  TB_REQUIRE(context, shape.capacity < (int64_t(1) << 31) && shape.B < (int64_t(1) << 31) && shape.H < (int64_t(1) << 20),
             "Cannot run %s as T, capacity and B must be below 2^31 and H below 2^20: current capacity is %lld, B %lld and H %lld",
             op, (long long)shape.capacity, (long long)shape.B, (long long)shape.H);
  TB_REQUIRE(context, double(shape.B) * double(shape.H) * double(shape.T) < 2147483648.0,
             "Cannot run %s as B * H * T must be below 2^31: current values are B %lld, H %lld and T %lld", op,
             (long long)shape.B, (long long)shape.H, (long long)shape.T);
  return TB_OK;
}

// Tiles and packs are read 16 bytes at a time.
inline tb_status check_aligned(tb_context* context, const char* op, std::initializer_list<const void*> tensors) {
  for (const void* tensor : tensors)
    TB_REQUIRE(context, is_aligned(tensor, 16), "Cannot run %s as tensors must be 16-byte aligned: current address is %p", op,
               tensor);
  return TB_OK;
}

// Raises the kernel's limit of shared memory to what it needs, where the card has that much.
template <typename Kernel>
tb_status allow_shared(tb_context* context, const char* op, Kernel kernel, int bytes, int64_t E) {
  if (bytes > context->shared_bytes_per_block)
    return fail(context, TB_UNSUPPORTED, "Cannot run %s as heads of width %lld need %d bytes of shared memory a block: %s has %d",
                op, (long long)E, bytes, context->name, int(context->shared_bytes_per_block));
  return checked(context, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
                 "set the shared memory of an attention kernel");
}

// Blocks of a grid that are to start in this order: sections of heads whose keys and values fit into the L2 cache together;
// within a section, tile rank 0 of every head, then rank 1, .... Kernels give the most work to rank 0, so that the blocks
// that end a section, and the launch, are short.
struct TileOrder {
  int heads, tiles, heads_per_section;

  __host__ __device__ int blocks() const { return heads * tiles; }

  __device__ __forceinline__ void place(int block, int& head, int& rank) const {
    const int section = block / (heads_per_section * tiles), first = section * heads_per_section;
    const int count = min(heads_per_section, heads - first);
    const int at = block - first * tiles;
    rank = at / count;
    head = first + at % count;
  }
};

inline TileOrder tile_order(const AttentionShape& shape, int64_t heads, int64_t tiles) {
  constexpr int64_t kCacheBytes = 16 << 20;  // of the 40 MB (A100) to 96 MB (L20) that caches have
  const int64_t key_heads = max(int64_t(1), kCacheBytes / (shape.capacity * shape.E * 4));
  const int64_t section = min(heads, key_heads * (heads / (shape.B * shape.G)));
  return {int(heads), int(tiles), int(section)};
}

// A head's rows of E bfloat16 in shared memory, padded to whole products with zeros that rows in global memory do not have.
// Eight rows at the same column lie in eight different groups of banks: by swizzling 16-byte chunks where a row is a multiple
// of 128 bytes, else by an odd number of chunks a row.
template <int E_>
struct HeadTile {
  static constexpr int E = E_;
  static constexpr int kSteps = (E + 15) / 16;            // products along E
  static constexpr int kColumns = (E + 7) / 8;            // 8-wide columns of outputs along E
  static constexpr int kChunks = 2 * kSteps;              // of 16 bytes a row
  static constexpr bool kSwizzled = kChunks % 8 == 0;
  static constexpr int kRowBytes = 16 * (kSwizzled ? kChunks : kChunks | 1);
  static constexpr int kUnit = E % 8 == 0 ? 16 : 8;       // bytes of one copy; rows of 200 bytes are 8-byte aligned
  static constexpr int kUnits = 2 * E / kUnit;
  static_assert(E % 4 == 0, "rows must be made of whole units");

  static __device__ __forceinline__ uint32_t offset(int row, int chunk) {
    return uint32_t(row * kRowBytes + (kSwizzled ? chunk ^ (row & 7) : chunk) * 16);
  }

  // Starts copying `Rows` rows, of which the first `valid` exist; the others become 0.
  template <int Rows, int Threads>
  static __device__ __forceinline__ void load(uint32_t tile, const bf16* from, int64_t stride, int valid) {
    constexpr bool kWhole = Threads % kUnits == 0;  // else a warp takes a row, and its last lanes rest
    constexpr int kRows = kWhole ? Threads / kUnits : Threads / kWarp;
    static_assert(Rows % kRows == 0 && (kWhole || kUnits <= kWarp), "all threads have the same number of copies");
    constexpr int kLanes = kWhole ? kUnits : kWarp;
    const int first = int(threadIdx.x) / kLanes, byte = int(threadIdx.x) % kLanes * kUnit;
    if (!kWhole && byte >= 2 * E) return;
    from += byte / 2;
#pragma unroll
    for (int base = 0; base < Rows; base += kRows) {
      const int row = base + first;
      const bool exists = row < valid;
      copy_async<kUnit>(tile + offset(row, byte / 16) + byte % 16, from + (exists ? row * stride : 0), exists ? kUnit : 0);
    }
  }

  // Zeroes the columns behind E, which copies leave alone.
  template <int Rows, int Threads>
  static __device__ __forceinline__ void clear_padding(char* tile) {
    constexpr int kWords = (16 * kChunks - 2 * E) / 8;
    if constexpr (kWords > 0) {
      for (int i = int(threadIdx.x); i < Rows * kWords; i += Threads) {
        const int byte = 2 * E + i % kWords * 8;
        *reinterpret_cast<uint2*>(tile + offset(i / kWords, byte / 16) + byte % 16) = make_uint2(0, 0);
      }
    }
  }

  // Addresses of a lane for load_matrices. "Rows": 16 rows x 16 columns as the left operand, or, transposed, as a right operand
  // whose sum runs over the rows. "Columns": 16 rows as 16 columns of a right operand whose sum runs over E.
  static __device__ __forceinline__ uint32_t rows_at(uint32_t tile, int row, int step, int lane) {
    return tile + offset(row + (lane & 15), 2 * step + (lane >> 4));
  }
  static __device__ __forceinline__ uint32_t columns_at(uint32_t tile, int row, int step, int lane) {
    return tile + offset(row + (lane & 7) + (lane >> 4) * 8, 2 * step + ((lane >> 3) & 1));
  }

  // Stores 16 x kBlocks rows of accumulators of one warp, times `factors` of each block's rows g and g + 8: through the warp's
  // rows [row, row + 16 * kBlocks) of a tile that no other warp reads any more, so that global memory is written in whole units.
  template <int kBlocks>
  static __device__ __forceinline__ void store(char* tile, int row, const float (&sums)[kBlocks][kColumns][4],
                                               const float (&factors)[kBlocks][2], bf16* to, int64_t stride, int valid) {
    const int lane = int(threadIdx.x) % kWarp;
    __syncwarp();
#pragma unroll
    for (int block = 0; block < kBlocks; ++block)
#pragma unroll
      for (int column = 0; column < kColumns; ++column)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float factor = factors[block][half];
          const Pack<bf16, 2> pair = {{from_float<bf16>(sums[block][column][2 * half] * factor),
                                       from_float<bf16>(sums[block][column][2 * half + 1] * factor)}};
          const int at = row + block * 16 + half * 8 + lane / 4;
          *reinterpret_cast<Pack<bf16, 2>*>(tile + offset(at, column) + lane % 4 * 4) = pair;
        }
    __syncwarp();
    constexpr int kElements = kUnit / 2;
    for (int i = lane; i < 16 * kBlocks * kUnits; i += kWarp) {
      const int at = i / kUnits, byte = i % kUnits * kUnit;
      if (at >= valid) break;
      *reinterpret_cast<Pack<bf16, kElements>*>(to + at * stride + byte / 2) =
          *reinterpret_cast<const Pack<bf16, kElements>*>(tile + offset(row + at, byte / 16) + byte % 16);
    }
  }
};

// The thread's warp. Asked of a lane so that the compiler knows it to be the same for all: where whole warps skip a tile,
// shuffles would otherwise become calls on sm_80 and sm_89.
__device__ __forceinline__ int warp_index() { return __shfl_sync(kAllLanes, int(threadIdx.x) / kWarp, 0); }

// 2^x to 2 units in the last place; 2^-inf is 0.
__device__ __forceinline__ float fast_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// Two float32 to two bfloat16 of one register, the first in the lower half.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}

// Two neighbouring 16 x 8 accumulators as one 16 x 16 left operand.
__device__ __forceinline__ void pack_left(uint32_t (&to)[4], const float (&left)[4], const float (&right)[4]) {
  to[0] = pack_bf16(left[0], left[1]);
  to[1] = pack_bf16(left[2], left[3]);
  to[2] = pack_bf16(right[0], right[1]);
  to[3] = pack_bf16(right[2], right[3]);
}

// sums (16 kBlocks x 8 kCount) = left (of registers or of a tile, below) . rows [first, first + 8 kCount) of `tile`, along E.
// Left is called for the operand of (block, step).
template <typename Tile, int kBlocks, int kCount, typename Left>
__device__ __forceinline__ void multiply_heads(float (&sums)[kBlocks][kCount][4], uint32_t tile, int first, int lane,
                                               const Left& left) {
#pragma unroll
  for (int block = 0; block < kBlocks; ++block)
#pragma unroll
    for (int n = 0; n < kCount; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[block][n][i] = 0;
#pragma unroll
  for (int step = 0; step < Tile::kSteps; ++step) {
    uint32_t a[kBlocks][4];
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) left(a[block], block, step);
#pragma unroll
    for (int pair = 0; pair < kCount / 2; ++pair) {
      uint32_t b[4];
      load_matrices(b, Tile::columns_at(tile, first + 16 * pair, step, lane));
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        multiply_bf16(sums[block][2 * pair], a[block], b[0], b[1]);
        multiply_bf16(sums[block][2 * pair + 1], a[block], b[2], b[3]);
      }
    }
  }
}

// sums (16 kBlocks x E) += left (16 kBlocks x 16 kCount, packed) . rows [first, first + 16 kCount) of `tile`, along the rows.
template <typename Tile, int kBlocks, int kCount>
__device__ __forceinline__ void accumulate_rows(float (&sums)[kBlocks][Tile::kColumns][4],
                                                const uint32_t (&left)[kBlocks][kCount][4], uint32_t tile, int first,
                                                int lane) {
#pragma unroll
  for (int k = 0; k < kCount; ++k)
#pragma unroll
    for (int step = 0; step < Tile::kSteps; ++step) {
      uint32_t b[4];
      load_matrices_transposed(b, Tile::rows_at(tile, first + 16 * k, step, lane));
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        multiply_bf16(sums[block][2 * step], left[block][k], b[0], b[1]);
        if (2 * step + 1 < Tile::kColumns) multiply_bf16(sums[block][2 * step + 1], left[block][k], b[2], b[3]);
      }
    }
}

}  // namespace tb
