// ---- Contract -------------------------------------------------------------------------------------------------------
//
// The ternary product of gemm_ternary.cu from 2-bit weights for up to 64 rows of x (decoding, small prefills): y (M, N) float32 or
// bfloat16 = (x (M, K) int8 . wᵀ) * x_scale (M) * w_scale (N) + residual (M, N); w (N, ceil(K / 16)) words of 16 codes. Sums in int32,
// exact; integer atomics in shared memory add the parts of a sum, so that their order doesn't matter. The epilogue is the other
// paths', to the last bit:
//   y = fl(fl(float32(sum) * fl(x_scale[m] * w_scale[n])) + residual[m][n]), then y's dtype (half to even).
// Any K up to 2^17 and any alignment of x. Where 64 does not divide K, or addresses are not those of whole chunks of 16 bytes, codes are
// read word by word and x byte by byte.
//
// The weights are read once, and reading them is the limit. A warp's step is 16 outputs x 256 of the depth: a lane loads 16 bytes of
// two outputs. Tensor cores take codes as they come out of the words, in whatever order along the depth, as long as x has the same:
// masks give the codes 4b + i of a word in byte b, and x is turned to that order once a block, on its way to shared memory. Codes are
// w + 1, and sum((w + 1) x) = sum(w x) + sum(x): each row's sum of x is taken off at the end. Blocks that come while the kernel before
// still runs (overlap.cuh) load their first codes meanwhile, or ask for them into L2 where that kernel might have written them.

#include "gemm_ternary.cuh"
#include "mma.cuh"
#include "overlap.cuh"
#include "reduce.cuh"

