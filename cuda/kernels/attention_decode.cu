// Attention of new queries against a cache of keys and values, without tensor cores; and the forward pass of those shapes and
// dtypes that have no tiles (attention_forward.cu).
//
//   o (B*T, H*E) = softmax(scale * q kᵀ) v, where query t of sequence b sees cache tokens 0 .. start[b] + t
// A block takes 1 or up to 4 of the T * H / G query rows that share a key head, and one split of the cache: keys_per_split tokens.
// Its teams of lanes take keys in turn, each with its own running softmax; teams, warps and then splits are merged in order. The
// number of splits follows from shapes alone, so that a graph can be captured and bits do not depend on the card; splits that
// begin behind what a row sees are neither computed nor read. Sums in float32, results rounded once.
// bfloat16 prefills of more than kFewQueries tokens with tiles go to the tensor cores instead.
#include "attention_lanes.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kWarps = 4, kBatch = 4;  // a block; keys that a team takes at a time
constexpr int64_t kKeysPerSplit = 256;
constexpr int64_t kFewQueries = 8;

// What a block hands to merge_splits: for row r and split s, sums[(r * splits + s) * E ..] and the softmax at 2 * (r * splits + s).
struct Partials {
  float* sums;      // weighted sums of v, relative to the largest score
  float* softmax;   // largest score, sum of exponentials
  int splits;
  int keys_per_split;
};

// Weight of sums made relative to `largest` in sums relative to `overall`; 0 for what has seen no key.
__device__ __forceinline__ float merge_weight(float largest, float overall) {
  return largest == kMinusInfinity ? 0.0f : expf(largest - overall);
}

// Position of a sequence's first query; where its tokens do not fit, one from which no key is seen, so that it gets NaN.
__device__ __forceinline__ int first_position(const AttentionForward& task, int64_t b) {
  const int start = task.start != nullptr ? task.start[b] : 0;
  const bool fits = start >= 0 && start + task.shape.T <= task.shape.capacity;
  return fits ? start : -int(task.shape.T);
}

template <typename L, int kRows>
__global__ void __launch_bounds__(32 * kWarps) attend_rows(const AttentionForward task, const Partials partials) {
  using T = typename L::T;
  constexpr int kElements = L::kElements, kTeams = kWarps * L::kTeams;
  __shared__ float warp_sums[kWarps][kRows][kWidestHead];
  __shared__ float warp_softmax[kWarps][kRows][2];
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp, E = int(shape.E);
  const int64_t heads = shape.H / shape.G, rows = heads * shape.T, row_blocks = (rows + kRows - 1) / kRows;
  const int split = int(blockIdx.x % partials.splits);
  const int64_t at = blockIdx.x / partials.splits, group = at / row_blocks, first_row = at % row_blocks * kRows;
  const int64_t b = group / shape.G;
  const int start = first_position(task, b);

  float q[kRows][kElements], sums[kRows][kElements] = {}, largest[kRows], sum[kRows] = {};
  int position[kRows], seen = 0;  // of the row's query; keys that any of the rows sees
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int64_t row = first_row + r, t = row % shape.T, h = group % shape.G * heads + row / shape.T;
    const bool exists = row < rows;
    L::load(q[r], static_cast<const T*>(task.q) + ((b * shape.H + h) * shape.T + t) * E, E, lane, exists);
    position[r] = exists ? start + int(t) : -1;
    seen = max(seen, position[r] + 1);
    largest[r] = kMinusInfinity;
  }
  const int first_key = split * partials.keys_per_split;
  const int last_key = min(first_key + partials.keys_per_split, seen);
  const T* k = static_cast<const T*>(task.k) + group * shape.capacity * E;
  const T* v = static_cast<const T*>(task.v) + group * shape.capacity * E;
  const int team = warp * L::kTeams + lane / L::kTeam;

  for (int base = first_key; base < last_key; base += kTeams * kBatch) {
    float scores[kBatch][kRows], values[kBatch][kElements];
    {
      float keys[kBatch][kElements];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int key = base + i * kTeams + team;
        L::load(keys[i], k + int64_t(key) * E, E, lane, key < last_key);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int key = base + i * kTeams + team;
        L::load(values[i], v + int64_t(key) * E, E, lane, key < last_key);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i)
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const int key = base + i * kTeams + team;
          const float score = L::dot(q[r], keys[i]) * shape.scale;
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
    const int64_t row = first_row + r, t = row % shape.T, h = group % shape.G * heads + row / shape.T;
    float overall = kMinusInfinity, total = 0, weights[kWarps];
#pragma unroll
    for (int w = 0; w < kWarps; ++w) overall = fmaxf(overall, warp_softmax[w][r][0]);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      weights[w] = merge_weight(warp_softmax[w][r][0], overall);
      total += warp_softmax[w][r][1] * weights[w];
    }
    const int64_t out_row = (b * shape.H + h) * shape.T + t;
    const bool whole = partials.splits == 1;
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
}

