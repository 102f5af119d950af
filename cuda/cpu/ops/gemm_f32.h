// The float32 product that other ops build on. Each call runs its own parallel region: never call it from inside one.
#pragma once

#include "dispatch.h"

// c (M, N) = op(a) . op(b) + residual. a is (M, K), or (K, M) where transpose_a; b is (K, N), or (N, K) where transpose_b;
// ld* is the distance of two rows in elements. residual (M, N) may be null (nothing is added) or c; c overlaps neither a nor b.
// Uses the context's scratch of every thread. The same bits whatever the number of threads.
TB_DECLARE(void, gemm_f32, (tb_context* context, const float* a, int64_t lda, bool transpose_a, const float* b, int64_t ldb,
                            bool transpose_b, const float* residual, int64_t ldr, float* c, int64_t ldc, int64_t M, int64_t N,
                            int64_t K))

// The same with b (K, N) held as int8 with one factor a row: b[k][n] = b_scale[k] * b[k][n], made float32 on the way in.
TB_DECLARE(void, gemm_f32_int8, (tb_context* context, const float* a, int64_t lda, bool transpose_a, const int8_t* b,
                                 int64_t ldb, const float* b_scale, const float* residual, int64_t ldr, float* c, int64_t ldc,
                                 int64_t M, int64_t N, int64_t K))