namespace tb {
namespace {

// ---- Shapes of the work -----------------------------------------------------------------------------------------------

constexpr int kTileOutputs = 16, kTileRows = 8;  // weights are operand a of the tensor cores, x is b
constexpr int kStepDepth = 256;
constexpr int kStepWords = kStepDepth / 16;      // of an output; as many chunks of 16 bytes of a row of x
constexpr int kMostTiles = 8;  // of a block
constexpr int kMostRows = 64;

// XTiles: of 8 rows of x. Whole: rows of x and of codes are chunks of 16 bytes, aligned. ahead: steps of codes on their way to registers.
// sets: with two, odd codes stay 4 times too large, in sums of their own, which saves two of three shifts; not where sums would take the
// registers. together: pieces of x on their way. warps: of a block, at most, and blocks of so many that registers are kept for: with one
// tile 80 registers a thread, 24 warps a multiprocessor.
template <int XTiles, bool Whole>
struct Depth {
  static constexpr int ahead = !Whole ? 2 : XTiles == 1 ? 3 : XTiles <= 4 ? 4 : 2;
  static constexpr int sets = XTiles <= 2 ? 2 : 1;
  static constexpr int together = !Whole ? 1 : XTiles == 1 ? 2 : XTiles == 8 ? 8 : 6;
  static constexpr int warps = XTiles == 1 || XTiles == 8 ? 12 : 16;
  static constexpr int blocks = XTiles == 1 ? 2 : 1;
};

// How a product is divided: a block has `tiles` x 16 outputs, and of each tile's depth every `splits`-th step goes to the same warp.
struct RowsPlan {
  int tiles, splits;
  int slab_steps;    // of x in shared memory at a time
  int turns;         // of a warp in a slab, a multiple of `ahead`
  bool settled;      // the kernel ahead leaves weights alone
};

// Chunks from a row of x to the next in shared memory. An odd multiple of 64 bytes: two rows of four chunks lie in different banks.
__host__ __device__ __forceinline__ int slab_stride(int slab_steps) { return slab_steps * kStepWords + 4; }
// Sums from a row to the next: rows 2t lie 8 banks apart for each t.
__host__ __device__ __forceinline__ int sums_stride(int tiles) { return tiles * kTileOutputs + 4; }

// ---- Device -------------------------------------------------------------------------------------------------------------

__device__ __forceinline__ int32_t sum_of_bytes(uint4 chunk) {
  constexpr int32_t kOnes = 0x01010101;
  const int32_t half = __dp4a(int32_t(chunk.y), kOnes, __dp4a(int32_t(chunk.x), kOnes, 0));
  return __dp4a(int32_t(chunk.w), kOnes, __dp4a(int32_t(chunk.z), kOnes, half));
}

__device__ __forceinline__ uint32_t word_of(const uint4& chunk, int j) {
  return j == 0 ? chunk.x : j == 1 ? chunk.y : j == 2 ? chunk.z : chunk.w;
}

// 16 bytes, or zeros. Read once, by this lane alone: they take no room in L1, and the rest of their line, which a neighbour asks for,
// comes along to L2. A predicate, no branch: loads of several steps leave one after the other.
__device__ __forceinline__ uint4 stream_chunk(const uint32_t* from, bool inside) {
  uint4 to;
  asm volatile(
      "{\n.reg .pred inside;\nsetp.ne.b32 inside, %5, 0;\n"
      "mov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n"
      "@inside ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];\n}\n"
      : "=&r"(to.x), "=&r"(to.y), "=&r"(to.z), "=&r"(to.w)
      : "l"(__cvta_generic_to_global(from)), "r"(int(inside)));
  return to;
}

// Four words from `first` on. What the row lacks may be any code, as it meets zeros of x.
template <bool Whole>
__device__ __forceinline__ uint4 load_codes(const uint32_t* row, int first, int row_words) {
  uint4 words = make_uint4(0, 0, 0, 0);
  if constexpr (Whole) {
    words = stream_chunk(row + first, first < row_words);
  } else {
    if (first < row_words) words.x = __ldg(row + first);
    if (first + 1 < row_words) words.y = __ldg(row + first + 1);
    if (first + 2 < row_words) words.z = __ldg(row + first + 2);
    if (first + 3 < row_words) words.w = __ldg(row + first + 3);
  }
  return words;
}

// 16 values of row m from k on; 0 beyond the depth. Of what the kernel ahead may have written nothing is read by way of __ldg: for the
// compiler that would be a constant, to be read whenever it likes.
template <bool Whole>
__device__ __forceinline__ uint4 load_x(const TernaryProduct& product, int m, int k) {
  const int left = int(product.K) - k;
  const int8_t* from = product.x + m * product.K + k;
  if (left <= 0) return make_uint4(0, 0, 0, 0);
  if constexpr (Whole) return __ldcg(reinterpret_cast<const uint4*>(from));
  uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
  for (int i = 0; i < 16; ++i)
    if (i < left) words[i / 4] |= uint32_t(uint8_t(from[i])) << 8 * (i % 4);
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Steps `first` .. + `steps` of all rows of x, turned, and the rows' sums added up. Of a step's chunks, chunk 4t + j lies at place
// 4j + t: four lanes read neighbours. A warp takes 32 chunks of a row at a time, `Together` times before it waits for the first.
template <bool Whole, int Together>
__device__ __forceinline__ void bring_x(const TernaryProduct& product, const RowsPlan& plan, int first, int steps, uint4* slab,
                                        int32_t* x_sums) {
  const int lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp, M = int(product.M);
  const int chunks = steps * kStepWords, row_pieces = int(ceil_div(chunks, kWarp));
  // The warp's next piece: of row m, from its 32nd chunk times `part` on. Walked, as divisions would take longer than the rest.
  int m = 0, part = threadIdx.x / kWarp;
  const auto settle = [&] {
    while (part >= row_pieces) part -= row_pieces, ++m;
  };
  settle();
  while (m < M) {
    uint4 values[Together];
    int rows[Together], places[Together];
#pragma unroll
    for (int i = 0; i < Together; ++i) {
      const int chunk = part * kWarp + lane;
      rows[i] = m, places[i] = chunk;
      values[i] = make_uint4(0, 0, 0, 0);
      if (m < M && chunk < chunks) values[i] = load_x<Whole>(product, m, first * kStepDepth + chunk * 16);
      part += warps;
      settle();
    }
#pragma unroll
    for (int i = 0; i < Together; ++i) {
      if (rows[i] >= M) break;
      const int32_t sum = __reduce_add_sync(kAllLanes, sum_of_bytes(values[i]));
      if (lane == 0) atomicAdd(&x_sums[rows[i]], sum);
      const int chunk = places[i];
      if (chunk < chunks)
        slab[rows[i] * slab_stride(plan.slab_steps) + chunk / kStepWords * kStepWords + chunk % 4 * 4 + chunk % kStepWords / 4] =
            turned(values[i]);
    }
  }
}

// What an output needs beside its sum: under way before the sums are.
struct Factors {
  float x_scale = 0.0f, w_scale = 0.0f, residual = 0.0f;
};

__device__ __forceinline__ Factors load_factors(const TernaryProduct& product, int64_t m, int64_t n) {
  return {__ldcg(product.x_scale + m), __ldg(product.w_scale + n), load_residual(product, m * product.N + n)};
}

__device__ __forceinline__ void finish(const TernaryProduct& product, int64_t m, int64_t n, int32_t sum, const Factors& factors) {
  finish_with(product, m * product.N + n, sum, factors.x_scale, factors.w_scale, factors.residual);
}

// One step: 16 outputs x 256 x 8 XTiles rows. x: of this lane's rows, from its chunk of the step on.
template <int XTiles, int Sets>
__device__ __forceinline__ void multiply_step(int32_t (&sums)[XTiles][Sets][4], const uint4 (&codes)[2],
                                              const uint4* slab, const int (&x_at)[XTiles]) {
  constexpr uint32_t kCodes = 0x03030303, kFourfold = 0x0c0c0c0c;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const uint32_t low = word_of(codes[0], j), high = word_of(codes[1], j);  // of outputs g and g + 8
    const uint32_t even[4] = {low & kCodes, high & kCodes, low >> 4 & kCodes, high >> 4 & kCodes};
    uint32_t odd[4];
    if constexpr (Sets == 2) {
      odd[0] = low & kFourfold, odd[1] = high & kFourfold, odd[2] = low >> 4 & kFourfold, odd[3] = high >> 4 & kFourfold;
    } else {
      odd[0] = low >> 2 & kCodes, odd[1] = high >> 2 & kCodes, odd[2] = low >> 6 & kCodes, odd[3] = high >> 6 & kCodes;
    }
#pragma unroll
    for (int tile = 0; tile < XTiles; ++tile) {
      const uint4 x = slab[x_at[tile] + 4 * j];
      multiply_int8(sums[tile][0], even, x.x, x.z);
      multiply_int8(sums[tile][Sets - 1], odd, x.y, x.w);
    }
  }
}

template <int XTiles, bool Whole>
__global__ void __launch_bounds__(Depth<XTiles, Whole>::warps* kWarp, Depth<XTiles, Whole>::blocks)
    packed_rows(const TernaryProduct product, const RowsPlan plan) {
  using Layout = Depth<XTiles, Whole>;
  constexpr int kAhead = Layout::ahead, kSets = Layout::sets;
  extern __shared__ uint4 slab[];
  const int M = int(product.M), steps = int(ceil_div(product.K, kStepDepth)), row_words = int(ceil_div(product.K, 16));
  const int outputs = plan.tiles * kTileOutputs;
  int32_t* const whole_sums = reinterpret_cast<int32_t*>(slab + M * slab_stride(plan.slab_steps));  // (M, sums_stride)
  int32_t* const x_sums = whole_sums + M * sums_stride(plan.tiles);                                 // (M)

  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int warp = __shfl_sync(kAllLanes, threadIdx.x / kWarp, 0);  // known to be the same in all lanes
  const int tile_of_block = warp / plan.splits, slice = warp % plan.splits;
  const int64_t first_output = int64_t(blockIdx.x) * outputs;

  // The next step of codes; turns of a slab that fall behind its end load nothing.
  const int64_t output = first_output + tile_of_block * kTileOutputs + g;
  const uint32_t* const packed = reinterpret_cast<const uint32_t*>(product.packed) + 4 * t;
  const uint32_t* const rows[2] = {packed + min(output, product.N - 1) * row_words, packed + min(output + 8, product.N - 1) * row_words};
  int next_slab = 0, next_turn = 0;
  const auto fetch = [&](uint4(&codes)[2]) {
    const int place = next_turn * plan.splits + slice;
    const int first = place < plan.slab_steps ? (next_slab + place) * kStepWords : row_words;
#pragma unroll
    for (int half = 0; half < 2; ++half) codes[half] = load_codes<Whole>(rows[half], first, row_words - 4 * t);
    if (++next_turn == plan.turns) {
      next_turn = 0;
      next_slab += plan.slab_steps;
    }
  };
  if (!plan.settled) {
    if constexpr (Whole) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int first = (i * plan.splits + slice) * kStepWords;
#pragma unroll
        for (int half = 0; half < 2; ++half)
          if (first < row_words - 4 * t) ask_for_line(rows[half] + first);
      }
    }
    wait_for_earlier();
  }
  uint4 codes[kAhead][2];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) fetch(codes[i]);
  for (int i = threadIdx.x; i < M * (sums_stride(plan.tiles) + 1); i += blockDim.x) whole_sums[i] = 0;  // x_sums too
  __syncthreads();
  if (plan.settled) wait_for_earlier();

  // The first output that this thread finishes.
  const int mine = threadIdx.x;
  const bool has_output = mine < outputs * M && first_output + mine % outputs < product.N;
  Factors factors;
  if (has_output) factors = load_factors(product, mine / outputs, first_output + mine % outputs);

  int x_rows[XTiles];  // of this lane; rows that x lacks are its last, and their sums are dropped
