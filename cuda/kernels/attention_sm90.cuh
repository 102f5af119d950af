// What Hopper's attention kernels share: tiles of 64 tokens of a head in shared memory, the tensor maps that bring them, rings of
// barriers, and the way of results into memory. One thread of a block orders copies (hopper.cuh), groups of four warps own 64 rows of
// results each and multiply whatever has come.
//
// A tile is 64 lines a half of the head (two halves where E > 64), zeros behind E and behind T: kHalves x 64 x 128 bytes.
// Rows of 200 bytes (E = 100) are no whole chunks of 16, which is what maps step by. Two of them are: one map starts at even tokens,
// another at odd ones, and a tile holds its 32 even tokens and then its 32 odd ones. Rows of o and dout step from token to token by
// H * 200 bytes; there the maps start at even and odd heads. Hence T and H must be even. Nor does the engine read from addresses that
// are no multiple of 16 (the instruction would be illegal), as every other row's is: such rows come with four columns of the row before
// them in front, and spare warps of the copying group move them over these before anyone multiplies.
#pragma once

#include <type_traits>

#include "attention.cuh"
#include "hopper_bf16.cuh"

namespace tb {

constexpr int kTokens = 64;  // of a tile
// Groups of four warps that multiply, and one of whose threads one orders copies and gives its registers to the others.
constexpr int kGroups = 2, kGroupThreads = 128, kHopperThreads = (kGroups + 1) * kGroupThreads;
constexpr int kCopyRegisters = 40, kProductRegisters = 232;  // of 168 a thread at the start

template <int E_>
struct HopperHead {
  static constexpr int E = E_;
  static constexpr int kSteps = (E + 15) / 16;   // products along E
  static constexpr int kHalves = (E + 63) / 64;
  static constexpr int kHalfBytes = kTokens * kLineBytes;
  static constexpr int kTileBytes = kHalves * kHalfBytes;
  static constexpr int kSums = (E + 7) / 8 * 4;  // of a thread: 64 rows x E columns, in whole 8-wide columns
  static constexpr bool kPaired = E % 8 != 0;
  static constexpr int kStrange = E % 8;  // columns of the row before, in front of a pair's second

  // Which token of a tile's 64 a row holds, and which row a token.
  __host__ __device__ static constexpr int token_of(int row) { return kPaired ? row % 32 * 2 + row / 32 : row; }
  __host__ __device__ static constexpr int row_of(int token) { return kPaired ? token % 2 * 32 + token / 2 : token; }
};

// ---- Tensor maps --------------------------------------------------------------------------------------------------------

// Of heads one after the other, (B, heads, T, E), or beside each other, (B, T, heads, E). Paired: from even and from odd rows on.
struct HeadMaps {
  CUtensorMap from[2];
};

// Orders a tile's copies; kHalves * 64 * 128 bytes will come.
template <class Head, bool kBeside>
__device__ __forceinline__ void bring_tile(uint32_t to, const HeadMaps& maps, uint32_t barrier, int b, int head, int token) {
#pragma unroll
  for (int half = 0; half < Head::kHalves; ++half)
    if constexpr (!Head::kPaired) {
      copy_box(to + half * Head::kHalfBytes, &maps.from[0], barrier, 64 * half, head, 0, token, b);
    } else {
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const uint32_t place = to + half * Head::kHalfBytes + odd * Head::kHalfBytes / 2;
        const int start = kBeside ? head % 2 : odd;
        copy_box(place, &maps.from[start], barrier, (Head::E - Head::kStrange) * start + 64 * half, kBeside ? head / 2 : head,
                 kBeside ? odd : 0, token / 2, b);
      }
    }
}

