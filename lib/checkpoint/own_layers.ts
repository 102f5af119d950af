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
 * @param options.trains Whether the model is trained on: its loss must be the program's own again then, which a model that only runs has
 * no use for.
 * @throws {CheckpointError} naming the kinds that are missing.
 */
export function requireOwnLayers(
  model: { readonly path: string; readonly ownLayers: readonly string[] },
  layers: object | undefined,
  options: { trains: boolean },
): void {
  const given = Object.keys(layers ?? {});
  const missing = model.ownLayers.filter((kind) =>
    !given.includes(kind) && (options.trains || kind !== "loss")
  );
  if (missing.length === 0) return;
  throw new CheckpointError(
    `Cannot use ${model.path} as its layers of kind ${
      missing.join(", ")
    } must be those of the program that trained it: current value is ` +
      "BitNet's; give their module with --layers FILE, or `layers` from a program (docs/research.md)",
  );
}