#pragma unroll
  for (int tile = 0; tile < XTiles; ++tile) x_rows[tile] = min(kTileRows * tile + g, M - 1) * slab_stride(plan.slab_steps) + t;

  int32_t sums[XTiles][kSets][4] = {};
#pragma unroll 1
  for (int first = 0; first < steps; first += plan.slab_steps) {
    if (first > 0) __syncthreads();  // the slab has been used
    const int present = min(plan.slab_steps, steps - first);
    bring_x<Whole, Layout::together>(product, plan, first, present, slab, x_sums);
    __syncthreads();
#pragma unroll 1
    for (int turn = 0; turn < plan.turns; turn += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int place = (turn + i) * plan.splits + slice;
        if (place < present) {
          int x_at[XTiles];
#pragma unroll
          for (int tile = 0; tile < XTiles; ++tile) x_at[tile] = x_rows[tile] + place * kStepWords;
          multiply_step(sums, codes[i], slab, x_at);
        }
        fetch(codes[i]);
      }
    }
  }

#pragma unroll
  for (int tile = 0; tile < XTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int m = kTileRows * tile + 2 * t + i % 2;
      const int32_t sum = kSets == 2 ? sums[tile][0][i] + (sums[tile][kSets - 1][i] >> 2) : sums[tile][0][i];
      if (m < M) atomicAdd(&whole_sums[m * sums_stride(plan.tiles) + tile_of_block * kTileOutputs + g + i / 2 * 8], sum);
    }
  }
  __syncthreads();

  const auto sum_of = [&](int i) { return whole_sums[i / outputs * sums_stride(plan.tiles) + i % outputs] - x_sums[i / outputs]; };
  if (has_output) finish(product, mine / outputs, first_output + mine % outputs, sum_of(mine), factors);
  for (int i = mine + blockDim.x; i < outputs * M; i += blockDim.x) {
    const int64_t m = i / outputs, n = first_output + i % outputs;
    if (n < product.N) finish(product, m, n, sum_of(i), load_factors(product, m, n));
  }
}

