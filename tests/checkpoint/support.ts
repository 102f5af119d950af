import { createHash } from "node:crypto";
import { join } from "@std/path";
import { BitNetConfig } from "../../lib/model/config.ts";
import { formatChecksums } from "../../lib/checkpoint/checksums.ts";
import type { Checkpoint } from "../../lib/checkpoint/open.ts";
import { readChecksums, type TensorSink } from "../../lib/checkpoint/open.ts";
import { type OptimizerState, optimizerTensors } from "../../lib/checkpoint/optimizer_tensors.ts";
import {
  type CheckpointContent,
  modelTensors,
  type TensorSource,
} from "../../lib/checkpoint/save.ts";
import { tensorBytes, type TensorSpec } from "../../lib/interop/safetensors_header.ts";

/** A model of a few thousand parameters. */
export const CONFIG = new BitNetConfig({
  vocabSize: 37,
  hiddenSize: 12,
  numLayers: 1,
  numHeads: 2,
  numKvHeads: 1,
  intermediateSize: 20,
  maxSeqLen: 16,
});

/** Bytes that depend on name and seed alone, the same in every process. */
export function bytesOf(spec: TensorSpec, seed: number): Uint8Array {
  const bytes = new Uint8Array(tensorBytes(spec));
  let x = seed * 2654435761 + 12345;
  for (const letter of spec.name) x = Math.imul(x ^ letter.charCodeAt(0), 0x01000193);
  for (let i = 0; i < bytes.length; i++) {
    x = Math.imul(x, 1664525) + 1013904223;
    bytes[i] = x >>> 24;
  }
  return bytes;
}

function sourceOf(spec: TensorSpec, seed: number): TensorSource {
  const bytes = bytesOf(spec, seed);
  return { ...spec, read: (into, at) => into.set(bytes.subarray(at, at + into.length)) };
}

/** A trainer's state with everything in it that JSON alone would lose. */
export function stateOf(step: number) {
  return {
    step,
    tokens: step * 64,
    sampler: { seed: 2n ** 63n + 1n, next: step },
    losses: [5.5, NaN, -Infinity, -0, 0.1],
    note: null,
  };
}

/** A checkpoint whose bytes follow from its step (or `seed`). */
export function contentOf(
  step: number,
  { config = CONFIG, seed = step, state = "fp32" }: {
    config?: BitNetConfig;
    seed?: number;
    state?: OptimizerState;
  } = {},
): CheckpointContent<ReturnType<typeof stateOf>> {
  const specs = modelTensors(config);
  return {
    step,
    model: config,
    parameters: specs.map((spec) => sourceOf(spec, seed)),
    optimizer: optimizerTensors(specs, state).map((spec) => sourceOf(spec, seed)),
    state: stateOf(step),
    runConfig: `training:\n  seed: ${seed}\n`,
    tokenizerJson: new TextEncoder().encode(`{"version":"1.0","seed":${seed}}`),
  };
}

/** Sinks that fill memory, 0xaa until then. */
export function sinksOf(specs: readonly TensorSpec[]) {
  const memory = new Map<string, Uint8Array>();
  const sinks = specs.map((spec): TensorSink => {
    const bytes = new Uint8Array(tensorBytes(spec)).fill(0xaa);
    memory.set(spec.name, bytes);
    return { ...spec, write: (from, at) => bytes.set(from, at) };
  });
  return { sinks, memory };
}

/** Restores a checkpoint of `CONFIG` and says whether it holds what `contentOf(_, {seed})` saved. */
export async function holdsSeed(checkpoint: Checkpoint, seed: number): Promise<boolean> {
  const specs = modelTensors(CONFIG);
  const states = optimizerTensors(specs);
  const parameters = sinksOf(specs);
  const optimizer = sinksOf(states);
  await checkpoint.restore({ parameters: parameters.sinks, optimizer: optimizer.sinks });
  const memory = new Map([...parameters.memory, ...optimizer.memory]);
  return checkpoint.runConfig === `training:\n  seed: ${seed}\n` &&
    [...specs, ...states].every((spec) => {
      const bytes = bytesOf(spec, seed);
      return memory.get(spec.name)!.every((byte, i) => byte === bytes[i]);
    });
}

/** Replaces a file of a checkpoint and its checksum: as another program might have written it. */
export function forge(path: string, name: string, data: Uint8Array): void {
  const checksums = new Map(readChecksums(path)!);
  Deno.writeFileSync(join(path, name), data);
  checksums.set(name, {
    bytes: data.length,
    sha256: createHash("sha256").update(data).digest("hex"),
  });
  Deno.writeTextFileSync(join(path, "checksums.json"), formatChecksums(checksums));
}

/** Names in a folder, sorted. */
export function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

/** Runs `body` with a fresh folder that is removed afterwards. */
export async function withFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    await body(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** What a call to the file system did, as `write`, `sync`, `rename a -> b`, ... */
export type Intercept = (call: string) => void;

/**
 * Runs `body` while every change to the file system first asks `intercept`, which may throw.
 * Closing files is not asked for: a dying process closes them too.
 */
export async function withIntercept<T>(intercept: Intercept, body: () => Promise<T>): Promise<T> {
  const calls = ["mkdirSync", "openSync", "renameSync", "removeSync"] as const;
  const methods = ["write", "writeSync", "sync", "syncSync"] as const;
  // deno-lint-ignore no-explicit-any
  const host = Deno as any, file = Deno.FsFile.prototype as any;
  const paths = new WeakMap<object, string>();
  const restore: (() => void)[] = [];
  for (const name of calls) {
    const original = host[name];
    restore.push(() => host[name] = original);
    host[name] = (...args: unknown[]) => {
      const options = args[1] as { write?: boolean } | undefined;
      if (name !== "openSync" || options?.write) {
        intercept(`${name} ${args.filter((arg) => typeof arg === "string").join(" -> ")}`);
      }
      const result = original.apply(Deno, args);
      if (name === "openSync") paths.set(result, args[0] as string);
      return result;
    };
  }
  for (const name of methods) {
    const original = file[name];
    restore.push(() => file[name] = original);
    file[name] = function (this: object, ...args: unknown[]) {
      intercept(`${name} ${paths.get(this)}`);
      return original.apply(this, args);
    };
  }
  try {
    return await body();
  } finally {
    for (const undo of restore) undo();
  }
}
