// Random numbers computed on the host, the same in every build.
#pragma once

#include <cstdint>

namespace tb {

// Fills elements first .. first + n - 1 of an endless vector of N(0, std²), first a multiple of 4. Element i depends on seed,
// stream and i alone: the same numbers for every number of threads. Contract: random.cpp.
void random_normal(float* to, int64_t first, int64_t n, float std, uint64_t seed, uint64_t stream, int32_t threads);

}  // namespace tb
