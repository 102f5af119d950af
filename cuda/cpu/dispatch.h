// One source, three instruction sets. Every cuda/cpu/ops/*.cpp is compiled three times, with TB_ISA set to portable, avx2 or
// avx512 and the compiler flags to match. Its implementation band lives in namespace tb::TB_ISA; its launcher band stands
// under `#if TB_LAUNCHERS`, which only the portable compilation sets, and picks the implementation by the context:
//
//   TB_DECLARE(void, scale_rows, (float* x, int64_t n))      // before the implementation band
//   namespace tb::TB_ISA { void scale_rows(float* x, int64_t n) { ... } }
//   #if TB_LAUNCHERS
//   extern "C" tb_status tb_scale(...) { TB_DISPATCH(context, scale_rows, (x, n)); return TB_OK; }
//   #endif
//
// Nothing inline may be shared between the three compilations outside tb::TB_ISA, not even from the standard library:
// the linker would keep one copy, perhaps the one with instructions that the machine lacks.
#pragma once

#include "context.h"

#ifndef TB_ISA
#error "TB_ISA is set by the Makefile: portable, avx2 or avx512"
#endif

#define TB_DECLARE(result, name, parameters)        \
  namespace tb::portable { result name parameters; } \
  namespace tb::avx2 { result name parameters; }     \
  namespace tb::avx512 { result name parameters; }

#define TB_DISPATCH(context, name, arguments)      \
  do {                                             \
    switch ((context)->isa) {                      \
      case ::tb::Isa::avx512:                      \
        ::tb::avx512::name arguments;              \
        break;                                     \
      case ::tb::Isa::avx2:                        \
        ::tb::avx2::name arguments;                \
        break;                                     \
      default:                                     \
        ::tb::portable::name arguments;            \
    }                                              \
  } while (0)
