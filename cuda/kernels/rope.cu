// Rotary embedding (arXiv:2104.09864, halves rotated as in Hugging Face's LLaMA) fused with the split into heads.
//
// With c = cos_sin[p][j], s = cos_sin[p][E/2 + j] of position p = start[b] + t:
//   out[j] = x[j] c - x[j + E/2] s,  out[j + E/2] = x[j + E/2] c + x[j] s;  v is copied. Backward: the transpose (s negated).
// Element by element in float32; a block a token, several where there are few tokens. start is read on the card: a position outside
// the capacity or the table makes the token's q NaN and writes no k and v. For an int8 cache a warp has a head, and quantises it from
// registers.
#include "context.cuh"
#include "load_store.cuh"
#include "overlap.cuh"
#include "reduce.cuh"
#include "rotation.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kWidestQuantized = 256;  // heads: 4 pairs a lane

struct Heads {
  int64_t T, H, G, E, capacity, positions;
};

template <int Count, bool Backward, typename T>
__device__ __forceinline__ void rotate(const T* x, const float* angles, T* out, int64_t j, int64_t half) {
  float low[Count], high[Count], c[Count], s[Count], first[Count], second[Count];
  load_floats(x + j, low);
  load_floats(x + j + half, high);
  load_floats(angles + j, c);
  load_floats(angles + j + half, s);
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    const float sine = Backward ? -s[i] : s[i];
    first[i] = rotated_low(low[i], high[i], c[i], sine);
    second[i] = rotated_high(low[i], high[i], c[i], sine);
  }
  store_floats(out + j, first);
  store_floats(out + j + half, second);
}

template <int Count, typename T>
__device__ __forceinline__ void copy_halves(const T* x, T* out, int64_t j, int64_t half) {
  *reinterpret_cast<Pack<T, Count>*>(out + j) = load_pack<Count>(x + j);
  *reinterpret_cast<Pack<T, Count>*>(out + j + half) = load_pack<Count>(x + j + half);
}

template <int Count, typename T>
__global__ void __launch_bounds__(kThreads) rope_forward(const T* __restrict__ qkv, const float* __restrict__ cos_sin,
                                                         const int32_t* __restrict__ start, T* __restrict__ q,
                                                         T* __restrict__ k, T* __restrict__ v, Heads shape) {
  wait_for_earlier();
  const int64_t row = blockIdx.x, b = row / shape.T, t = row % shape.T;
  const int64_t E = shape.E, half = E / 2, H = shape.H, G = shape.G;
  const int64_t position = (start == nullptr ? 0 : int64_t(start[b])) + t;
  const bool fits = position >= 0 && position < shape.capacity && position < shape.positions;
  const int per_head = int(half / Count);
  const T* from = qkv + row * (H + 2 * G) * E;
  for (int64_t item = blockIdx.y * kThreads + threadIdx.x; item < (H + 2 * G) * per_head; item += gridDim.y * kThreads) {
    const int64_t head = item / per_head, j = item % per_head * Count;
    const T* x = from + head * E;
    if (head < H) {
      T* out = q + ((b * H + head) * shape.T + t) * E;
      if (fits) {
        rotate<Count, false>(x, cos_sin + position * E, out, j, half);
      } else {
        float unknown[Count];
#pragma unroll
        for (int i = 0; i < Count; ++i) unknown[i] = __int_as_float(0x7fffffff);
        store_floats(out + j, unknown);
        store_floats(out + j + half, unknown);
      }
    } else if (fits) {
      const bool is_key = head < H + G;
      const int64_t g = head - H - (is_key ? 0 : G);
      const int64_t to = ((b * G + g) * shape.capacity + position) * E;
      if (is_key)
        rotate<Count, false>(x, cos_sin + position * E, k + to, j, half);
      else
        copy_halves<Count>(x, v + to, j, half);
    }
  }
}

// Where keys and values go as int8, each token's head with a scale.
struct QuantizedCache {
  int8_t *k, *v;                  // (B, G, capacity, E)
  float *k_scale, *v_scale;       // (B, G, capacity)
};

