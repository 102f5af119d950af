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
