// Causal attention with grouped keys and values, backward, without the T x T matrix (arXiv:2205.14135, algorithm 4).
//
//   delta = rowsum(dout * o);  P = exp(scale * q kᵀ - lse), recomputed tile by tile;
//   dV = Pᵀ dO;  dS = P * (dO Vᵀ - delta);  dQ = scale * dS K;  dK = scale * dSᵀ Q.
// No atomics: one kernel owns rows of dk and dv (4 products a tile), another rows of dq (3 products), so each sum has one owner
// and one order: the group's heads in order, then query tiles in order; key tiles in order. Same shape, same bits.
// bfloat16 in and out; scores, softmax and sums in float32; P and dS are rounded to bfloat16 before their products. The first
// kernel computes Sᵀ and dPᵀ, the second S and dP: either way the accumulators are the next product's left operand, in registers.
// Hopper: attention_backward_sm90.cu. float32, and head widths without tiles: attention_lanes.cu.
#include "attention.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

template <int E>
struct BackwardTiles {
  using Tile = HeadTile<E>;
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  // Of 16 keys (or queries) a warp, which holds two (or one) of E columns in float32.
  static constexpr int kBlocks = E <= 64 ? 2 : 1;
  static constexpr int kOwned = 16 * kBlocks * kWarps;  // rows of dk and dv, or of dq, a block
  static constexpr int kOther = 64;                     // rows of the other side a step
  static constexpr int kStrip = 32;                     // of them whose scores are in registers at a time
  static constexpr int kOwnedBytes = kOwned * Tile::kRowBytes, kOtherBytes = kOther * Tile::kRowBytes;
  static constexpr int kKeyStageBytes = 2 * kOtherBytes;                                         // of the dq kernel: k, v
  static constexpr int kQueryStageBytes = 2 * kOtherBytes + 2 * kOther * int(sizeof(float));     // of dk, dv: q, dout, lse, delta
  static constexpr int kKeySharedBytes = 2 * kOwnedBytes + 2 * kQueryStageBytes;
  static constexpr int kQuerySharedBytes = 2 * kOwnedBytes + 2 * kKeyStageBytes;
};

