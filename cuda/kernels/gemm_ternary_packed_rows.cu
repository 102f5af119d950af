// The ternary product from 2-bit weights for up to 64 quantised rows of x: gemm_ternary_packed_rows.cuh.

#include "gemm_ternary_packed_rows.cuh"

// ---- Launcher -----------------------------------------------------------------------------------------------------------

namespace tb {
namespace {

using namespace packed_rows_detail;

template <int XTiles, bool Whole>
tb_status launch(tb_context* context, const char* op, const TernaryProduct& product) {
  const RowsPlan plan = plan_rows<Depth<XTiles, Whole, QuantisedInput>>(context, product);
  const int64_t blocks = ceil_div(product.N, plan.tiles * kTileOutputs);
  TB_REQUIRE(context, blocks <= INT32_MAX, "Cannot run %s as N may have 2^31 - 1 blocks at most: current value is %lld", op,
             (long long)product.N);
  const int bytes = int(product.M * slab_stride(plan.slab_steps) * int64_t(sizeof(uint4)) + sum_bytes(product.M, plan.tiles));
  const auto kernel = packed_rows<XTiles, Whole, QuantisedInput>;
  // All there is, whatever this call needs: a recorded call that needs more must still find its room.
  const tb_status status = checked(context,
                                   cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, context->shared_bytes_per_block),
                                   "reserve shared memory for the ternary product");
  if (status != TB_OK) return status;
  launch_early(context, kernel, unsigned(blocks), plan.tiles * plan.splits * kWarp, bytes, product, plan, QuantisedInput());
  return launched(context, op);
}

template <int XTiles>
tb_status launch_chunks(tb_context* context, const char* op, const TernaryProduct& product) {
  if (product.K % 64 == 0 && is_aligned(product.x, 16) && is_aligned(product.packed, 16)) return launch<XTiles, true>(context, op, product);
  return launch<XTiles, false>(context, op, product);
}

}  // namespace

bool fits_packed_rows(const tb_context* context, const TernaryProduct& product) {
  return product.packed != nullptr && product.M <= kMostRows && !context->no_packed_rows;
}

tb_status ternary_packed_rows(tb_context* context, const char* op, const TernaryProduct& product) {
  if (product.M <= kTileRows) return launch_chunks<1>(context, op, product);
  if (product.M <= 2 * kTileRows) return launch_chunks<2>(context, op, product);
  if (product.M <= 4 * kTileRows) return launch_chunks<4>(context, op, product);
  return launch_chunks<8>(context, op, product);
}

}  // namespace tb
