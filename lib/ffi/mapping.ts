/**
 * Read-only mappings of files into memory.
 *
 * No view of a mapping is ever handed out: storing into one, or reading one after it was unmapped, kills the process.
 * What leaves is the address, for native code that only reads while the mapping is open.
 *
 * @module
 */
import { NativeError, statusName } from "./errors.ts";
import type { TOKEN_FILE_SYMBOLS } from "./symbols/token_file.ts";

/** What of the native library mappings and token windows need. */
export interface TokenFileLibrary {
  readonly symbols: Deno.StaticForeignLibraryInterface<typeof TOKEN_FILE_SYMBOLS>;
}

/** How a mapping will be read, told to the operating system. */
export type MappingAdvice = "normal" | "sequential" | "random" | "willneed";

const ADVICE: readonly MappingAdvice[] = ["normal", "sequential", "random", "willneed"];
const ERROR_CAPACITY = 256;

/** A whole file in memory, read page by page as it is touched; files beyond 4 GiB are as good as small ones. */
export class FileMapping {
  /** The mapped file. */
  readonly path: string;
  /** Address of the file's first byte, page-aligned. Not to be used once the mapping is disposed of. */
  readonly address: bigint;
  /** Length of the file when it was mapped. */
  readonly bytes: number;
  readonly #library: TokenFileLibrary;
  #open = true;

  private constructor(
    library: TokenFileLibrary,
    file: { path: string; address: bigint; bytes: number },
  ) {
    this.#library = library;
    this.path = file.path;
    this.address = file.address;
    this.bytes = file.bytes;
  }

  /**
   * Maps a file.
   *
   * @throws {NativeError} Where it is missing, empty, no regular file or can't be mapped.
   */
  static open(
    path: string,
    options: { library: TokenFileLibrary; advice?: MappingAdvice },
  ): FileMapping {
    const address = new BigUint64Array(1);
    const bytes = new BigInt64Array(1);
    const text = new Uint8Array(ERROR_CAPACITY);
    const name = new TextEncoder().encode(`${path}\0`);
    const { symbols } = options.library;
    const status = symbols.tb_file_map(name, address, bytes, text, BigInt(ERROR_CAPACITY));
    if (status !== 0) {
      const reason = new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
      throw new NativeError(`Cannot map ${path} as it ${reason}`, {
        status: statusName(status),
        op: "tb_file_map",
      });
    }
    const mapping = new FileMapping(options.library, {
      path,
      address: address[0]!,
      bytes: Number(bytes[0]!),
    });
    if (options.advice !== undefined) mapping.advise(options.advice);
    return mapping;
  }

  /** Whether the address may still be used. */
  get isOpen(): boolean {
    return this.#open;
  }

  /** Tells the operating system how the file will be read. A hint: nothing else depends on it. */
  advise(advice: MappingAdvice): void {
    if (!this.#open) throw new TypeError(`Cannot advise on ${this.path} as its mapping is closed`);
    this.#library.symbols.tb_file_advise(this.address, BigInt(this.bytes), ADVICE.indexOf(advice));
  }

  /** Unmaps the file. Further calls do nothing. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#library.symbols.tb_file_unmap(this.address, BigInt(this.bytes));
  }
}
