// ---- Contract -------------------------------------------------------------------------------------------------------
//
// The two gradients of y = (x . wᵀ) * x_scale * w_scale, both quantisers passed straight through:
//   dx (M, K) = dy (M, N) . (w_scale (N) * w (N, K))        dw (N, K) = dyᵀ (N, M) . (x_scale (M) * x (M, K))
// bfloat16 dy: the int8 operand times its factor is rounded to bfloat16 (half to even) in the context's scratch, then the dense
// product (gemm.cu) sums in float32. Where the scratch is too small, dx and dw are made in slices of their columns: a sum is never
// divided, and dw in bfloat16 is rounded once whatever the slices.
// float32 dy: products, and the factor times the integer (rounded once), in float32 (gemm_f32.cu). dw is float32 then.
// "accumulate" adds to what the output holds. Deterministic.

#include "gemm_kernels.cuh"
#include "load_store.cuh"

namespace tb {
namespace {

constexpr int64_t kOperandBytes = kScratchBytes - kGemmScratchBytes;  // behind what gemm_any uses
constexpr int kThreads = 256;

bf16* operand_of(tb_context* context) { return reinterpret_cast<bf16*>(context->scratch + kGemmScratchBytes); }

// ---- Device -----------------------------------------------------------------------------------------------------------

// to (rows, width) = scale (rows) * columns from .. from + width of q (rows, columns). Count: neighbours a thread, 16 or 1.
template <int Count>
__global__ void __launch_bounds__(kThreads) dequantize(const int8_t* q, const float* scale, bf16* to, int64_t columns, int64_t first,
                                                       uint32_t row_pieces, uint32_t pieces) {
  const uint32_t piece = blockIdx.x * kThreads + threadIdx.x;
  if (piece >= pieces) return;
  const uint32_t row = piece / row_pieces, at = piece % row_pieces;
  const float factor = __ldg(scale + row);
  const Pack<int8_t, Count> values = *reinterpret_cast<const Pack<int8_t, Count>*>(q + row * columns + first + int64_t(at) * Count);
  constexpr int kStore = Count < 8 ? Count : 8;
#pragma unroll
  for (int i = 0; i < Count; i += kStore) {
    float real[kStore];
#pragma unroll
    for (int j = 0; j < kStore; ++j) real[j] = __fmul_rn(factor, float(values.values[i + j]));
    store_floats<kStore>(to + int64_t(piece) * Count + i, real);
  }
}

// ---- Launchers --------------------------------------------------------------------------------------------------------

// At most kOperandBytes are written, so that pieces stay far below 2^32.
tb_status launch_dequantize(tb_context* context, const char* op, const int8_t* q, const float* scale, int64_t rows, int64_t columns,
                            int64_t first, int64_t width) {
  bf16* to = operand_of(context);
  const bool wide = columns % 16 == 0 && first % 16 == 0 && width % 16 == 0 && is_aligned(q, 16);
  const int64_t row_pieces = wide ? width / 16 : width;
  const int64_t pieces = rows * row_pieces;
  if (wide)
    dequantize<16><<<blocks_for(pieces, kThreads), kThreads, 0, context->stream>>>(q, scale, to, columns, first,
                                                                                   uint32_t(row_pieces), uint32_t(pieces));
  else
    dequantize<1><<<blocks_for(pieces, kThreads), kThreads, 0, context->stream>>>(q, scale, to, columns, first,
                                                                                  uint32_t(row_pieces), uint32_t(pieces));
  return launched(context, op);
}

// How many lines of `length` bfloat16 the scratch holds: all of them, else a multiple of 64.
int64_t lines_in_scratch(int64_t lines, int64_t length) {
  const int64_t fitting = kOperandBytes / 2 / length;
  return fitting >= lines ? lines : fitting / 64 * 64;
}

tb_status backward_input(tb_context* context, tb_dtype dtype, const void* dy, const int8_t* w, const float* w_scale, void* dx,
                         int64_t M, int64_t N, int64_t K, bool accumulate) {
  const char* op = "tb_gemm_ternary_backward_input";
  const void* residual = accumulate ? dx : nullptr;
  if (dtype == TB_F32)
    return gemm_plain_int8(context, op, {TB_F32, dy, w, TB_F32, residual, dx, M, K, N, false, false, 0}, w_scale);
  const int64_t slice = lines_in_scratch(K, N);
  TB_REQUIRE(context, slice > 0, "Cannot run %s as 64 columns of w must fit %lld bytes of scratch: current N is %lld", op,
             (long long)kOperandBytes, (long long)N);
  for (int64_t k = 0; k < K; k += slice) {
    const int64_t width = slice < K - k ? slice : K - k;
    tb_status status = launch_dequantize(context, op, w, w_scale, N, K, k, width);
    if (status != TB_OK) return status;
    bf16* to = static_cast<bf16*>(dx) + k;
    status = gemm_any(context, op,
                      {TB_BF16, dy, operand_of(context), TB_BF16, accumulate ? to : nullptr, to, M, width, N, false, false, K});
    if (status != TB_OK) return status;
  }
  return TB_OK;
}

tb_status backward_weight(tb_context* context, tb_dtype dtype, const void* dy, const int8_t* x, const float* x_scale,
                          tb_dtype dw_dtype, void* dw, int64_t M, int64_t N, int64_t K, bool accumulate) {
  const char* op = "tb_gemm_ternary_backward_weight";
  if (dtype == TB_F32)
    return gemm_plain_int8(context, op, {TB_F32, dy, x, TB_F32, accumulate ? dw : nullptr, dw, N, K, M, true, false, 0}, x_scale);
  const int64_t slice = lines_in_scratch(K, M);
  TB_REQUIRE(context, slice > 0, "Cannot run %s as 64 columns of x must fit %lld bytes of scratch: current M is %lld", op,
             (long long)kOperandBytes, (long long)M);
  for (int64_t k = 0; k < K; k += slice) {
    const int64_t width = slice < K - k ? slice : K - k;
    tb_status status = launch_dequantize(context, op, x, x_scale, M, K, k, width);
    if (status != TB_OK) return status;
    void* to = static_cast<char*>(dw) + k * bytes_of(dw_dtype);
    status = gemm_any(context, op,
                      {TB_BF16, dy, operand_of(context), dw_dtype, accumulate ? to : nullptr, to, N, width, M, true, false, K});
    if (status != TB_OK) return status;
  }
  return TB_OK;
}

}  // namespace
}  // namespace tb

