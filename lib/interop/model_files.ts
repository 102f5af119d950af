/**
 * The weights of a Hugging Face model folder: `model.safetensors`, or the shards that
 * `model.safetensors.index.json` names, read as one.
 *
 * @module
 */

import { join } from "@std/path";
import * as z from "zod";
import { describeValue } from "../std/describe.ts";
import { type JsonFile, parseJson, readFileUpTo } from "../std/json.ts";
import { InteropError } from "./errors.ts";
import { SafetensorsFile, type TensorInfo, type TensorReader } from "./safetensors.ts";

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
/** As long as a header of a single file may be. */
const MAX_INDEX_BYTES = 100_000_000;

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
              `current value is ${describeValue(name)} in ${other.path} and ${file.path}`,
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
    const map = names === null
      ? parseIndex(readFileUpTo(indexFile(join(folder, INDEX))), join(folder, INDEX))
      : null;
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
          `Cannot read ${indexPath} as tensor ${describeValue(name)} must lie in ${fileName}: ` +
            `current value is ${file?.path ?? "no shard"}`,
        );
      }
    }
    for (const name of this.tensors.keys()) {
      if (!map.has(name)) {
        throw new InteropError(
          `Cannot read ${indexPath} as it must list every tensor of the shards: ` +
            `current value is no entry for ${describeValue(name)}`,
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

/** What a file system and every program that lists it take for a plain name. */
// deno-lint-ignore no-control-regex -- NUL ends a name where the system reads it
const FILE_NAME = /^(?!\.{1,2}$)[^/\\\x00-\x1f\x7f]{1,255}$/;
const NAME_RULE = "the name of a file beside it";

const indexSchema = z.object({
  weight_map: z.record(
    z.string(),
    z.string({ error: NAME_RULE }).regex(FILE_NAME, { error: NAME_RULE }),
    { error: "a mapping from tensor names to files" },
  ),
}, { error: "a JSON object with weight_map" });

/**
 * The file of each tensor by the tensor's name, as the text of an index has them.
 *
 * @param path For messages.
 */
export function parseIndex(data: string | Uint8Array, path: string): Map<string, string> {
  const { weight_map: map } = parseJson(data, indexSchema, indexFile(path));
  return new Map(Object.entries(map));
}

function indexFile(path: string): JsonFile {
  return {
    path,
    maxBytes: MAX_INDEX_BYTES,
    fail: (message, { cause }) => new InteropError(message, { cause }),
  };
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
