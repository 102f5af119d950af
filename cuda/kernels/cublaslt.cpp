// bfloat16 products through NVIDIA's cuBLASLt, opened at run time: a machine without it works on the project's own kernels.
//
// Each shape asks for an algorithm once. Reductions over a divided depth may only go through a workspace in float32, in a fixed order:
// results have the same bits in every run.

#include "cublaslt.cuh"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

namespace tb {

using namespace cublaslt;

namespace {

// The library stays loaded when its handles are gone: its CUDA modules are registered for the life of the process.
void* open_file(const char** name) {
  for (const char* candidate : {"libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so.13",
                                "/usr/local/cuda/lib64/libcublasLt.so.12"}) {
    *name = candidate;
    if (void* file = dlopen(candidate, RTLD_NOW | RTLD_LOCAL)) return file;
  }
  return nullptr;
}

bool load_library(Library* library) {
  const char* name = nullptr;
  library->file = open_file(&name);
  if (library->file == nullptr) return false;
  bool whole = true;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library->file, name));
    whole = whole && function != nullptr;
  };
  find(library->create, "cublasLtCreate");
  find(library->destroy, "cublasLtDestroy");
  find(library->matmul_create, "cublasLtMatmulDescCreate");
  find(library->matmul_destroy, "cublasLtMatmulDescDestroy");
  find(library->matmul_set, "cublasLtMatmulDescSetAttribute");
  find(library->layout_create, "cublasLtMatrixLayoutCreate");
  find(library->layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(library->preference_create, "cublasLtMatmulPreferenceCreate");
  find(library->preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(library->preference_set, "cublasLtMatmulPreferenceSetAttribute");
  find(library->choose, "cublasLtMatmulAlgoGetHeuristic");
  find(library->multiply, "cublasLtMatmul");
  return whole;
}

// ---- Plans ------------------------------------------------------------------------------------------------------------

uint32_t alignment_of(const void* address) {
  const uintptr_t lowest = reinterpret_cast<uintptr_t>(address) & -reinterpret_cast<uintptr_t>(address);
  return lowest == 0 || lowest > 256 ? 256 : uint32_t(lowest);
}

// Where beta is 0, c stands in for the residual.
const void* added_to(const Product& product) { return product.residual != nullptr ? product.residual : product.c; }

void release_plan(const Library& library, Plan* plan) {
  if (plan->matmul != nullptr) library.matmul_destroy(plan->matmul);
  for (Layout layout : {plan->first, plan->second, plan->result})
    if (layout != nullptr) library.layout_destroy(layout);
  *plan = {};
}

Plan make_plan(const CublasLt& lt, const Product& product) {
  const Library& library = lt.library;
  Plan plan = {};
  Preference preference = nullptr;
  const int32_t transpose_first = product.transpose_b ? kTransposed : kAsIs;
  const int32_t transpose_second = product.transpose_a ? kTransposed : kAsIs;
  const uint64_t M = uint64_t(product.M), N = uint64_t(product.N), K = uint64_t(product.K);
  const uint64_t first_rows = product.transpose_b ? K : N, second_rows = product.transpose_a ? M : K;
  const uint64_t workspace = uint64_t(kGemmScratchBytes);
  const uint32_t alignments[] = {alignment_of(product.b), alignment_of(product.a), alignment_of(added_to(product)),
                                 alignment_of(product.c)};
  const auto made = [&] {
    if (library.matmul_create(&plan.matmul, kComputeFloat32, kFloat32) != kSuccess ||
        library.matmul_set(plan.matmul, kTransposeFirst, &transpose_first, sizeof transpose_first) != kSuccess ||
        library.matmul_set(plan.matmul, kTransposeSecond, &transpose_second, sizeof transpose_second) != kSuccess ||
        library.layout_create(&plan.first, kBfloat16, first_rows, product.transpose_b ? N : K, int64_t(first_rows)) != kSuccess ||
        library.layout_create(&plan.second, kBfloat16, second_rows, product.transpose_a ? K : M, int64_t(second_rows)) != kSuccess ||
        library.layout_create(&plan.result, product.c_dtype == TB_BF16 ? kBfloat16 : kFloat32, N, M, product.row_stride()) !=
            kSuccess ||
        library.preference_create(&preference) != kSuccess ||
        library.preference_set(preference, kMostWorkspace, &workspace, sizeof workspace) != kSuccess ||
        library.preference_set(preference, kReductionSchemes, &kReduceInFloat32, sizeof kReduceInFloat32) != kSuccess)
      return false;
    for (int32_t i = 0; i < 4; ++i)
      if (library.preference_set(preference, kAlignmentOfFirst + i, &alignments[i], sizeof alignments[i]) != kSuccess) return false;
    int32_t found = 0;
    return library.choose(lt.handle, plan.matmul, plan.first, plan.second, plan.result, plan.result, preference, 1, &plan.choice,
                          &found) == kSuccess &&
           found == 1 && plan.choice.state == kSuccess && plan.choice.workspace_bytes <= workspace;
  };
  plan.usable = made();
  if (preference != nullptr) library.preference_destroy(preference);
  if (!plan.usable) release_plan(library, &plan);
  return plan;
}

}  // namespace

