// Attention of new queries against a cache of keys and values, without tensor cores; and the forward pass of those shapes and
// dtypes that have no tiles (attention_forward.cu).
//
//   o (B*T, H*E) = softmax(scale * q kᵀ) v, where query t of sequence b sees cache tokens 0 .. start[b] + t
// A block takes 1 or up to 4 of the T * H / G query rows that share a key head, and one split of the cache: keys_per_split tokens.
// Its teams of lanes take keys in turn, each with its own running softmax; teams, warps and then splits are merged in order. The
// number of splits follows from capacity and key heads, so that a graph can be captured and bits depend neither on the card nor on the
// other sequences; splits that begin behind what the rows see are neither computed nor read. The last of a row's blocks to be done
// merges its splits: a kernel of its own would take as long as the attention to a short cache (TITANBIT_NO_FUSED_MERGE=1 has one).
// A token of each sequence may join the cache on its way (attention_fresh.cuh): blocks rotate their queries themselves; of those that
// see the new key, in the cache's last split, each rotates it for itself, and one of them writes it and its value.
// Sums in float32, results rounded once. Values of an int8 cache are widened as they are read; the scale of a key multiplies its score.
// bfloat16 prefills of more than kFewQueries tokens with tiles go to the tensor cores instead.
#include <algorithm>
#include <type_traits>

#include "attention_decode.cuh"
#include "attention_fresh.cuh"
#include "overlap.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kWarps = 4, kMostRows = 4;  // of a block
// One batch of all teams of a row at the widths of the model sizes: with a token a sequence, the time of a block is the latency of its steps.
constexpr int64_t kKeysPerSplit = 64;
// Of a key head, and blocks of a sequence that more splits are for: blocks of long splits read at the memory's rate, short ones at two thirds.
constexpr int64_t kLeastMost = 16, kMostSplits = 64, kWantedBlocks = 512;
constexpr int64_t kFewQueries = 8;

// What a block hands on: for row r and split s, sums[(r * splits + s) * E ..] and the softmax at 2 * (r * splits + s).
struct Partials {
  float* sums;      // weighted sums of v, relative to the largest score
  float* softmax;   // largest score, sum of exponentials
  unsigned* done;   // of each block of rows, its splits that are done; null: merge_splits follows
  int splits;
  int keys_per_split;
  int row_groups;   // blocks of a split
};

// Weight of sums made relative to `largest` in sums relative to `overall`; 0 for what has seen no key.
__device__ __forceinline__ float merge_weight(float largest, float overall) {
  return largest == kMinusInfinity ? 0.0f : expf(largest - overall);
}

// o of a row of (B, H, T) from its first `count` splits, kMostSplits at most, in order, by whole warps: `thread` of `threads`. A lane
// weighs two splits. Read past the caches of an SM, which may have been filled before another one wrote.
template <typename T>
__device__ __forceinline__ void merge_row(const Partials& partials, int64_t row, int count, T* o, int E, int thread, int threads) {
  static_assert(kMostSplits == 2 * kWarp, "two splits a lane");
  const float* softmax = partials.softmax + 2 * row * partials.splits;
  const float* sums = partials.sums + row * partials.splits * E;
  const int lane = thread % kWarp;
  float largest[2], sum[2], weight[2], overall = kMinusInfinity, total = 0;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int split = i * kWarp + lane;
    largest[i] = split < count ? __ldcg(softmax + 2 * split) : kMinusInfinity;
    sum[i] = split < count ? __ldcg(softmax + 2 * split + 1) : 0;
    overall = fmaxf(overall, largest[i]);
  }
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) overall = fmaxf(overall, __shfl_xor_sync(kAllLanes, overall, offset));
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    weight[i] = merge_weight(largest[i], overall);
    total = fmaf(sum[i], weight[i], total);
  }
  total = warp_sum(total);
  for (int first = 0; first < E; first += threads) {
    const int e = first + thread;
    float value = 0;
#pragma unroll 8
    for (int split = 0; split < count; ++split) {
      const float part = e < E ? __ldcg(sums + int64_t(split) * E + e) : 0;
      value = fmaf(part, __shfl_sync(kAllLanes, split < kWarp ? weight[0] : weight[1], split % kWarp), value);
    }
    if (e < E) o[e] = from_float<T>(value / total);
  }
}

