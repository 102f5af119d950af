/**
 * The typed error of every failed native call.
 *
 * @module
 */

/** Meaning of the status codes of `titanbit.h`. */
const STATUS_NAMES = [
  "ok",
  "invalid argument",
  "unsupported",
  "out of memory",
  "no device",
  "input/output",
  "internal",
] as const;

export type StatusName = typeof STATUS_NAMES[number];

/** A call into the native library failed, or the library could not be used. */
export class NativeError extends Error {
  /** Which kind of failure, by the library's status code. */
  readonly status: StatusName;
  /** The C function, such as `tb_gemm`. */
  readonly op: string;

  constructor(message: string, options: { status: StatusName; op: string }) {
    super(message);
    this.name = "NativeError";
    this.status = options.status;
    this.op = options.op;
  }
}

/** Name of a status code; a code this table lacks is an internal error of the library. */
export function statusName(status: number): StatusName {
  return STATUS_NAMES[status] ?? "internal";
}
