/**
 * The error of a file that another program wrote, or will read, and that breaks its format.
 *
 * @module
 */

/** Thrown when a file of a foreign format is broken, or holds something that cannot be carried over. */
export class InteropError extends Error {
  override readonly name: string = "InteropError";
}
