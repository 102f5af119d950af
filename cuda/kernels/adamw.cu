// AdamW (arXiv:1711.05101), one pass, float32 whatever gradients and moments are kept in:
//
//   g' = g * clip, clip = min(1, max_grad_norm / grad_norm), or 1 where max_grad_norm is 0
//   m = b1 m + (1 - b1) g';  v = b2 v + (1 - b2) g'²;  w = w (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps)
// computed as w - (lr / c1) m / (sqrt(v) * (1 / sqrt(c2)) + eps), the scalars in double by one thread a block and rounded once.
// Operations, their order, and how moments become 16 or 8 bits: host/adamw_math.h; the same bits as the CPU build's.
// hyper, grad_norm and updates are read on the card, so that a recorded step stays right when they change. A grad_norm that is not
// finite, or a bias correction that is not above 0 (which the CPU build refuses), leaves w, m and v untouched.
//
// Bound by memory. Bytes a weight: 8 for w, 4 or 2 for g, and for moments 16 (float32), 8 (bfloat16) or 4.06 (int8).
// int8: a warp has a block of 256 elements, lane l elements 4 l .. 4 l + 3 of either half, so that each access of a warp is whole lines.
// The maximum goes through shuffles, entries of the maps come from shared memory, codes are computed.
#include "adamw_math.h"
#include "context.cuh"
#include "load_store.cuh"
#include "reduce.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 256;

// False where the update is to be left out. One thread a block computes; all must call it.
__device__ __forceinline__ bool read_scalars(const float* hyper, const float* grad_norm, AdamScalars* scalars) {
  __shared__ AdamScalars shared;
  __shared__ bool runs;
  if (threadIdx.x == 0) {
    runs = is_finite(*grad_norm) && hyper[5] > 0 && hyper[6] > 0;
    shared = scalars_of(hyper, *grad_norm);
  }
  __syncthreads();
  *scalars = shared;
  return runs;
}

template <int Count, typename Moment>
__device__ __forceinline__ void store_moments(Moment* to, const float (&values)[Count], const uint32_t (&random16)[Count]) {
  if constexpr (sizeof(Moment) == 4) {
    store_floats(to, values);
  } else {
    Pack<uint16_t, Count> pack;
#pragma unroll
    for (int k = 0; k < Count; ++k) pack.values[k] = round_stochastically(values[k], random16[k]);
    *reinterpret_cast<Pack<uint16_t, Count>*>(to) = pack;
  }
}

// Moments of one number an element. first_index: of the first element in the whole, which random bits go by.
template <int Count, typename Gradient, typename Moment>
__global__ void __launch_bounds__(kThreads) adamw(float* __restrict__ w, const Gradient* __restrict__ g, Moment* __restrict__ m,
                                                  Moment* __restrict__ v, const float* __restrict__ hyper,
                                                  const float* __restrict__ grad_norm, const int32_t* __restrict__ updates,
                                                  int64_t first_index, int64_t groups) {
  constexpr bool kRandom = sizeof(Moment) == 2;
  AdamScalars s;
  if (!read_scalars(hyper, grad_norm, &s)) return;
  const uint32_t key = kRandom ? update_key(__ldg(updates)) : 0;
  for (int64_t group = int64_t(blockIdx.x) * kThreads + threadIdx.x; group < groups; group += int64_t(gridDim.x) * kThreads) {
    const int64_t i = group * Count;
    float weight[Count], gradient[Count], first[Count], second[Count];
    uint32_t low[Count], high[Count];
    load_floats(w + i, weight);
    load_floats(g + i, gradient);
    load_floats(m + i, first);
    load_floats(v + i, second);
#pragma unroll
    for (int k = 0; k < Count; ++k) {
      update_element(s, gradient[k], &weight[k], &first[k], &second[k]);
      const uint32_t random = kRandom ? random_bits(key, first_index + i + k) : 0;
      low[k] = random & 0xffffu;
      high[k] = random >> 16;
    }
    store_floats(w + i, weight);
    store_moments(m + i, first, low);
    store_moments(v + i, second, high);
  }
}

__device__ const MomentMap kFirstMap = moment_map(true);
__device__ const MomentMap kSecondMap = moment_map(false);

