// Causal attention with grouped keys and values, backward, without the T x T matrix (arXiv:2205.14135, algorithm 4).
//
//   delta = rowsum(dout * o);  P = exp(scale * q kᵀ - lse), recomputed tile by tile;
//   dV += Pᵀ dO;  dS = P * (dO Vᵀ - delta) * scale;  dQ += dS K;  dK += dSᵀ Q.
// dk and dv of a key block sum over the group's heads, then over query blocks, in order; dq of a query block sums over key
// blocks in order. All of a group in one thread needs 5 products a tile; where there are too few groups for the threads,
// one pass makes dk and dv and another dq (7 products). Both give the same bits: the same tiles, added in the same order.
#include <omp.h>

#include "attention_tiles.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

namespace tb {
struct AttentionBackward {
  const float *dout, *q, *k, *v, *o, *lse;
  float *delta, *dq, *dk, *dv;
  float scale;
  int64_t B, T, H, G, E;
};
}  // namespace tb

TB_DECLARE(void, attention_backward, (tb_context * context, const AttentionBackward* task))

namespace tb::TB_ISA {

constexpr int64_t kTileQueries = 48;  // a multiple of kRows

// What one thread keeps of a tile, in its scratch.
struct Tile {
  float* k_columns;    // (E, kKeys)
  float* v_columns;    // (E, kKeys)
  float* k_padded;     // (kKeys, width), where E is no multiple of the vector
  float* q_padded;     // (kTileQueries, width), likewise
  float* dout_rows;    // (kTileQueries, width)
  float* p;            // (kTileQueries, kKeys)
  float* ds;           // (kTileQueries, kKeys)
  float* dk;           // (kKeys, width)
  float* dv;           // (kKeys, width)
  float* dq;           // (kTileQueries, width)
  const float* k_rows;  // keys of the block as rows of `width`
  const float* q_rows;
  int64_t width;
  int64_t j0, keys;     // the block of keys
  int64_t i0, queries;  // the block of queries

