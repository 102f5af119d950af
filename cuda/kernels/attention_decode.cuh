// Where the queries of a sequence stand, for the kernels that see a cache of keys and values.
#pragma once

#include "attention.cuh"

namespace tb {

// Position of a sequence's first query; where its tokens do not fit, one from which no key is seen, so that it gets NaN.
__device__ __forceinline__ int first_position(const AttentionForward& task, int64_t b) {
  const int start = task.start != nullptr ? task.start[b] : 0;
  const bool fits = start >= 0 && start + task.shape.T <= task.shape.capacity;
  return fits ? start : -int(task.shape.T);
}

}  // namespace tb