template <class Head>
tb_status encode_maps(tb_context* context, const char* op, HeadMaps* maps, const void* tensor, int64_t B, int64_t T, int64_t heads,
                      bool beside) {
  const auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(context->encode_tensor_map);
  constexpr cuuint32_t kEach[5] = {1, 1, 1, 1, 1};
  constexpr bool kPaired = Head::kPaired;
  const cuuint64_t row = 2 * Head::E, b = cuuint64_t(B), t = cuuint64_t(T), h = cuuint64_t(heads);
  for (int start = 0; start < (kPaired ? 2 : 1); ++start) {
    const cuuint64_t width = Head::E * (start + 1);
    const cuuint64_t sizes[5] = {width, kPaired && beside ? h / 2 : h, kPaired && beside ? cuuint64_t(2) : cuuint64_t(1),
                                 kPaired ? t / 2 : t, b};
    // Of heads, of a pair's tokens, of tokens or their pairs, of sequences. A stride of a dimension of one is never used.
    const cuuint64_t apart = beside ? h * row : row, tokens = kPaired ? 2 * apart : apart;
    const cuuint64_t strides[4] = {beside ? (kPaired ? 2 * row : row) : t * row, kPaired && beside ? apart : tokens, tokens, t * h * row};
    const cuuint32_t box[5] = {64, 1, 1, cuuint32_t(kPaired ? kTokens / 2 : kTokens), 1};
    const int answer = encode(&maps->from[start], CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 5, const_cast<void*>(tensor), sizes, strides, box,
                              kEach, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                              CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (answer != CUDA_SUCCESS)
      return fail(context, TB_INTERNAL,
                  "Cannot run %s as the driver of %s made no tensor map of %lld x %lld x %lld x %d: it answered %d; TITANBIT_NO_WGMMA=1 "
                  "uses another kernel",
                  op, context->name, (long long)B, (long long)heads, (long long)T, Head::E, answer);
  }
  return TB_OK;
}

// ---- Rings --------------------------------------------------------------------------------------------------------------

// A place in a ring of `Stages`; parity changes with every round.
template <int Stages>
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void advance() {
    if (++stage == Stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Eight bytes a barrier: `Stages` that say a stage may be read, as many that say that nobody reads it any more and, where rows are moved
// first, as many that say that its copies have come.
template <int Stages, bool Moved>
struct RingBarriers {
  static constexpr int kBytes = (Moved ? 24 : 16) * Stages;
  uint32_t base;

  __device__ __forceinline__ uint32_t full(int stage) const { return base + 8 * stage; }
  __device__ __forceinline__ uint32_t free(int stage) const { return base + 8 * (Stages + stage); }
  // What copies into a stage count on.
  __device__ __forceinline__ uint32_t brought(int stage) const { return Moved ? base + 8 * (2 * Stages + stage) : full(stage); }
  // One thread. `readers`: warps that release a stage. `movers`: warps that move rows, if any do.
  __device__ __forceinline__ void init(int readers, int movers) const {
    for (int stage = 0; stage < Stages; ++stage) {
      init_barrier(full(stage), Moved ? movers * kWarp : 1);
      init_barrier(free(stage), readers * kWarp);
      if (Moved) init_barrier(brought(stage), 1);
    }
  }
  // All lanes of a warp have done with a stage. Each says so itself, though one could for all: compute-sanitizer's racecheck follows
  // arrivals, not __syncwarp(), and the difference in time is within what runs differ by.
  __device__ __forceinline__ void release(int stage) const {
    __syncwarp();
    arrive(free(stage));
  }
};

// Groups order their products in turns, so that one multiplies while the other has other things to do. The last group passes a turn at
// the start, the first waits for one at the end; in between both have had the same number.
__device__ __forceinline__ void wait_turn(int group, bool turns = true) { wait_named_if(turns, 1 + group, kGroups * kGroupThreads); }
__device__ __forceinline__ void pass_turn(int group, bool turns = true) {
  arrive_named_if(turns, 1 + (group + 1) % kGroups, kGroups * kGroupThreads);
}

// ---- Rows that come behind others' columns ----------------------------------------------------------------------------------

// What warp 0 of the copying group tells the others of a stage: that heads beside each other begin with a pair's first or second, or
// that there are no more stages.
enum Mark { kNoMore = -1, kFirstHead = 0, kSecondHead = 1 };

// Chunks of 16 bytes by their address in shared memory.
__device__ __forceinline__ uint4 load_chunk(uint32_t from) {
  uint4 chunk;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(chunk.x), "=r"(chunk.y), "=r"(chunk.z), "=r"(chunk.w)
               : "r"(from)
               : "memory");
  return chunk;
}
__device__ __forceinline__ void store_chunk(uint32_t to, uint4 chunk) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(chunk.x), "r"(chunk.y), "r"(chunk.z), "r"(chunk.w)
               : "memory");
}

