// The dense product that other ops build on (tb_gemm, both gradients of the ternary product, the head).
#pragma once

#include "context.cuh"

namespace tb {

// c (M, N) = op(a) . op(b) + residual; a is (M, K), or (K, M) where transpose_a; b is (K, N), or (N, K) where transpose_b.
// residual is null or as c is (dtype, ldc), and may be c; c overlaps neither a nor b.
struct Product {
  tb_dtype dtype;  // of a and b
  const void* a;
  const void* b;
  tb_dtype c_dtype;
  const void* residual;
  void* c;
  int64_t M, N, K;
  bool transpose_a, transpose_b;
  int64_t ldc;  // distance of two rows of c in elements; 0: N

  __host__ __device__ int64_t row_stride() const { return ldc != 0 ? ldc : N; }
};

// Launches the product on the context's stream; may use the first kGemmScratchBytes of the context's scratch. bfloat16: cuBLASLt
// where it was found, else gemm_bf16.cu; float32: gemm_f32.cu. Sums are float32 in an order that shape and card decide.
// `op` is named in errors. Sizes must be positive; a size of 0 is the caller's to answer.
tb_status gemm_any(tb_context* context, const char* op, const Product& product);

// Products of up to 16 rows in float32, with a row's bits whatever M is. They are the caller's to choose: gemm_any() does not.
bool fits_gemm_few_rows(const tb_context* context, const Product& product);
tb_status gemm_few_rows(tb_context* context, const char* op, const Product& product);

// The library that bfloat16 products go through, such as "libcublasLt.so.13"; null where they are the project's own.
const char* product_library();

}  // namespace tb
