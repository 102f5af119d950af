import { assertEquals, assertThrows } from "@std/assert";
import { printTexts } from "../../lib/cli/generation_output.ts";
import type { GenerationReport, TextPiece } from "../../lib/inference/generate.ts";

const REPORT: GenerationReport = {
  ...{ stop: "max_tokens", promptTokens: 1, tokens: 2, prefillMs: 1, decodeMs: 1, decodePasses: 1 },
};
const prompts = ["a", "b", "c"].map((text, i) => ({ text, name: "", index: i + 1, sample: 1 }));

/** Pieces of a generation, and how many were computed. */
function generation(...pieces: (readonly [prompt: number, text: string, last?: boolean])[]) {
  const computed = { pieces: 0, closed: false };
  function* generate(): Generator<TextPiece, GenerationReport[], void> {
    try {
      for (const [prompt, text, last] of pieces) {
        computed.pieces++;
        yield { prompt, text, report: last ? REPORT : null };
      }
      return prompts.map(() => REPORT);
    } finally {
      computed.closed = true;
    }
  }
  return { computed, texts: generate() };
}

/** Output to a reader that is gone after so many writes. */
function readerOf(writes: number) {
  const written: string[] = [];
  return {
    written,
    output: {
      ...{ echo: false, json: false, seeds: [0, 0, 0] },
      write(text: string) {
        if (written.length === writes) throw new Deno.errors.BrokenPipe("gone");
        written.push(text);
      },
    },
  };
}

Deno.test("printTexts() computes no further piece of a text when its reader is gone", () => {
  const { computed, texts } = generation([0, "x"], [0, "y"], [0, "z"], [0, "", true]);
  const { written, output } = readerOf(1);
  assertThrows(() => printTexts(texts, prompts.slice(0, 1), output), Deno.errors.BrokenPipe);
  assertEquals([written, computed], [["x"], { pieces: 2, closed: true }]);
});

Deno.test("printTexts() prints each of several texts when it and those before it are done", () => {
  const { computed, texts } = generation(
    ...[[0, "x"], [1, "y", true], [0, "z", true], [2, "v"], [2, "w", true]] as const,
  );
  const seen: number[] = [];
  const { written, output } = readerOf(9);
  const write = (text: string) => (seen.push(computed.pieces), output.write(text));
  assertEquals(printTexts(texts, prompts, { ...output, write }).length, 3);
  assertEquals(written, ["==> 1 <==\nxz\n", "==> 2 <==\ny\n", "==> 3 <==\nvw\n"]);
  assertEquals(seen, [3, 3, 5]);
});

Deno.test("printTexts() computes no text after those printed when the reader is gone", () => {
  const { computed, texts } = generation(
    ...[[0, "x", true], [1, "y", true], [2, "z"], [2, "w", true]] as const,
  );
  const { output } = readerOf(1);
  assertThrows(() => printTexts(texts, prompts, output), Deno.errors.BrokenPipe);
  assertEquals(computed, { pieces: 2, closed: true });
});
