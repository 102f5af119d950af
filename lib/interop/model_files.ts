/**
 * The weights of a Hugging Face model folder: `model.safetensors`, or the shards that
 * `model.safetensors.index.json` names, read as one.
 *
 * @module
 */

import { join } from "@std/path";
import { readTextSync } from "../std/text_file.ts";
import { InteropError } from "./errors.ts";
import { SafetensorsFile, type TensorInfo, type TensorReader } from "./safetensors.ts";

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Weights of a model, spread over one or more files; every file stays open until disposed. */
export class ModelFiles implements TensorReader, Disposable {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly #files: readonly SafetensorsFile[];
  readonly #fileOf: ReadonlyMap<string, SafetensorsFile>;

  private constructor(path: string, files: readonly SafetensorsFile[]) {
    const tensors = new Map<string, TensorInfo>();
    const fileOf = new Map<string, SafetensorsFile>();
    for (const file of files) {
      for (const [name, info] of file.tensors) {
        const other = fileOf.get(name);
        if (other !== undefined) {
          throw new InteropError(
            `Cannot read ${path} as a tensor must lie in one file: ` +
              `current value is "${name}" in ${other.path} and ${file.path}`,
          );
        }
        tensors.set(name, info);
        fileOf.set(name, file);
      }
    }
    this.path = path;
    this.tensors = tensors;
    this.#files = files;
    this.#fileOf = fileOf;
  }

  /**
   * Opens the weights in a folder; `model.safetensors` goes before an index.
   *
   * @throws {InteropError} when there are none, a shard is missing or broken, or the index and the
   * shards disagree.
   */
  static open(folder: string): ModelFiles {
    const names = exists(join(folder, SINGLE))
      ? [SINGLE]
      : exists(join(folder, INDEX))
      ? null
      : undefined;
    if (names === undefined) {
      throw new InteropError(
        `Cannot read the weights of ${folder} as it must hold ${SINGLE} or ${INDEX}: ` +
          `current value is neither; give the folder of a model saved as safetensors`,
      );
    }
    const map = names === null ? readIndex(join(folder, INDEX)) : null;
    const files: SafetensorsFile[] = [];
    try {
      for (const name of names ?? [...new Set(map!.values())].sort()) {
        files.push(openShard(join(folder, name)));
      }
      const model = new ModelFiles(folder, files);
      if (map !== null) model.#compareWith(map, join(folder, INDEX));
      return model;
    } catch (error) {
      for (const file of files) file[Symbol.dispose]();
      throw error;
    }
  }

  /** @inheritdoc */
  readInto(name: string, into: Uint8Array, byteOffset: number): Promise<void> {
    const file = this.#fileOf.get(name);
    if (file === undefined) {
      throw new RangeError(
        `Cannot read a tensor of ${this.path} as its name must be in a file: current value is "${name}"`,
      );
    }
    return file.readInto(name, into, byteOffset);
  }

  #compareWith(map: ReadonlyMap<string, string>, indexPath: string): void {
    for (const [name, fileName] of map) {
      const file = this.#fileOf.get(name);
      if (file === undefined || file.path !== join(this.path, fileName)) {
        throw new InteropError(
          `Cannot read ${indexPath} as tensor "${name}" must lie in ${fileName}: ` +
            `current value is ${file?.path ?? "no shard"}`,
        );
      }
    }
    for (const name of this.tensors.keys()) {
      if (!map.has(name)) {
        throw new InteropError(
          `Cannot read ${indexPath} as it must list every tensor of the shards: ` +
            `current value is no entry for "${name}"`,
        );
      }
    }
  }

  [Symbol.dispose](): void {
    for (const file of this.#files) file[Symbol.dispose]();
  }
}

function openShard(path: string): SafetensorsFile {
  try {
    return SafetensorsFile.open(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new InteropError(
      `Cannot read ${path} as the index names it: current value is no such file`,
      { cause: error },
    );
  }
}

function readIndex(path: string): Map<string, string> {
  let index: unknown;
  try {
    index = JSON.parse(readTextSync(path));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new InteropError(
      `Cannot read ${path} as it must be JSON: current value is ${error.message}`,
    );
  }
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new InteropError(
      `Cannot read ${path} as weight_map must map tensor names to files: ` +
        `current value is ${JSON.stringify(map) ?? "missing"}`,
    );
  }
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== "string" || file.includes("/") || file.includes("\\") || file === "..") {
      throw new InteropError(
        `Cannot read ${path} as weight_map["${name}"] must be the name of a file beside it: ` +
          `current value is ${JSON.stringify(file)}`,
      );
    }
  }
  return new Map(Object.entries(map as Record<string, string>));
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
