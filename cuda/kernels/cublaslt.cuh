// What the project uses of NVIDIA's cuBLASLt, and what a context keeps of it: cublaslt.cpp and peer_gemm.cpp include this.
//
// The few types and numbers of its interface that are used are declared here, after its public documentation (cuBLAS 12 and 13). Our
// matrices are row-major and its are column-major, so it computes cᵀ = op(b)ᵀ . op(a)ᵀ, and an operand counts as transposed for it
// exactly where it does for us.
#pragma once

#include <map>
#include <tuple>

#include "gemm_kernels.cuh"

namespace tb::cublaslt {

// ---- What is used of cuBLASLt -----------------------------------------------------------------------------------------

using Status = int32_t;
constexpr Status kSuccess = 0, kNotSupported = 15;

constexpr int32_t kFloat32 = 0, kFloat16 = 2, kInt8 = 3, kInt32 = 10, kBfloat16 = 14, kFloat8E4m3 = 28;  // cudaDataType
constexpr int32_t kComputeFloat32 = 68, kComputeInt32 = 72;  // cublasComputeType_t
constexpr int32_t kAsIs = 0, kTransposed = 1;     // cublasOperation_t
constexpr int32_t kTransposeFirst = 3, kTransposeSecond = 4, kFastAccumulation = 25;  // attributes of a matmul; the last an int8
constexpr int32_t kMostWorkspace = 1, kReductionSchemes = 3, kAlignmentOfFirst = 5;  // of a preference; then second, C, D
constexpr uint32_t kReduceInFloat32 = 2;          // CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE; not dividing is always allowed

struct Algorithm {
  uint64_t data[8];
};
struct Choice {
  Algorithm algorithm;
  size_t workspace_bytes;
  Status state;
  float waves;
  int32_t reserved[4];
};
static_assert(sizeof(Choice) == 96, "as cublasLtMatmulHeuristicResult_t");

using Handle = struct HandleOfLibrary*;
using Matmul = struct MatmulOfLibrary*;
using Layout = struct LayoutOfLibrary*;
using Preference = struct PreferenceOfLibrary*;

struct Library {
  void* file;
  Status (*create)(Handle*);
  Status (*destroy)(Handle);
  Status (*matmul_create)(Matmul*, int32_t compute, int32_t scale);
  Status (*matmul_destroy)(Matmul);
  Status (*matmul_set)(Matmul, int32_t attribute, const void* value, size_t bytes);
  Status (*layout_create)(Layout*, int32_t type, uint64_t rows, uint64_t columns, int64_t stride);
  Status (*layout_destroy)(Layout);
  Status (*preference_create)(Preference*);
  Status (*preference_destroy)(Preference);
  Status (*preference_set)(Preference, int32_t attribute, const void* value, size_t bytes);
  Status (*choose)(Handle, Matmul, Layout first, Layout second, Layout c, Layout d, Preference, int32_t wanted, Choice* choices,
                   int32_t* found);
  Status (*multiply)(Handle, Matmul, const void* alpha, const void* first, Layout, const void* second, Layout, const void* beta,
                     const void* c, Layout, void* d, Layout, const Algorithm*, void* workspace, size_t workspace_bytes,
                     cudaStream_t);
};

// ---- Plans: a product's descriptors and its algorithm -----------------------------------------------------------------

struct Plan {
  Matmul matmul;
  Layout first, second, result;  // b, a and c of the product
  Choice choice;
  bool usable;
};

// Everything that an algorithm depends on. Alignment: of a, b, residual and c, in bytes up to 256.
using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, bool, bool, tb_dtype, uint32_t, uint32_t, uint32_t, uint32_t>;

// A product of the yardstick: every algorithm that the library offers for it, its own favourite first.
constexpr int32_t kMostChoices = 16;
struct PeerPlan {
  Matmul matmul;
  Layout first, second, result;
  Choice choices[kMostChoices];
  int32_t count;  // 0: it has none
};
using PeerKey = std::tuple<tb_peer_kind, int64_t, int64_t, int64_t>;  // M, N, K

}  // namespace tb::cublaslt

namespace tb {

struct CublasLt {
  cublaslt::Library library;
  cublaslt::Handle handle;
  std::map<cublaslt::Key, cublaslt::Plan> plans;
  std::map<cublaslt::PeerKey, cublaslt::PeerPlan> peers;
};

// peer_gemm.cpp.
void release_peer(const cublaslt::Library& library, cublaslt::PeerPlan* plan);

}  // namespace tb
