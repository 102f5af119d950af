// ---- Contract -------------------------------------------------------------------------------------------------------
//
// The yardstick: c (M, N) = a (M, K) . bᵀ, b (N, K), by NVIDIA's cuBLASLt at its best, in bfloat16, half precision, FP8 (e4m3, into
// bfloat16, scales 1, fast accumulation) and int8 (into int32). Both operands lie along the depth, which is the one layout that FP8 and
// int8 have. The library may use the whole scratch as its workspace and any reduction; who measures tries every algorithm that it
// offers. Nothing in a model calls this.

#include <new>

#include "cublaslt.cuh"

namespace tb {

using namespace cublaslt;

namespace {

// What the library assumes by itself: less could cost it algorithms.
constexpr uint32_t kAlignment = 256;

struct Kind {
  const char* name;
  int32_t operands, result;     // cudaDataType
  int32_t compute, scale_type;  // cublasComputeType_t, cudaDataType of alpha and beta
};

// By tb_peer_kind.
constexpr Kind kKinds[] = {
    {"bfloat16", kBfloat16, kBfloat16, kComputeFloat32, kFloat32},
    {"float16", kFloat16, kFloat16, kComputeFloat32, kFloat32},
    {"FP8", kFloat8E4m3, kBfloat16, kComputeFloat32, kFloat32},
    {"int8", kInt8, kInt32, kComputeInt32, kInt32},
};

PeerPlan make_peer(const CublasLt& lt, tb_peer_kind which, int64_t M, int64_t N, int64_t K) {
  const Library& library = lt.library;
  const Kind& kind = kKinds[which];
  PeerPlan plan = {};
  Preference preference = nullptr;
  const int8_t fast = 1;
  const uint64_t workspace = uint64_t(kScratchBytes);
  const auto made = [&] {
    if (library.matmul_create(&plan.matmul, kind.compute, kind.scale_type) != kSuccess ||
        library.matmul_set(plan.matmul, kTransposeFirst, &kTransposed, sizeof kTransposed) != kSuccess ||
        library.matmul_set(plan.matmul, kTransposeSecond, &kAsIs, sizeof kAsIs) != kSuccess ||
        library.layout_create(&plan.first, kind.operands, uint64_t(K), uint64_t(N), K) != kSuccess ||
        library.layout_create(&plan.second, kind.operands, uint64_t(K), uint64_t(M), K) != kSuccess ||
        library.layout_create(&plan.result, kind.result, uint64_t(N), uint64_t(M), N) != kSuccess ||
        library.preference_create(&preference) != kSuccess ||
        library.preference_set(preference, kMostWorkspace, &workspace, sizeof workspace) != kSuccess)
      return false;
    if (which == TB_PEER_FP8 && library.matmul_set(plan.matmul, kFastAccumulation, &fast, sizeof fast) != kSuccess) return false;
    for (int32_t i = 0; i < 4; ++i)
      if (library.preference_set(preference, kAlignmentOfFirst + i, &kAlignment, sizeof kAlignment) != kSuccess) return false;
    return library.choose(lt.handle, plan.matmul, plan.first, plan.second, plan.result, plan.result, preference, kMostChoices,
                          plan.choices, &plan.count) == kSuccess;
  };
  const int32_t found = made() ? plan.count : 0;
  if (preference != nullptr) library.preference_destroy(preference);
  plan.count = 0;
  for (int32_t i = 0; i < found; ++i)
    if (plan.choices[i].state == kSuccess && plan.choices[i].workspace_bytes <= workspace) plan.choices[plan.count++] = plan.choices[i];
  return plan;
}

// Checks what both calls are given and finds the product's plan, which is made by the first.
tb_status find_peer(tb_context* context, const char* op, tb_peer_kind kind, int64_t M, int64_t N, int64_t K, CublasLt** lt,
                    const PeerPlan** plan) {
  TB_REQUIRE(context, kind >= TB_PEER_BF16 && kind <= TB_PEER_INT8, "Cannot run %s as kind must be 0 to 3: current value is %d", op,
             int(kind));
  TB_REQUIRE(context, M > 0 && N > 0 && K > 0, "Cannot run %s as M, N and K must be positive: current values are %lld, %lld, %lld",
             op, (long long)M, (long long)N, (long long)K);
  *lt = library_of(context);
  if (*lt == nullptr)
    return fail(context, TB_UNSUPPORTED,
                "Cannot run %s as cuBLASLt was not found, or TITANBIT_NO_CUBLAS is set: install libcublasLt.so.12 or .13", op);
  try {
    const PeerKey key{kind, M, N, K};
    const auto known = (*lt)->peers.find(key);
    *plan = known != (*lt)->peers.end() ? &known->second : &(*lt)->peers.emplace(key, make_peer(**lt, kind, M, N, K)).first->second;
  } catch (const std::bad_alloc&) {
    return fail(context, TB_OUT_OF_MEMORY, "Cannot run %s as the host has no memory to keep its cuBLASLt algorithms", op);
  }
  if ((*plan)->count > 0) return TB_OK;
  return fail(context, TB_UNSUPPORTED, "Cannot run %s as cuBLASLt has no %s product of %lld x %lld x %lld (M x N x K) on %s", op,
              kKinds[kind].name, (long long)M, (long long)N, (long long)K, context->name);
}

}  // namespace

void release_peer(const Library& library, PeerPlan* plan) {
  if (plan->matmul != nullptr) library.matmul_destroy(plan->matmul);
  for (Layout layout : {plan->first, plan->second, plan->result})
    if (layout != nullptr) library.layout_destroy(layout);
  *plan = {};
}

}  // namespace tb