// Asks for the split's keys and values, a line of each a thread. `start` may be about to change, and steers no more than these hints.
template <typename Cache>
__device__ __forceinline__ void prefetch_split(const AttentionForward& task, const Partials& partials, int split, int64_t group) {
  if (task.start == nullptr) return;
  const AttentionShape& shape = task.shape;
  const int first = split * partials.keys_per_split;
  const int held = max(0, min(*static_cast<const volatile int32_t*>(task.start + group / shape.G), int(shape.capacity)));
  const int64_t bytes = int64_t(min(first + partials.keys_per_split, held) - first) * shape.E * int64_t(sizeof(Cache));
  const int64_t at = int64_t(threadIdx.x) * 128, from = (group * shape.capacity + first) * shape.E * int64_t(sizeof(Cache)) + at;
  if (at >= bytes) return;
  ask_for_line(static_cast<const char*>(task.k) + from);
  ask_for_line(static_cast<const char*>(task.v) + from);
}

// `values` are those of `others` where `is_so`.
template <int Count>
__device__ __forceinline__ void replace_if(bool is_so, float (&values)[Count], const float (&others)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) values[i] = is_so ? others[i] : values[i];
}

// Cache: T or int8_t. Fresh: the queries, and the last key and value, come from `fresh`; task.shape.T is 1. Two blocks a multiprocessor
// at least: without a number the compiler spills to make room for more.
template <typename L, int kRows, typename Cache, bool Fresh>
__global__ void __launch_bounds__(32 * kWarps, 2) attend_rows(const AttentionForward task, const Partials partials,
                                                              const FreshTokens fresh) {
  using T = typename L::T;
  constexpr bool kScaled = std::is_same_v<Cache, int8_t>;
  constexpr int kElements = L::kElements, kTeams = kWarps * L::kTeams;
  constexpr int kBatch = kRows == 1 ? 4 : 2;  // keys that a team takes at a time: as many as registers hold beside the rows
  __shared__ float warp_sums[kWarps][kRows][kWidestHead];
  __shared__ float warp_softmax[kWarps][kRows][2];
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp, E = int(shape.E);
  const int heads = int(shape.H / shape.G), rows = heads * int(shape.T), row_blocks = (rows + kRows - 1) / kRows;
  // The first splits, which every sequence has, start first.
  const int split = int(blockIdx.x) / partials.row_groups;
  const int at = int(blockIdx.x) % partials.row_groups, group = at / row_blocks, first_row = at % row_blocks * kRows;
  const int b = group / int(shape.G), tokens = int(shape.T), first_head = group % int(shape.G) * heads;
  // The cache's older tokens are on their way before the query is known.
  prefetch_split<Cache>(task, partials, split, group);
  wait_for_earlier();
  const int start = first_position(task, b);
  // Of the key that is not in the cache yet. Where there are no angles for it, its query is unknown.
  const int fresh_key = Fresh && start >= 0 && start < fresh.positions ? start : -1;
  const T* const fresh_rows = static_cast<const T*>(fresh.qkv) + int64_t(b) * (shape.H + 2 * shape.G) * E;
  const float* const angles = fresh.cos_sin + int64_t(fresh_key) * E;

  float q[kRows][kElements], sums[kRows][kElements] = {}, largest[kRows], sum[kRows] = {};
  int position[kRows], seen = 0;  // of the row's query; keys that any of the rows sees
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = first_row + r, t = row % tokens, h = first_head + row / tokens;
    const bool exists = row < rows;
    if constexpr (!Fresh) L::load(q[r], static_cast<const T*>(task.q) + ((b * shape.H + h) * shape.T + t) * E, E, lane, exists);
    position[r] = exists ? start + int(t) : -1;
    seen = max(seen, position[r] + 1);
    largest[r] = kMinusInfinity;
  }
  const int first_key = split * partials.keys_per_split;
  const int active = max(1, (seen + partials.keys_per_split - 1) / partials.keys_per_split);  // splits that there is something in
  if (split >= active) return;
  if constexpr (Fresh) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const bool exists = first_row + r < rows;
      if (exists && fresh_key >= 0) {
        load_rotated<L>(q[r], fresh_rows + int64_t(first_head + first_row + r) * E, angles, E, lane);  // T is 1: a row is a head
        round_to<T>(q[r]);
      } else {
#pragma unroll
        for (int e = 0; e < kElements; ++e) q[r][e] = exists ? __int_as_float(0x7fffffff) : 0.0f;
      }
    }
  }
  const int last_key = min(first_key + partials.keys_per_split, seen);
  const Cache* k = static_cast<const Cache*>(task.k) + group * shape.capacity * E;
  const Cache* v = static_cast<const Cache*>(task.v) + group * shape.capacity * E;
  const int team = warp * L::kTeams + lane / L::kTeam;
  float fresh_k[kElements] = {}, fresh_v[kElements] = {}, fresh_k_scale = 0, fresh_v_scale = 0;
  if (Fresh && fresh_key >= first_key && fresh_key < last_key) {
    const int g = group % int(shape.G);
    const T* const value = fresh_rows + (shape.H + shape.G + g) * E;
    load_rotated<L>(fresh_k, fresh_rows + (shape.H + g) * E, angles, E, lane);
    L::load(fresh_v, value, E, lane);
    fresh_k_scale = as_cached<L, Cache>(fresh_k);
    fresh_v_scale = as_cached<L, Cache>(fresh_v);
    if (first_row == 0 && team == 0) {  // of the blocks with this key, one
      const int64_t to = group * shape.capacity + fresh_key;
      store_cached<L>(static_cast<Cache*>(fresh.k) + to * E, fresh_k, E, lane);
      if constexpr (kScaled) {
        store_cached<L>(static_cast<Cache*>(fresh.v) + to * E, fresh_v, E, lane);
        if (lane == 0) {
          fresh.k_scale[to] = fresh_k_scale;
          fresh.v_scale[to] = fresh_v_scale;
        }
      } else {
        copy_row<L>(static_cast<T*>(fresh.v) + to * E, value, E, lane);
      }
    }
  }

  for (int base = first_key; base < last_key; base += kTeams * kBatch) {
    float scores[kBatch][kRows], values[kBatch][kElements];
    {
      float key_scale[kScaled ? kBatch : 1];
      float keys[kBatch][kElements];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int key = base + i * kTeams + team;
        L::load(keys[i], k + int64_t(key) * E, E, lane, key < last_key && !(Fresh && key == fresh_key));
        if constexpr (Fresh) replace_if(key == fresh_key, keys[i], fresh_k);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int key = base + i * kTeams + team;
        L::load(values[i], v + int64_t(key) * E, E, lane, key < last_key && !(Fresh && key == fresh_key));
        if constexpr (Fresh) replace_if(key == fresh_key, values[i], fresh_v);
      }
      if constexpr (kScaled) {
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          const int key = base + i * kTeams + team;
          const int64_t scale_at = group * shape.capacity + key;
          const bool is_fresh = Fresh && key == fresh_key, is_there = key < last_key && !is_fresh;
          key_scale[i] = (is_there ? task.k_scale[scale_at] : is_fresh ? fresh_k_scale : 0) * shape.scale;
          const float value_scale = is_there ? task.v_scale[scale_at] : is_fresh ? fresh_v_scale : 0;
#pragma unroll
          for (int e = 0; e < kElements; ++e) values[i][e] *= value_scale;
        }
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i)
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const int key = base + i * kTeams + team;
          const float score = L::dot(q[r], keys[i]) * (kScaled ? key_scale[kScaled ? i : 0] : shape.scale);
          scores[i][r] = key <= position[r] && key < last_key ? score : kMinusInfinity;
        }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float top = largest[r];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) top = fmaxf(top, scores[i][r]);
      const float factor = merge_weight(largest[r], top);
      largest[r] = top;
      sum[r] *= factor;
