// Attention of new queries against a cache of keys and values: prefill and decoding.
//
// Long blocks of queries (T >= 8) go through attend() of attention_tiles.h. Few queries read the cache once, in slices of 256
// keys: each slice gives (maximum, sum of exponentials, weighted values) of every row, and slices are merged in order. A
// thread takes a whole (sequence, group), or, where there are too few of them, slices; both do the same arithmetic, so the
// bits depend neither on that choice nor on the number of threads. An int8 cache always goes this way: rows are widened as they are
// loaded, or, where several queries see them, by the slice, once for all, to the same values.
#include <omp.h>

#include <type_traits>

#include "attention_tiles.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

namespace tb {
struct AttentionDecode {
  const float* q;
  const void *k, *v;  // float32, or bfloat16 where is_short, or int8 where there are scales
  bool is_short;
  const float *k_scale, *v_scale;
  const int32_t* start;
  float* o;
  float scale;
  int64_t B, T, H, G, E, capacity;
};
}  // namespace tb

TB_DECLARE(void, attention_decode, (tb_context * context, const AttentionDecode* task))

namespace tb::TB_ISA {

constexpr int64_t kSlice = 256;
constexpr int64_t kFewQueries = 8;
// Query rows of a group from which on a slice of an int8 cache is widened at once.
constexpr int64_t kWidenedRows = 3;

// Rows of E keys or values.
template <class Cache>
struct CacheRows {
  const Cache* values;
  const float* scale;  // of each row where they are int8, else null
  int64_t E;