__device__ __forceinline__ float warp_largest(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

// Up to 4 neighbours, 0 beyond `count`; whole: all 4, and aligned to them.
template <typename T>
__device__ __forceinline__ Pack<T, 4> load_four(const T* from, int64_t count, bool whole) {
  if (whole) return load_pack<4>(from);
  Pack<T, 4> pack = {};
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (k < count) pack.values[k] = from[k];
  return pack;
}

template <typename T>
__device__ __forceinline__ void store_four(T* to, const Pack<T, 4>& pack, int64_t count, bool whole) {
  if (whole) {
    *reinterpret_cast<Pack<T, 4>*>(to) = pack;
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (k < count) to[k] = pack.values[k];
}

// Elements beyond n count as 0 in w, g and both moments, and stay so: they do not touch the maxima.
template <typename Gradient>
__global__ void __launch_bounds__(kThreads) adamw_int8(float* __restrict__ w, const Gradient* __restrict__ g, uint8_t* __restrict__ m,
                                                       uint8_t* __restrict__ v, float* __restrict__ m_absmax,
                                                       float* __restrict__ v_absmax, const float* __restrict__ hyper,
                                                       const float* __restrict__ grad_norm, int64_t n, bool aligned) {
  constexpr int kHalves = 2, kStride = kMomentBlock / kHalves;
  static_assert(kThreads == 256 && kStride == 4 * kWarp, "a thread an entry, and four elements a lane in each half");
  __shared__ float first_map[256], second_map[256];
  first_map[threadIdx.x] = kFirstMap.values[threadIdx.x];
  second_map[threadIdx.x] = kSecondMap.values[threadIdx.x];
  AdamScalars s;
  if (!read_scalars(hyper, grad_norm, &s)) return;  // its barrier is the maps' too
  const int lane = threadIdx.x % kWarp;
  const int64_t blocks = ceil_div(n, kMomentBlock), warps = int64_t(gridDim.x) * (kThreads / kWarp);
  for (int64_t block = int64_t(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp; block < blocks; block += warps) {
    const bool whole = aligned && (block + 1) * kMomentBlock <= n;
    const int64_t from = block * kMomentBlock + 4 * lane;
    Pack<float, 4> weight[kHalves];
    Pack<Gradient, 4> gradient[kHalves];
    Pack<uint8_t, 4> first_codes[kHalves], second_codes[kHalves];
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int64_t i = from + half * kStride, count = n - i;
      weight[half] = load_four(w + i, count, whole);
      gradient[half] = load_four(g + i, count, whole);
      first_codes[half] = load_four(m + i, count, whole);
      second_codes[half] = load_four(v + i, count, whole);
    }
    const float first_scale = m_absmax[block], second_scale = v_absmax[block];
    float first[kHalves][4], second[kHalves][4];
    float largest_first = 0, largest_second = 0;
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const bool there = whole || from + half * kStride + k < n;
        first[half][k] = there ? times(first_map[first_codes[half].values[k]], first_scale) : 0;
        second[half][k] = there ? times(second_map[second_codes[half].values[k]], second_scale) : 0;
        update_element(s, to_float(gradient[half].values[k]), &weight[half].values[k], &first[half][k], &second[half][k]);
        largest_first = fmaxf(largest_first, fabsf(first[half][k]));
        largest_second = fmaxf(largest_second, second[half][k]);
      }
    }
    const BlockScale of_first = block_scale(warp_largest(largest_first)), of_second = block_scale(warp_largest(largest_second));
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        first_codes[half].values[k] = first_code(first[half][k], of_first.inverse);
        second_codes[half].values[k] = second_code(second[half][k], of_second.inverse);
      }
      const int64_t i = from + half * kStride, count = n - i;
      store_four(w + i, weight[half], count, whole);
      store_four(m + i, first_codes[half], count, whole);
      store_four(v + i, second_codes[half], count, whole);
    }
    if (lane == 0) {  // behind the shuffles: every lane has read the old ones
      m_absmax[block] = of_first.absmax;
      v_absmax[block] = of_second.absmax;
    }
  }
}

__global__ void __launch_bounds__(kThreads) begin_update(const float* __restrict__ grad_norm, int32_t* __restrict__ updates,
                                                         float* __restrict__ hyper, int64_t groups) {
  __shared__ int32_t counted;
  if (threadIdx.x == 0) {
    int32_t count = *updates;
    if (is_finite(*grad_norm)) *updates = ++count;
    counted = count > 1 ? count : 1;
  }
  __syncthreads();
  for (int64_t group = threadIdx.x; group < groups; group += kThreads) {
    float* of_group = hyper + group * kHyper;
    of_group[5] = bias_correction(of_group[1], counted);
    of_group[6] = bias_correction(of_group[2], counted);
  }
}

// ---- Launchers --------------------------------------------------------------------------------------------------

struct Operands {
  float* w;
  const void* g;
  void *m, *v;
  float *m_absmax, *v_absmax;
  const float *hyper, *grad_norm;
  const int32_t* updates;
  int64_t n;
};

// The scalars cost some hundred cycles a block: blocks stay for several groups, and still fill the card.
unsigned grid_of(tb_context* context, int64_t groups, int64_t per_block) {
  const int64_t wanted = ceil_div(groups, per_block), most = int64_t(context->sm_count) * 16;
  return unsigned(wanted < most ? wanted : most);
}

