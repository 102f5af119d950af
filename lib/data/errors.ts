/** Data that can't be used: a file, shard or record that breaks a rule. The message names it and the remedy. */
export class DataError extends Error {
  override readonly name = "DataError";
  /** File or folder that the rule was broken in, where there is one. */
  readonly path: string | null;

  constructor(message: string, options: { path?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.path = options.path ?? null;
  }
}

/** Text of anything thrown. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** ENOSPC, EDQUOT, EFBIG: Deno names them in the message alone. */
const NO_ROOM = /\(os error (28|122|27)\)/;

/** Runs `body`, which writes `path`; where the system refuses, the error becomes a {@linkcode DataError} that names the file. */
export function writing<T>(path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw cannotWrite(path, error);
  }
}

/** Runs `body`, which reads `path`; where the system refuses, the error becomes a {@linkcode DataError} that names the file. */
export function reading<T>(path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof DataError) throw error;
    throw new DataError(
      `Cannot read ${path} as it must be readable: ${
        systemReason(error)
      }. See to its permissions and its disk`,
      { path, cause: error },
    );
  }
}

/** What the system refused to write, and what to do. */
export function cannotWrite(path: string, cause: unknown): DataError {
  const [rule, remedy] = NO_ROOM.test(reasonOf(cause))
    ? ["there must be room on the disk", "Free some room or write to another disk"]
    : ["its folder must be writable", "Make it writable or write to another folder"];
  return new DataError(
    `Cannot write ${path} as ${rule}: ${systemReason(cause)}. ${remedy}`,
    { path, cause },
  );
}

/** What the system says of a file, in words. */
export function systemReason(error: unknown): string {
  const reason = reasonOf(error);
  // What Deno says of most of /proc, /dev and /sys, whatever may be read or written besides.
  if (reason.startsWith("Requires all access")) {
    return "it is a special file or folder of the system";
  }
  return reason.replace(/ \(os error \d+\).*$/s, "");
}
