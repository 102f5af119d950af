// One row of RMSNorm and of the per-token quantiser on a block of threads, shared by the plain and the gated norm.
//
//   rstd = 1 / sqrt(mean(h²) + eps), n = (h * rstd) * weight, in float32, every quotient and root rounded once.
//   absmax:  gamma = max|n|,  q = round(n * (127 / max(gamma, 1e-5))), scale = max(gamma, 1e-5) / 127.
//   absmean: mu = mean|n|,    q = clamp(round(n * (sqrt 7 / max(mu, 1e-5))), -8, 7), scale = max(mu, 1e-5) / sqrt 7.
//   round is half to even. From equal n the integers are those of the CPU build, bit for bit; n itself may differ in the last
//   place, as the sum of squares is taken in another order. A row with a NaN or an infinity shows it in rstd, n or scale.
// Backward of n by h, for g = dL/dn: with c = sum_k(g_k weight_k h_k) rstd² / D,
//   dh_j = rstd * (g_j weight_j - h_j c),  dweight_j = sum over rows of g_j h_j rstd.
// Sums: a thread's own columns, then a fixed tree over the block. dweight: blocks of rows, whose number depends on the shape
// alone, each summed in order of rows into the scratch, then the blocks by a fixed tree. Deterministic.
//
// A row lives in registers: Items groups of Rows::kWidth neighbours a thread, 16 bytes of the input. Rows that are too long or not
// aligned to groups take the kernels with the suffix _any, which read the row from memory (that is, the L1 cache) in each of their passes.
// Few rows (decoding) wait for their weight no longer than for the kernel ahead: it is copied to shared memory before (overlap.cuh).
#pragma once

#include "context.cuh"
#include "load_store.cuh"
#include "mma.cuh"
#include "overlap.cuh"
#include "reduce.cuh"

