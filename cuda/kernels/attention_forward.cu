// Causal attention with grouped keys and values, forward, without the T x T matrix (arXiv:2205.14135, 2307.08691).
//
//   o (B*T, H*E) = softmax(scale * q kᵀ, causal) v;  lse (B, H, T) = log of each row's sum of exponentials
//   q (B, H, T, E), k and v (B, G, capacity, E); query head h reads head h / (H / G).
// bfloat16 in and out with float32 scores, softmax and sums; probabilities are rounded to bfloat16 before they meet v, their
// sum is not. Keys are taken in order, 64 at a time, each row by one warp: same shape, same bits. A block has 128 queries, 4 warps
// of 32; keys and values of the next step are copied while this one is computed. Tiles that no query sees are never read.
// Hopper: attention_forward_sm90.cu. float32, and head widths without tiles: attention_lanes.cu.
#include "attention.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

template <int E>
struct ForwardTiles {
  using Tile = HeadTile<E>;
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kBlocks = 2;  // of 16 queries a warp: each load of keys serves 32 queries
  static constexpr int kQueries = 16 * kBlocks * kWarps, kKeys = 64;
  static constexpr int kStrip = E <= 64 ? 64 : 32;  // keys whose scores are in registers at a time
  static constexpr bool kKeepQueries = E <= 64;  // in registers; wider heads leave no room
  static constexpr int kQueryBytes = kQueries * Tile::kRowBytes, kKeyBytes = kKeys * Tile::kRowBytes;
  static constexpr int kSharedBytes = kQueryBytes + 4 * kKeyBytes;
};

// One row's softmax so far, for rows g and g + 8 of a block: the sum is over this thread's columns only.
struct RunningSoftmax {
  float largest[2] = {kMinusInfinity, kMinusInfinity};
  float sum[2] = {0, 0};
};

// Scores to probabilities; `factors` receives what earlier sums of the rows are to be multiplied with.
template <int kCount>
__device__ __forceinline__ void step_softmax(float (&s)[kCount][4], RunningSoftmax& running, float scale2,
                                             float (&factors)[2]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = running.largest[half];
#pragma unroll
    for (int n = 0; n < kCount; ++n) largest = fmaxf(largest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    factors[half] = fast_exp2((running.largest[half] - largest) * scale2);
    running.largest[half] = largest;
    const float shift = largest * scale2;
    float sum = running.sum[half] * factors[half];
#pragma unroll
    for (int n = 0; n < kCount; ++n)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        s[n][i] = fast_exp2(fmaf(s[n][i], scale2, -shift));
        sum += s[n][i];
      }
    running.sum[half] = sum;
  }
}

template <int E>
__global__ void __launch_bounds__(128, 2) attention_forward_kernel(const AttentionForward task, const TileOrder order) {
  using Sizes = ForwardTiles<E>;
  using Tile = typename Sizes::Tile;
  constexpr int kBlocks = Sizes::kBlocks, kKeys = Sizes::kKeys, kStrip = Sizes::kStrip, kThreads = Sizes::kThreads;
  extern __shared__ __align__(128) char shared[];
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, warp = warp_index();
  int head, rank;
  order.place(int(blockIdx.x), head, rank);
  const int b = head / int(shape.H), h = head % int(shape.H);
  const int64_t group = b * shape.G + h / (shape.H / shape.G);
  const int i0 = (order.tiles - 1 - rank) * Sizes::kQueries;  // later queries see more keys: they go first
  const int queries = int(min(int64_t(Sizes::kQueries), shape.T - i0));
  const int start = task.start != nullptr ? task.start[b] : 0;
  const bool fits = start >= 0 && start + shape.T <= shape.capacity;
  const int keys = fits ? start + i0 + queries : 0;
  const int steps = (keys + kKeys - 1) / kKeys;

  const bf16* q = static_cast<const bf16*>(task.q) + (head * shape.T + i0) * E;
  const bf16* k = static_cast<const bf16*>(task.k) + group * shape.capacity * E;
  const bf16* v = static_cast<const bf16*>(task.v) + group * shape.capacity * E;
  const uint32_t q_tile = shared_address(shared);
  const uint32_t stages = q_tile + Sizes::kQueryBytes;

  Tile::template clear_padding<Sizes::kQueries + 4 * kKeys, kThreads>(shared);
  const auto load_keys = [&](int step) {
    const uint32_t stage = stages + (step & 1) * 2 * Sizes::kKeyBytes;
    const int64_t at = int64_t(step) * kKeys;
    Tile::template load<kKeys, kThreads>(stage, k + at * E, E, keys - step * kKeys);
    Tile::template load<kKeys, kThreads>(stage + Sizes::kKeyBytes, v + at * E, E, keys - step * kKeys);
  };
  Tile::template load<Sizes::kQueries, kThreads>(q_tile, q, E, queries);
  if (steps > 0) load_keys(0);
  commit_copies();

  float o[kBlocks][Tile::kColumns][4] = {};
  RunningSoftmax softmax[kBlocks];
  uint32_t kept[Sizes::kKeepQueries ? kBlocks : 1][Sizes::kKeepQueries ? Tile::kSteps : 1][4];
  const int warp_row = warp * 16 * kBlocks;
  const int first = start + i0 + warp_row;  // position of the warp's first query
  const float scale2 = shape.scale * kLog2E;

  for (int step = 0; step < steps; ++step) {
    wait_copies<0>();
    __syncthreads();  // this step's tiles are there, and all warps have left the other stage
    if (step + 1 < steps) load_keys(step + 1);
    commit_copies();
    if constexpr (Sizes::kKeepQueries) {
      if (step == 0)
#pragma unroll
        for (int block = 0; block < kBlocks; ++block)
#pragma unroll
          for (int e = 0; e < Tile::kSteps; ++e)
            load_matrices(kept[block][e], Tile::rows_at(q_tile, warp_row + 16 * block, e, lane));
    }
    const uint32_t k_tile = stages + (step & 1) * 2 * Sizes::kKeyBytes;
#pragma unroll 1
    for (int strip = 0; strip < kKeys; strip += kStrip) {
      const int j0 = step * kKeys + strip;
      if (j0 > first + 16 * kBlocks - 1 || warp_row >= queries) break;  // nothing that this warp's queries see

      float s[kBlocks][kStrip / 8][4];
      multiply_heads<Tile>(s, k_tile, strip, lane, [&](uint32_t(&a)[4], int block, int e) {
        if constexpr (Sizes::kKeepQueries) {
#pragma unroll
          for (int i = 0; i < 4; ++i) a[i] = kept[block][e][i];
        } else {
          load_matrices(a, Tile::rows_at(q_tile, warp_row + 16 * block, e, lane));
        }
      });
      if (j0 + kStrip - 1 > first) {
#pragma unroll
        for (int block = 0; block < kBlocks; ++block)
#pragma unroll
          for (int n = 0; n < kStrip / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int key = j0 + 8 * n + 2 * (lane % 4) + i % 2, query = first + 16 * block + i / 2 * 8 + lane / 4;
              if (key > query) s[block][n][i] = kMinusInfinity;
            }
      }
      uint32_t p[kBlocks][kStrip / 16][4];
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        float factors[2];
        step_softmax(s[block], softmax[block], scale2, factors);
        // Maxima seldom grow after the first steps; a factor of NaN is not 1.
        if (__any_sync(kAllLanes, factors[0] != 1 || factors[1] != 1)) {
#pragma unroll
          for (int column = 0; column < Tile::kColumns; ++column)
#pragma unroll
            for (int i = 0; i < 4; ++i) o[block][column][i] *= factors[i / 2];
        }
#pragma unroll
        for (int n = 0; n < kStrip / 16; ++n) pack_left(p[block][n], s[block][2 * n], s[block][2 * n + 1]);
      }
      accumulate_rows<Tile>(o, p, k_tile + Sizes::kKeyBytes, strip, lane);
    }
  }
  wait_copies<0>();
  __syncthreads();  // also where there was no step: the rows of q become those of o

  float factors[kBlocks][2];
