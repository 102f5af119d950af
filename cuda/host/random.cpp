// Normal numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and Box-Muller.
//
// Key: the two halves of seed, low first. Counter of group j: low and high half of j, low and high half of stream.
// The group's words x0..x3 give elements 4j .. 4j + 3: with u(x) = (x + 1/2) / 2^32 in (0, 1), in double,
//   element 0, 1 = sqrt(-2 ln u(x0)) * (cos, sin)(2 pi u(x1));  element 2, 3 the same from x2, x3;
// times std in double, then rounded to float32. The largest magnitude is sqrt(-2 ln 2^-33) = 6.76 std.
//
// ln, cos and sin are series written out here: those of C libraries differ in their last bits from version to version.
#include "random.h"

#include <string.h>

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

// ln x of a normal x: x = 2^k m with m in [1/sqrt 2, sqrt 2), ln m = 2 atanh((m - 1) / (m + 1)), the odd series up to s^23.
double natural_log(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint64_t above = bits - 0x3fe6a09e667f3bcdu;  // 1 / sqrt 2
  const double exponent = double(int64_t(above) >> 52);
  bits = (above & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu;
  double m;
  memcpy(&m, &bits, sizeof m);
  const double s = (m - 1) / (m + 1), z = s * s;
  double series = 2.0 / 23;
#pragma GCC unroll 16
  for (int power = 21; power >= 1; power -= 2) series = series * z + 2.0 / power;
  return exponent * 0.693147180559945309417 + s * series;
}

// cos and sin of 2 pi u, 0 <= u <= 1: the nearest quarter turn is taken off exactly, then Taylor's series over |x| <= pi / 4.
void cos_sin_of_turn(double u, double* cosine, double* sine) {
  const int quarter = int(4 * u + 0.5);
  const double x = 6.283185307179586476925 * (u - 0.25 * quarter), z = x * x;
  double s = 1, c = 1;
#pragma GCC unroll 16
  for (int n = 16; n >= 2; n -= 2) s = 1 - z * (1.0 / (n * (n + 1))) * s;
#pragma GCC unroll 16
  for (int n = 17; n >= 1; n -= 2) c = 1 - z * (1.0 / (n * (n + 1))) * c;
  s *= x;
  *cosine = quarter % 4 == 0 ? c : quarter % 4 == 1 ? -s : quarter % 4 == 2 ? -c : s;
  *sine = quarter % 4 == 0 ? s : quarter % 4 == 1 ? c : quarter % 4 == 2 ? -s : -c;
}

void normals(const Words& words, double std, float* four) {
  for (int pair = 0; pair < 2; ++pair) {
    const double radius = std * __builtin_sqrt(-2.0 * natural_log(unit(words.x[2 * pair])));
    double cosine, sine;
    cos_sin_of_turn(unit(words.x[2 * pair + 1]), &cosine, &sine);
    four[2 * pair] = float(radius * cosine);
    four[2 * pair + 1] = float(radius * sine);
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