#pragma unroll
      for (int e = 0; e < kElements; ++e) sums[r][e] *= factor;
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const bool seen = scores[i][r] != kMinusInfinity;  // as NaN is
        const float p = seen ? expf(scores[i][r] - top) : 0;
        sum[r] += p;
#pragma unroll
        for (int e = 0; e < kElements; ++e) sums[r][e] = seen ? fmaf(p, values[i][e], sums[r][e]) : sums[r][e];
      }
    }
  }

#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const float overall = L::largest_of_teams(largest[r]), weight = merge_weight(largest[r], overall);
    // A team that met nothing but NaN has no largest score; its sums are NaN and stay so.
    const float total = L::over_teams(sum[r] * weight);
#pragma unroll
    for (int chunk = 0; chunk < L::kChunks; ++chunk)
#pragma unroll
      for (int i = 0; i < L::kPack; ++i) {
        const int e = L::element(chunk, lane) + i;
        const float value = L::over_teams(sums[r][chunk * L::kPack + i] * weight);
        if (lane < L::kTeam && e < E) warp_sums[warp][r][e] = value;
      }
    if (lane == 0) {
      warp_softmax[warp][r][0] = overall;
      warp_softmax[warp][r][1] = total;
    }
  }
  __syncthreads();

  for (int r = 0; r < kRows && first_row + r < rows; ++r) {
    const int row = first_row + r, t = row % tokens, h = first_head + row / tokens;
    float overall = kMinusInfinity, total = 0, weights[kWarps];
#pragma unroll
    for (int w = 0; w < kWarps; ++w) overall = fmaxf(overall, warp_softmax[w][r][0]);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      weights[w] = merge_weight(warp_softmax[w][r][0], overall);
      total += warp_softmax[w][r][1] * weights[w];
    }
    const int64_t out_row = (b * shape.H + h) * shape.T + t;
    const bool whole = active == 1 && (partials.done != nullptr || partials.splits == 1);
    for (int e = int(threadIdx.x); e < E; e += 32 * kWarps) {
      float value = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) value = fmaf(warp_sums[w][r][e], weights[w], value);
      if (whole)
        static_cast<T*>(task.o)[((b * shape.T + t) * shape.H + h) * E + e] = from_float<T>(value / total);
      else
        partials.sums[(out_row * partials.splits + split) * E + e] = value;
    }
    if (threadIdx.x == 0) {
      if (whole) {
        if (task.lse != nullptr) task.lse[out_row] = overall + logf(total);
      } else {
        float* softmax = partials.softmax + 2 * (out_row * partials.splits + split);
        softmax[0] = overall;
        softmax[1] = total;
      }
    }
  }

  if (partials.done == nullptr || active == 1) return;
  __shared__ bool is_last;
  __threadfence();  // this block's parts are there before it counts as done
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(partials.done + at, 1u) == unsigned(active - 1);
    __threadfence();
  }
  __syncthreads();
  if (!is_last) return;
  if (threadIdx.x == 0) partials.done[at] = 0;
  for (int r = 0; r < kRows && first_row + r < rows; ++r) {
    const int row = first_row + r, t = row % tokens, h = first_head + row / tokens;
    T* o = static_cast<T*>(task.o) + ((b * shape.T + t) * shape.H + h) * E;
    merge_row(partials, (b * shape.H + h) * shape.T + t, active, o, E, int(threadIdx.x), 32 * kWarps);
  }
}

