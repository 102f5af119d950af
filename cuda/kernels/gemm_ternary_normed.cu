// ---- Contract -------------------------------------------------------------------------------------------------------
//
// The norm before a ternary projection, its quantiser and the product from 2-bit weights as one kernel, for few rows:
//   y = (Q(norm(x)) . wᵀ) * x_scale * w_scale + residual, x plain rows or rows of [gate | up],
// to the last bit what tb_rmsnorm_forward or tb_glu_norm_forward and then tb_gemm_ternary_packed_forward leave, in which q and scale are
// not written. Those two ops run instead where there are more rows, where a row's groups are not aligned or do not fit, and with
// TITANBIT_NO_FUSED_DECODE=1.
//
// With a token a sequence a kernel takes some microseconds whatever it does, and every block needs all of x anyway: each of them
// normalises it itself. A row's sums are those of norm_row.cuh: the block's warps take the warps of that kernel in turn. From memory to
// shared memory as float32, normalised there when the sum of squares is known, quantised into the slab when the largest magnitude is.

#include "gated_row.cuh"
#include "gemm_ternary_packed_rows.cuh"

// ---- Device ---------------------------------------------------------------------------------------------------------

namespace tb {
namespace {

using namespace packed_rows_detail;

constexpr int kNormedRows = 4;       // of x; more of them are worth kernels of their own
constexpr int kMostNormWarps = 32;

template <typename Rows>
constexpr bool kGated = false;
template <typename T, bool Relu2>
constexpr bool kGated<GatedRows<T, Relu2>> = true;

// Rows: PlainRows or GatedRows.
template <typename Rows>
struct NormedInput {
  static constexpr bool kNormed = true, kWide = kGated<Rows>;
  static constexpr int kWidth = Rows::kWidth, kFours = kWidth / 4;
  Rows rows;
  const float* weight;  // (K)
  float eps;
  bool absmax;          // else absmean
  RowShape shape;       // of the norm's own kernel

  // Float32 beside the slab: scales of x, a sum and a magnitude of each warp of each row, the weight, the rows.
  static __host__ __device__ constexpr int64_t floats(int64_t M, int64_t K) { return kNormedRows + 2 * kNormedRows * kMostNormWarps + K + M * K; }

  // The norm's weight to L2, a line a thread of the grid.
  __device__ __forceinline__ void prefetch(int64_t K) const {
    const int64_t at = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * 32;
    if (at < K) asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(weight + at)));
  }

  // Where four values from 4 * four on are kept: lanes that have a chunk of 16 each read different banks, and so do neighbours.
  static __device__ __forceinline__ int place_of(int four) { return four / 4 * 4 + (four % 4 ^ (four >> 3 & 3)); }

  // All of x to the slab, its rows' sums to x_sums and its scales to beside (M). When it returns, threads have yet to meet.
  __device__ __forceinline__ void bring(const TernaryProduct& product, const RowsPlan& plan, uint4* slab, int32_t* x_sums,
                                        float* beside) const {
    if (absmax)
      bring_as<true>(product, plan, slab, x_sums, beside);
    else
      bring_as<false>(product, plan, slab, x_sums, beside);
  }