// ---- Launcher -----------------------------------------------------------------------------------------------------------

// Bytes a clock for each multiprocessor: what memory gives, what L2 gives to all of them, and to one alone; and bytes of codes that one
// multiplies with 8 rows of x.
constexpr int64_t kMemoryRate = 14, kL2Rate = 24, kOneRate = 40, kProductRate = 50;
// Of a multiprocessor: with three steps of 1 KB each on their way, more than memory's latency needs. More would keep the next kernel out.
constexpr int kWantedWarps = 16;
constexpr int kLeastWarps = 4;    // of a block, where a multiprocessor gets several

int64_t sum_bytes(int64_t M, int tiles) { return M * (sums_stride(tiles) + 1) * 4; }

// Clocks that the product takes with so many tiles a block, every block reading all of x.
int64_t clocks_of(const tb_context* context, const TernaryProduct& product, int tiles) {
  const int64_t outputs = tiles * kTileOutputs, blocks = ceil_div(product.N, outputs), sms = context->sm_count;
  const int64_t row_bytes = ceil_div(product.K, 16) * 4, x_bytes = product.M * product.K;
  const int64_t block_bytes = outputs * row_bytes + x_bytes, turns = ceil_div(blocks, sms);
  const int64_t each[] = {product.N * row_bytes / (kMemoryRate * sms), blocks * block_bytes / (kL2Rate * sms),
                          turns * block_bytes / kOneRate,
                          turns * outputs * row_bytes * ceil_div(product.M, kTileRows) / kProductRate};
  int64_t most = 0;
  for (const int64_t clocks : each) most = clocks > most ? clocks : most;
  return most;
}

