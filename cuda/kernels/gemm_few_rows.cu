// c (M, N) float32 = a (M, K) . bᵀ of bfloat16 for up to 16 rows: the head of decoding (few_rows.cuh).
#include "few_rows.cuh"
#include "gemm.cuh"

// ---- Device -----------------------------------------------------------------------------------------------------

namespace tb {
namespace {

struct Store {
  float* c;
  int64_t stride;

  __device__ __forceinline__ void operator()(int m, int64_t n, float sum) const { c[m * stride + n] = sum; }
};

}  // namespace

bool fits_gemm_few_rows(const tb_context* context, const Product& product) {
  return product.dtype == TB_BF16 && product.c_dtype == TB_F32 && product.residual == nullptr && !product.transpose_a &&
         product.transpose_b && fits_few_rows(context, product.a, product.b, product.M, 2 * product.K);
}

tb_status gemm_few_rows(tb_context* context, const char* op, const Product& product) {
  const Store store = {static_cast<float*>(product.c), product.row_stride()};
  return launch_few_rows<bf16, float>(context, op, static_cast<const bf16*>(product.a), static_cast<const bf16*>(product.b),
                                      product.M, product.N, 2 * product.K, store);
}

}  // namespace tb