namespace tb {

constexpr float kSqrt7 = 2.6457513110645907f;
constexpr float kSmallestGamma = 1e-5f;
constexpr int kAnyThreads = 256;

template <typename Y>
struct NormOutputs {
  int8_t* q;     // (N, D), null without quantiser
  float* scale;  // (N)
  Y* y;          // (N, D) or null
  float* rstd;   // (N) or null
};

// Rows of a plain matrix.
template <typename T>
struct PlainRows {
  static constexpr int kWidth = 4;
  const T* x;
  int64_t D;
  struct Row {
    const T* x;
    __device__ __forceinline__ void load(int64_t j, float (&h)[kWidth]) const { load_floats(x + j, h); }
    __device__ __forceinline__ float at(int64_t j) const { return to_float(x[j]); }
  };
  __device__ __forceinline__ Row row(int64_t index) const { return {x + index * D}; }
};

__device__ __forceinline__ float reciprocal_rms(float squares, float eps, int64_t D) {
  return __frcp_rn(__fsqrt_rn(__fadd_rn(__fdiv_rn(squares, float(D)), eps)));
}

__device__ __forceinline__ float normalised(float h, float rstd, float weight) {
  return __fmul_rn(__fmul_rn(h, rstd), weight);
}

// Neighbours of a float32 vector, 16 bytes at a time.
template <int Width>
__device__ __forceinline__ void load_weights(const float* from, float (&to)[Width]) {
  static_assert(Width % 4 == 0, "whole accesses of 16 bytes");
#pragma unroll
  for (int first = 0; first < Width; first += 4) {
    const float4 four = *reinterpret_cast<const float4*>(from + first);
    to[first] = four.x, to[first + 1] = four.y, to[first + 2] = four.z, to[first + 3] = four.w;
  }
}

// NaN has larger bits than every number, so it wins.
__device__ __forceinline__ int magnitude_bits(float value) { return __float_as_int(value) & 0x7fffffff; }

template <bool Absmax>
__device__ __forceinline__ int8_t quantised(float n, float factor) {
  float value = __fmul_rn(n, factor);
  if constexpr (!Absmax) {
    value = value > -8.0f ? value : -8.0f;
    value = value < 7.0f ? value : 7.0f;
  }
  return int8_t(__float2int_rn(value));
}

// What the quantiser multiplies by, from max|n| or mean|n|; thread 0 writes the row's scale.
template <bool Absmax>
__device__ __forceinline__ float quantiser_factor(float gamma, float* scale) {
  constexpr float kLevels = Absmax ? 127.0f : kSqrt7;
  gamma = gamma < kSmallestGamma ? kSmallestGamma : gamma;  // NaN stays
  if (threadIdx.x == 0) *scale = __fdiv_rn(gamma, kLevels);
  return __fdiv_rn(kLevels, gamma);
}

template <int Threads, int Items, int Width, bool Absmax>
__device__ __forceinline__ void quantise_row(const float (&n)[Items][Width], int64_t D, int8_t* q, float* scale) {
  float gamma;
  if constexpr (Absmax) {
    int largest = 0;
#pragma unroll
    for (int item = 0; item < Items; ++item)
#pragma unroll
      for (int i = 0; i < Width; ++i) largest = max(largest, magnitude_bits(n[item][i]));  // beyond the row n is 0
    gamma = __int_as_float(block_max<Threads>(largest));
  } else {
    float total = 0;
#pragma unroll
    for (int item = 0; item < Items; ++item)
#pragma unroll
      for (int i = 0; i < Width; ++i) total += fabsf(n[item][i]);
    gamma = __fdiv_rn(block_sum<Threads>(total), float(D));
  }
  const float factor = quantiser_factor<Absmax>(gamma, scale);
#pragma unroll
  for (int item = 0; item < Items; ++item) {
    const int64_t j = (int64_t(item) * Threads + threadIdx.x) * Width;
    if (j >= D) continue;
    Pack<int8_t, Width> group;
#pragma unroll
    for (int i = 0; i < Width; ++i) group.values[i] = quantised<Absmax>(n[item][i], factor);
    *reinterpret_cast<Pack<int8_t, Width>*>(q + j) = group;
  }
}

// is_settled: shared memory has room for the weight, which may be read at once.
template <int Threads, int Items, typename Rows, typename Y>
__global__ void __launch_bounds__(Threads) norm_forward(Rows rows, const float* weight, float eps, tb_activation_quant quant,
                                                        NormOutputs<Y> out, int64_t D, bool is_settled) {
  extern __shared__ float4 settled_weight[];
  constexpr int Width = Rows::kWidth;
  if (is_settled) {  // each thread its own columns: it alone has to wait for them
    float* const copy = reinterpret_cast<float*>(settled_weight);
#pragma unroll
    for (int item = 0; item < Items; ++item) {
      const int64_t j = (int64_t(item) * Threads + threadIdx.x) * Width;
#pragma unroll
      for (int i = 0; i < Width; i += 4)
        if (j < D) copy_async<16>(shared_address(copy + j + i), weight + j + i, 16);
    }
    commit_copies();
    weight = copy;
  }
  wait_for_earlier();
  const int64_t index = blockIdx.x;
  const auto row = rows.row(index);
  float n[Items][Width] = {};
  float squares = 0;
#pragma unroll
  for (int item = 0; item < Items; ++item) {
    const int64_t j = (int64_t(item) * Threads + threadIdx.x) * Width;
    if (j < D) row.load(j, n[item]);
#pragma unroll
    for (int i = 0; i < Width; ++i) squares += n[item][i] * n[item][i];
  }
  const float rstd = reciprocal_rms(block_sum<Threads>(squares), eps, D);
  if (threadIdx.x == 0 && out.rstd != nullptr) out.rstd[index] = rstd;
  if (is_settled) wait_copies<0>();
#pragma unroll
  for (int item = 0; item < Items; ++item) {
    const int64_t j = (int64_t(item) * Threads + threadIdx.x) * Width;
    if (j >= D) continue;
    float w[Width];
    load_weights(weight + j, w);
#pragma unroll
    for (int i = 0; i < Width; ++i) n[item][i] = normalised(n[item][i], rstd, w[i]);
    if (out.y != nullptr) store_floats(out.y + index * D + j, n[item]);
  }
  if (quant == TB_QUANT_ABSMAX) quantise_row<Threads, Items, Width, true>(n, D, out.q + index * D, out.scale + index);
  if (quant == TB_QUANT_ABSMEAN) quantise_row<Threads, Items, Width, false>(n, D, out.q + index * D, out.scale + index);
}

// A block of norm_forward a row.
template <int Threads, int Items, typename Rows, typename Y>
void launch_norm(tb_context* context, const Rows& rows, const float* weight, float eps, tb_activation_quant quant,
                 const NormOutputs<Y>& out, int64_t N, int64_t D) {
  constexpr int64_t kMostShared = int64_t(40) << 10;  // beside the sums of the block, without asking for more
  const bool is_settled = N <= kOverlapRows && 4 * D <= kMostShared && weights_are_settled(context);
  launch_rows(context, N, norm_forward<Threads, Items, Rows, Y>, unsigned(N), Threads, is_settled ? 4 * D : 0, rows, weight, eps, quant,
              out, D, is_settled);
}

template <bool Absmax, typename Row>
__device__ __forceinline__ void quantise_row_any(const Row& row, float rstd, const float* weight, int64_t D, int8_t* q,
                                                 float* scale) {
  int largest = 0;
  float total = 0;
  for (int64_t j = threadIdx.x; j < D; j += kAnyThreads) {
    const float n = normalised(row.at(j), rstd, weight[j]);
    if constexpr (Absmax)
      largest = max(largest, magnitude_bits(n));
    else
      total += fabsf(n);
  }
  float gamma;
  if constexpr (Absmax)
    gamma = __int_as_float(block_max<kAnyThreads>(largest));
  else
    gamma = __fdiv_rn(block_sum<kAnyThreads>(total), float(D));
  const float factor = quantiser_factor<Absmax>(gamma, scale);
  for (int64_t j = threadIdx.x; j < D; j += kAnyThreads)
    q[j] = quantised<Absmax>(normalised(row.at(j), rstd, weight[j]), factor);
}

template <typename Rows, typename Y>
__global__ void __launch_bounds__(kAnyThreads) norm_forward_any(Rows rows, const float* __restrict__ weight, float eps,
                                                                tb_activation_quant quant, NormOutputs<Y> out, int64_t D) {
  wait_for_earlier();
  const int64_t index = blockIdx.x;
  const auto row = rows.row(index);
  float squares = 0;
  for (int64_t j = threadIdx.x; j < D; j += kAnyThreads) {
    const float h = row.at(j);
    squares += h * h;
  }
  const float rstd = reciprocal_rms(block_sum<kAnyThreads>(squares), eps, D);
  if (threadIdx.x == 0 && out.rstd != nullptr) out.rstd[index] = rstd;
  if (out.y != nullptr)
    for (int64_t j = threadIdx.x; j < D; j += kAnyThreads)
      out.y[index * D + j] = from_float<Y>(normalised(row.at(j), rstd, weight[j]));
  if (quant == TB_QUANT_ABSMAX) quantise_row_any<true>(row, rstd, weight, D, out.q + index * D, out.scale + index);
  if (quant == TB_QUANT_ABSMEAN) quantise_row_any<false>(row, rstd, weight, D, out.q + index * D, out.scale + index);
}

// ---- Weight gradients -------------------------------------------------------------------------------------------

// 8 for each multiprocessor of a Hopper card, in waves that leave none idle; the same on every card, as the order of sums follows from it.
constexpr int64_t kMostRowBlocks = 8 * 132;
constexpr int64_t kLongestRow = kScratchBytes / 4;

// Blocks of rows with a partial sum of dweight each; 16 rows or more a block, as far as the scratch allows.
inline int64_t row_block_count(int64_t N, int64_t D) {
  int64_t blocks = ceil_div(N, 16);
  const int64_t room = kScratchBytes / (4 * D);
  if (blocks > kMostRowBlocks) blocks = kMostRowBlocks;
  if (blocks > room) blocks = room;
  return blocks;
}

constexpr int kPartialColumns = 32;
constexpr int kPartialLanes = 32;

// dweight[j] += sum over blocks of partials[block][j].
template <int Lanes = kPartialLanes>
__global__ void add_partials(const float* __restrict__ partials, int64_t blocks, float* __restrict__ dweight, int64_t D) {
  __shared__ float sums[Lanes][kPartialColumns + 1];
  const int64_t j = int64_t(blockIdx.x) * kPartialColumns + threadIdx.x;
  float total = 0;
  if (j < D)
    for (int64_t block = threadIdx.y; block < blocks; block += Lanes) total += partials[block * D + j];
  sums[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
#pragma unroll
  for (int half = Lanes / 2; half > 0; half /= 2) {
    if (threadIdx.y < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
    __syncthreads();
  }
  if (threadIdx.y == 0 && j < D) dweight[j] += sums[0][threadIdx.x];
}

inline void launch_add_partials(tb_context* context, const float* partials, int64_t blocks, float* dweight, int64_t D) {
  add_partials<><<<blocks_for(D, kPartialColumns), dim3(kPartialColumns, kPartialLanes), 0, context->stream>>>(
      partials, blocks, dweight, D);
}

}  // namespace tb

// Runs the body with kThreads and kItems that hold a row of D, D <= kRegisterRow: 8 values a thread as far as the threads go.
constexpr int64_t kRegisterRow = 16384;
#define TB_WITH_ROW_SHAPE(D, ...)               \
  do {                                          \
    if ((D) <= 1024) {                          \
      constexpr int kThreads = 128, kItems = 2; \
      __VA_ARGS__                               \
    } else if ((D) <= 2048) {                   \
      constexpr int kThreads = 256, kItems = 2; \
      __VA_ARGS__                               \
    } else if ((D) <= 4096) {                   \
      constexpr int kThreads = 512, kItems = 2; \
      __VA_ARGS__                               \
    } else if ((D) <= 8192) {                   \
      constexpr int kThreads = 512, kItems = 4; \
      __VA_ARGS__                               \
    } else {                                    \
      constexpr int kThreads = 1024, kItems = 4;\
      __VA_ARGS__                               \
    }                                           \
  } while (0)

// The same for backward passes, which hold several rows and a sum: 512 threads may have 128 registers each, 1024 only 64.
constexpr int64_t kBackwardRow = 12288;
#define TB_WITH_BACKWARD_ROW_SHAPE(D, ...)      \
  do {                                          \
    if ((D) <= 1024) {                          \
      constexpr int kThreads = 128, kItems = 2; \
      __VA_ARGS__                               \
    } else if ((D) <= 2048) {                   \
      constexpr int kThreads = 256, kItems = 2; \
      __VA_ARGS__                               \
    } else if ((D) <= 4096) {                   \
      constexpr int kThreads = 512, kItems = 2; \
      __VA_ARGS__                               \
    } else if ((D) <= 8192) {                   \
      constexpr int kThreads = 512, kItems = 4; \
      __VA_ARGS__                               \
    } else {                                    \
      constexpr int kThreads = 512, kItems = 6; \
      __VA_ARGS__                               \
    }                                           \
  } while (0)