// Rows of dk and dv: keys [j0, j0 + kOwned) of one group, over all queries that see them, of all heads of the group.
template <int E>
__global__ void __launch_bounds__(128, 2) attention_backward_keys_kernel(const AttentionBackward task, const TileOrder order) {
  using Sizes = BackwardTiles<E>;
  using Tile = typename Sizes::Tile;
  constexpr int kBlocks = Sizes::kBlocks, kQueries = Sizes::kOther, kStrip = Sizes::kStrip, kThreads = Sizes::kThreads;
  extern __shared__ __align__(128) char shared[];
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, warp = warp_index();
  int group, rank;
  order.place(int(blockIdx.x), group, rank);
  const int T = int(shape.T), heads = int(shape.H) / int(shape.G), first_head = group % int(shape.G) * heads;
  const int j0 = rank * Sizes::kOwned;  // earlier keys are seen by more queries: they go first
  const int keys = min(Sizes::kOwned, T - j0);
  static_assert(Sizes::kOwned % kQueries == 0, "the first query tile begins at the block's first key");

  const uint32_t k_tile = shared_address(shared), v_tile = k_tile + Sizes::kOwnedBytes;
  const uint32_t stages = v_tile + Sizes::kOwnedBytes;
  for (int part = 0; part < 2; ++part) {
    Tile::template clear_padding<Sizes::kOwned, kThreads>(shared + part * Sizes::kOwnedBytes);
    char* stage = shared + 2 * Sizes::kOwnedBytes + part * Sizes::kQueryStageBytes;
    Tile::template clear_padding<2 * kQueries, kThreads>(stage);
  }
  const int64_t key_at = (int64_t(group) * T + j0) * E;
  Tile::template load<Sizes::kOwned, kThreads>(k_tile, static_cast<const bf16*>(task.k) + key_at, E, keys);
  Tile::template load<Sizes::kOwned, kThreads>(v_tile, static_cast<const bf16*>(task.v) + key_at, E, keys);
  const auto load_queries = [&](int offset, int h, int i0) {
    const uint32_t stage = stages + offset;
    const int valid = T - i0;
    const int b = group / int(shape.G);
    const int64_t row = (b * shape.H + h) * shape.T + i0;
    Tile::template load<kQueries, kThreads>(stage, static_cast<const bf16*>(task.q) + row * E, E, valid);
    Tile::template load<kQueries, kThreads>(stage + Sizes::kOtherBytes,
                                            static_cast<const bf16*>(task.dout) + ((b * shape.T + i0) * shape.H + h) * E,
                                            shape.H * E, valid);
    static_assert(kThreads == 2 * kQueries, "a thread for each query's lse and delta");
    const int query = int(threadIdx.x) % kQueries;
    const float* values = int(threadIdx.x) < kQueries ? task.lse : task.delta;
    copy_async<4>(stage + 2 * Sizes::kOtherBytes + threadIdx.x * 4, values + row + (query < valid ? query : 0),
                  query < valid ? 4 : 0);
  };
  load_queries(0, first_head, j0);
  commit_copies();

  float dk[kBlocks][Tile::kColumns][4] = {}, dv[kBlocks][Tile::kColumns][4] = {};
  const int warp_row = warp * 16 * kBlocks, first = j0 + warp_row;  // the warp's first key
  const float scale2 = shape.scale * kLog2E;

  int h = first_head, i0 = j0, offset = 0;
  while (h < first_head + heads) {
    wait_copies<0>();
    __syncthreads();  // this step's tiles are there, and all warps have left the other stage
    const bool last = i0 + kQueries >= T;
    const int next_h = last ? h + 1 : h, next_i0 = last ? j0 : i0 + kQueries, next_offset = Sizes::kQueryStageBytes - offset;
    if (next_h < first_head + heads) load_queries(next_offset, next_h, next_i0);
    commit_copies();
    const uint32_t q_tile = stages + offset, dout_tile = q_tile + Sizes::kOtherBytes;
    const float* lse = reinterpret_cast<const float*>(shared + 2 * Sizes::kOwnedBytes + offset + 2 * Sizes::kOtherBytes);
    const float* delta = lse + kQueries;
#pragma unroll
    for (int strip = 0; strip < kQueries; strip += kStrip) {
      // Queries before the warp's keys see none of them; those behind T are zeros in q and dout, and change nothing.
      if (i0 + strip + kStrip - 1 < first || i0 + strip >= T || warp_row >= keys) continue;
      float s[kBlocks][kStrip / 8][4], ds[kBlocks][kStrip / 8][4];
      multiply_heads<Tile>(s, q_tile, strip, lane, [&](uint32_t(&a)[4], int block, int e) {
        load_matrices(a, Tile::rows_at(k_tile, warp_row + 16 * block, e, lane));
      });
      multiply_heads<Tile>(ds, dout_tile, strip, lane, [&](uint32_t(&a)[4], int block, int e) {
        load_matrices(a, Tile::rows_at(v_tile, warp_row + 16 * block, e, lane));
      });
      const int ahead = i0 + strip - first;  // of the strip's first query before the warp's first key
      if (ahead < 16 * kBlocks - 1) {
#pragma unroll
        for (int block = 0; block < kBlocks; ++block)
#pragma unroll
          for (int n = 0; n < kStrip / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int key = 16 * block + i / 2 * 8 + lane / 4, query = ahead + 8 * n + 2 * (lane % 4) + i % 2;
              if (key > query) s[block][n][i] = kMinusInfinity;  // P is 0, and so is dS
            }
      }
#pragma unroll
      for (int n = 0; n < kStrip / 8; ++n) {
        const float2 log_sums = *reinterpret_cast<const float2*>(lse + strip + 8 * n + 2 * (lane % 4));
        const float2 means = *reinterpret_cast<const float2*>(delta + strip + 8 * n + 2 * (lane % 4));
        const float shifts[2] = {log_sums.x * kLog2E, log_sums.y * kLog2E};
#pragma unroll
        for (int block = 0; block < kBlocks; ++block)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            s[block][n][i] = fast_exp2(fmaf(s[block][n][i], scale2, -shifts[i % 2]));
            ds[block][n][i] = s[block][n][i] * (ds[block][n][i] - (i % 2 ? means.y : means.x));
          }
      }
      uint32_t p[kBlocks][kStrip / 16][4], dp[kBlocks][kStrip / 16][4];
#pragma unroll
      for (int block = 0; block < kBlocks; ++block)
#pragma unroll
        for (int n = 0; n < kStrip / 16; ++n) {
          pack_left(p[block][n], s[block][2 * n], s[block][2 * n + 1]);
          pack_left(dp[block][n], ds[block][2 * n], ds[block][2 * n + 1]);
        }
      accumulate_rows<Tile>(dv, p, dout_tile, strip, lane);
      accumulate_rows<Tile>(dk, dp, q_tile, strip, lane);
    }
    h = next_h;
    i0 = next_i0;
    offset = next_offset;
  }

  // Each warp reads and writes its own rows of the key tiles alone: no barrier is needed.
  float scales[kBlocks][2], ones[kBlocks][2];
