// ---- Contract -------------------------------------------------------------------------------------------------------
//
// c (M, N) float32 or bfloat16 = op(a) . op(b) + residual on the plain float32 units: products of float32 operands, of bfloat16
// operands that fit no tensor-core path, and of a float32 operand with integers that have a factor for each step of the depth
// (b[k][n] = fl(b_scale[k] * b[k][n]), as the CPU build's gemm_f32_int8). Each element is one sum in the order of the depth, by fused
// multiply-add; the residual is added in float32; one rounding to c's dtype (half to even). Deterministic; any layout and alignment.
//
// It is what comparisons with the CPU build use, and no more than that has been asked of its speed.

#include "gemm_kernels.cuh"
#include "load_store.cuh"

namespace tb {
namespace {

constexpr int kTile = 64;    // rows and columns of a block
constexpr int kDepth = 16;   // of a step
constexpr int kThreads = 256;
constexpr int kPerThread = 4;  // rows and columns of a thread
constexpr int kPitch = kTile + 4;  // floats: rows stay aligned to 16 bytes, and copies across them spread over the banks

// ---- Device -----------------------------------------------------------------------------------------------------------

// Elements of an operand: (i, k) with i a row of op(a) or a column of op(b).
template <typename T>
struct Operand {
  const T* values;
  const float* scale;  // (K) or null
  int64_t extent, depth;
  bool along_depth;  // k is the fast dimension in memory

  __device__ __forceinline__ float at(int64_t i, int64_t k) const {
    if (i >= extent || k >= depth) return 0.0f;
    const T value = values[along_depth ? i * depth + k : k * extent + i];
    if constexpr (sizeof(T) == 1)
      return __fmul_rn(__ldg(scale + k), float(value));
    else
      return to_float(value);
  }

  // A step's kTile x kDepth elements into to[k][i]; neighbouring threads read neighbours in memory.
  __device__ __forceinline__ void copy(float (&to)[kDepth][kPitch], int64_t first, int64_t k0) const {
#pragma unroll
    for (int j = 0; j < kTile * kDepth / kThreads; ++j) {
      const int index = threadIdx.x + j * kThreads;
      const int i = along_depth ? index / kDepth : index % kTile;
      const int k = along_depth ? index % kDepth : index / kTile;
      to[k][i] = at(first + i, k0 + k);
    }
  }
};

template <typename A, typename B>
__global__ void __launch_bounds__(kThreads) plain_tiles(const Operand<A> a, const Operand<B> b, const Product product) {
  __shared__ __align__(16) float a_step[kDepth][kPitch];
  __shared__ __align__(16) float b_step[kDepth][kPitch];
  const int64_t across = ceil_div(product.N, kTile);
  const int64_t m0 = blockIdx.x / across * kTile, n0 = blockIdx.x % across * kTile;
  const int row = threadIdx.x / 16 * kPerThread, column = threadIdx.x % 16 * kPerThread;
  float sums[kPerThread][kPerThread] = {};
  for (int64_t k0 = 0; k0 < product.K; k0 += kDepth) {
    a.copy(a_step, m0, k0);
    b.copy(b_step, n0, k0);
    __syncthreads();
    // Beyond the depth both hold 0.
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float left[kPerThread], right[kPerThread];
      load_floats<kPerThread>(&a_step[k][row], left);
      load_floats<kPerThread>(&b_step[k][column], right);
#pragma unroll
      for (int i = 0; i < kPerThread; ++i)
#pragma unroll
        for (int j = 0; j < kPerThread; ++j) sums[i][j] = __fmaf_rn(left[i], right[j], sums[i][j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
      const int64_t m = m0 + row + i, n = n0 + column + j;
      if (m >= product.M || n >= product.N) continue;
      const int64_t at = m * product.row_stride() + n;
      float value = sums[i][j];
      if (product.c_dtype == TB_BF16) {
        if (product.residual != nullptr) value = __fadd_rn(value, to_float(static_cast<const bf16*>(product.residual)[at]));
        static_cast<bf16*>(product.c)[at] = from_float<bf16>(value);
      } else {
        if (product.residual != nullptr) value = __fadd_rn(value, static_cast<const float*>(product.residual)[at]);
        static_cast<float*>(product.c)[at] = value;
      }
    }
  }
}

// ---- Launchers --------------------------------------------------------------------------------------------------------

template <typename A, typename B>
tb_status launch(tb_context* context, const char* op, const Product& product, const float* b_scale) {
  const int64_t blocks = ceil_div(product.M, kTile) * ceil_div(product.N, kTile);
  TB_REQUIRE(context, blocks <= INT32_MAX, "Cannot run %s as M x N may have 2^31 - 1 tiles at most: current values are %lld, %lld",
             op, (long long)product.M, (long long)product.N);
  const Operand<A> a{static_cast<const A*>(product.a), nullptr, product.M, product.K, !product.transpose_a};
  const Operand<B> b{static_cast<const B*>(product.b), b_scale, product.N, product.K, product.transpose_b};
  plain_tiles<A, B><<<unsigned(blocks), kThreads, 0, context->stream>>>(a, b, product);
  return launched(context, op);
}

}  // namespace

tb_status gemm_plain(tb_context* context, const char* op, const Product& product) {
  if (product.dtype == TB_BF16) return launch<bf16, bf16>(context, op, product, nullptr);
  return launch<float, float>(context, op, product, nullptr);
}

tb_status gemm_plain_int8(tb_context* context, const char* op, const Product& product, const float* b_scale) {
  return launch<float, int8_t>(context, op, product, b_scale);
}

}  // namespace tb
