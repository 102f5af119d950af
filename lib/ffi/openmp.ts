/**
 * How long OpenMP's threads of the CPU build wait actively for the next op.
 *
 * @module
 */

/**
 * Spins before a waiting thread sleeps: some 20 µs, longer than the gaps between the ops of a step. GNU OpenMP's own
 * default is some milliseconds, which on a machine that runs anything else costs a training more than it gains: threads that
 * spin keep the ones they wait for from running.
 */
const SPINS = "2000";

const SPIN_COUNT = "GOMP_SPINCOUNT";
const WAIT_POLICY = "OMP_WAIT_POLICY";

/**
 * Sets how long threads spin, unless the user has. OpenMP reads it when its library is loaded, so this comes before the first
 * `Deno.dlopen`. Does nothing where the program may not set the variable.
 */
export function limitSpinning(): void {
  for (const variable of [SPIN_COUNT, WAIT_POLICY]) {
    if (Deno.permissions.querySync({ name: "env", variable }).state !== "granted") return;
    if (Deno.env.get(variable) !== undefined) return;
  }
  Deno.env.set(SPIN_COUNT, SPINS);
}
