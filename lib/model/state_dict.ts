/**
 * A model's parameters by name, in host memory.
 *
 * @module
 */

import type { ParameterStore } from "./parameters.ts";

/** Values of parameters by their Hugging Face names. */
export type StateDict = Readonly<Record<string, StateDictEntry>>;

/** One parameter of a {@linkcode StateDict}. */
export interface StateDictEntry {
  readonly shape: readonly number[];
  /** Latent values, row-major. */
  readonly values: Float32Array<ArrayBuffer>;
}

const SHOWN = 5; // differences told

/** Copies every parameter to the host. */
export function readStateDict(parameters: ParameterStore): StateDict {
  return Object.fromEntries(
    parameters.all.map(({ name, shape, value }) => [
      name,
      { shape: [...shape], values: value.toFloat32Array() },
    ]),
  );
}

/** Copies values of exactly the store's parameters in; see `BitNetTransformer.loadStateDict`. */
export function writeStateDict(parameters: ParameterStore, values: StateDict): void {
  const problems = differences(parameters, values);
  if (problems.length > 0) {
    const more = problems.length > SHOWN ? `; and ${problems.length - SHOWN} more` : "";
    throw new RangeError(
      `Cannot load these values as they must be those of the model's parameters: ${
        problems.slice(0, SHOWN).join("; ")
      }${more}; nothing was changed`,
    );
  }
  for (const { name, value } of parameters.all) value.upload(values[name]!.values);
}

function differences(parameters: ParameterStore, values: StateDict): string[] {
  const problems: string[] = [];
  const known = new Set(parameters.all.map(({ name }) => name));
  for (const { name, shape, value } of parameters.all) {
    if (!Object.hasOwn(values, name)) {
      problems.push(`${name} is missing`);
      continue;
    }
    const { shape: found, values: array } = values[name]!;
    if (found.length !== shape.length || found.some((size, axis) => size !== shape[axis])) {
      problems.push(`${name} must have the shape [${shape}]: current value is [${found}]`);
    } else if (!(array instanceof Float32Array)) {
      const kind = Object.prototype.toString.call(array).slice(8, -1);
      problems.push(`${name} must be a Float32Array: current value is ${kind}`);
    } else if (array.length !== value.length) {
      problems.push(
        `${name} must have ${value.length} values: current value is ${array.length}`,
      );
    }
  }
  for (const name of Object.keys(values)) {
    if (!known.has(name)) problems.push(`${name} is not part of the model`);
  }
  return problems;
}