  template <bool Absmax>
  __device__ __forceinline__ void bring_as(const TernaryProduct& product, const RowsPlan& plan, uint4* slab, int32_t* x_sums,
                                           float* scales) const {
    const int M = int(product.M), K = int(product.K), lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
    const int warp = __shfl_sync(kAllLanes, threadIdx.x / kWarp, 0);
    const int norm_warps = shape.threads / kWarp, tasks = M * norm_warps;  // a task: what one warp of the norm's kernel does
    float* const squares = scales + kNormedRows;                           // (tasks)
    float* const magnitudes = squares + kNormedRows * kMostNormWarps;      // (tasks)
    float* const weights = magnitudes + kNormedRows * kMostNormWarps;      // (K)
    float4* const kept = reinterpret_cast<float4*>(weights + K);           // (M, K / 4)

    for (int four = threadIdx.x; four < K / 4; four += blockDim.x) copy_async<16>(shared_address(weights + 4 * four), weight + 4 * four, 16);
    commit_copies();

    for (int task = warp; task < tasks; task += warps) {
      const int m = task / norm_warps, thread = task % norm_warps * kWarp + lane;
      const auto row = rows.row(m);
      typename Rows::Row::Group groups[Rows::kMostItems];
#pragma unroll
      for (int item = 0; item < Rows::kMostItems; ++item)
        if (item < shape.items) groups[item] = row.fetch(min((item * shape.threads + thread) * kWidth, K - kWidth));
      float sum = 0;
#pragma unroll
      for (int item = 0; item < Rows::kMostItems; ++item) {
        const int j = (item * shape.threads + thread) * kWidth;
        if (item >= shape.items || j >= K) continue;
        float h[kWidth];
        Rows::Row::widen(groups[item], h);
        sum = add_squares(h, sum);
#pragma unroll
        for (int i = 0; i < kFours; ++i)
          kept[m * (K / 4) + place_of(j / 4 + i)] = make_float4(h[4 * i], h[4 * i + 1], h[4 * i + 2], h[4 * i + 3]);
      }
      sum = warp_sum(sum);
      if (lane == 0) squares[task] = sum;
    }
    wait_copies<0>();
    __syncthreads();  // squares and weights are there, and x_sums is 0

    for (int task = warp; task < tasks; task += warps) {
      const int m = task / norm_warps, thread = task % norm_warps * kWarp + lane;
      const float rstd = reciprocal_rms(in_order(squares + m * norm_warps, norm_warps), eps, K);
      int largest = 0;
      float total = 0;
      for (int item = 0; item < shape.items; ++item) {
        const int j = (item * shape.threads + thread) * kWidth;
        if (j >= K) break;
        float n[kWidth], w[kWidth];
        load_weights(weights + j, w);
#pragma unroll
        for (int i = 0; i < kFours; ++i) {
          float4& four = kept[m * (K / 4) + place_of(j / 4 + i)];  // this lane's own
          four = make_float4(normalised(four.x, rstd, w[4 * i]), normalised(four.y, rstd, w[4 * i + 1]),
                             normalised(four.z, rstd, w[4 * i + 2]), normalised(four.w, rstd, w[4 * i + 3]));
          n[4 * i] = four.x, n[4 * i + 1] = four.y, n[4 * i + 2] = four.z, n[4 * i + 3] = four.w;
        }
        if constexpr (Absmax) {
#pragma unroll
          for (int i = 0; i < kWidth; ++i) largest = max(largest, magnitude_bits(n[i]));
        } else {
          total = add_magnitudes(n, total);
        }
      }
      const float magnitude = Absmax ? __int_as_float(warp_max(largest)) : warp_sum(total);
      if (lane == 0) magnitudes[task] = magnitude;
    }
    __syncthreads();

    const int chunks = plan.slab_steps * kStepWords;
    for (int m = 0; m < M; ++m) {
      float gamma;
      if constexpr (Absmax) {
        int largest = 0;
        for (int i = 0; i < norm_warps; ++i) largest = max(largest, __float_as_int(magnitudes[m * norm_warps + i]));
        gamma = __int_as_float(largest);
      } else {
        gamma = __fdiv_rn(in_order(magnitudes + m * norm_warps, norm_warps), float(K));
      }
      const float factor = factor_of<Absmax>(gamma);
      if (threadIdx.x == 0) scales[m] = scale_of<Absmax>(gamma);
      for (int first = warp * kWarp; first < chunks; first += warps * kWarp) {
        const int chunk = first + lane;
        uint32_t words[4] = {0, 0, 0, 0};
        if (chunk * 16 < K) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float4 n = kept[m * (K / 4) + place_of(4 * chunk + i)];
            words[i] = uint32_t(uint8_t(quantised<Absmax>(n.x, factor))) | uint32_t(uint8_t(quantised<Absmax>(n.y, factor))) << 8 |
                       uint32_t(uint8_t(quantised<Absmax>(n.z, factor))) << 16 | uint32_t(uint8_t(quantised<Absmax>(n.w, factor))) << 24;
          }
        }
        put_chunk(plan, m, chunk, chunk < chunks, make_uint4(words[0], words[1], words[2], words[3]), slab, x_sums);
      }
    }
  }

  // As block_sum() adds its warps.
  static __device__ __forceinline__ float in_order(const float* sums, int count) {
    float total = sums[0];
    for (int i = 1; i < count; ++i) total = __fadd_rn(total, sums[i]);
    return total;
  }
};

