/**
 * OpenBLAS, where the system has it: the rival that the benchmarks measure beside. Nothing else uses it.
 *
 * @module
 */

const SYMBOLS = {
  openblas_set_num_threads: {
    parameters: [
      "i32", // int num_threads
    ],
    result: "void",
  },
  openblas_get_config: {
    parameters: [],
    result: "pointer", // char*
  },
  cblas_sgemm: {
    parameters: [
      "i32", // enum CBLAS_ORDER order
      "i32", // enum CBLAS_TRANSPOSE transpose_a
      "i32", // enum CBLAS_TRANSPOSE transpose_b
      "i32", // int m
      "i32", // int n
      "i32", // int k
      "f32", // float alpha
      "u64", // const float* a
      "i32", // int lda
      "u64", // const float* b
      "i32", // int ldb
      "f32", // float beta
      "u64", // float* c
      "i32", // int ldc
    ],
    result: "void",
  },
} as const satisfies Deno.ForeignLibraryInterface;

// As Debian, Fedora and Arch name it; the loader searches its own folders.
const NAMES = ["libopenblas.so.0", "libopenblas.so"];
const ROW_MAJOR = 101;
const AS_IT_IS = 111;
const TRANSPOSED = 112;

/** Operands of {@linkcode OpenBlas.sgemm}: addresses of host memory, row-major and dense. */
export interface SgemmOperands {
  /** (M, K), or (K, M) with `transposeA`. */
  a: bigint;
  /** (K, N), or (N, K) with `transposeB`. */
  b: bigint;
  /** (M, N). */
  c: bigint;
  M: number;
  N: number;
  K: number;
  transposeA: boolean;
  transposeB: boolean;
}

/** An opened OpenBLAS. */
export class OpenBlas {
  /** Version and build options as the library tells them, such as `OpenBLAS 0.3.21 … Zen MAX_THREADS=64`. */
  readonly version: string;
  readonly #symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

  private constructor(symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"]) {
    this.#symbols = symbols;
    this.version = textAt(symbols.openblas_get_config());
  }

  /** Opens the system's OpenBLAS; null where there is none. */
  static open(): OpenBlas | null {
    for (const name of NAMES) {
      try {
        return new OpenBlas(Deno.dlopen(name, SYMBOLS).symbols);
      } catch (error) {
        // A permission that is missing is no missing library.
        if (error instanceof Deno.errors.NotCapable) throw error;
      }
    }
    return null;
  }

  /** Sets the number of threads of the calls that follow. */
  setThreads(threads: number): void {
    this.#symbols.openblas_set_num_threads(threads);
  }

  /** c = op(a) · op(b) in float32. */
  sgemm(operands: SgemmOperands): void {
    const { a, b, c, M, N, K, transposeA, transposeB } = operands;
    this.#symbols.cblas_sgemm(
      ROW_MAJOR,
      transposeA ? TRANSPOSED : AS_IT_IS,
      transposeB ? TRANSPOSED : AS_IT_IS,
      M,
      N,
      K,
      1,
      a,
      transposeA ? M : K,
      b,
      transposeB ? K : N,
      0,
      c,
      N,
    );
  }
}

function textAt(pointer: Deno.PointerValue): string {
  return pointer === null ? "unknown" : Deno.UnsafePointerView.getCString(pointer).trim();
}