// A warp a row: o of its splits.
template <typename T>
__global__ void __launch_bounds__(32 * kWarps) merge_splits(const AttentionForward task, const Partials partials) {
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, E = int(shape.E);
  const int64_t row = int64_t(blockIdx.x) * kWarps + warp_index();  // of (B, H, T)
  if (row >= shape.B * shape.H * shape.T) return;
  const int64_t t = row % shape.T, h = row / shape.T % shape.H, b = row / shape.T / shape.H;
  const int seen = first_position(task, b) + int(t) + 1;
  const int splits = max(0, (seen + partials.keys_per_split - 1) / partials.keys_per_split);
  T* o = static_cast<T*>(task.o) + ((b * shape.T + t) * shape.H + h) * E;
  merge_row(partials, row, splits, o, E, lane, kWarp);
}

// fresh: null where the caches have all tokens.
tb_status launch_lanes(tb_context* context, const char* op, tb_dtype dtype, const AttentionForward& task, const FreshTokens* fresh,
                       int64_t keys_per_split, int64_t splits) {
  const AttentionShape& shape = task.shape;
  const int64_t rows = shape.B * shape.H * shape.T;
  float* scratch = reinterpret_cast<float*>(context->scratch);
  const int64_t rows_per_group = shape.H / shape.G * shape.T;
  const int rows_per_block = rows_per_group == 1 ? 1 : kMostRows;
  const int64_t row_groups = shape.B * shape.G * ceil_div(rows_per_group, rows_per_block), blocks = row_groups * splits;
  TB_REQUIRE(context, blocks < (int64_t(1) << 31),
             "Cannot run %s as its grid must have fewer than 2^31 blocks: current value is %lld", op, (long long)blocks);
  const bool scaled = task.k_scale != nullptr;
  const bool fused = splits > 1 && row_groups <= kCounters && !is_set("TITANBIT_NO_FUSED_MERGE");
  const Partials partials = {scratch + 2 * rows * splits, scratch, fused ? context->counters : nullptr, int(splits),
                             int(keys_per_split), int(row_groups)};
  TB_WITH_LANES(dtype, shape.E, L, {
    using T = typename L::T;
    const auto launch = [&](auto kernel) {
      launch_rows(context, shape.B * shape.T, kernel, unsigned(blocks), 32 * kWarps, 0, task, partials,
                  fresh != nullptr ? *fresh : FreshTokens());
    };
    const auto launch_cached = [&](auto cached, auto is_fresh) {
      using Cache = decltype(cached);
      if (rows_per_block == 1)
        launch(attend_rows<L, 1, Cache, is_fresh.value>);
      else
        launch(attend_rows<L, kMostRows, Cache, is_fresh.value>);
    };
    if (scaled && fresh != nullptr)
      launch_cached(int8_t(), std::true_type());
    else if (scaled)
      launch_cached(int8_t(), std::false_type());
    else if (fresh != nullptr)
      launch_cached(T(), std::true_type());
    else
      launch_cached(T(), std::false_type());
  });
  if (splits > 1 && !fused)
    TB_WITH_TYPE(dtype, Type,
                 merge_splits<Type><<<blocks_for(rows, kWarps), 32 * kWarps, 0, context->stream>>>(task, partials););
  return launched(context, op);
}