extern "C" {

tb_status tb_gemm_ternary_backward_input(tb_context* context, tb_dtype dtype, const void* dy, const int8_t* w,
                                         const float* w_scale, void* dx, int64_t M, int64_t N, int64_t K,
                                         int32_t accumulate) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dtype, "tb_gemm_ternary_backward_input");
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0,
             "Cannot run tb_gemm_ternary_backward_input as M, N and K must be positive: current values are %lld, %lld, %lld",
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, dy != nullptr && w != nullptr && w_scale != nullptr && dx != nullptr,
             "Cannot run tb_gemm_ternary_backward_input as dy, w, w_scale and dx must not be null");
  return tb::backward_input(context, dtype, dy, w, w_scale, dx, M, N, K, accumulate != 0);
}

tb_status tb_gemm_ternary_backward_weight(tb_context* context, tb_dtype dtype, const void* dy, const int8_t* x,
                                          const float* x_scale, tb_dtype dw_dtype, void* dw, int64_t M, int64_t N,
                                          int64_t K, int32_t accumulate) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dtype, "tb_gemm_ternary_backward_weight");
  TB_REQUIRE_DTYPE(context, dw_dtype, "tb_gemm_ternary_backward_weight");
  if (dtype == TB_F32 && dw_dtype != TB_F32)
    return tb::fail(context, TB_UNSUPPORTED,
                    "Cannot run tb_gemm_ternary_backward_weight as dw must be float32 where dy is: current dw_dtype is %d",
                    int(dw_dtype));
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0,
             "Cannot run tb_gemm_ternary_backward_weight as M, N and K must be positive: current values are %lld, %lld, %lld",
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, dy != nullptr && x != nullptr && x_scale != nullptr && dw != nullptr,
             "Cannot run tb_gemm_ternary_backward_weight as dy, x, x_scale and dw must not be null");
  return tb::backward_weight(context, dtype, dy, x, x_scale, dw_dtype, dw, M, N, K, accumulate != 0);
}

}  // extern "C"