// ---- Launchers --------------------------------------------------------------------------------------------------------

extern "C" {

tb_status tb_peer_algorithms(tb_context* context, tb_peer_kind kind, int64_t M, int64_t N, int64_t K, int32_t* count) {
  TB_ENTER(context);
  TB_REQUIRE(context, count != nullptr, "Cannot run tb_peer_algorithms as count must not be null");
  *count = 0;
  tb::CublasLt* lt = nullptr;
  const tb::cublaslt::PeerPlan* plan = nullptr;
  const tb_status status = tb::find_peer(context, "tb_peer_algorithms", kind, M, N, K, &lt, &plan);
  if (status == TB_OK) *count = plan->count;
  return status;
}

tb_status tb_peer_gemm(tb_context* context, tb_peer_kind kind, int32_t algorithm, const void* a, const void* b, void* c, int64_t M,
                       int64_t N, int64_t K) {
  TB_ENTER(context);
  for (const void* address : {a, b, static_cast<const void*>(c)})
    TB_REQUIRE(context, address != nullptr && tb::is_aligned(address, tb::kAlignment),
               "Cannot run tb_peer_gemm as a, b and c must be aligned to %d bytes: current values are %p, %p, %p", int(tb::kAlignment),
               a, b, c);
  tb::CublasLt* lt = nullptr;
  const tb::cublaslt::PeerPlan* plan = nullptr;
  const tb_status status = tb::find_peer(context, "tb_peer_gemm", kind, M, N, K, &lt, &plan);
  if (status != TB_OK) return status;
  TB_REQUIRE(context, algorithm >= 0 && algorithm < plan->count,
             "Cannot run tb_peer_gemm as algorithm must be from 0 to %d: current value is %d", int(plan->count - 1), int(algorithm));
  const float one = 1.0f, zero = 0.0f;
  const int32_t whole_one = 1, whole_zero = 0;
  const bool integers = kind == TB_PEER_INT8;
  const void* alpha = integers ? static_cast<const void*>(&whole_one) : &one;
  const void* beta = integers ? static_cast<const void*>(&whole_zero) : &zero;
  const tb::cublaslt::Choice& choice = plan->choices[algorithm];
  const tb::cublaslt::Status answer =
      lt->library.multiply(lt->handle, plan->matmul, alpha, b, plan->first, a, plan->second, beta, c, plan->result, c, plan->result,
                           &choice.algorithm, context->scratch, choice.workspace_bytes, context->stream);
  if (answer == tb::cublaslt::kSuccess) return tb::launched(context, "tb_peer_gemm");
  return tb::fail(context, answer == tb::cublaslt::kNotSupported ? TB_UNSUPPORTED : TB_INTERNAL,
                  "Cannot run tb_peer_gemm (%s, %lld x %lld x %lld) as cuBLASLt answered with status %d to its algorithm %d",
                  tb::kKinds[kind].name, (long long)M, (long long)N, (long long)K, int(answer), int(algorithm));
}

}  // extern "C"