#pragma unroll
  for (int block = 0; block < kBlocks; ++block)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      scales[block][half] = shape.scale;
      ones[block][half] = 1;
    }
  const int64_t at = key_at + int64_t(warp_row) * E;
  Tile::store(shared, warp_row, dk, scales, static_cast<bf16*>(task.dk) + at, E, keys - warp_row);
  Tile::store(shared + Sizes::kOwnedBytes, warp_row, dv, ones, static_cast<bf16*>(task.dv) + at, E, keys - warp_row);
}

// Rows of dq: queries [i0, i0 + kOwned) of one head, over all keys that they see.
template <int E>
__global__ void __launch_bounds__(128, 2) attention_backward_queries_kernel(const AttentionBackward task,
                                                                            const TileOrder order) {
  using Sizes = BackwardTiles<E>;
  using Tile = typename Sizes::Tile;
  constexpr int kBlocks = Sizes::kBlocks, kKeys = Sizes::kOther, kStrip = Sizes::kStrip, kThreads = Sizes::kThreads;
  extern __shared__ __align__(128) char shared[];
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, warp = warp_index();
  int head, rank;
  order.place(int(blockIdx.x), head, rank);
  const int T = int(shape.T), H = int(shape.H), b = head / H, h = head % H;
  const int i0 = (order.tiles - 1 - rank) * Sizes::kOwned;
  const int queries = min(Sizes::kOwned, T - i0), keys = i0 + queries;
  const int steps = (keys + kKeys - 1) / kKeys;

  const int64_t query_at = (int64_t(head) * T + i0) * E;
  const int64_t group = int64_t(b) * shape.G + h / (H / int(shape.G));
  const bf16* k = static_cast<const bf16*>(task.k) + group * T * E;
  const bf16* v = static_cast<const bf16*>(task.v) + group * T * E;
  const uint32_t q_tile = shared_address(shared), dout_tile = q_tile + Sizes::kOwnedBytes;
  const uint32_t stages = dout_tile + Sizes::kOwnedBytes;
  Tile::template clear_padding<2 * Sizes::kOwned + 4 * kKeys, kThreads>(shared);
  Tile::template load<Sizes::kOwned, kThreads>(q_tile, static_cast<const bf16*>(task.q) + query_at, E, queries);
  Tile::template load<Sizes::kOwned, kThreads>(dout_tile,
                                               static_cast<const bf16*>(task.dout) + ((int64_t(b) * T + i0) * H + h) * E,
                                               int64_t(H) * E, queries);
  const auto load_keys = [&](int step) {
    const uint32_t stage = stages + (step & 1) * Sizes::kKeyStageBytes;
    const int64_t at = int64_t(step) * kKeys * E;
    Tile::template load<kKeys, kThreads>(stage, k + at, E, keys - step * kKeys);
    Tile::template load<kKeys, kThreads>(stage + Sizes::kOtherBytes, v + at, E, keys - step * kKeys);
  };
  load_keys(0);
  commit_copies();

  float dq[kBlocks][Tile::kColumns][4] = {};
  const int warp_row = warp * 16 * kBlocks, first = i0 + warp_row;  // the warp's first query
  const float scale2 = shape.scale * kLog2E;
  float shifts[kBlocks][2], means[kBlocks][2];
#pragma unroll
  for (int block = 0; block < kBlocks; ++block)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp_row + 16 * block + 8 * half + lane / 4;
      const int64_t at = int64_t(head) * T + i0 + row;
      shifts[block][half] = row < queries ? task.lse[at] * kLog2E : 0;
      means[block][half] = row < queries ? task.delta[at] : 0;
    }

  for (int step = 0; step < steps; ++step) {
    wait_copies<0>();
    __syncthreads();
    if (step + 1 < steps) load_keys(step + 1);
    commit_copies();
    const uint32_t k_tile = stages + (step & 1) * Sizes::kKeyStageBytes, v_tile = k_tile + Sizes::kOtherBytes;
#pragma unroll 1
    for (int strip = 0; strip < kKeys; strip += kStrip) {
      const int j0 = step * kKeys + strip;
      if (j0 > first + 16 * kBlocks - 1 || warp_row >= queries) break;  // nothing that this warp's queries see
      float s[kBlocks][kStrip / 8][4], ds[kBlocks][kStrip / 8][4];
      multiply_heads<Tile>(s, k_tile, strip, lane, [&](uint32_t(&a)[4], int block, int e) {
        load_matrices(a, Tile::rows_at(q_tile, warp_row + 16 * block, e, lane));
      });
      multiply_heads<Tile>(ds, v_tile, strip, lane, [&](uint32_t(&a)[4], int block, int e) {
        load_matrices(a, Tile::rows_at(dout_tile, warp_row + 16 * block, e, lane));
      });
#pragma unroll
      for (int block = 0; block < kBlocks; ++block)
#pragma unroll
        for (int n = 0; n < kStrip / 8; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float p = fast_exp2(fmaf(s[block][n][i], scale2, -shifts[block][i / 2]));
            ds[block][n][i] = p * (ds[block][n][i] - means[block][i / 2]);
          }
      if (j0 + kStrip - 1 > first) {
#pragma unroll
        for (int block = 0; block < kBlocks; ++block)
#pragma unroll
          for (int n = 0; n < kStrip / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const int key = j0 + 8 * n + 2 * (lane % 4) + i % 2, query = first + 16 * block + i / 2 * 8 + lane / 4;
              if (key > query) ds[block][n][i] = 0;
            }
      }
      uint32_t packed[kBlocks][kStrip / 16][4];
#pragma unroll
      for (int block = 0; block < kBlocks; ++block)
#pragma unroll
        for (int n = 0; n < kStrip / 16; ++n) pack_left(packed[block][n], ds[block][2 * n], ds[block][2 * n + 1]);
      accumulate_rows<Tile>(dq, packed, k_tile, strip, lane);
    }
  }

  float scales[kBlocks][2];
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) scales[block][0] = scales[block][1] = shape.scale;
  Tile::store(shared, warp_row, dq, scales, static_cast<bf16*>(task.dq) + query_at + int64_t(warp_row) * E, E,
              queries - warp_row);
}