template <class Layout>
RowsPlan plan_rows(const tb_context* context, const TernaryProduct& product) {
  const int64_t steps = ceil_div(product.K, kStepDepth), sms = context->sm_count;
  const auto blocks_per_sm = [&](int tiles) { return ceil_div(ceil_div(product.N, tiles * kTileOutputs), sms); };
  const auto splits_for = [&](int tiles) {
    const int64_t most = steps < Layout::warps / tiles ? steps : Layout::warps / tiles;
    const int64_t wanted = ceil_div(kWantedWarps, tiles * blocks_per_sm(tiles));
    return int(wanted < most ? wanted : most);
  };
  // The fewest tiles within a tenth of the least clocks: small blocks spread better.
  int64_t least = INT64_MAX;
  for (int tiles = 1; tiles <= kMostTiles; tiles *= 2) {
    const int64_t clocks = clocks_of(context, product, tiles);
    least = clocks < least ? clocks : least;
  }
  RowsPlan plan = {};
  plan.settled = weights_are_settled(context);
  plan.tiles = 1;
  while (plan.tiles < kMostTiles && clocks_of(context, product, plan.tiles) > least + least / 10) plan.tiles *= 2;
  while (plan.tiles < kMostTiles && blocks_per_sm(plan.tiles) > 2 && plan.tiles * splits_for(plan.tiles) < kLeastWarps) plan.tiles *= 2;
  plan.splits = splits_for(plan.tiles);

  // As much of x as shared memory holds, with room for a second block where there is one.
  const auto fitting = [&](int64_t bytes) {
    return int((bytes - sum_bytes(product.M, plan.tiles)) / (product.M * int64_t(sizeof(uint4))) - slab_stride(0)) / kStepWords;
  };
  int most = fitting(context->shared_bytes_per_block / (blocks_per_sm(plan.tiles) > 1 ? 2 : 1));
  if (most < plan.splits) most = fitting(context->shared_bytes_per_block);
  if (most >= steps) {
    plan.slab_steps = int(steps);
  } else {
    plan.splits = plan.splits < most ? plan.splits : most;
    plan.slab_steps = most / plan.splits * plan.splits;
  }
  // Warps with an equal number of steps each.
  plan.splits = int(ceil_div(plan.slab_steps, ceil_div(plan.slab_steps, plan.splits)));
  plan.turns = int(ceil_div(ceil_div(plan.slab_steps, plan.splits), Layout::ahead)) * Layout::ahead;
  return plan;
}

template <int XTiles, bool Whole>
tb_status launch(tb_context* context, const char* op, const TernaryProduct& product) {
  const RowsPlan plan = plan_rows<Depth<XTiles, Whole>>(context, product);
  const int64_t blocks = ceil_div(product.N, plan.tiles * kTileOutputs);
  TB_REQUIRE(context, blocks <= INT32_MAX, "Cannot run %s as N may have 2^31 - 1 blocks at most: current value is %lld", op,
             (long long)product.N);
  const int bytes = int(product.M * slab_stride(plan.slab_steps) * int64_t(sizeof(uint4)) + sum_bytes(product.M, plan.tiles));
  const auto kernel = packed_rows<XTiles, Whole>;
  // All there is, whatever this call needs: a recorded call that needs more must still find its room.
  const tb_status status = checked(context,
                                   cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, context->shared_bytes_per_block),
                                   "reserve shared memory for the ternary product");
  if (status != TB_OK) return status;
  launch_early(context, kernel, unsigned(blocks), plan.tiles * plan.splits * kWarp, bytes, product, plan);
  return launched(context, op);
}

template <int XTiles>
tb_status launch_chunks(tb_context* context, const char* op, const TernaryProduct& product) {
  if (product.K % 64 == 0 && is_aligned(product.x, 16) && is_aligned(product.packed, 16)) return launch<XTiles, true>(context, op, product);
  return launch<XTiles, false>(context, op, product);
}

}  // namespace

bool fits_packed_rows(const tb_context* context, const TernaryProduct& product) {
  return product.packed != nullptr && product.M <= kMostRows && !context->no_packed_rows;
}

tb_status ternary_packed_rows(tb_context* context, const char* op, const TernaryProduct& product) {
  if (product.M <= kTileRows) return launch_chunks<1>(context, op, product);
  if (product.M <= 2 * kTileRows) return launch_chunks<2>(context, op, product);
  if (product.M <= 4 * kTileRows) return launch_chunks<4>(context, op, product);
  return launch_chunks<8>(context, op, product);
}

}  // namespace tb