// ---- Interface --------------------------------------------------------------------------------------------------------

const char* product_library() {
  const char* name = nullptr;
  return !is_set("TITANBIT_NO_CUBLAS") && open_file(&name) != nullptr ? name : nullptr;
}

CublasLt* open_cublaslt() {
  if (is_set("TITANBIT_NO_CUBLAS")) return nullptr;
  Library library = {};
  if (!load_library(&library)) return nullptr;
  Handle handle = nullptr;
  auto* lt = library.create(&handle) == kSuccess ? new (std::nothrow) CublasLt{library, handle, {}, {}} : nullptr;
  if (lt == nullptr && handle != nullptr) library.destroy(handle);
  return lt;
}

void close_cublaslt(CublasLt* lt) {
  if (lt == nullptr) return;
  for (auto& [key, plan] : lt->plans) release_plan(lt->library, &plan);
  for (auto& [key, plan] : lt->peers) release_peer(lt->library, &plan);
  lt->library.destroy(lt->handle);
  delete lt;
}

bool gemm_cublaslt(tb_context* context, CublasLt* lt, const char* op, const Product& product, tb_status* status) {
  const Key key{product.M,           product.N,       product.K,
                product.row_stride(), product.transpose_a, product.transpose_b,
                product.c_dtype,     alignment_of(product.a), alignment_of(product.b),
                alignment_of(added_to(product)), alignment_of(product.c)};
  const Plan* plan = nullptr;
  try {
    const auto known = lt->plans.find(key);
    plan = known != lt->plans.end() ? &known->second : &lt->plans.emplace(key, make_plan(*lt, product)).first->second;
  } catch (const std::bad_alloc&) {
    *status = fail(context, TB_OUT_OF_MEMORY, "Cannot run %s as the host has no memory to keep its cuBLASLt algorithm", op);
    return true;
  }
  if (!plan->usable) return false;
  const float alpha = 1.0f, beta = product.residual != nullptr ? 1.0f : 0.0f;
  const Status answer = lt->library.multiply(
      lt->handle, plan->matmul, &alpha, product.b, plan->first, product.a, plan->second, &beta, added_to(product), plan->result,
      product.c, plan->result, &plan->choice.algorithm, context->scratch, plan->choice.workspace_bytes, context->stream);
  if (answer == kNotSupported) return false;
  *status = answer == kSuccess ? launched(context, op)
                               : fail(context, TB_INTERNAL,
                                      "Cannot run %s (%lld x %lld x %lld) as cuBLASLt answered with status %d: "
                                      "TITANBIT_NO_CUBLAS=1 uses TitanBit's own kernels",
                                      op, (long long)product.M, (long long)product.N, (long long)product.K, int(answer));
  return true;
}

}  // namespace tb