// ---- Launcher -----------------------------------------------------------------------------------------------------------

// Blocks of a multiprocessor, as many as registers are there for: each normalises x.
template <typename Rows>
constexpr int64_t kMostBlocks = kGated<Rows> ? 2 : 3;

template <typename Rows>
RowsPlan plan_normed(const tb_context* context, const TernaryProduct& product) {
  using Layout = Depth<1, true, NormedInput<Rows>>;
  RowsPlan plan = {};
  plan.tiles = tiles_for<Layout>(context, product);
  while (plan.tiles < kMostTiles && blocks_per_sm(context, product, plan.tiles) > kMostBlocks<Rows>) plan.tiles *= 2;
  plan.splits = splits_for<Layout>(context, product, plan.tiles);
  plan.slab_steps = int(ceil_div(product.K, kStepDepth));
  divide_slab<Layout>(plan);
  return plan;
}

// Operands of both ops, beside what they normalise.
struct NormedProduct {
  const float* norm_weight;
  float eps;
  tb_activation_quant quant;
  int8_t* q;
  float* scale;
  TernaryProduct product;  // of q and scale
};

// Whether it was launched; `longest`: the longest row that the norm's kernel keeps in registers.
template <typename Rows>
bool launch_normed(tb_context* context, const char* op, const NormedProduct& task, const Rows& rows, const void* x, RowShape shape,
                   int64_t longest, tb_status* status) {
  const TernaryProduct& product = task.product;
  const bool fits = product.M <= kNormedRows && product.K % 64 == 0 && product.K <= longest && is_aligned(x, 16) &&
                    is_aligned(task.norm_weight, 16) && is_aligned(task.q, 16) && is_aligned(product.packed, 16) &&
                    !context->no_packed_rows && !is_set("TITANBIT_NO_FUSED_DECODE");
  if (!fits) return false;
  const RowsPlan plan = plan_normed<Rows>(context, product);
  const int64_t blocks = ceil_div(product.N, plan.tiles * kTileOutputs);
  const int64_t bytes = normed_offset(int(product.M), plan) + 4 * NormedInput<Rows>::floats(product.M, product.K);
  if (bytes > context->shared_bytes_per_block || blocks > INT32_MAX) return false;
  const auto kernel = packed_rows<1, true, NormedInput<Rows>>;
  // All there is, whatever this call needs: a recorded call that needs more must still find its room.
  *status = checked(context, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, context->shared_bytes_per_block),
                    "reserve shared memory for the ternary product");
  if (*status != TB_OK) return true;
  const NormedInput<Rows> input = {rows, task.norm_weight, task.eps, task.quant == TB_QUANT_ABSMAX, shape};
  launch_early(context, kernel, unsigned(blocks), plan.tiles * plan.splits * kWarp, bytes, product, plan, input);
  *status = launched(context, op);
  return true;
}

tb_status check(tb_context* context, const char* op, tb_dtype x_dtype, const void* x, const NormedProduct& task) {
  const TernaryProduct& product = task.product;
  TB_REQUIRE_DTYPE(context, x_dtype, op);
  TB_REQUIRE_DTYPE(context, product.dtype, op);
  TB_REQUIRE(context, product.M >= 0 && product.N >= 1 && product.K >= 1 && product.K <= int64_t(1) << 17,
             "Cannot run %s as M must be at least 0, N at least 1 and K 1 to 2^17: current values are %lld, %lld and %lld", op,
             (long long)product.M, (long long)product.N, (long long)product.K);
  TB_REQUIRE(context, task.quant == TB_QUANT_ABSMAX || task.quant == TB_QUANT_ABSMEAN,
             "Cannot run %s as quant must be 1 or 2: current value is %d", op, int(task.quant));
  if (product.M == 0) return TB_OK;
  TB_REQUIRE(context, x != nullptr && task.norm_weight != nullptr && task.q != nullptr && task.scale != nullptr &&
                          product.packed != nullptr && product.w_scale != nullptr && product.y != nullptr,
             "Cannot run %s as one of its tensors is null", op);
  TB_REQUIRE(context, product.y != x, "Cannot run %s as y must not be what is normalised", op);
  return TB_OK;
}