// Of few queries a sequence: the split of the cache follows from capacity and key heads alone.
tb_status decode_lanes(tb_context* context, const char* op, tb_dtype dtype, const AttentionForward& task, const FreshTokens* fresh) {
  const AttentionShape& shape = task.shape;
  const int64_t most = std::clamp(kWantedBlocks / shape.G, kLeastMost, kMostSplits);
  int64_t keys_per_split = kKeysPerSplit;
  while (ceil_div(shape.capacity, keys_per_split) > most) keys_per_split *= 2;
  while (shape.B * shape.H * shape.T * ceil_div(shape.capacity, keys_per_split) * (shape.E + 2) * int64_t(sizeof(float)) > kScratchBytes &&
         keys_per_split < shape.capacity)
    keys_per_split *= 2;
  return launch_lanes(context, op, dtype, task, fresh, keys_per_split, ceil_div(shape.capacity, keys_per_split));
}

}  // namespace

tb_status attention_forward_lanes(tb_context* context, const char* op, tb_dtype dtype, const AttentionForward& task,
                                  int64_t keys_per_split, int64_t splits) {
  return launch_lanes(context, op, dtype, task, nullptr, keys_per_split, splits);
}

}  // namespace tb

// ---- Launcher ---------------------------------------------------------------------------------------------------

