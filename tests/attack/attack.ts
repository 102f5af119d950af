/** One reader against mutations of its inputs. */

import { Random } from "../support/random.ts";
import { mutate } from "./mutate.ts";
import type { Reader } from "./readers.ts";

/** Characters of an error's message at most. */
const LONGEST_MESSAGE = 10_000;
/** Milliseconds that no input of this size may take. */
const HANG_MS = 5000;

/** An input that a reader did not stand up to. */
export interface Finding {
  readonly reader: string;
  /** Repeats the input: {@linkcode inputOf}. */
  readonly seed: number;
  readonly what: string;
  readonly input: Uint8Array;
}

/** The mutation that a seed stands for. */
export function inputOf(reader: Reader, seed: number): Uint8Array {
  const random = new Random(seed);
  return mutate(reader.seeds[random.integer(0, reader.seeds.length - 1)]!, random);
}

/** Feeds a reader the mutations of `count` seeds from `from` on, and tells the first that it broke on. */
export function attack(
  reader: Reader,
  { from, count }: { from: number; count: number },
): Finding | null {
  for (let seed = from; seed < from + count; seed++) {
    const input = inputOf(reader, seed);
    const started = performance.now();
    const fault = faultOf(reader, input);
    const ms = performance.now() - started;
    const what = fault ?? (ms > HANG_MS ? `took ${Math.round(ms)} ms` : null);
    if (what !== null) return { reader: reader.name, seed, what, input };
  }
  return null;
}

function faultOf(reader: Reader, input: Uint8Array): string | null {
  try {
    reader.read(input);
    return null;
  } catch (error) {
    if (!(error instanceof Error)) return "threw what is no error";
    const { message } = error;
    if (!(reader.errors ?? []).some((known) => error instanceof known)) {
      return `threw an undocumented ${error.constructor.name}: ${
        message.slice(0, 300)
      }\n${error.stack}`;
    }
    if (!message.startsWith("Cannot ")) return `a message of another form: ${message}`;
    if (message.length > LONGEST_MESSAGE) return `a message of ${message.length} characters`;
    // deno-lint-ignore no-control-regex -- a terminal would act on these
    if (/[\x00-\x09\x0b-\x1f\x7f-\x9f]/.test(message)) {
      return `a message with control characters: ${JSON.stringify(message)}`;
    }
    return null;
  }
}

/** A finding, with its input in a form that can be pasted into a test. */
export function describeFinding({ reader, seed, what, input }: Finding): string {
  const text = JSON.stringify(new TextDecoder("latin1").decode(input.subarray(0, 2000)));
  return `${reader}, seed ${seed}: ${what}\ninput of ${input.length} bytes (latin1): ${text}`;
}
