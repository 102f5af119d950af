/**
 * Models whose layers are not BitNet's.
 *
 * @module
 */

import { CheckpointError } from "./errors.ts";

/**
 * Refuses a model without the layers that it was trained with: its weights mean nothing to others.
 *
 * @param layers What takes the place of BitNet's own, by kind.
 * @throws {CheckpointError} naming the kinds that are missing.
 */
export function requireOwnLayers(
  model: { readonly path: string; readonly ownLayers: readonly string[] },
  layers: object = {},
): void {
  const missing = model.ownLayers.filter((kind) => !Object.hasOwn(layers, kind));
  if (missing.length === 0) return;
  throw new CheckpointError(
    `Cannot use ${model.path} as its layers of kind ${
      missing.join(", ")
    } must be those of the program that trained it: current value is ` +
      "BitNet's; run it from a program that gives the same `layers` (docs/research.md)",
  );
}
