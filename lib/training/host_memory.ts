/**
 * Memory of the machine, as Linux tells it.
 *
 * @module
 */

/** Bytes that can be taken without swapping; `null` where the system doesn't say. */
export function availableHostBytes(): number | null {
  try {
    const match = /^MemAvailable:\s+(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/meminfo"));
    return match === null ? null : 1024 * Number(match[1]);
  } catch {
    return null; // another system, or reading it isn't allowed: a plan without this number is better than none
  }
}