tb_status product_of(tb_context* context, const NormedProduct& task) {
  const TernaryProduct& product = task.product;
  return tb_gemm_ternary_packed_forward(context, task.q, task.scale, product.packed, product.w_scale, product.dtype, product.residual,
                                        product.y, product.M, product.N, product.K);
}

}  // namespace
}  // namespace tb

extern "C" tb_status tb_rmsnorm_gemm_ternary_forward(tb_context* context, tb_dtype x_dtype, const void* x, const float* norm_weight,
                                                     float eps, tb_activation_quant quant, int8_t* q, float* scale,
                                                     const int32_t* packed, const float* w_scale, tb_dtype dtype, const void* residual,
                                                     void* y, int64_t M, int64_t N, int64_t K) {
  const char* op = "tb_rmsnorm_gemm_ternary_forward";
  TB_ENTER(context);
  const tb::NormedProduct task = {norm_weight, eps, quant, q, scale,
                                  {nullptr, nullptr, nullptr, packed, w_scale, dtype, residual, y, M, N, K, false}};
  if (const tb_status status = tb::check(context, op, x_dtype, x, task); status != TB_OK || M == 0) return status;
  tb_status status = TB_OK;
  bool done = false;
  TB_WITH_TYPE(x_dtype, X, {
    done = tb::launch_normed(context, op, task, tb::PlainRows<X>{static_cast<const X*>(x), K}, x, tb::plain_row_shape(K), kRegisterRow,
                             &status);
  });
  if (done) return status;
  status = tb_rmsnorm_forward(context, x_dtype, x, norm_weight, eps, quant, q, scale, x_dtype, nullptr, nullptr, M, K);
  return status != TB_OK ? status : tb::product_of(context, task);
}

extern "C" tb_status tb_glu_norm_gemm_ternary_forward(tb_context* context, tb_dtype x_dtype, const void* gate_up, tb_hidden_act act,
                                                      const float* norm_weight, float eps, tb_activation_quant quant, int8_t* q,
                                                      float* scale, const int32_t* packed, const float* w_scale, tb_dtype dtype,
                                                      const void* residual, void* y, int64_t M, int64_t N, int64_t K) {
  const char* op = "tb_glu_norm_gemm_ternary_forward";
  TB_ENTER(context);
  const tb::NormedProduct task = {norm_weight, eps, quant, q, scale,
                                  {nullptr, nullptr, nullptr, packed, w_scale, dtype, residual, y, M, N, K, false}};
  if (const tb_status status = tb::check(context, op, x_dtype, gate_up, task); status != TB_OK || M == 0) return status;
  TB_REQUIRE(context, act == TB_SILU || act == TB_RELU2, "Cannot run %s as act must be 0 or 1: current value is %d", op, int(act));
  tb_status status = TB_OK;
  bool done = false;
  TB_WITH_TYPE(x_dtype, X, {
    const X* from = static_cast<const X*>(gate_up);
    const tb::RowShape shape = tb::gated_row_shape<X>(K);
    done = act == TB_RELU2 ? tb::launch_normed(context, op, task, tb::GatedRows<X, true>{from, K}, from, shape, tb::kGatedRow<X>, &status)
                           : tb::launch_normed(context, op, task, tb::GatedRows<X, false>{from, K}, from, shape, tb::kGatedRow<X>, &status);
  });
  if (done) return status;
  status = tb_glu_norm_forward(context, x_dtype, gate_up, act, norm_weight, eps, quant, q, scale, nullptr, nullptr, M, K);
  return status != TB_OK ? status : tb::product_of(context, task);
}
