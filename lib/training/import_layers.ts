/**
 * Layers of a researcher's own, from the module that makes them.
 *
 * @module
 */

import { resolve, toFileUrl } from "@std/path";
import type { Layers } from "../model/layers.ts";
import { describeValue } from "../std/describe.ts";

const NAMES: readonly (keyof Layers)[] = ["projection", "attention", "feedForward", "head", "loss"];

/**
 * The export `layers` of the module at `address`.
 *
 * Throws `TypeError` where it can't be imported, or exports no factories of layers under that name.
 */
export async function importLayers(address: string): Promise<Partial<Layers>> {
  let module: { readonly layers?: unknown };
  try {
    module = await import(address);
  } catch (error) {
    const reason = error instanceof Error ? error.message : describeValue(error);
    throw new TypeError(
      `Cannot take the layers of ${address} as the module must be importable: current value is ${reason}`,
      { cause: error },
    );
  }
  const { layers } = module;
  if (typeof layers !== "object" || layers === null) {
    throw new TypeError(
      `Cannot take the layers of ${address} as the module must export an object \`layers\`: current value is ${
        layers === null ? "null" : typeof layers
      }`,
    );
  }
  for (const [name, factory] of Object.entries(layers)) {
    if (NAMES.includes(name as keyof Layers) && typeof factory === "function") continue;
    throw new TypeError(
      `Cannot take the layers of ${address} as each of \`layers\` must be a function named ${
        NAMES.join(", ")
      }: current value of ${name} is ${typeof factory}`,
    );
  }
  return layers;
}

/** Layers from a file that a command names, and the address that `runTraining` takes. Throws as {@linkcode importLayers}. */
export async function importLayersFile(
  path: string,
): Promise<{ readonly address: URL; readonly layers: Partial<Layers> }> {
  const address = toFileUrl(resolve(path));
  return { address, layers: await importLayers(address.href) };
}
