// ---- Contract -------------------------------------------------------------------------------------------------------
//
// c (M, N) of c_dtype = op(a) . op(b) + residual; a and b of dtype, sums and the residual's addition in float32, one rounding to
// c_dtype. Who computes it:
//   bfloat16: cuBLASLt where it was found (cublaslt.cpp), else the project's own tensor-core product (gemm_bf16.cu); shapes that fit
//             neither, and every float32 product: the plain float32 units (gemm_f32.cu).
//             tb_gemm of up to 16 rows by bᵀ into float32, without a residual: gemm_few_rows.cu, which gives a row the same bits beside
//             any others (TITANBIT_NO_FEW_ROWS=1: as the others).
// The same bits in every run of a build on a card, with the same choice of library.

#include <new>

#include "gemm_kernels.cuh"

namespace tb {
namespace {

struct State {
  CublasLt* lt;  // null: none
};

}  // namespace

// Made by the first product and kept by the context.
CublasLt* library_of(tb_context* context) {
  if (context->gemm_state == nullptr) {
    context->gemm_state = new (std::nothrow) State{open_cublaslt()};
    context->gemm_release = [](void* state) {
      close_cublaslt(static_cast<State*>(state)->lt);
      delete static_cast<State*>(state);
    };
  }
  return context->gemm_state == nullptr ? nullptr : static_cast<State*>(context->gemm_state)->lt;
}

tb_status gemm_any(tb_context* context, const char* op, const Product& product) {
  if (product.dtype == TB_F32) return gemm_plain(context, op, product);
  tb_status status = TB_OK;
  CublasLt* lt = library_of(context);
  if (lt != nullptr && gemm_cublaslt(context, lt, op, product, &status)) return status;
  return fits_gemm_bf16(product) ? gemm_bf16(context, op, product) : gemm_plain(context, op, product);
}

}  // namespace tb

// ---- Launcher ---------------------------------------------------------------------------------------------------------

extern "C" tb_status tb_gemm(tb_context* context, tb_dtype dtype, const void* a, const void* b, tb_dtype c_dtype,
                             const void* residual, void* c, int64_t M, int64_t N, int64_t K, int32_t transpose_a,
                             int32_t transpose_b) {
  TB_ENTER(context);
  TB_REQUIRE_DTYPE(context, dtype, "tb_gemm");
  TB_REQUIRE_DTYPE(context, c_dtype, "tb_gemm");
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0, "Cannot run tb_gemm as M, N and K must be positive: current values are %lld, %lld, %lld",
             (long long)M, (long long)N, (long long)K);
  TB_REQUIRE(context, a != nullptr && b != nullptr && c != nullptr, "Cannot run tb_gemm as a, b and c must not be null");
  const tb::Product product = {dtype, a, b, c_dtype, residual, c, M, N, K, transpose_a != 0, transpose_b != 0, 0};
  if (tb::fits_gemm_few_rows(context, product)) return tb::gemm_few_rows(context, "tb_gemm", product);
  return tb::gemm_any(context, "tb_gemm", product);
}
