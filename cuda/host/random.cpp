// Normal numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and Box-Muller.
//
// Key: the two halves of seed, low first. Counter of group j: low and high half of j, low and high half of stream.
// The group's words x0..x3 give elements 4j .. 4j + 3: with u(x) = (x + 1/2) / 2^32 in (0, 1), in double,
//   element 0, 1 = sqrt(-2 ln u(x0)) * (cos, sin)(2 pi u(x1));  element 2, 3 the same from x2, x3;
// times std in double, then rounded to float32. The largest magnitude is sqrt(-2 ln 2^-33) = 6.76 std.
#include "random.h"

#include <cmath>

namespace {

struct Words {
  uint32_t x[4];
};

Words philox(uint64_t group, uint64_t stream, uint64_t seed) {
  Words c = {{uint32_t(group), uint32_t(group >> 32), uint32_t(stream), uint32_t(stream >> 32)}};
  uint32_t key0 = uint32_t(seed), key1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t(0xD2511F53u) * c.x[0];
    const uint64_t b = uint64_t(0xCD9E8D57u) * c.x[2];
    c = {{uint32_t(b >> 32) ^ c.x[1] ^ key0, uint32_t(b), uint32_t(a >> 32) ^ c.x[3] ^ key1, uint32_t(a)}};
    key0 += 0x9E3779B9u;  // the golden ratio and sqrt(3) - 1, Weyl steps of the key
    key1 += 0xBB67AE85u;
  }
  return c;
}

double unit(uint32_t word) { return (double(word) + 0.5) * 0x1p-32; }

void normals(const Words& words, double std, float* four) {
  for (int pair = 0; pair < 2; ++pair) {
    const double radius = std * std::sqrt(-2.0 * std::log(unit(words.x[2 * pair])));
    const double angle = 6.283185307179586476925 * unit(words.x[2 * pair + 1]);
    four[2 * pair] = float(radius * std::cos(angle));
    four[2 * pair + 1] = float(radius * std::sin(angle));
  }
}

}  // namespace

void tb::random_normal(float* to, int64_t first, int64_t n, float std, uint64_t seed, uint64_t stream, int32_t threads) {
  const int64_t groups = (n + 3) / 4;
#pragma omp parallel for num_threads(threads) schedule(static) if (n > 8192)
  for (int64_t group = 0; group < groups; ++group) {
    float four[4];
    normals(philox(uint64_t(first / 4 + group), stream, seed), double(std), four);
    const int64_t left = n - 4 * group;
    for (int64_t i = 0; i < 4 && i < left; ++i) to[4 * group + i] = four[i];
  }
}