template <typename T>
__global__ void __launch_bounds__(kThreads) rope_forward_int8(const T* __restrict__ qkv, const float* __restrict__ cos_sin,
                                                              const int32_t* __restrict__ start, T* __restrict__ q,
                                                              QuantizedCache cache, Heads shape) {
  wait_for_earlier();
  const int64_t row = blockIdx.x, b = row / shape.T, t = row % shape.T;
  const int64_t E = shape.E, half = E / 2, H = shape.H, G = shape.G;
  const int64_t position = (start == nullptr ? 0 : int64_t(start[b])) + t;
  const bool fits = position >= 0 && position < shape.capacity && position < shape.positions;
  const int64_t head = blockIdx.y * (kThreads / kWarp) + threadIdx.x / kWarp;
  const int lane = int(threadIdx.x) % kWarp;
  if (head >= H + 2 * G) return;
  const T* x = qkv + (row * (H + 2 * G) + head) * E;
  const float* angles = cos_sin + position * E;
  if (head < H) {
    T* out = q + ((b * H + head) * shape.T + t) * E;
    for (int64_t j = lane; j < half; j += kWarp) {
      if (fits) {
        rotate<1, false>(x, angles, out, j, half);
      } else {
        out[j] = from_float<T>(__int_as_float(0x7fffffff));
        out[j + half] = from_float<T>(__int_as_float(0x7fffffff));
      }
    }
    return;
  }
  if (!fits) return;
  constexpr int kPairs = kWidestQuantized / 2 / kWarp;
  const bool is_key = head < H + G;
  float low[kPairs] = {}, high[kPairs] = {};
  int bits = 0;  // of the largest magnitude
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int64_t j = lane + i * kWarp;
    if (j >= half) break;
    const float first = to_float(x[j]), second = to_float(x[j + half]);
    const float c = is_key ? angles[j] : 1.0f, s = is_key ? angles[j + half] : 0.0f;
    low[i] = is_key ? rotated_low(first, second, c, s) : first;
    high[i] = is_key ? rotated_high(first, second, c, s) : second;
    bits = max(bits, max(__float_as_int(low[i]) & 0x7fffffff, __float_as_int(high[i]) & 0x7fffffff));
  }
  const CacheQuantiser quantise = CacheQuantiser::of(warp_max(bits));
  const int64_t at = (b * G + head - H - (is_key ? 0 : G)) * shape.capacity + position;
  int8_t* out = (is_key ? cache.k : cache.v) + at * E;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int64_t j = lane + i * kWarp;
    if (j >= half) break;
    out[j] = quantise(low[i]);
    out[j + half] = quantise(high[i]);
  }
  if (lane == 0) (is_key ? cache.k_scale : cache.v_scale)[at] = quantise.scale;
}

template <int Count, typename T>
__global__ void __launch_bounds__(kThreads) rope_backward(const T* __restrict__ dq, const T* __restrict__ dk,
                                                          const T* __restrict__ dv, const float* __restrict__ cos_sin,
                                                          T* __restrict__ dqkv, Heads shape) {
  const int64_t row = blockIdx.x, b = row / shape.T, t = row % shape.T;
  const int64_t E = shape.E, half = E / 2, H = shape.H, G = shape.G;
  const int per_head = int(half / Count);
  const float* angles = cos_sin + t * E;
  T* to = dqkv + row * (H + 2 * G) * E;
  for (int64_t item = threadIdx.x; item < (H + 2 * G) * per_head; item += kThreads) {
    const int64_t head = item / per_head, j = item % per_head * Count;
    T* out = to + head * E;
    if (head < H)
      rotate<Count, true>(dq + ((b * H + head) * shape.T + t) * E, angles, out, j, half);
    else if (head < H + G)
      rotate<Count, true>(dk + ((b * G + head - H) * shape.T + t) * E, angles, out, j, half);
    else
      copy_halves<Count>(dv + ((b * G + head - H - G) * shape.T + t) * E, out, j, half);
  }
}

tb_status check(tb_context* context, const char* op, tb_dtype dtype, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E) {
  TB_REQUIRE_DTYPE(context, dtype, op);
  TB_REQUIRE(context, B >= 0 && T >= 0 && H >= 1 && G >= 1,
             "Cannot run %s as B and T must be at least 0, H and G at least 1: current values are %lld, %lld, %lld and %lld", op,
             (long long)B, (long long)T, (long long)H, (long long)G);
  TB_REQUIRE(context, B == 0 || T <= INT32_MAX / B, "Cannot run %s as B * T must be below 2^31: current values are %lld and %lld",
             op, (long long)B, (long long)T);
  TB_REQUIRE(context, E >= 2 && E % 2 == 0 && E < INT32_MAX, "Cannot run %s as E must be even: current value is %lld", op,
             (long long)E);
  return TB_OK;
}

// Neighbours at once: as many as divide E/2 and the addresses allow.
int group_of(int64_t E, const void* const* tensors, int count, int64_t element_bytes, const float* cos_sin) {
  for (int group : {4, 2}) {
    bool fits = E / 2 % group == 0 && is_aligned(cos_sin, 4 * group);
    for (int i = 0; i < count; ++i) fits = fits && is_aligned(tensors[i], element_bytes * group);
    if (fits) return group;
  }
  return 1;
}

}  // namespace
}  // namespace tb