// A warp, a lane a row: rows from `first` on move kStrange columns to the front. Few registers are left to the copying group: chunks go
// one by one, which still takes less time than the products of a step.
template <class Head>
__device__ __forceinline__ void move_rows(uint32_t tile, int first) {
  static_assert(Head::kStrange == 4, "half a chunk of 16 bytes is in front");
  constexpr int kChunks = (2 * Head::E + 8) / 16;  // of a row with what is in front
#pragma unroll 1
  for (int row = first + int(threadIdx.x) % kWarp; row < kTokens; row += kWarp) {
    const uint32_t line = tile + row * kLineBytes + row % 8 * 16;
    const auto place = [&](int c) { return (line ^ (c % 8 * 16)) + c / 8 * Head::kHalfBytes; };
    uint4 chunk = load_chunk(place(0));
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const uint4 next = c + 1 < kChunks ? load_chunk(place(c + 1)) : make_uint4(0, 0, 0, 0);
      store_chunk(place(c), make_uint4(chunk.z, chunk.w, next.x, next.y));
      chunk = next;
    }
  }
}

// A warp: moves rows of `count` tiles of each stage, of which those from `beside` on are of heads beside each other; the first stage's
// are at `tiles`, and stages `apart` bytes.
template <class Head, int Stages>
__device__ __forceinline__ void move_stages(const RingBarriers<Stages, true>& ring, const volatile int* marks, uint32_t tiles, int apart,
                                            int count, int beside) {
  RingPlace<Stages> place;
  for (;;) {
    wait_phase(ring.brought(place.stage), place.parity);
    const int mark = marks[place.stage];
    if (mark != kNoMore) {
#pragma unroll 1
      for (int tile = 0; tile < count; ++tile)
        move_rows<Head>(tiles + place.stage * apart + tile * Head::kTileBytes,
                        tile < beside ? kTokens / 2 : mark == kSecondHead ? 0 : kTokens);
      publish_writes();
    }
    __syncwarp();
    arrive(ring.full(place.stage));
    if (mark == kNoMore) return;
    place.advance();
  }
}

// ---- Operands and results -------------------------------------------------------------------------------------------------

// Columns [16 k, 16 k + 16) of a tile as a left operand, for k < kSteps: from registers.
template <class Head>
__device__ __forceinline__ void load_left(uint32_t (&to)[Head::kSteps][4], uint32_t tile) {
  const int lane = int(threadIdx.x) % kWarp, row = int(threadIdx.x) % kGroupThreads / kWarp * 16 + lane % 16;
#pragma unroll
  for (int k = 0; k < Head::kSteps; ++k)
    load_matrices(to[k], tile + k / 4 * Head::kHalfBytes + row * kLineBytes + ((k % 4 * 2 + lane / 16) ^ (row % 8)) * 16);
}

// The same through a descriptor; also of a right operand whose sum runs along E.
template <class Head>
__device__ __forceinline__ uint64_t along(uint64_t tile, int k) {
  return tile + k / 4 * (Head::kHalfBytes / 16) + k % 4 * kNextDepth;
}