  TB_INLINE vfloat at(int64_t row, int64_t e) const { return scaled(load(values + row * E + e), row); }
  TB_INLINE vfloat whole(int64_t row) const { return scaled(load_first(values + row * E, E), row); }  // where E is below kLanes
  TB_INLINE float one(int64_t row, int64_t e) const {
    const float value = to_float(values[row * E + e]);
    return std::is_same_v<Cache, int8_t> ? value * scale[row] : value;
  }
  TB_INLINE vfloat scaled(vfloat value, int64_t row) const {
    return std::is_same_v<Cache, int8_t> ? value * splat(scale[row]) : value;
  }
};

// scores[j] = scale * q . k[j] for `count` keys, four at a time from the four quarters of them: as many streams for the
// hardware's prefetchers. v's rows, which come next, are ordered into the cache beside them.
template <class Cache>
static void score_keys(const float* q, CacheRows<Cache> k, CacheRows<Cache> v, float* scores, int64_t count, int64_t E, float scale) {
  const int64_t whole = E / kLanes * kLanes;
  const bool tail = whole < E, short_row = E < kLanes;
  // The last vector of a row overlaps the one before; its lanes that were already counted meet zeros.
  float last[kLanes] = {};
  const int64_t last_at = short_row ? 0 : E - kLanes;
  for (int64_t e = whole; e < E; ++e) last[e - last_at] = q[e];
  const vfloat last_q = load(last);
  constexpr int64_t kAtOnce = 4;
  constexpr int64_t kLine = 64 / sizeof(Cache);
  const int64_t quarter = ceil_div(count, kAtOnce);
  for (int64_t j = 0; j < quarter; ++j) {
    int64_t at[kAtOnce];
    vfloat sums[kAtOnce] = {};
#pragma GCC unroll 4
    for (int64_t i = 0; i < kAtOnce; ++i) {
      at[i] = smaller(i * quarter + j, count - 1);  // where the quarters overlap, a key is scored twice
      for (int64_t e = 0; e < E; e += kLine) __builtin_prefetch(v.values + at[i] * E + e);
    }
    for (int64_t e = 0; e < whole; e += kLanes) {
      const vfloat left = load(q + e);
#pragma GCC unroll 4
      for (int64_t i = 0; i < kAtOnce; ++i) sums[i] = fma(left, k.at(at[i], e), sums[i]);
    }
    if (tail)
      for (int64_t i = 0; i < kAtOnce; ++i)
        sums[i] = fma(last_q, short_row ? k.whole(at[i]) : k.at(at[i], last_at), sums[i]);
    for (int64_t i = 0; i < kAtOnce; ++i) scores[at[i]] = sum(sums[i]) * scale;
  }
}

template <int64_t V, class Cache>
TB_INLINE void weigh_columns(const float* p, CacheRows<Cache> v, int64_t first, float* out, int64_t count) {
  vfloat sums[V] = {};
  for (int64_t j = 0; j < count; ++j) {
    const vfloat weight = splat(p[j]);
#pragma GCC unroll 8
    for (int64_t i = 0; i < V; ++i) sums[i] = fma(weight, v.at(j, first + i * kLanes), sums[i]);
  }
#pragma GCC unroll 8
  for (int64_t i = 0; i < V; ++i) store(out + first + i * kLanes, sums[i]);
}

// out (E) = p (count) . v (count, E).
template <class Cache>
static void weigh_values(const float* p, CacheRows<Cache> v, float* out, int64_t count) {
  const int64_t E = v.E;
  if (E < kLanes) {
    for (int64_t e = 0; e < E; ++e) out[e] = 0;
    for (int64_t j = 0; j < count; ++j)
      for (int64_t e = 0; e < E; ++e) out[e] = fma(p[j], v.one(j, e), out[e]);
    return;
  }
  int64_t e = 0;
  for (; e + 8 * kLanes <= E; e += 8 * kLanes) weigh_columns<8>(p, v, e, out, count);
  for (; e + 4 * kLanes <= E; e += 4 * kLanes) weigh_columns<4>(p, v, e, out, count);
  for (; e + kLanes <= E; e += kLanes) weigh_columns<1>(p, v, e, out, count);
  if (e < E) weigh_columns<1>(p, v, E - kLanes, out, count);  // overlaps with equal values
}

// A slice of a group's keys and values.
template <class Cache>
struct Slice {
  CacheRows<Cache> k, v;
};

// A row's share: maximum, sum of exponentials, then E weighted values.
template <class Cache>
static void attend_slice_of(const AttentionDecode& task, Slice<Cache> keys, int64_t b, int64_t g, int64_t row, int64_t slice,
                            float* share) {
  const int64_t per_group = task.H / task.G, h = g * per_group + row % per_group, t = row / per_group, E = task.E;
  const int64_t from = slice * kSlice, visible = int64_t(task.start[b]) + t + 1 - from;
  const int64_t count = smaller(kSlice, visible);
  if (count <= 0) {
    share[0] = -__builtin_inff();
    for (int64_t e = 0; e <= E; ++e) share[1 + e] = 0;
    return;
  }
  float scores[kSlice];
  score_keys(task.q + ((b * task.H + h) * task.T + t) * E, keys.k, keys.v, scores, count, E, task.scale);
  const int64_t columns = round_up(count, kLanes);
  float total = 0;
  share[0] = -__builtin_inff();
  soften_row(scores, count, columns, 1.0f, &share[0], &total);
  share[1] = total;
  weigh_values(scores, keys.v, share + 2, count);
}

// The rows of `slice_of` that the last query sees, widened into `to`: kSlice * E keys, then values.
static Slice<float> widen_slice(const AttentionDecode& task, Slice<int8_t> slice_of, int64_t b, int64_t slice, float* to) {
  const int64_t from = slice * kSlice, count = smaller(kSlice, int64_t(task.start[b]) + task.T - from), E = task.E;
  float *keys = to, *values = to + kSlice * E;
  const auto widen = [&](CacheRows<int8_t> rows, float* out) {
    for (int64_t j = 0; j < count; ++j) {
      int64_t e = 0;
      for (; e + kLanes <= E; e += kLanes) store(out + j * E + e, rows.at(j, e));
      for (; e < E; ++e) out[j * E + e] = rows.one(j, e);
    }
  };
  widen(slice_of.k, keys);
  widen(slice_of.v, values);
  return {{keys, nullptr, E}, {values, nullptr, E}};
}

// Calls `each` for every row's function of (row, share); `widened` is room for 2 kSlice E values where the cache is int8.
template <class Each>
static void attend_slice(const AttentionDecode& task, int64_t b, int64_t g, int64_t slice, int64_t rows, float* widened,
                         const Each& each) {
  const int64_t at = (b * task.G + g) * task.capacity + slice * kSlice, E = task.E;
  const auto rows_of = [&](auto cached) {
    using Cache = decltype(cached);
    const auto from = [&](const void* values, const float* scale) -> CacheRows<Cache> {
      return {static_cast<const Cache*>(values) + at * E, scale == nullptr ? nullptr : scale + at, E};
    };
    return Slice<Cache>{from(task.k, task.k_scale), from(task.v, task.v_scale)};
  };
  const auto attend_rows = [&](auto keys) {
    for (int64_t row = 0; row < rows; ++row)
      each(row, [&](float* share) { attend_slice_of(task, keys, b, g, row, slice, share); });
  };
  if (task.k_scale != nullptr && rows >= kWidenedRows)
    attend_rows(widen_slice(task, rows_of(int8_t()), b, slice, widened));
  else if (task.k_scale != nullptr)
    attend_rows(rows_of(int8_t()));
  else if (task.is_short)
    attend_rows(rows_of(uint16_t()));
  else
    attend_rows(rows_of(float()));
}

// into += share; a row's first slice is copied instead.
static void merge_share(float* into, const float* share, int64_t E) {
  const float before = into[0], seen = share[0];
  const float now = seen > before ? seen : before;
  const float keep = now == before ? 1.0f : exp_below(before - now), add = now == seen ? 1.0f : exp_below(seen - now);
  into[0] = now;
  for (int64_t e = 1; e < E + 2; ++e) into[e] = fma(into[e], keep, share[e] * add);
}

static void write_row(const AttentionDecode& task, int64_t b, int64_t g, int64_t row, const float* share) {
  const int64_t per_group = task.H / task.G, h = g * per_group + row % per_group, t = row / per_group;
  float* out = task.o + ((b * task.T + t) * task.H + h) * task.E;
  const float inverse = 1.0f / share[1];
  for (int64_t e = 0; e < task.E; ++e) out[e] = share[2 + e] * inverse;
}

static void decode_groups(tb_context* context, const AttentionDecode& task, int64_t rows, int64_t most_slices) {
  const int64_t units = task.B * task.G, width = task.E + 2;
  // Behind a thread's sums, or at the end of all scratch behind the shares.
  const int64_t widened = task.k_scale != nullptr ? 2 * kSlice * task.E : 0;
  const int64_t share_bytes = context->threads * (kScratchBytes - widened * 4);
  const bool split = units < 2 * context->threads && most_slices > 1 && units * most_slices * rows * width * 4 <= share_bytes;
  const bool small = units * rows * most_slices * kSlice * task.E < 65536;
  if (!split) {
#pragma omp parallel for num_threads(context->threads) schedule(dynamic, 1) if (!small)
    for (int64_t unit = 0; unit < units; ++unit) {
      const int64_t b = unit / task.G, g = unit % task.G;
      const int64_t slices = ceil_div(int64_t(task.start[b]) + task.T, kSlice);
      float* sums = static_cast<float*>(context->thread_scratch(omp_get_thread_num()));
      float share[kWidestHead + 2];
      for (int64_t slice = 0; slice < slices; ++slice)
        attend_slice(task, b, g, slice, rows, sums + rows * width, [&](int64_t row, const auto& attend_to) {
          attend_to(slice == 0 ? sums + row * width : share);
          if (slice > 0) merge_share(sums + row * width, share, task.E);
        });
      for (int64_t row = 0; row < rows; ++row) write_row(task, b, g, row, sums + row * width);
    }
    return;
  }
  float* shares = static_cast<float*>(context->thread_scratch(0));
#pragma omp parallel num_threads(context->threads) if (!small)
  {
#pragma omp for schedule(dynamic, 1)
    for (int64_t part = 0; part < units * most_slices; ++part) {
      const int64_t unit = part / most_slices, slice = part % most_slices;
      float* room = shares + share_bytes / 4 + omp_get_thread_num() * widened;
      attend_slice(task, unit / task.G, unit % task.G, slice, rows, room,
                   [&](int64_t row, const auto& attend_to) { attend_to(shares + (part * rows + row) * width); });
    }
#pragma omp for schedule(static)
    for (int64_t index = 0; index < units * rows; ++index) {
      const int64_t unit = index / rows, row = index % rows, b = unit / task.G;
      const int64_t slices = ceil_div(int64_t(task.start[b]) + task.T, kSlice);
      float* sums = shares + (unit * most_slices * rows + row) * width;
      for (int64_t slice = 1; slice < slices; ++slice) merge_share(sums, sums + slice * rows * width, task.E);
      write_row(task, b, unit % task.G, row, sums);
    }
  }
}

static void decode_blocks(tb_context* context, const AttentionDecode& task) {
  const int64_t heads = task.B * task.H, blocks = ceil_div(task.T, kQueries), E = task.E;
#pragma omp parallel for num_threads(context->threads) schedule(dynamic, 1) if (heads * task.T * task.T * E > 65536)
  for (int64_t unit = 0; unit < heads * blocks; ++unit) {
    const int64_t first = (blocks - 1 - unit / heads) * kQueries, head = unit % heads, b = head / task.H, h = head % task.H;
    const int64_t group = b * task.G + h / (task.H / task.G);
    Queries block;
    block.q = task.q + (head * task.T + first) * E;
    const int64_t at = group * task.capacity * E;
    block.k = task.is_short ? nullptr : static_cast<const float*>(task.k) + at;
    block.v = task.is_short ? nullptr : static_cast<const float*>(task.v) + at;
    block.short_k = task.is_short ? static_cast<const uint16_t*>(task.k) + at : nullptr;
    block.short_v = task.is_short ? static_cast<const uint16_t*>(task.v) + at : nullptr;
    block.o = task.o + ((b * task.T + first) * task.H + h) * E;
    block.ldo = task.H * E;
    block.lse = nullptr;
    block.rows = smaller(kQueries, task.T - first);
    block.first = int64_t(task.start[b]) + first;
    block.E = E;
    block.scale = task.scale;
    attend(block, static_cast<float*>(context->thread_scratch(omp_get_thread_num())));
  }
}

void attention_decode(tb_context* context, const AttentionDecode* pointer) {
  const AttentionDecode& task = *pointer;
  const int64_t rows = task.T * (task.H / task.G);
  int64_t most_keys = 0;
  for (int64_t b = 0; b < task.B; ++b) most_keys = greater(most_keys, int64_t(task.start[b]) + task.T);
  if (task.k_scale != nullptr || (task.T < kFewQueries && rows * (task.E + 2) * 4 <= kScratchBytes))
    decode_groups(context, task, rows, ceil_div(most_keys, kSlice));
  else
    decode_blocks(context, task);
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_attention_decode(tb_context* context, tb_dtype dtype, const void* q, tb_dtype cache_dtype,
                                         const void* k_cache, const void* v_cache, const float* k_scale, const float* v_scale,
                                         const int32_t* start, void* o, float scale, int64_t B, int64_t T, int64_t H,
                                         int64_t G, int64_t E, int64_t capacity) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_attention_decode");
  TB_REQUIRE(context, cache_dtype == TB_F32 || cache_dtype == TB_BF16 || cache_dtype == TB_I8,
             "Cannot run tb_attention_decode as cache_dtype must be 0 (float32), 1 (bfloat16) or 2 (int8): current value is %d",
             int(cache_dtype));
  TB_REQUIRE(context, (k_scale != nullptr) == (cache_dtype == TB_I8) && (v_scale != nullptr) == (cache_dtype == TB_I8),
             "Cannot run tb_attention_decode as scales go with an int8 cache, and with no other: current cache_dtype is %d",
             int(cache_dtype));
  TB_REQUIRE(context, B >= 0 && T >= 0 && G >= 1 && H >= G && H % G == 0,
             "Cannot run tb_attention_decode as G must divide H, and B and T be at least 0: current values are G %lld, H "
             "%lld, B %lld and T %lld",
             (long long)G, (long long)H, (long long)B, (long long)T);
  TB_REQUIRE(context, E >= 1 && E <= tb::portable::kWidestHead,
             "Cannot run tb_attention_decode as E must be 1 to %lld: current value is %lld",
             (long long)tb::portable::kWidestHead, (long long)E);
  TB_REQUIRE(context, scale > 0 && __builtin_isfinite(scale),
             "Cannot run tb_attention_decode as scale must be finite and above 0: current value is %g", double(scale));
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, q != nullptr && k_cache != nullptr && v_cache != nullptr && start != nullptr && o != nullptr,
             "Cannot run tb_attention_decode as one of its tensors is null");
  for (int64_t b = 0; b < B; ++b)
    TB_REQUIRE(context, start[b] >= 0 && int64_t(start[b]) + T <= capacity,
               "Cannot run tb_attention_decode as tokens must end within the capacity %lld: current start of sequence %lld is "
               "%d, with %lld tokens",
               (long long)capacity, (long long)b, int(start[b]), (long long)T);
  TB_REQUIRE(context, cache_dtype != TB_I8 || T * (H / G) * (E + 2) * 4 + 2 * 256 * E * 4 <= tb::kScratchBytes,
             "Cannot run tb_attention_decode on an int8 cache as the sums of %lld tokens must fit %lld bytes: use fewer tokens at a time",
             (long long)T, (long long)tb::kScratchBytes);
  const tb::AttentionDecode task = {static_cast<const float*>(q), k_cache, v_cache, cache_dtype == TB_BF16, k_scale, v_scale, start,
                                    static_cast<float*>(o), scale, B, T, H, G, E, capacity};
  TB_DISPATCH(context, attention_decode, (context, &task));
  return TB_OK;
}

#endif
