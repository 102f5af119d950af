// Device memory and copies. Bytes from the host go through pinned slots, so that a copy to the card waits for neither the card
// nor the ops before it. Copies to the host wait; what fits a slot goes through one, as the driver takes longer over pageable memory.
#include "staging.cuh"

#include <cstring>

// ---- Implementation ---------------------------------------------------------------------------------------------

namespace {

constexpr double kGiB = 1 << 30;

tb_status check_copy(tb_context* context, int64_t bytes) {
  TB_REQUIRE(context, bytes >= 0, "Cannot copy %lld bytes", (long long)bytes);
  return TB_OK;
}

}  // namespace

tb_status tb::next_slot(tb_context* context, char** slot) {
  *slot = context->staging + context->staging_slot * kStagingBytes;
  return checked(context, cudaEventSynchronize(context->staged[context->staging_slot]), "copy to the card");
}

tb_status tb::send_slot(tb_context* context, void* to, int64_t bytes) {
  const int slot = context->staging_slot;
  context->staging_slot = (slot + 1) % kStagingSlots;
  cudaError_t code =
      cudaMemcpyAsync(to, context->staging + slot * kStagingBytes, size_t(bytes), cudaMemcpyHostToDevice, context->stream);
  if (code == cudaSuccess) code = cudaEventRecord(context->staged[slot], context->stream);
  return checked(context, code, "copy to the card");
}

// ---- Launchers --------------------------------------------------------------------------------------------------

extern "C" {

tb_status tb_alloc(tb_context* context, int64_t bytes, uint64_t* address) {
  TB_ENTER(context);
  TB_REQUIRE(context, address != nullptr && bytes >= 0, "Cannot allocate %lld bytes", (long long)bytes);
  *address = 0;
  void* memory = nullptr;
  const cudaError_t code = cudaMalloc(&memory, bytes > 0 ? size_t(bytes) : 1);
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free_bytes = 0, total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    return tb::fail(context, TB_OUT_OF_MEMORY,
                    "Cannot allocate %.2f GiB as %s has %.2f GiB free of %.2f GiB: use a smaller model, micro-batch or sequence",
                    double(bytes) / kGiB, context->name, double(free_bytes) / kGiB, double(total_bytes) / kGiB);
  }
  if (code != cudaSuccess) return tb::checked(context, code, "allocate memory");
  *address = reinterpret_cast<uint64_t>(memory);
  return TB_OK;
}

tb_status tb_free(tb_context* context, uint64_t address) {
  TB_ENTER(context);
  return tb::checked(context, cudaFree(reinterpret_cast<void*>(address)), "free memory");
}

tb_status tb_copy_to_device(tb_context* context, uint64_t to, const void* from, int64_t bytes) {
  TB_ENTER(context);
  if (const tb_status status = check_copy(context, bytes); status != TB_OK) return status;
  TB_REQUIRE(context, !context->capturing, "Cannot copy to the card as ops are being recorded: end the graph first");
  for (int64_t done = 0; done < bytes; done += tb::kStagingBytes) {
    const int64_t count = bytes - done < tb::kStagingBytes ? bytes - done : tb::kStagingBytes;
    char* slot;
    if (const tb_status status = tb::next_slot(context, &slot); status != TB_OK) return status;
    memcpy(slot, static_cast<const char*>(from) + done, size_t(count));
    const tb_status status = tb::send_slot(context, reinterpret_cast<char*>(to) + done, count);
    if (status != TB_OK) return status;
  }
  return TB_OK;
}

tb_status tb_copy_to_host(tb_context* context, void* to, uint64_t from, int64_t bytes) {
  TB_ENTER(context);
  if (const tb_status status = check_copy(context, bytes); status != TB_OK) return status;
  TB_REQUIRE(context, !context->capturing, "Cannot copy to the host as ops are being recorded: end the graph first");
  if (bytes == 0) return TB_OK;
  char* into = static_cast<char*>(to);
  const bool fits_slot = bytes <= tb::kStagingBytes;
  // The slot is free again on return, so that the next copy may take the same one.
  if (fits_slot)
    if (const tb_status status = tb::next_slot(context, &into); status != TB_OK) return status;
  cudaError_t code =
      cudaMemcpyAsync(into, reinterpret_cast<const void*>(from), size_t(bytes), cudaMemcpyDeviceToHost, context->stream);
  if (code == cudaSuccess) code = cudaStreamSynchronize(context->stream);
  if (code == cudaSuccess && fits_slot) memcpy(to, into, size_t(bytes));
  return tb::checked(context, code, "copy to the host");
}

tb_status tb_copy(tb_context* context, uint64_t to, uint64_t from, int64_t bytes) {
  TB_ENTER(context);
  if (const tb_status status = check_copy(context, bytes); status != TB_OK) return status;
  if (bytes == 0) return TB_OK;
  return tb::checked(context,
                     cudaMemcpyAsync(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), size_t(bytes),
                                     cudaMemcpyDeviceToDevice, context->stream),
                     "copy on the card");
}

tb_status tb_fill(tb_context* context, uint64_t to, int32_t byte_value, int64_t bytes) {
  TB_ENTER(context);
  TB_REQUIRE(context, bytes >= 0, "Cannot fill %lld bytes", (long long)bytes);
  if (bytes == 0) return TB_OK;
  return tb::checked(context, cudaMemsetAsync(reinterpret_cast<void*>(to), byte_value, size_t(bytes), context->stream),
                     "fill memory");
}

tb_status tb_memory(tb_context* context, int64_t* free_bytes, int64_t* total_bytes) {
  TB_ENTER(context);
  TB_REQUIRE(context, free_bytes != nullptr && total_bytes != nullptr,
             "Cannot tell the card's memory as free_bytes or total_bytes is null");
  size_t free_now = 0, total = 0;
  const tb_status status = tb::checked(context, cudaMemGetInfo(&free_now, &total), "tell the card's memory");
  *free_bytes = int64_t(free_now);
  *total_bytes = int64_t(total);
  return status;
}

}  // extern "C"
