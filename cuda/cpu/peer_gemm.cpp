// The yardstick of the CUDA build: cuBLASLt runs on NVIDIA cards alone.
#include "context.h"

namespace {

tb_status no_peer(tb_context* context, const char* op) {
  return tb::fail(context, TB_UNSUPPORTED, "Cannot run %s as cuBLASLt needs an NVIDIA card: the CPU build has no such peer", op);
}

}  // namespace

extern "C" {

tb_status tb_peer_algorithms(tb_context* context, tb_peer_kind, int64_t, int64_t, int64_t, int32_t* count) {
  TB_CHECK_CONTEXT(context);
  if (count != nullptr) *count = 0;
  return no_peer(context, "tb_peer_algorithms");
}

tb_status tb_peer_gemm(tb_context* context, tb_peer_kind, int32_t, const void*, const void*, void*, int64_t, int64_t, int64_t) {
  TB_CHECK_CONTEXT(context);
  return no_peer(context, "tb_peer_gemm");
}

}  // extern "C"
