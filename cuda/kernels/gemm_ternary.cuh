// What the paths of the ternary product share: operands, the epilogue, 2-bit codes.
#pragma once

#include "context.cuh"
#include "load_store.cuh"

namespace tb {

struct TernaryProduct {
  const int8_t* x;        // (M, K)
  const float* x_scale;   // (M)
  const int8_t* w;        // (N, K), or null and
  const int32_t* packed;  // (N, ceil(K / 16)) words of 16 codes
  const float* w_scale;   // (N)
  tb_dtype dtype;         // of residual and y
  const void* residual;   // (M, N) or null; may be y
  void* y;                // (M, N)
  int64_t M, N, K;
  bool wide;              // eight neighbours of residual and y, from a multiple of eight on, are aligned to 16 bytes
};

__device__ __forceinline__ float scaled_sum(int32_t sum, float x_scale, float w_scale) {
  return __fmul_rn(__int2float_rn(sum), __fmul_rn(x_scale, w_scale));
}

// What is added to element `at` of y, where there is a residual.
__device__ __forceinline__ float load_residual(const TernaryProduct& product, int64_t at) {
  if (product.residual == nullptr) return 0.0f;
  return product.dtype == TB_BF16 ? to_float(static_cast<const bf16*>(product.residual)[at])
                                  : static_cast<const float*>(product.residual)[at];
}

// Element `at` of y.
__device__ __forceinline__ void finish_with(const TernaryProduct& product, int64_t at, int32_t sum, float x_scale, float w_scale,
                                            float residual) {
  float value = scaled_sum(sum, x_scale, w_scale);
  if (product.residual != nullptr) value = __fadd_rn(value, residual);
  if (product.dtype == TB_BF16)
    static_cast<bf16*>(product.y)[at] = from_float<bf16>(value);
  else
    static_cast<float*>(product.y)[at] = value;
}
__device__ __forceinline__ void finish_one(const TernaryProduct& product, int64_t at, int32_t sum, float x_scale, float w_scale) {
  finish_with(product, at, sum, x_scale, w_scale, load_residual(product, at));
}

constexpr uint32_t kZeroCodes = 0x55555555;  // code 1 stands for weight 0

// 16 codes, lowest first, as 16 int8. Codes become nibbles, and nibbles select bytes of a table of weights.
__device__ __forceinline__ uint4 bytes_of_codes(uint32_t word) {
  constexpr uint32_t kWeights = 0x020100ff;  // byte c: c - 1
  uint32_t halves[2] = {__byte_perm(word, 0, 0x4140), __byte_perm(word, 0, 0x4342)};
  uint32_t bytes[4];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    halves[i] = (halves[i] | halves[i] << 4) & 0x0f0f0f0f;
    halves[i] = (halves[i] | halves[i] << 2) & 0x33333333;
    bytes[2 * i] = __byte_perm(kWeights, 0, halves[i]);
    bytes[2 * i + 1] = __byte_perm(kWeights, 0, halves[i] >> 16);
  }
  return make_uint4(bytes[0], bytes[1], bytes[2], bytes[3]);
}

// 16 values in the order in which shifts and masks take codes out of a word: values 4b + i at byte b of word i.
__device__ __forceinline__ uint4 turned(uint4 chunk) {
  const uint32_t low01 = __byte_perm(chunk.x, chunk.y, 0x5140), high01 = __byte_perm(chunk.x, chunk.y, 0x7362);
  const uint32_t low23 = __byte_perm(chunk.z, chunk.w, 0x5140), high23 = __byte_perm(chunk.z, chunk.w, 0x7362);
  return make_uint4(__byte_perm(low01, low23, 0x5410), __byte_perm(low01, low23, 0x7632), __byte_perm(high01, high23, 0x5410),
                    __byte_perm(high01, high23, 0x7632));
}

// gemm_ternary_sm90.cu. Only what fits: int8 weights, whole aligned chunks, a Hopper card.
bool fits_ternary_sm90(const tb_context* context, const TernaryProduct& product);
tb_status ternary_sm90(tb_context* context, const char* op, const TernaryProduct& product);

// Rows of x up to which reading the weights is the limit of a product from 2-bit weights, whatever multiplies them.
constexpr int64_t kFewPackedRows = 32;

// gemm_ternary_packed_sm90.cu. Only what fits: 2-bit weights, more than kFewPackedRows, depths of whole aligned chunks of 64, a Hopper card.
bool fits_ternary_packed_sm90(const tb_context* context, const TernaryProduct& product);
tb_status ternary_packed_sm90(tb_context* context, const char* op, const TernaryProduct& product);

// gemm_ternary_packed_rows.cu. Only what fits: 2-bit weights, up to 64 rows.
bool fits_packed_rows(const tb_context* context, const TernaryProduct& product);
tb_status ternary_packed_rows(tb_context* context, const char* op, const TernaryProduct& product);

// pack_ternary.cu. packed (rows, ceil(cols / 16)) to q (rows, cols).
tb_status unpack_ternary(tb_context* context, const char* op, const int32_t* packed, int8_t* q, int64_t rows, int64_t cols);

}  // namespace tb