extern "C" tb_status tb_attention_decode(tb_context* context, tb_dtype dtype, const void* q, tb_dtype cache_dtype,
                                         const void* k_cache, const void* v_cache, const float* k_scale, const float* v_scale,
                                         const int32_t* start, void* o, float scale, int64_t B, int64_t T, int64_t H,
                                         int64_t G, int64_t E, int64_t capacity) {
  const char* op = "tb_attention_decode";
  TB_ENTER(context);
  const bool scaled = cache_dtype == TB_I8;
  if (cache_dtype != dtype && !scaled)
    return tb::fail(context, TB_UNSUPPORTED,
                    "Cannot run %s as the cache must have the dtype of q, %d, or 2 (int8): current value is %d", op, int(dtype),
                    int(cache_dtype));
  TB_REQUIRE(context, (k_scale != nullptr) == scaled && (v_scale != nullptr) == scaled,
             "Cannot run %s as scales go with an int8 cache, and with no other: current cache_dtype is %d", op, int(cache_dtype));
  const tb::AttentionForward task = {q, k_cache, v_cache, start, o, nullptr, {B, T, H, G, E, capacity, scale}, k_scale, v_scale};
  if (const tb_status status = tb::check_attention(context, op, dtype, task.shape); status != TB_OK) return status;
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, q != nullptr && k_cache != nullptr && v_cache != nullptr && start != nullptr && o != nullptr,
             "Cannot run %s as one of its tensors is null", op);
  TB_REQUIRE(context, T <= capacity, "Cannot run %s as tokens must end within the capacity %lld: current value is %lld tokens",
             op, (long long)capacity, (long long)T);
  if (const tb_status status = tb::check_aligned(context, op, {q, k_cache, v_cache, o}); status != TB_OK) return status;
  if (T > tb::kFewQueries && tb::has_attention_tiles(dtype, E)) {
    if (!scaled) return tb::attention_forward_tiles(context, op, task);
    if (tb::fits_attention_prefill_int8(task.shape)) return tb::attention_prefill_int8(context, op, task);
  }
  // More queries fill the card by themselves, and their partial sums would fill the scratch.
  if (T > tb::kFewQueries) return tb::attention_forward_lanes(context, op, dtype, task, capacity, 1);
  return tb::decode_lanes(context, op, dtype, task, nullptr);
}

extern "C" tb_status tb_rope_attention_decode(tb_context* context, tb_dtype dtype, const void* qkv, const float* cos_sin,
                                              const int32_t* start, void* q, tb_dtype cache_dtype, void* k_cache, void* v_cache,
                                              float* k_scale, float* v_scale, void* o, float scale, int64_t B, int64_t T, int64_t H,
                                              int64_t G, int64_t E, int64_t capacity, int64_t positions) {
  const char* op = "tb_rope_attention_decode";
  TB_ENTER(context);
  // Before the cache is touched: rotation alone could do without.
  TB_REQUIRE(context, B <= 0 || T <= 0 || (start != nullptr && o != nullptr), "Cannot run %s as neither start nor o may be null", op);
  const bool scaled = cache_dtype == TB_I8;
  const bool has_tensors = qkv != nullptr && cos_sin != nullptr && start != nullptr && q != nullptr && k_cache != nullptr &&
                           v_cache != nullptr && o != nullptr && (k_scale != nullptr) == scaled && (v_scale != nullptr) == scaled;
  const bool is_aligned = tb::is_aligned(qkv, 16) && tb::is_aligned(cos_sin, 16) && tb::is_aligned(k_cache, 16) &&
                          tb::is_aligned(v_cache, 16) && tb::is_aligned(q, 16) && tb::is_aligned(o, 16);
  const bool fits = B >= 1 && T == 1 && E % 2 == 0 && capacity >= 1 && positions >= 1 && (cache_dtype == dtype || scaled) && has_tensors &&
                    is_aligned && !tb::is_set("TITANBIT_NO_FUSED_ROPE");
  if (!fits) {  // and where the operands are wrong: each op says what it does not like
    const tb_status status = tb_rope_forward(context, dtype, qkv, cos_sin, start, q, cache_dtype, k_cache, v_cache, k_scale, v_scale, B,
                                             T, H, G, E, capacity, positions);
    if (status != TB_OK) return status;
    return tb_attention_decode(context, dtype, q, cache_dtype, k_cache, v_cache, k_scale, v_scale, start, o, scale, B, T, H, G, E,
                               capacity);
  }
  const tb::AttentionForward task = {nullptr, k_cache, v_cache, start, o, nullptr, {B, T, H, G, E, capacity, scale}, k_scale, v_scale};
  if (const tb_status status = tb::check_attention(context, op, dtype, task.shape); status != TB_OK) return status;
  const tb::FreshTokens fresh = {qkv, cos_sin, k_cache, v_cache, k_scale, v_scale, positions};
  return tb::decode_lanes(context, op, dtype, task, &fresh);
}