#define TB_WITH_GROUP(group, ...)   \
  do {                              \
    if ((group) == 4) {             \
      constexpr int kGroup = 4;     \
      __VA_ARGS__                   \
    } else if ((group) == 2) {      \
      constexpr int kGroup = 2;     \
      __VA_ARGS__                   \
    } else {                        \
      constexpr int kGroup = 1;     \
      __VA_ARGS__                   \
    }                               \
  } while (0)

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" tb_status tb_rope_forward(tb_context* context, tb_dtype dtype, const void* qkv, const float* cos_sin,
                                     const int32_t* start, void* q, tb_dtype cache_dtype, void* k, void* v, float* k_scale,
                                     float* v_scale, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E, int64_t capacity,
                                     int64_t positions) {
  TB_ENTER(context);
  const bool quantized = cache_dtype == TB_I8;
  if (cache_dtype != dtype && !quantized)
    return tb::fail(context, TB_UNSUPPORTED,
                    "Cannot run tb_rope_forward as the cache must have the dtype of qkv, %d, or 2 (int8): current value is %d",
                    int(dtype), int(cache_dtype));
  TB_REQUIRE(context, (k_scale != nullptr) == quantized && (v_scale != nullptr) == quantized,
             "Cannot run tb_rope_forward as scales go with an int8 cache, and with no other: current cache_dtype is %d",
             int(cache_dtype));
  if (const tb_status status = tb::check(context, "tb_rope_forward", dtype, B, T, H, G, E); status != TB_OK) return status;
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, T <= capacity && T <= positions,
             "Cannot run tb_rope_forward as %lld tokens must end within the capacity %lld and the %lld positions", (long long)T,
             (long long)capacity, (long long)positions);
  TB_REQUIRE(context, qkv != nullptr && cos_sin != nullptr && q != nullptr && k != nullptr && v != nullptr,
             "Cannot run tb_rope_forward as one of its tensors is null");
  const tb::Heads shape{T, H, G, E, capacity, positions};
  if (quantized) {
    TB_REQUIRE(context, E <= tb::kWidestQuantized && H + 2 * G < 8 * 65535,
               "Cannot run tb_rope_forward with an int8 cache as E must be at most 256, and H + 2 G below 524280: current values are "
               "%lld and %lld",
               (long long)E, (long long)(H + 2 * G));
    const tb::QuantizedCache cache = {static_cast<int8_t*>(k), static_cast<int8_t*>(v), k_scale, v_scale};
    const dim3 grid(unsigned(B * T), tb::blocks_for(H + 2 * G, tb::kThreads / tb::kWarp));
    TB_WITH_TYPE(dtype, X, {
      tb::launch_rows(context, B * T, tb::rope_forward_int8<X>, grid, tb::kThreads, 0, static_cast<const X*>(qkv), cos_sin, start,
                      static_cast<X*>(q), cache, shape);
    });
    return tb::launched(context, "tb_rope_forward");
  }
  const void* tensors[] = {qkv, q, k, v};
  const int group = tb::group_of(E, tensors, 4, tb::bytes_of(dtype), cos_sin);
  TB_WITH_TYPE(dtype, X, {
    TB_WITH_GROUP(group, {
      const int64_t items = (H + 2 * G) * (E / 2 / kGroup);
      const dim3 grid(unsigned(B * T), B * T <= tb::kOverlapRows ? tb::blocks_for(items < 65536 ? items : 65536, tb::kThreads) : 1);
      tb::launch_rows(context, B * T, tb::rope_forward<kGroup, X>, grid, tb::kThreads, 0, static_cast<const X*>(qkv), cos_sin, start,
                      static_cast<X*>(q), static_cast<X*>(k), static_cast<X*>(v), shape);
    });
  });
  return tb::launched(context, "tb_rope_forward");
}

extern "C" tb_status tb_rope_backward(tb_context* context, tb_dtype dtype, const void* dq, const void* dk, const void* dv,
                                      const float* cos_sin, void* dqkv, int64_t B, int64_t T, int64_t H, int64_t G, int64_t E,
                                      int64_t positions) {
  TB_ENTER(context);
  if (const tb_status status = tb::check(context, "tb_rope_backward", dtype, B, T, H, G, E); status != TB_OK) return status;
  if (B == 0 || T == 0) return TB_OK;
  TB_REQUIRE(context, T <= positions, "Cannot run tb_rope_backward as T must be at most the %lld positions: current value is %lld",
             (long long)positions, (long long)T);
  TB_REQUIRE(context, dq != nullptr && dk != nullptr && dv != nullptr && cos_sin != nullptr && dqkv != nullptr,
             "Cannot run tb_rope_backward as one of its tensors is null");
  const tb::Heads shape{T, H, G, E, T, positions};
  const void* tensors[] = {dq, dk, dv, dqkv};
  const int group = tb::group_of(E, tensors, 4, tb::bytes_of(dtype), cos_sin);
  TB_WITH_TYPE(dtype, X, {
    TB_WITH_GROUP(group, {
      tb::rope_backward<kGroup><<<unsigned(B * T), tb::kThreads, 0, context->stream>>>(
          static_cast<const X*>(dq), static_cast<const X*>(dk), static_cast<const X*>(dv), cos_sin, static_cast<X*>(dqkv), shape);
    });
  });
  return tb::launched(context, "tb_rope_backward");
}
