// Kernels of decoding that begin while the one before ends: with a token a sequence most of them take as long as their launch.
//
// A kernel launched by launch_early() may be on the card before the kernel ahead of it is done; all before that one are done and seen.
// Before wait_for_earlier() it may write no memory, and read nothing but weights where weights_are_settled(); hints to the caches may name
// anything, and follow from anything. After it all ahead are done and seen, and the next one may come. A kernel that is launched otherwise may
// call it too: it finds nothing to wait for. Hopper alone has this, and TITANBIT_NO_OVERLAP=1 turns it off.
//
// Ops that call launch_early() write activations alone, never weights or their scales.
#pragma once

#include "context.cuh"

namespace tb {

// Rows of which there are few enough that launches weigh.
constexpr int64_t kOverlapRows = 64;

__device__ __forceinline__ void wait_for_earlier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  // After the wait, so that what starts now finds everything before this kernel done.
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Asks for the line at an address, into L2: right whoever is about to write it.
__device__ __forceinline__ void ask_for_line(const void* at) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(at)));
}

// Whether this build's kernels have the instructions, and the card.
inline bool overlaps(const tb_context* context) {
#ifdef TB_BUILT_FOR_SM90A
  return context->compute == 90 && !is_set("TITANBIT_NO_OVERLAP");
#else
  return false;
#endif
}

// Whether weights may be read while what was called before this op still runs: an op that leaves them alone, as opposed to a copy, a graph or
// an op of training.
inline bool weights_are_settled(const tb_context* context) { return context->was_early; }

template <typename... Parameters, typename... Arguments>
void launch_early(tb_context* context, void (*kernel)(Parameters...), dim3 grid, int threads, int64_t shared_bytes,
                  Arguments... arguments) {
  context->is_early = true;
  cudaLaunchAttribute early = {};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = size_t(shared_bytes);
  config.stream = context->stream;
  config.attrs = &early;
  config.numAttrs = overlaps(context) ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);  // an error is launched()'s to find
}

// As launch_early() where there are few rows, else as ever.
template <typename... Parameters, typename... Arguments>
void launch_rows(tb_context* context, int64_t rows, void (*kernel)(Parameters...), dim3 grid, int threads, int64_t shared_bytes,
                 Arguments... arguments) {
  if (rows <= kOverlapRows)
    launch_early(context, kernel, grid, threads, shared_bytes, arguments...);
  else
    kernel<<<grid, threads, size_t(shared_bytes), context->stream>>>(arguments...);
}

}  // namespace tb
