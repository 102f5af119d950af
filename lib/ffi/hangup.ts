/**
 * Whether this process was told to live on when its terminal is closed, as `nohup` tells it.
 *
 * @module
 */

const SIGHUP = 1;
/** Bytes of glibc's `struct sigaction`; the handler stands first. */
const SIGACTION_BYTES = 152;
const SIG_IGN = 1n;

/**
 * Whether whoever started this process had it ignore SIGHUP. Deno forgets that with the first listener of any signal, so ask before.
 * False where FFI isn't allowed, and on other systems than Linux.
 */
export function ignoresHangup(): boolean {
  const { state } = Deno.permissions.querySync({ name: "ffi" });
  if (state !== "granted" || Deno.build.os !== "linux") return false;
  const libc = Deno.dlopen("libc.so.6", {
    sigaction: { parameters: ["i32", "pointer", "buffer"], result: "i32" },
  });
  try {
    const action = new Uint8Array(SIGACTION_BYTES);
    libc.symbols.sigaction(SIGHUP, null, action);
    return new DataView(action.buffer).getBigUint64(0, true) === SIG_IGN;
  } finally {
    libc.close();
  }
}