#pragma unroll
  for (int block = 0; block < kBlocks; ++block)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = softmax[block].sum[half];
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      factors[block][half] = 1 / sum;
      const int row = warp_row + 16 * block + 8 * half + lane / 4;
      if (task.lse != nullptr && lane % 4 == 0 && row < queries)
        task.lse[head * shape.T + i0 + row] = softmax[block].largest[half] * shape.scale + logf(sum);
    }
  bf16* o_rows = static_cast<bf16*>(task.o) + ((b * shape.T + i0 + warp_row) * shape.H + h) * E;
  Tile::store(shared, warp_row, o, factors, o_rows, shape.H * E, queries - warp_row);
}

template <int E>
tb_status launch_forward(tb_context* context, const char* op, const AttentionForward& task) {
  using Sizes = ForwardTiles<E>;
  const tb_status status = allow_shared(context, op, attention_forward_kernel<E>, Sizes::kSharedBytes, E);
  if (status != TB_OK) return status;
  const TileOrder order = tile_order(task.shape, task.shape.B * task.shape.H, ceil_div(task.shape.T, Sizes::kQueries));
  attention_forward_kernel<E>
      <<<order.blocks(), Sizes::kThreads, Sizes::kSharedBytes, context->stream>>>(task, order);
  return launched(context, op);
}

}  // namespace

tb_status attention_forward_tiles(tb_context* context, const char* op, const AttentionForward& task) {
  switch (task.shape.E) {
    case 64: return launch_forward<64>(context, op, task);
    case 100: return launch_forward<100>(context, op, task);
    default: return launch_forward<128>(context, op, task);
  }
}

}  // namespace tb

// ---- Launcher ---------------------------------------------------------------------------------------------------

extern "C" tb_status tb_attention_forward(tb_context* context, tb_dtype dtype, const void* q, const void* k, const void* v,
                                          void* o, float* lse, float scale, int64_t B, int64_t T, int64_t H, int64_t G,
                                          int64_t E) {
  const char* op = "tb_attention_forward";
  TB_ENTER(context);
  const tb::AttentionForward task = {q, k, v, nullptr, o, lse, {B, T, H, G, E, T, scale}};
  if (const tb_status status = tb::check_attention(context, op, dtype, task.shape); status != TB_OK) return status;
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, q != nullptr && k != nullptr && v != nullptr && o != nullptr && lse != nullptr,
             "Cannot run %s as one of its tensors is null", op);
  if (const tb_status status = tb::check_aligned(context, op, {q, k, v, o}); status != TB_OK) return status;
  if (tb::has_attention_tiles(dtype, E))
    return tb::fits_attention_sm90(context, task.shape) ? tb::attention_forward_sm90(context, op, task)
                                                        : tb::attention_forward_tiles(context, op, task);
  return tb::attention_forward_lanes(context, op, dtype, task, T, 1);
}