template <int E>
tb_status launch_backward(tb_context* context, const char* op, const AttentionBackward& task) {
  using Sizes = BackwardTiles<E>;
  const AttentionShape& shape = task.shape;
  tb_status status = allow_shared(context, op, attention_backward_keys_kernel<E>, Sizes::kKeySharedBytes, E);
  if (status != TB_OK) return status;
  status = allow_shared(context, op, attention_backward_queries_kernel<E>, Sizes::kQuerySharedBytes, E);
  if (status != TB_OK) return status;
  attention_delta(context, TB_BF16, task);
  const int64_t tiles = ceil_div(shape.T, Sizes::kOwned);
  const TileOrder keys = tile_order(shape, shape.B * shape.G, tiles);
  attention_backward_keys_kernel<E>
      <<<keys.blocks(), Sizes::kThreads, Sizes::kKeySharedBytes, context->stream>>>(task, keys);
  const TileOrder queries = tile_order(shape, shape.B * shape.H, tiles);
  attention_backward_queries_kernel<E>
      <<<queries.blocks(), Sizes::kThreads, Sizes::kQuerySharedBytes, context->stream>>>(task, queries);
  return launched(context, op);
}

}  // namespace

tb_status attention_backward_tiles(tb_context* context, const char* op, const AttentionBackward& task) {
  switch (task.shape.E) {
    case 64: return launch_backward<64>(context, op, task);
    case 100: return launch_backward<100>(context, op, task);
    default: return launch_backward<128>(context, op, task);
  }
}

}  // namespace tb

// ---- Launcher ---------------------------------------------------------------------------------------------------

extern "C" tb_status tb_attention_backward(tb_context* context, tb_dtype dtype, const void* dout, const void* q,
                                           const void* k, const void* v, const void* o, const float* lse, float* delta,
                                           void* dq, void* dk, void* dv, float scale, int64_t B, int64_t T, int64_t H,
                                           int64_t G, int64_t E) {
  const char* op = "tb_attention_backward";
  TB_ENTER(context);
  const tb::AttentionBackward task = {dout, q, k, v, o, lse, delta, dq, dk, dv, {B, T, H, G, E, T, scale}};
  if (const tb_status status = tb::check_attention(context, op, dtype, task.shape); status != TB_OK) return status;
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, dout != nullptr && q != nullptr && k != nullptr && v != nullptr && o != nullptr && lse != nullptr &&
                          delta != nullptr && dq != nullptr && dk != nullptr && dv != nullptr,
             "Cannot run %s as one of its tensors is null", op);
  if (const tb_status status = tb::check_aligned(context, op, {dout, q, k, v, o, dq, dk, dv}); status != TB_OK) return status;
  if (tb::has_attention_tiles(dtype, E))
    return tb::fits_attention_sm90(context, task.shape) ? tb::attention_backward_sm90(context, op, task)
                                                        : tb::attention_backward_tiles(context, op, task);
  return tb::attention_backward_lanes(context, op, dtype, task);
}
