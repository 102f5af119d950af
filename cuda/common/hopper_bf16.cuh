// Hopper's products of bfloat16 (sm_90a), sums in float32; and copies of five dimensions. hopper.cuh says what lines are and where a
// thread's sums lie: c[4j + 2h + e] at row 16 (t / 32) + 8h + l / 4, column 8j + 2 (l % 4) + e.
//
// c (64 x N) = a (64 x 16) . b (16 x N) + (add ? c : 0), four warps.
//   a  64 lines by a descriptor, or registers: of each 16 x 16 of a warp what mma.cuh calls a, of two bytes an element. Sums of another
//      product, packed in pairs, are such an operand: columns 16k to 16k + 15 are c[8k] to c[8k + 7].
//   b  "Columns": N lines, the sum runs along a line. "Rows": 16 lines, the sum runs down the lines and N along them; the next 64 columns
//      lie `apart` bytes further (describe_rows), and the next 16 rows 16 lines further.
// Registers of a and c belong to the products until wait_products() says that they are done.
#pragma once

#include "hopper.cuh"

namespace tb {

// The box at (x, y, z, u, v) of a map of five dimensions. What lies beyond becomes 0; all bytes of the box count.
__device__ __forceinline__ void copy_box(uint32_t to, const CUtensorMap* map, uint32_t barrier, int x, int y, int z, int u, int v) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(to),
      "l"(reinterpret_cast<uint64_t>(map)), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(u), "r"(v)
      : "memory");
}

// `bytes` of memory; all three are multiples of 16.
__device__ __forceinline__ void copy_bytes(uint32_t to, const void* from, int bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(barrier)
               : "memory");
}

// Lines as rows of a right operand.
__device__ __forceinline__ uint64_t describe_rows(uint32_t address, int apart) {
  return (describe_lines(address) & ~(uint64_t(0x3fff) << 16)) | uint64_t(apart / 16) << 16;
}
constexpr uint64_t kNextRows = 16 * kLineBytes / 16;  // what 16 lines add to a descriptor

// Keeps the compiler from moving reads of sums before what stands above.
template <int Count>
__device__ __forceinline__ void keep_sums(float (&sums)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

template <int Count>
__device__ __forceinline__ void clear_sums(float (&sums)[Count]) {
#pragma unroll
  for (int i = 0; i < Count; ++i) sums[i] = 0;
  keep_sums(sums);
}

enum RightOperand { kRightColumns = 0, kRightRows = 1 };

#define TB_SUMS_32 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TB_SUMS_52 \
  TB_SUMS_32 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51"
#define TB_SUMS_64 \
  TB_SUMS_52 \
  ", %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define TB_FOUR_SUMS(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3])
#define TB_SIXTEEN_SUMS(i) TB_FOUR_SUMS(i), TB_FOUR_SUMS(i + 4), TB_FOUR_SUMS(i + 8), TB_FOUR_SUMS(i + 12)

template <RightOperand Right>
__device__ __forceinline__ void multiply_bf16_lines(float (&c)[32], const uint32_t (&a)[4], uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" TB_SUMS_32 "}, "
      "{%32, %33, %34, %35}, %36, add, 1, 1, %38;\n}\n"
      : TB_SIXTEEN_SUMS(0), TB_SIXTEEN_SUMS(16)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(int(Right)));
}
template <RightOperand Right>
__device__ __forceinline__ void multiply_bf16_lines(float (&c)[32], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" TB_SUMS_32 "}, %32, %33, add, 1, 1, 0, %35;\n}\n"
      : TB_SIXTEEN_SUMS(0), TB_SIXTEEN_SUMS(16)
      : "l"(a), "l"(b), "r"(add), "n"(int(Right)));
}
template <RightOperand Right>
__device__ __forceinline__ void multiply_bf16_lines(float (&c)[52], const uint32_t (&a)[4], uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %57, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n104k16.f32.bf16.bf16 {" TB_SUMS_52 "}, "
      "{%52, %53, %54, %55}, %56, add, 1, 1, %58;\n}\n"
      : TB_SIXTEEN_SUMS(0), TB_SIXTEEN_SUMS(16), TB_SIXTEEN_SUMS(32), TB_FOUR_SUMS(48)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(int(Right)));
}
template <RightOperand Right>
__device__ __forceinline__ void multiply_bf16_lines(float (&c)[64], const uint32_t (&a)[4], uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" TB_SUMS_64 "}, "
      "{%64, %65, %66, %67}, %68, add, 1, 1, %70;\n}\n"
      : TB_SIXTEEN_SUMS(0), TB_SIXTEEN_SUMS(16), TB_SIXTEEN_SUMS(32), TB_SIXTEEN_SUMS(48)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(int(Right)));
}
template <RightOperand Right>
__device__ __forceinline__ void multiply_bf16_lines(float (&c)[64], uint64_t a, uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" TB_SUMS_64 "}, %64, %65, add, 1, 1, 0, %67;\n}\n"
      : TB_SIXTEEN_SUMS(0), TB_SIXTEEN_SUMS(16), TB_SIXTEEN_SUMS(32), TB_SIXTEEN_SUMS(48)
      : "l"(a), "l"(b), "r"(add), "n"(int(Right)));
}
#undef TB_SUMS_32
#undef TB_SUMS_52
#undef TB_SUMS_64
#undef TB_FOUR_SUMS
#undef TB_SIXTEEN_SUMS

}  // namespace tb