  Tile(float* scratch, int64_t E) : width(round_up(E, kLanes)) {
    k_columns = scratch;
    v_columns = k_columns + E * kKeys;
    k_padded = v_columns + E * kKeys;
    dk = k_padded + kKeys * width;
    dv = dk + kKeys * width;
    q_padded = dv + kKeys * width;
    dout_rows = q_padded + kTileQueries * width;
    dq = dout_rows + kTileQueries * width;
    p = dq + kTileQueries * width;
    ds = p + kTileQueries * kKeys;
  }
};

static void load_keys(Tile& tile, const AttentionBackward& task, int64_t group, int64_t j0) {
  tile.j0 = j0;
  tile.keys = smaller(kKeys, task.T - j0);
  const float* k = task.k + (group * task.T + j0) * task.E;
  const float* v = task.v + (group * task.T + j0) * task.E;
  transpose_block(k, task.E, tile.keys, task.E, tile.k_columns);
  transpose_block(v, task.E, tile.keys, task.E, tile.v_columns);
  tile.k_rows = k;
  if (tile.width != task.E) {
    copy_padded(k, task.E, tile.keys, task.E, tile.width, tile.k_padded);
    tile.k_rows = tile.k_padded;
  }
}

static void load_queries(Tile& tile, const AttentionBackward& task, int64_t b, int64_t h, int64_t i0) {
  tile.i0 = i0;
  tile.queries = smaller(kTileQueries, task.T - i0);
  const float* q = task.q + ((b * task.H + h) * task.T + i0) * task.E;
  tile.q_rows = q;
  if (tile.width != task.E) {
    copy_padded(q, task.E, tile.queries, task.E, tile.width, tile.q_padded);
    tile.q_rows = tile.q_padded;
  }
  copy_padded(task.dout + ((b * task.T + i0) * task.H + h) * task.E, task.H * task.E, tile.queries, task.E, tile.width,
              tile.dout_rows);
}

// P and dS of the tile; both 0 where a key is not visible.
static void make_tile(Tile& tile, const AttentionBackward& task, int64_t b, int64_t h) {
  const int64_t row_at = (b * task.H + h) * task.T + tile.i0;
  for (int64_t r0 = 0; r0 < tile.queries; r0 += kRows) {
    const int64_t rows = smaller(kRows, tile.queries - r0);
    const int64_t limit = smaller(tile.keys, tile.i0 + r0 + rows - tile.j0);
    float* p = tile.p + r0 * kKeys;
    float* ds = tile.ds + r0 * kKeys;
    const int64_t columns = limit <= 0 ? 0 : round_up(limit, kLanes);
    if (columns > 0) {
      strip_product<false>(tile.q_rows + r0 * tile.width, tile.width, tile.k_columns, kKeys, p, kKeys, rows, columns, task.E,
                           false);
      strip_product<false>(tile.dout_rows + r0 * tile.width, tile.width, tile.v_columns, kKeys, ds, kKeys, rows, columns,
                           task.E, false);
    }
    for (int64_t r = 0; r < rows; ++r, p += kKeys, ds += kKeys) {
      const float lse = task.lse[row_at + r0 + r], delta = task.delta[row_at + r0 + r];
      const int64_t visible = greater(0, smaller(limit, tile.i0 + r0 + r - tile.j0 + 1));
      for (int64_t j = 0; j < columns; j += kLanes) {
        const vfloat probability = exp_below(fma(load(p + j), splat(task.scale), splat(-lse)));  // <= 1 where visible
        store(ds + j, probability * (load(ds + j) - delta) * task.scale);
        store(p + j, probability);
      }
      for (int64_t j = visible; j < kKeys; ++j) p[j] = ds[j] = 0;
    }
  }
}

// dk, dv of the tile's keys += what its queries send; a strip of keys skips the queries before it.
static void add_key_gradients(Tile& tile) {
  for (int64_t c0 = 0; c0 < tile.keys; c0 += kRows) {
    const int64_t rows = smaller(kRows, tile.keys - c0);
    const int64_t from = greater(0, tile.j0 + c0 - tile.i0), count = tile.queries - from;
    if (count <= 0) continue;
    strip_product<true>(tile.p + from * kKeys + c0, kKeys, tile.dout_rows + from * tile.width, tile.width,
                        tile.dv + c0 * tile.width, tile.width, rows, tile.width, count, true);
    strip_product<true>(tile.ds + from * kKeys + c0, kKeys, tile.q_rows + from * tile.width, tile.width,
                        tile.dk + c0 * tile.width, tile.width, rows, tile.width, count, true);
  }
}

// dq of the tile's queries = (first key block) or += what its keys send.
static void add_query_gradients(Tile& tile, const AttentionBackward& task, int64_t b, int64_t h) {
  const int64_t E = task.E, width = tile.width;
  float* dq = task.dq + ((b * task.H + h) * task.T + tile.i0) * E;
  const bool accumulate = tile.j0 > 0, padded = width != E;
  if (padded && accumulate) copy_padded(dq, E, tile.queries, E, width, tile.dq);
  float* sums = padded ? tile.dq : dq;
  for (int64_t r0 = 0; r0 < tile.queries; r0 += kRows) {
    const int64_t rows = smaller(kRows, tile.queries - r0);
    const int64_t limit = smaller(tile.keys, tile.i0 + r0 + rows - tile.j0);
    if (limit <= 0) continue;
    strip_product<false>(tile.ds + r0 * kKeys, kKeys, tile.k_rows, width, sums + r0 * width, width, rows, width, limit,
                         accumulate);
  }
  if (padded)
    for (int64_t r = 0; r < tile.queries; ++r) memcpy(dq + r * E, tile.dq + r * width, size_t(E) * sizeof(float));
}

// Everything that one block of keys receives; with_queries: and what it sends to dq.
static void key_block(const AttentionBackward& task, float* scratch, int64_t group, int64_t j0, bool with_queries) {
  const int64_t b = group / task.G, heads = task.H / task.G, first_head = group % task.G * heads;
  Tile tile(scratch, task.E);
  load_keys(tile, task, group, j0);
  for (int64_t i = 0; i < kKeys * tile.width; ++i) tile.dk[i] = tile.dv[i] = 0;
  for (int64_t h = first_head; h < first_head + heads; ++h)
    for (int64_t i0 = j0 / kTileQueries * kTileQueries; i0 < task.T; i0 += kTileQueries) {
      load_queries(tile, task, b, h, i0);
      make_tile(tile, task, b, h);
      add_key_gradients(tile);
      if (with_queries) add_query_gradients(tile, task, b, h);
    }
  for (int64_t j = 0; j < tile.keys; ++j) {
    const int64_t at = (group * task.T + j0 + j) * task.E;
    memcpy(task.dk + at, tile.dk + j * tile.width, size_t(task.E) * sizeof(float));
    memcpy(task.dv + at, tile.dv + j * tile.width, size_t(task.E) * sizeof(float));
  }
}

static void query_block(const AttentionBackward& task, float* scratch, int64_t b, int64_t h, int64_t i0) {
  Tile tile(scratch, task.E);
  load_queries(tile, task, b, h, i0);
  for (int64_t j0 = 0; j0 < i0 + tile.queries; j0 += kKeys) {
    load_keys(tile, task, b * task.G + h / (task.H / task.G), j0);
    make_tile(tile, task, b, h);
    add_query_gradients(tile, task, b, h);
  }
}

static void make_delta(const AttentionBackward& task, int64_t row) {
  const int64_t b = row / task.T, t = row % task.T;
  for (int64_t h = 0; h < task.H; ++h) {
    const float* gradient = task.dout + (row * task.H + h) * task.E;
    const float* out = task.o + (row * task.H + h) * task.E;
    vfloat total = {};
    int64_t e = 0;
    for (; e + kLanes <= task.E; e += kLanes) total = fma(load(gradient + e), load(out + e), total);
    if (e < task.E) total = fma(load_first(gradient + e, task.E - e), load_first(out + e, task.E - e), total);
    task.delta[(b * task.H + h) * task.T + t] = sum(total);
  }
}

void attention_backward(tb_context* context, const AttentionBackward* pointer) {
  const AttentionBackward& task = *pointer;
  const int64_t groups = task.B * task.G, heads = task.B * task.H, threads = context->threads;
  const int64_t key_blocks = ceil_div(task.T, kKeys), query_blocks = ceil_div(task.T, kTileQueries);
  // Work of the busiest thread, in products: whole groups, or evenly split passes.
  const bool whole_groups = 5 * threads * ceil_div(groups, threads) <= 7 * groups;
#pragma omp parallel num_threads(context->threads) if (heads * task.T * task.T * task.E > 65536)
  {
    float* scratch = static_cast<float*>(context->thread_scratch(omp_get_thread_num()));
#pragma omp for schedule(static)
    for (int64_t row = 0; row < task.B * task.T; ++row) make_delta(task, row);
    if (whole_groups) {
#pragma omp for schedule(dynamic, 1)
      for (int64_t group = 0; group < groups; ++group)
        for (int64_t j0 = 0; j0 < task.T; j0 += kKeys) key_block(task, scratch, group, j0, true);
    } else {
#pragma omp for schedule(dynamic, 1) nowait
      for (int64_t unit = 0; unit < groups * key_blocks; ++unit)
        key_block(task, scratch, unit % groups, unit / groups * kKeys, false);
#pragma omp for schedule(dynamic, 1)
      for (int64_t unit = 0; unit < heads * query_blocks; ++unit)
        query_block(task, scratch, unit % heads / task.H, unit % task.H,
                    (query_blocks - 1 - unit / heads) * kTileQueries);
    }
  }
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

extern "C" tb_status tb_attention_backward(tb_context* context, tb_dtype dtype, const void* dout, const void* q,
                                           const void* k, const void* v, const void* o, const float* lse, float* delta,
                                           void* dq, void* dk, void* dv, float scale, int64_t B, int64_t T, int64_t H,
                                           int64_t G, int64_t E) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dtype, "tb_attention_backward");
  TB_REQUIRE(context, B >= 0 && T >= 0 && G >= 1 && H >= G && H % G == 0,
             "Cannot run tb_attention_backward as G must divide H, and B and T be at least 0: current values are G %lld, H "
             "%lld, B %lld and T %lld",
             (long long)G, (long long)H, (long long)B, (long long)T);
  TB_REQUIRE(context, E >= 1 && E <= tb::portable::kWidestHead,
             "Cannot run tb_attention_backward as E must be 1 to %lld: current value is %lld",
             (long long)tb::portable::kWidestHead, (long long)E);
  TB_REQUIRE(context, scale > 0 && __builtin_isfinite(scale),
             "Cannot run tb_attention_backward as scale must be finite and above 0: current value is %g", double(scale));
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, dout != nullptr && q != nullptr && k != nullptr && v != nullptr && o != nullptr && lse != nullptr &&
                          delta != nullptr && dq != nullptr && dk != nullptr && dv != nullptr,
             "Cannot run tb_attention_backward as one of its tensors is null");
  const tb::AttentionBackward task = {static_cast<const float*>(dout), static_cast<const float*>(q),
                                      static_cast<const float*>(k),    static_cast<const float*>(v),
                                      static_cast<const float*>(o),    lse,
                                      delta,                           static_cast<float*>(dq),
                                      static_cast<float*>(dk),         static_cast<float*>(dv),
                                      scale,                           B,
                                      T,                               H,
                                      G,                               E};
  TB_DISPATCH(context, attention_backward, (context, &task));
  return TB_OK;
}

#endif
