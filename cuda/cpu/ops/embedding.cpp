// Rows of the embedding table, and the scatter of their gradients.
//
// Forward copies. Backward: every thread owns columns of the table and walks the tokens in order, so each element is summed
// in the order of N whatever the number of threads, without atomics.
// An id outside 0 .. V - 1 is TB_INVALID_ARGUMENT; nothing is written then.
#include <omp.h>

#include <cstring>

#include "vector.h"

// ---- Implementation ---------------------------------------------------------------------------------------------

TB_DECLARE(void, embedding_forward,
           (tb_context * context, const int32_t* ids, const float* table, float* out, int64_t N, int64_t D))
TB_DECLARE(void, embedding_backward,
           (tb_context * context, const int32_t* ids, const float* dout, float* dtable, int64_t N, int64_t D))

namespace tb::TB_ISA {

void embedding_forward(tb_context* context, const int32_t* ids, const float* table, float* out, int64_t N, int64_t D) {
#pragma omp parallel for num_threads(context->threads) schedule(static) if (N * D > 8192)
  for (int64_t row = 0; row < N; ++row) memcpy(out + row * D, table + int64_t(ids[row]) * D, size_t(D) * sizeof(float));
}

void embedding_backward(tb_context* context, const int32_t* ids, const float* dout, float* dtable, int64_t N, int64_t D) {
  constexpr int64_t kSlice = 16;  // a cache line
  const int64_t slices = ceil_div(D, kSlice);
#pragma omp parallel num_threads(context->threads) if (N * D > 8192)
  {
    const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    const int64_t from = slices * thread / threads * kSlice;
    const int64_t to = smaller(D, slices * (thread + 1) / threads * kSlice);
    if (from < to) {
      for (int64_t row = 0; row < N; ++row) {
        const float* gradient = dout + row * D;
        float* sum = dtable + int64_t(ids[row]) * D;
#pragma omp simd
        for (int64_t j = from; j < to; ++j) sum[j] += gradient[j];
      }
    }
  }
}

}  // namespace tb::TB_ISA

// ---- Launchers --------------------------------------------------------------------------------------------------

#if TB_LAUNCHERS

static tb_status check_embedding(tb_context* context, const char* op, const int32_t* ids, const void* a, const void* b,
                                 int64_t N, int64_t D, int64_t V) {
  TB_REQUIRE(context, N >= 0 && D >= 1 && V >= 1,
             "Cannot run %s as N must be at least 0, D and V at least 1: current values are %lld, %lld and %lld", op,
             (long long)N, (long long)D, (long long)V);
  TB_REQUIRE(context, N == 0 || (ids != nullptr && a != nullptr && b != nullptr), "Cannot run %s as one of its tensors is null",
             op);
  for (int64_t row = 0; row < N; ++row)
    TB_REQUIRE(context, ids[row] >= 0 && ids[row] < V,
               "Cannot run %s as ids must lie in 0 .. %lld: current value at %lld is %d", op, (long long)(V - 1),
               (long long)row, int(ids[row]));
  return TB_OK;
}

extern "C" tb_status tb_embedding_forward(tb_context* context, const int32_t* ids, const float* table, float* out, int64_t N,
                                          int64_t D, int64_t V) {
  TB_CHECK_CONTEXT(context);
  const tb_status status = check_embedding(context, "tb_embedding_forward", ids, table, out, N, D, V);
  if (status != TB_OK) return status;
  TB_DISPATCH(context, embedding_forward, (context, ids, table, out, N, D));
  return TB_OK;
}

extern "C" tb_status tb_embedding_backward(tb_context* context, const int32_t* ids, tb_dtype dout_dtype, const void* dout,
                                           float* dtable, int64_t N, int64_t D, int64_t V) {
  TB_CHECK_CONTEXT(context);
  TB_REQUIRE_F32(context, dout_dtype, "tb_embedding_backward");
  const tb_status status = check_embedding(context, "tb_embedding_backward", ids, dout, dtable, N, D, V);
  if (status != TB_OK) return status;
  TB_DISPATCH(context, embedding_backward, (context, ids, static_cast<const float*>(dout), dtable, N, D));
  return TB_OK;
}

#endif
