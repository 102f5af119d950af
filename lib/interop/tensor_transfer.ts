/**
 * From the tensors of a file into the tensors of a model: everything is compared first, then bytes
 * flow a chunk at a time, and half-width floats are widened on the way.
 *
 * @module
 */

import { describeValue } from "../std/describe.ts";
import { InteropError } from "./errors.ts";
import { CHUNK_BYTES, type TensorReader, type TensorSink } from "./safetensors.ts";
import {
  DTYPE_BITS,
  type SafetensorsDtype,
  shapeText,
  type TensorSpec,
} from "./safetensors_header.ts";

const SHOWN = 5; // names listed in a message
const SHOWN_WHOLE = 3; // tensors whose difference is told

/**
 * Says how the tensors of a file differ from the wanted ones: names missing, names not known, other
 * shapes, other dtypes; of many the first few, and how many there are. An empty list means that they are the same.
 *
 * @param found The tensors of the file.
 * @param options `accepts`: whether a file's dtype will do for the wanted one. @default equality
 */
export function compareTensors(
  found: ReadonlyMap<string, TensorSpec>,
  wanted: Iterable<TensorSpec>,
  options: { accepts?: (found: SafetensorsDtype, wanted: SafetensorsDtype) => boolean } = {},
): string[] {
  const { accepts = (a, b) => a === b } = options;
  const problems: string[] = [];
  const missing: string[] = [];
  const known = new Set<string>();
  for (const { name, shape, dtype } of wanted) {
    known.add(name);
    const tensor = found.get(name);
    if (tensor === undefined) {
      missing.push(name);
    } else if (!sameShape(tensor.shape, shape)) {
      problems.push(
        `tensor ${describeValue(name)} must have the shape ${shapeText(shape)}: ` +
          `current value is ${shapeText(tensor.shape)}`,
      );
    } else if (!accepts(tensor.dtype, dtype)) {
      problems.push(
        `tensor ${
          describeValue(name)
        } must be readable as ${dtype}: current value is ${tensor.dtype}`,
      );
    }
  }
  const more = problems.splice(SHOWN_WHOLE).length;
  if (more > 0) {
    problems.push(`${more} more ${more === 1 ? "tensor differs" : "tensors differ"} so`);
  }
  const unknown = [...found.keys()].filter((name) => !known.has(name));
  if (missing.length > 0) problems.push(`${countOf(missing)} missing: ${listOf(missing)}`);
  if (unknown.length > 0) {
    problems.push(`${countOf(unknown)} not part of the model: ${listOf(unknown)}`);
  }
  return problems;
}

/** Whether a tensor of dtype `found` can be loaded as `wanted`: the same, or a float widened to F32. */
export function canWiden(found: SafetensorsDtype, wanted: SafetensorsDtype): boolean {
  return found === wanted || (wanted === "F32" && (found === "BF16" || found === "F16"));
}

/**
 * Checks that the file holds exactly the tensors of the sinks.
 *
 * @param options `accepts`: as in {@linkcode compareTensors}. @default {@linkcode canWiden}
 * @throws {InteropError} naming the file and each tensor that differs, with what was expected and
 * found.
 */
export function checkSinks(
  reader: TensorReader,
  sinks: readonly TensorSink[],
  { accepts = canWiden }: { accepts?: typeof canWiden } = {},
): void {
  const problems = compareTensors(reader.tensors, sinks, { accepts });
  if (problems.length > 0) {
    throw new InteropError(
      `Cannot load ${reader.path} as it must hold this model's tensors: ${problems.join("; ")}`,
    );
  }
}

/**
 * Fills the sinks from a file that holds exactly their tensors, in the order of the sinks. Nothing is
 * written unless {@linkcode checkSinks} agrees. BF16 and F16 are widened to F32 exactly.
 *
 * @throws {InteropError} as `checkSinks` does, or when the file ends early.
 */
export async function loadTensors(
  reader: TensorReader,
  sinks: readonly TensorSink[],
): Promise<void> {
  checkSinks(reader, sinks);
  const raw = new Uint8Array(CHUNK_BYTES);
  for (const sink of sinks) {
    const info = reader.tensors.get(sink.name)!;
    const total = info.end - info.begin;
    const growth = DTYPE_BITS[sink.dtype] / DTYPE_BITS[info.dtype];
    for (let offset = 0; offset < total; offset += CHUNK_BYTES) {
      const chunk = raw.subarray(0, Math.min(CHUNK_BYTES, total - offset));
      await reader.readInto(sink.name, chunk, offset);
      const widened = info.dtype === sink.dtype ? chunk : widenToFloat32(chunk, info.dtype);
      sink.write(widened, offset * growth);
    }
  }
}

/**
 * Widens little-endian half-width floats to float32, exactly.
 *
 * @param bytes Whole elements, from an even address of their buffer.
 * @throws {TypeError} on a dtype other than BF16 and F16.
 */
export function widenToFloat32(
  bytes: Uint8Array,
  dtype: SafetensorsDtype,
): Uint8Array<ArrayBuffer> {
  const count = bytes.length / 2;
  if (dtype === "F16") {
    const half = new Float16Array(bytes.buffer, bytes.byteOffset, count);
    return new Uint8Array(new Float32Array(half).buffer);
  }
  if (dtype !== "BF16") {
    throw new TypeError(
      `Cannot widen a tensor as its dtype must be BF16 or F16: current value is ${dtype}`,
    );
  }
  const brain = new Uint16Array(bytes.buffer, bytes.byteOffset, count);
  const bits = new Uint32Array(count);
  for (let i = 0; i < count; i++) bits[i] = brain[i]! << 16;
  return new Uint8Array(bits.buffer);
}

/**
 * Rounds little-endian float32 to bfloat16, to nearest even; a NaN stays one.
 *
 * @param bytes Whole elements, from an address of their buffer that 4 divides.
 */
export function narrowToBfloat16(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const wide = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const brain = new Uint16Array(wide.length);
  for (let i = 0; i < wide.length; i++) {
    const bits = wide[i]!;
    const isNaN = (bits & 0x7fffffff) > 0x7f800000;
    const rounded = bits + 0x7fff + ((bits >>> 16) & 1);
    brain[i] = isNaN ? (bits >>> 16) | 0x40 : rounded / 65536;
  }
  return new Uint8Array(brain.buffer);
}

function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

function countOf(names: readonly string[]): string {
  return names.length === 1 ? "1 tensor" : `${names.length} tensors`;
}

function listOf(names: readonly string[]): string {
  const shown = names.slice(0, SHOWN).map((name) => describeValue(name)).join(", ");
  return names.length > SHOWN ? `${shown} and ${names.length - SHOWN} more` : shown;
}
