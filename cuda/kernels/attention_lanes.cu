// Causal attention's backward pass without tensor cores, for float32 and for head widths without tiles; and delta for all.
//
//   delta = rowsum(dout * o);  P = exp(scale * q kᵀ - lse);  dS = P * (dO Vᵀ - delta) * scale;
//   dQ = dS K;  dV = Pᵀ dO;  dK = dSᵀ Q.
// A warp owns a row of dq, or a row of dk and of dv; its teams of lanes take the rows of the other side in turn and are added at
// the end. Sums in float32 in an order that shapes decide, results rounded once. No atomics.
#include "attention_lanes.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;

// A team a row of (B*T, H).
template <typename L>
__global__ void __launch_bounds__(kThreads) delta_rows(const AttentionBackward task) {
  using T = typename L::T;
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, E = int(shape.E);
  const int64_t row = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / L::kTeam;
  const bool exists = row < shape.B * shape.T * shape.H;
  float dout[L::kElements], o[L::kElements];
  L::load(dout, static_cast<const T*>(task.dout) + row * E, E, lane, exists);
  L::load(o, static_cast<const T*>(task.o) + row * E, E, lane, exists);
  const float delta = L::dot(dout, o);
  const int64_t token = row / shape.H, h = row % shape.H, b = token / shape.T, t = token % shape.T;
  if (exists && lane % L::kTeam == 0) task.delta[(b * shape.H + h) * shape.T + t] = delta;
}

// A warp a row of dq (B, H, T, E).
template <typename L>
__global__ void __launch_bounds__(kThreads) query_rows(const AttentionBackward task) {
  using T = typename L::T;
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, E = int(shape.E);
  const int64_t row = int64_t(blockIdx.x) * kWarps + warp_index();
  if (row >= shape.B * shape.H * shape.T) return;
  const int64_t t = row % shape.T, h = row / shape.T % shape.H, b = row / shape.T / shape.H;
  const int64_t keys_at = (b * shape.G + h / (shape.H / shape.G)) * shape.T;
  const T* k = static_cast<const T*>(task.k) + keys_at * E;
  const T* v = static_cast<const T*>(task.v) + keys_at * E;
  float q[L::kElements], dout[L::kElements], dq[L::kElements] = {};
  L::load(q, static_cast<const T*>(task.q) + row * E, E, lane);
  L::load(dout, static_cast<const T*>(task.dout) + ((b * shape.T + t) * shape.H + h) * E, E, lane);
  const float lse = task.lse[row], delta = task.delta[row];
  for (int64_t base = 0; base <= t; base += L::kTeams) {
    const int64_t key = base + lane / L::kTeam;
    const bool seen = key <= t;
    float key_row[L::kElements], value_row[L::kElements];
    L::load(key_row, k + key * E, E, lane, seen);
    L::load(value_row, v + key * E, E, lane, seen);
    const float score = L::dot(q, key_row) * shape.scale, dp = L::dot(dout, value_row);
    const float ds = seen ? expf(score - lse) * (dp - delta) * shape.scale : 0;  // by 0: what was not loaded is 0 too
#pragma unroll
    for (int e = 0; e < L::kElements; ++e) dq[e] = fmaf(ds, key_row[e], dq[e]);
  }
#pragma unroll
  for (int e = 0; e < L::kElements; ++e) dq[e] = L::over_teams(dq[e]);
  if (lane < L::kTeam) L::store(static_cast<T*>(task.dq) + row * E, dq, 1, E, lane);
}

// A warp a row of dk and of dv (B, G, T, E).
template <typename L>
__global__ void __launch_bounds__(kThreads) key_rows(const AttentionBackward task) {
  using T = typename L::T;
  const AttentionShape& shape = task.shape;
  const int lane = int(threadIdx.x) % kWarp, E = int(shape.E);
  const int64_t row = int64_t(blockIdx.x) * kWarps + warp_index();
  if (row >= shape.B * shape.G * shape.T) return;
  const int64_t j = row % shape.T, group = row / shape.T, b = group / shape.G, heads = shape.H / shape.G;
  float k[L::kElements], v[L::kElements], dk[L::kElements] = {}, dv[L::kElements] = {};
  L::load(k, static_cast<const T*>(task.k) + row * E, E, lane);
  L::load(v, static_cast<const T*>(task.v) + row * E, E, lane);
  for (int64_t h = group % shape.G * heads; h < (group % shape.G + 1) * heads; ++h) {
    const int64_t rows_at = (b * shape.H + h) * shape.T;
    for (int64_t base = j; base < shape.T; base += L::kTeams) {
      const int64_t t = base + lane / L::kTeam;
      const bool exists = t < shape.T;
      float q[L::kElements], dout[L::kElements];
      L::load(q, static_cast<const T*>(task.q) + (rows_at + t) * E, E, lane, exists);
      L::load(dout, static_cast<const T*>(task.dout) + ((b * shape.T + t) * shape.H + h) * E, E, lane, exists);
      const float score = L::dot(q, k) * shape.scale, dp = L::dot(dout, v);
      const float p = exists ? expf(score - task.lse[rows_at + t]) : 0;
      const float ds = exists ? p * (dp - task.delta[rows_at + t]) * shape.scale : 0;
#pragma unroll
      for (int e = 0; e < L::kElements; ++e) {
        dv[e] = fmaf(p, dout[e], dv[e]);
        dk[e] = fmaf(ds, q[e], dk[e]);
      }
    }
  }
#pragma unroll
  for (int e = 0; e < L::kElements; ++e) {
    dk[e] = L::over_teams(dk[e]);
    dv[e] = L::over_teams(dv[e]);
  }
  if (lane < L::kTeam) {
    L::store(static_cast<T*>(task.dk) + row * E, dk, 1, E, lane);
    L::store(static_cast<T*>(task.dv) + row * E, dv, 1, E, lane);
  }
}

}  // namespace

void attention_delta(tb_context* context, tb_dtype dtype, const AttentionBackward& task) {
  const AttentionShape& shape = task.shape;
  TB_WITH_LANES(dtype, shape.E, L, {
    const unsigned blocks = blocks_for(shape.B * shape.T * shape.H, kThreads / L::kTeam);
    delta_rows<L><<<blocks, kThreads, 0, context->stream>>>(task);
  });
}

tb_status attention_backward_lanes(tb_context* context, const char* op, tb_dtype dtype, const AttentionBackward& task) {
  const AttentionShape& shape = task.shape;
  attention_delta(context, dtype, task);
  TB_WITH_LANES(dtype, shape.E, L, {
    query_rows<L><<<blocks_for(shape.B * shape.H * shape.T, kWarps), kThreads, 0, context->stream>>>(task);
    key_rows<L><<<blocks_for(shape.B * shape.G * shape.T, kWarps), kThreads, 0, context->stream>>>(task);
  });
  return launched(context, op);
}

}  // namespace tb