// Sums 8k to 8k + 7 as a left operand of columns [16 k, 16 k + 16).
template <int Count>
__device__ __forceinline__ void pack_sums(uint32_t (&to)[Count / 8][4], const float (&sums)[Count]) {
#pragma unroll
  for (int k = 0; k < Count / 8; ++k)
#pragma unroll
    for (int i = 0; i < 4; ++i) to[k][i] = pack_bf16(sums[8 * k + 2 * i], sums[8 * k + 2 * i + 1]);
}

// Four lanes, each with a word of four columns, become four columns, each with all words in one lane.
__device__ __forceinline__ void exchange(uint32_t (&words)[4]) {
  const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const uint32_t got = __shfl_xor_sync(kAllLanes, odd ? words[i] : words[i + 1], 1);
    words[i] = odd ? got : words[i];
    words[i + 1] = odd ? words[i + 1] : got;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t got = __shfl_xor_sync(kAllLanes, high ? words[i] : words[i + 2], 2);
    words[i] = high ? got : words[i];
    words[i + 2] = high ? words[i + 2] : got;
  }
}

// 64 rows of sums times the factor of their half to the tokens of a tile that exist; `to` is the tile's first token, whose rows are
// `stride` elements apart.
template <class Head>
__device__ __forceinline__ void store_rows(bf16* to, int64_t stride, int tokens, const float (&sums)[Head::kSums],
                                           const float (&factors)[2]) {
  const int lane = int(threadIdx.x) % kWarp, part = lane % 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = Head::token_of(int(threadIdx.x) % kGroupThreads / kWarp * 16 + 8 * half + lane / 4);
    const auto word = [&](int column) {
      return pack_bf16(sums[4 * column + 2 * half] * factors[half], sums[4 * column + 2 * half + 1] * factors[half]);
    };
    bf16* row = to + token * stride;
#pragma unroll
    for (int column = 0; column + 4 <= Head::E / 8; column += 4) {
      uint32_t words[4] = {word(column), word(column + 1), word(column + 2), word(column + 3)};
      exchange(words);
      bf16* place = row + 8 * (column + part);
      if (token >= tokens) {
        // nothing there
      } else if constexpr (Head::kPaired) {
        *reinterpret_cast<uint2*>(place) = make_uint2(words[0], words[1]);
        *reinterpret_cast<uint2*>(place + 4) = make_uint2(words[2], words[3]);
      } else {
        *reinterpret_cast<uint4*>(place) = make_uint4(words[0], words[1], words[2], words[3]);
      }
    }
    if constexpr (Head::kPaired) {  // columns 96 to 99
      static_assert(Head::E == 100 || !Head::kPaired, "half a column is left");
      const uint32_t last = word(12);
      if (token < tokens && part < 2) *reinterpret_cast<uint32_t*>(row + 96 + 2 * part) = last;
    }
  }
}

// Fresh barriers of both rings, seen by the whole block; every thread. `movers`: warps that move rows of a stage of `others`.
template <class Own, class Others>
__device__ __forceinline__ void open_rings(uint32_t base, const Own& own, const Others& others, int movers) {
  if (threadIdx.x == 0) {
    if (base % kLinesAlignment != 0) __trap();
    own.init(kGroups * kGroupThreads / kWarp, 1);
    others.init(kGroups * kGroupThreads / kWarp, movers);
    publish_barriers();
  }
  __syncthreads();
}

// A block a multiprocessor, or a tile.
inline int blocks_of(const tb_context* context, const TileOrder& order) {
  return order.blocks() < context->sm_count ? order.blocks() : context->sm_count;
}

// Calls run(width) with the head's width as a type's value.
template <class Run>
tb_status with_width(int64_t E, const Run& run) {
  switch (E) {
    case 64: return run(std::integral_constant<int, 64>{});
    case 100: return run(std::integral_constant<int, 100>{});
    default: return run(std::integral_constant<int, 128>{});
  }
}

}  // namespace tb
