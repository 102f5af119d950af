/**
 * What Deno must allow before the native library can be opened.
 *
 * @module
 */

import { NativeError } from "./errors.ts";

/** Flags that are enough to open a device. */
const FLAGS = "--allow-read --allow-ffi --allow-env=TITANBIT_LIB,TITANBIT_THREADS";

/** Runs `body`; a permission that it lacks becomes a {@linkcode NativeError} that says which flags give it. */
export function withPermissions<Result>(body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    // "Requires env access to "TITANBIT_LIB", run again with the --allow-env flag"
    const access = /^Requires (.*?), run again/.exec(error.message)?.[1] ?? error.message;
    throw new NativeError(
      `Cannot open the native library as the program may not have ${access}: run it with \`deno run ${FLAGS}\``,
      { status: "unsupported", op: "dlopen" },
    );
  }
}
