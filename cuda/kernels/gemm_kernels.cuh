// The ways in which gemm_any (gemm.cu) can compute a product.
#pragma once

#include "gemm.cuh"

namespace tb {

// cublaslt.cpp. The library's handle and the algorithms chosen so far; null where the library was not found or is not wanted
// (TITANBIT_NO_CUBLAS=1).
struct CublasLt;
CublasLt* open_cublaslt();
void close_cublaslt(CublasLt* lt);
// gemm.cu. The context's own, opened by the first call.
CublasLt* library_of(tb_context* context);
// bfloat16 products. False, with nothing launched, where the library has no algorithm for the product; `status` is the call's else.
bool gemm_cublaslt(tb_context* context, CublasLt* lt, const char* op, const Product& product, tb_status* status);

// gemm_bf16.cu. Only what fits.
bool fits_gemm_bf16(const Product& product);
tb_status gemm_bf16(tb_context* context, const char* op, const Product& product);

// gemm_f32.cu. Any layout and alignment, a and b both float32 or both bfloat16.
tb_status gemm_plain(tb_context* context, const char* op, const Product& product);
// a float32; b (K, N) or (N, K) int8 with one factor (K) for each step of the depth, made float32 on the way in.
tb_status gemm_plain_int8(tb_context* context, const char* op, const Product& product, const float* b_scale);

}  // namespace tb
