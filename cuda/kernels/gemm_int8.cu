// y (M, N) = (Q(x) . wᵀ) * s_x (M) * w_scale (N): the head of a finished model, whose weights are int8. x float32 or bfloat16, y
// float32. Quantiser, exact integer product and roundings are those of the CPU build (cuda/cpu/ops/gemm_int8.cpp): the same bits
// from equal x.
//
// Depths of whole steps of 64: a kernel quantises rows into the scratch, and few_rows.cuh multiplies 16 of them at a time. Others, plain
// (all with TITANBIT_NO_FEW_ROWS=1): each block quantises its row of x into shared memory, then a warp takes a row of w at a time, 32
// bytes a step.
#include "few_rows.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kColumns = 64;  // of a block
constexpr int64_t kMaxDepth = 1 << 15;
constexpr float kSmallestGamma = 1e-5f;

// A block's row x (K) as integers, q (K) anywhere; every thread gets the row's scale. Integers are 1 where x is not finite.
template <typename X>
__device__ __forceinline__ float quantize_row(const X* __restrict__ x, int8_t* q, int64_t K) {
  int bits = 0;  // of the largest magnitude: those of NaN lie above every number's
#pragma unroll 8
  for (int64_t k = threadIdx.x; k < K; k += kThreads) bits = max(bits, __float_as_int(to_float(x[k])) & 0x7fffffff);
  float gamma = __int_as_float(block_max<kThreads>(bits));
  gamma = gamma < kSmallestGamma ? kSmallestGamma : gamma;
  const float factor = __fdiv_rn(127.0f, gamma);
  const bool is_finite = gamma <= 3.4028235e38f;
#pragma unroll 8
  for (int64_t k = threadIdx.x; k < K; k += kThreads)
    q[k] = is_finite ? int8_t(__float2int_rn(__fmul_rn(to_float(x[k]), factor))) : int8_t(1);
  return __fdiv_rn(gamma, 127.0f);
}

template <typename X>
__global__ void __launch_bounds__(kThreads) quantize_rows(const X* __restrict__ x, int8_t* __restrict__ q, float* __restrict__ scale,
                                                          int64_t K) {
  wait_for_earlier();
  const int64_t m = blockIdx.x;
  const float row_scale = quantize_row(x + m * K, q + m * K, K);
  if (threadIdx.x == 0) scale[m] = row_scale;
}

struct Scale {
  const float *x_scale, *w_scale;
  float* y;
  int64_t N;

  __device__ __forceinline__ void operator()(int m, int64_t n, int32_t sum) const {
    y[m * N + n] = __fmul_rn(__int2float_rn(sum), __fmul_rn(x_scale[m], w_scale[n]));
  }
};

template <typename X>
__global__ void __launch_bounds__(kThreads) gemm_int8(const X* __restrict__ x, const int8_t* __restrict__ w,
                                                      const float* __restrict__ w_scale, float* __restrict__ y, int64_t M,
                                                      int64_t N, int64_t K) {
  extern __shared__ int8_t q[];
  const int64_t first = int64_t(blockIdx.x) * kColumns;
  const int64_t last = first + kColumns < N ? first + kColumns : N;
  for (int64_t m = blockIdx.y; m < M; m += gridDim.y) {
    const float scale = quantize_row(x + m * K, q, K);
    __syncthreads();
    for (int64_t n = first + threadIdx.x / kWarp; n < last; n += kThreads / kWarp) {
      int sum = 0;
      for (int64_t k = threadIdx.x % kWarp; k < K; k += kWarp) sum += int(q[k]) * int(w[n * K + k]);
      sum = warp_sum(sum);
      if (threadIdx.x % kWarp == 0) y[m * N + n] = __fmul_rn(__int2float_rn(sum), __fmul_rn(scale, w_scale[n]));
    }
    __syncthreads();  // q has been read
  }
}

// Rows at a time whose integers the tensor cores multiply; the scratch holds those of all.
template <typename X>
tb_status gemm_int8_steps(tb_context* context, const char* op, const X* x, const int8_t* w, const float* w_scale, float* y, int64_t M,
                          int64_t N, int64_t K) {
  int8_t* const q = reinterpret_cast<int8_t*>(context->scratch);
  float* const scale = reinterpret_cast<float*>(context->scratch + M * K);  // K is a multiple of 64
  launch_rows(context, M, quantize_rows<X>, unsigned(M), kThreads, 0, x, q, scale, K);
  if (const tb_status status = launched(context, op); status != TB_OK) return status;
  const int64_t most = std::min(int64_t(kFewRows), int64_t(context->shared_bytes_per_block) / few_rows_stride(K));
  for (int64_t m = 0; m < M; m += most) {
    const Scale finish = {scale + m, w_scale, y + m * N, N};
    const tb_status status = launch_few_rows<int8_t, int32_t>(context, op, q + m * K, w, std::min(most, M - m), N, K, finish);
    if (status != TB_OK) return status;
  }
  return TB_OK;
}

}  // namespace
}  // namespace tb

// ---- Launcher ---------------------------------------------------------------------------------------------------

extern "C" tb_status tb_gemm_int8(tb_context* context, tb_dtype dtype, const void* x, const int8_t* w, const float* w_scale,
                                  float* y, int64_t M, int64_t N, int64_t K) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dtype, "tb_gemm_int8");
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0 && K <= tb::kMaxDepth,
             "Cannot run tb_gemm_int8 as M and N must be positive and K 1 to 32768: current values are %lld, %lld, %lld",
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, x != nullptr && w != nullptr && w_scale != nullptr && y != nullptr,
             "Cannot run tb_gemm_int8 as x, w, its scale and y must not be null");
  if (tb::fits_few_rows(context, context->scratch, w, 1, K) && M * (K + 4) <= tb::kScratchBytes)
    TB_WITH_TYPE(dtype, X, {
      return tb::gemm_int8_steps(context, "tb_gemm_int8", static_cast<const X*>(x), w, w_scale, y, M, N, K);
    });
  const dim3 grid(unsigned((N + tb::kColumns - 1) / tb::kColumns), unsigned(M < 65535 ? M : 65535));
  if (dtype == TB_BF16)
    tb::gemm_int8<<<grid, tb::kThreads, size_t(K), context->stream>>>(static_cast<const tb::bf16*>(x), w, w_scale, y, M, N, K);
  else
    tb::gemm_int8<<<grid, tb::kThreads, size_t(K), context->stream>>>(static_cast<const float*>(x), w, w_scale, y, M, N, K);
  return tb::launched(context, "tb_gemm_int8");
}
