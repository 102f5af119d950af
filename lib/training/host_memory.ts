/**
 * Memory of the machine.
 *
 * @module
 */

/** Bytes that can be taken without swapping; `null` where asking is not allowed (`--allow-sys=systemMemoryInfo`). */
export function availableHostBytes(): number | null {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  return state === "granted" ? Deno.systemMemoryInfo().available : null;
}
