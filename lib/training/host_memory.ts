/**
 * Memory of the machine.
 *
 * @module
 */

import { isGranted } from "./permission.ts";

/** Bytes in all, and those that can be taken without swapping; `null` where asking is not allowed (`--allow-sys=systemMemoryInfo`). */
export function hostMemory(): { total: number; available: number } | null {
  return isGranted({ name: "sys", kind: "systemMemoryInfo" }) ? Deno.systemMemoryInfo() : null;
}