// A warp a row: o of its splits, in order.
template <typename T>
__global__ void __launch_bounds__(32 * kWarps) merge_splits(const AttentionForward task, const Partials partials) {
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, E = int(shape.E);
  const int64_t row = int64_t(blockIdx.x) * kWarps + warp_index();  // of (B, H, T)
  if (row >= shape.B * shape.H * shape.T) return;
  const int64_t t = row % shape.T, h = row / shape.T % shape.H, b = row / shape.T / shape.H;
  const int seen = first_position(task, b) + int(t) + 1;
  const int splits = max(0, (seen + partials.keys_per_split - 1) / partials.keys_per_split);
  const float* softmax = partials.softmax + 2 * row * partials.splits;
  float overall = kMinusInfinity, total = 0;
  for (int split = 0; split < splits; ++split) overall = fmaxf(overall, softmax[2 * split]);
  for (int split = 0; split < splits; ++split)
    total += softmax[2 * split + 1] * merge_weight(softmax[2 * split], overall);
  T* o = static_cast<T*>(task.o) + ((b * shape.T + t) * shape.H + h) * E;
  for (int e = lane; e < E; e += kWarp) {
    float value = 0;
    for (int split = 0; split < splits; ++split)
      value = fmaf(partials.sums[(row * partials.splits + split) * E + e], merge_weight(softmax[2 * split], overall), value);
    o[e] = from_float<T>(value / total);
  }
}

}  // namespace

tb_status attention_forward_lanes(tb_context* context, const char* op, tb_dtype dtype, const AttentionForward& task,
                                  int64_t keys_per_split, int64_t splits) {
  const AttentionShape& shape = task.shape;
  const int64_t rows = shape.B * shape.H * shape.T;
  float* scratch = reinterpret_cast<float*>(context->scratch);
  const Partials partials = {scratch + 2 * rows * splits, scratch, int(splits), int(keys_per_split)};
  const int64_t rows_per_group = shape.H / shape.G * shape.T;
  const int rows_per_block = rows_per_group == 1 ? 1 : 4;
  const int64_t blocks = shape.B * shape.G * ceil_div(rows_per_group, rows_per_block) * splits;
  TB_REQUIRE(context, blocks < (int64_t(1) << 31),
             "Cannot run %s as its grid must have fewer than 2^31 blocks: current value is %lld", op, (long long)blocks);
  TB_WITH_LANES(dtype, shape.E, L, {
    const auto kernel = rows_per_block == 1 ? attend_rows<L, 1> : attend_rows<L, 4>;
    kernel<<<unsigned(blocks), 32 * kWarps, 0, context->stream>>>(task, partials);
  });
  if (splits > 1)
    TB_WITH_TYPE(dtype, Type,
                 merge_splits<Type><<<blocks_for(rows, kWarps), 32 * kWarps, 0, context->stream>>>(task, partials););
  return launched(context, op);
}

}  // namespace tb

// ---- Launcher ---------------------------------------------------------------------------------------------------

extern "C" tb_status tb_attention_decode(tb_context* context, tb_dtype dtype, const void* q, tb_dtype cache_dtype,
                                         const void* k_cache, const void* v_cache, const int32_t* start, void* o,
                                         float scale, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E,
                                         int64_t capacity) {
  const char* op = "tb_attention_decode";
  TB_ENTER(context);
  if (cache_dtype != dtype)
    return tb::fail(context, TB_UNSUPPORTED, "Cannot run %s as the cache must have the dtype of q, %d: current value is %d", op,
                    int(dtype), int(cache_dtype));
  const tb::AttentionForward task = {q, k_cache, v_cache, start, o, nullptr, {B, T, H, G, E, capacity, scale}};
  if (const tb_status status = tb::check_attention(context, op, dtype, task.shape); status != TB_OK) return status;
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, q != nullptr && k_cache != nullptr && v_cache != nullptr && start != nullptr && o != nullptr,
             "Cannot run %s as one of its tensors is null", op);
  TB_REQUIRE(context, T <= capacity, "Cannot run %s as tokens must end within the capacity %lld: current value is %lld tokens",
             op, (long long)capacity, (long long)T);
  if (const tb_status status = tb::check_aligned(context, op, {q, k_cache, v_cache, o}); status != TB_OK) return status;
  if (T > tb::kFewQueries && tb::has_attention_tiles(dtype, E)) return tb::attention_forward_tiles(context, op, task);
  // More queries fill the card by themselves, and their partial sums would fill the scratch.
  if (T > tb::kFewQueries) return tb::attention_forward_lanes(context, op, dtype, task, capacity, 1);
  int64_t keys_per_split = tb::kKeysPerSplit;
  while (B * H * T * tb::ceil_div(capacity, keys_per_split) * (E + 2) * int64_t(sizeof(float)) > tb::kScratchBytes &&
         keys_per_split < capacity)
    keys_per_split *= 2;
  const int64_t splits = tb::ceil_div(capacity, keys_per_split);
  return tb::attention_forward_lanes(context, op, dtype, task, keys_per_split, splits);
}
