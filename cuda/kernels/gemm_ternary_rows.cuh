// The ternary product of up to kFewRows rows of x (decoding): the weights are read once, and reading them is the limit.
//
// A warp computes `Outputs` columns of y for all rows. Lanes run along the weights' rows, 16 bytes each at a time; x waits in
// shared memory in the order in which lanes want it. With 2-bit codes c = w + 1, shifting a word by 0, 2, 4, 6 bits gives the
// codes 4b + i of its bytes b in place; x is turned to that order once a block, the weights never, and as
// sum((w + 1) x) = sum(w x) + sum(x), each row's sum of x is taken off at the end. Exact in int32.
#pragma once

#include "gemm_ternary.cuh"
#include "reduce.cuh"

namespace tb {

constexpr int kFewRows = 16;

namespace ternary_rows_detail {

constexpr int kWarps = 8;
constexpr int kGroupChunks = 128;               // chunks of 16 of the depth that a warp takes at once: four a lane
constexpr int kGroupDepth = kGroupChunks * 16;
constexpr int kGroups = 16;                     // in shared memory, of all rows of x together: 32 KiB

__device__ __forceinline__ int32_t dot4(uint32_t a, uint32_t b, int32_t sum) { return __dp4a(int32_t(a), int32_t(b), sum); }

__device__ __forceinline__ int32_t dot16(const uint4& a, const uint4& b, int32_t sum) {
  return dot4(a.w, b.w, dot4(a.z, b.z, dot4(a.y, b.y, dot4(a.x, b.x, sum))));
}

// Lane `lane` takes chunks lane * 4 .. + 3 of codes (one load of 16 bytes), or chunks lane, lane + 32, .. of bytes (four loads).
template <bool Codes>
__device__ __forceinline__ int place_of_chunk(int chunk) {
  return Codes ? chunk % 4 * 32 + chunk / 4 : chunk;
}

// Four words of codes from word `first` on; what the row lacks meets zeros of x.
__device__ __forceinline__ uint4 load_codes(const int32_t* row, int64_t first, int64_t row_words, bool wide) {
  if (first >= row_words) return make_uint4(kZeroCodes, kZeroCodes, kZeroCodes, kZeroCodes);
  if (wide) return __ldg(reinterpret_cast<const uint4*>(row + first));
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) words[i] = first + i < row_words ? uint32_t(__ldg(row + first + i)) : kZeroCodes;
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Rows: M rounded up. wide_codes: rows of codes are whole, aligned pieces of 16 bytes.
template <bool Codes, int Rows, int Outputs>
__global__ void __launch_bounds__(kWarps * 32) ternary_rows(const TernaryProduct product, const bool wide_codes) {
  constexpr int kSlabGroups = kGroups / Rows;  // of one row of x
  __shared__ uint4 slab[kGroups * kGroupChunks];
  __shared__ int32_t x_sums[Rows];
  const int64_t K = product.K, row_words = ceil_div(K, 16);
  const int lane = threadIdx.x % 32;
  const int64_t first_output = (int64_t(blockIdx.x) * kWarps + threadIdx.x / 32) * Outputs;
  if (threadIdx.x < Rows) x_sums[threadIdx.x] = 0;

  int32_t sums[Outputs][Rows] = {};
  for (int64_t k0 = 0; k0 < K; k0 += kSlabGroups * kGroupDepth) {
    __syncthreads();  // x_sums is 0; the slab has been used
    for (int i = threadIdx.x; i < kGroups * kGroupChunks; i += kWarps * 32) {
      const int m = i / (kSlabGroups * kGroupChunks), chunk = i % (kSlabGroups * kGroupChunks);
      const int64_t k = k0 + int64_t(chunk) * 16;
      uint4 values = make_uint4(0, 0, 0, 0);
      if (m < product.M && k < K) values = __ldg(reinterpret_cast<const uint4*>(product.x + m * K + k));
      if constexpr (Codes) {
        const int32_t sum = dot16(values, make_uint4(0x01010101, 0x01010101, 0x01010101, 0x01010101), 0);
        const int32_t of_warp = __reduce_add_sync(kAllLanes, sum);  // a warp's chunks are of one row
        if (lane == 0 && of_warp != 0) atomicAdd(&x_sums[m], of_warp);
        values = turned(values);
      }
      slab[i / kGroupChunks * kGroupChunks + place_of_chunk<Codes>(i % kGroupChunks)] = values;
    }
    __syncthreads();
    const int groups = int(min(int64_t(kSlabGroups), ceil_div(K - k0, kGroupDepth)));
    for (int group = 0; group < groups; ++group) {
      const int64_t k = k0 + group * kGroupDepth;
      uint4 codes[Outputs];
      if constexpr (Codes) {
#pragma unroll
        for (int o = 0; o < Outputs; ++o) {
          const int64_t n = min(first_output + o, product.N - 1);
          codes[o] = load_codes(product.packed + n * row_words, k / 16 + lane * 4, row_words, wide_codes);
        }
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        uint4 w[Outputs];
#pragma unroll
        for (int o = 0; o < Outputs; ++o) {
          if constexpr (Codes) {
            const uint32_t word = j == 0 ? codes[o].x : j == 1 ? codes[o].y : j == 2 ? codes[o].z : codes[o].w;
            w[o] = make_uint4(word & 0x03030303, word >> 2 & 0x03030303, word >> 4 & 0x03030303, word >> 6 & 0x03030303);
          } else {
            const int64_t n = min(first_output + o, product.N - 1), at = k + (j * 32 + lane) * 16;
            w[o] = at < K ? __ldg(reinterpret_cast<const uint4*>(product.w + n * K + at)) : make_uint4(0, 0, 0, 0);
          }
        }
#pragma unroll
        for (int m = 0; m < Rows; ++m) {
          const uint4 x = slab[(m * kSlabGroups + group) * kGroupChunks + j * 32 + lane];
#pragma unroll
          for (int o = 0; o < Outputs; ++o) sums[o][m] = dot16(w[o], x, sums[o][m]);
        }
      }
    }
  }

  // Result i of the warp goes to lane i % 32, which writes it.
  constexpr int kResults = Outputs * Rows;
  int32_t mine[(kResults + 31) / 32] = {};
#pragma unroll
  for (int i = 0; i < kResults; ++i) {
    const int32_t sum = __reduce_add_sync(kAllLanes, sums[i / Rows][i % Rows]);
    if (lane == i % 32) mine[i / 32] = sum;
  }
#pragma unroll
  for (int i = 0; i < (kResults + 31) / 32; ++i) {
    const int result = 32 * i + lane;
    const int64_t n = first_output + result / Rows, m = result % Rows;
    if (result >= kResults || n >= product.N || m >= product.M) continue;
    const int32_t sum = Codes ? mine[i] - x_sums[m] : mine[i];
    finish_one(product, m * product.N + n, sum, __ldg(product.x_scale + m), __ldg(product.w_scale + n));
  }
}

template <bool Codes, int Rows, int Outputs>
tb_status launch(tb_context* context, const char* op, const TernaryProduct& product) {
  const int64_t blocks = ceil_div(product.N, kWarps * Outputs);
  TB_REQUIRE(context, blocks <= INT32_MAX, "Cannot run %s as N may have 2^31 - 1 blocks at most: current value is %lld", op,
             (long long)product.N);
  const bool wide_codes = Codes && ceil_div(product.K, 16) % 4 == 0 && is_aligned(product.packed, 16);
  ternary_rows<Codes, Rows, Outputs><<<unsigned(blocks), kWarps * 32, 0, context->stream>>>(product, wide_codes);
  return launched(context, op);
}

// Several outputs a warp have more loads under way and share what is read of x, where enough warps remain.
template <bool Codes, int Rows>
tb_status launch_outputs(tb_context* context, const char* op, const TernaryProduct& product) {
  if (product.N >= int64_t(4 * kWarps * 2) * context->sm_count) return launch<Codes, Rows, 4>(context, op, product);
  return launch<Codes, Rows, 1>(context, op, product);
}

}  // namespace ternary_rows_detail

// x, and int8 weights, must be whole chunks of 16 bytes a row, aligned to them.
template <bool Codes>
tb_status launch_rows(tb_context* context, const char* op, const TernaryProduct& product) {
  using namespace ternary_rows_detail;
  if (product.M == 1) return launch_outputs<Codes, 1>(context, op, product);
  if (product.M <= 4) return launch_outputs<Codes, 4>(context, op, product);
  return launch_outputs<Codes, kFewRows>(context, op, product);
}

}  // namespace tb