template <int Count, typename Gradient, typename Moment>
void launch_groups(tb_context* context, const Operands& o, int64_t first, int64_t groups) {
  if (groups == 0) return;
  adamw<Count><<<grid_of(context, groups, kThreads), kThreads, 0, context->stream>>>(
      o.w + first, static_cast<const Gradient*>(o.g) + first, static_cast<Moment*>(o.m) + first, static_cast<Moment*>(o.v) + first,
      o.hyper, o.grad_norm, o.updates, first, groups);
}

template <typename Gradient, typename Moment>
void launch_plain(tb_context* context, const Operands& o) {
  const bool aligned = is_aligned(o.w, 16) && is_aligned(o.g, 4 * sizeof(Gradient)) && is_aligned(o.m, 4 * sizeof(Moment)) &&
                       is_aligned(o.v, 4 * sizeof(Moment));
  const int64_t groups = aligned ? o.n / 4 : 0;
  launch_groups<4, Gradient, Moment>(context, o, 0, groups);
  launch_groups<1, Gradient, Moment>(context, o, 4 * groups, o.n - 4 * groups);
}

template <typename Gradient>
void launch_int8(tb_context* context, const Operands& o) {
  const bool aligned =
      is_aligned(o.w, 16) && is_aligned(o.g, 4 * sizeof(Gradient)) && is_aligned(o.m, 4) && is_aligned(o.v, 4);
  adamw_int8<<<grid_of(context, ceil_div(o.n, kMomentBlock), kThreads / kWarp), kThreads, 0, context->stream>>>(
      o.w, static_cast<const Gradient*>(o.g), static_cast<uint8_t*>(o.m), static_cast<uint8_t*>(o.v), o.m_absmax, o.v_absmax,
      o.hyper, o.grad_norm, o.n, aligned);
}

template <typename Gradient>
void launch_state(tb_context* context, tb_state_dtype state_dtype, const Operands& o) {
  if (state_dtype == TB_STATE_F32)
    launch_plain<Gradient, float>(context, o);
  else if (state_dtype == TB_STATE_BF16)
    launch_plain<Gradient, bf16>(context, o);
  else
    launch_int8<Gradient>(context, o);
}

}  // namespace
}  // namespace tb

extern "C" tb_status tb_adamw_begin(tb_context* context, const float* grad_norm, int32_t* updates, float* hyper, int64_t groups) {
  TB_ENTER(context);
  TB_REQUIRE(context, groups >= 0, "Cannot run tb_adamw_begin as groups must be at least 0: current value is %lld", (long long)groups);
  TB_REQUIRE(context, grad_norm != nullptr && updates != nullptr && (groups == 0 || hyper != nullptr),
             "Cannot run tb_adamw_begin as one of grad_norm, updates and hyper is null");
  tb::begin_update<<<1, tb::kThreads, 0, context->stream>>>(grad_norm, updates, hyper, groups);
  return tb::launched(context, "tb_adamw_begin");
}

extern "C" tb_status tb_adamw(tb_context* context, float* w, tb_dtype g_dtype, const void* g, tb_state_dtype state_dtype, void* m,
                              void* v, float* m_absmax, float* v_absmax, const float* hyper, const float* grad_norm,
                              const int32_t* updates, int64_t n) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, g_dtype, "tb_adamw");
  if (state_dtype < TB_STATE_F32 || state_dtype > TB_STATE_INT8)
    return tb::fail(context, TB_UNSUPPORTED,
                    "Cannot run tb_adamw as state_dtype must be 0 (float32), 1 (bfloat16) or 2 (int8): current value is %d",
                    int(state_dtype));
  TB_REQUIRE(context, n >= 0, "Cannot run tb_adamw as n must be at least 0: current value is %lld", (long long)n);
  TB_REQUIRE(context, hyper != nullptr && grad_norm != nullptr, "Cannot run tb_adamw as hyper or grad_norm is null");
  TB_REQUIRE(context, n == 0 || (w != nullptr && g != nullptr && m != nullptr && v != nullptr),
             "Cannot run tb_adamw as one of w, g, m and v is null");
  TB_REQUIRE(context, state_dtype != TB_STATE_BF16 || updates != nullptr,
             "Cannot run tb_adamw as updates must be given with bfloat16 moments: it is null");
  TB_REQUIRE(context, state_dtype != TB_STATE_INT8 || n == 0 || (m_absmax != nullptr && v_absmax != nullptr),
             "Cannot run tb_adamw as m_absmax and v_absmax must be given with int8 moments: one of them is null");
  if (n == 0) return TB_OK;
  const tb::Operands operands = {w, g, m, v, m_absmax, v_absmax, hyper, grad_norm, updates, n};
  if (g_dtype == TB_BF16)
    tb::launch_state<tb::bf16>(context, state_dtype, operands);
  else
    tb::launch_state<float>(context, state_dtype, operands);
  return tb::launched(context, "tb_adamw");
}
