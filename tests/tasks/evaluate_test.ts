import { assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { byteTokenizerJson } from "../inference/support.ts";
import { runTask, startTask, withCheckpoint } from "./support.ts";

const TEXT = "We hold these truths to be self-evident, that all men are created equal.\n".repeat(4);

/** Runs `body` with the flags of a checkpoint and of a text. */
function withText(
  body: (context: { flags: string[]; folder: string; checkpoint: string }) => Promise<void>,
  options: { tokenizer?: boolean; vocabSize?: number } = {},
): Promise<void> {
  return withCheckpoint(async ({ checkpoint, folder }) => {
    const path = join(folder, "text.txt");
    await Deno.writeTextFile(path, TEXT);
    await body({ flags: ["--checkpoint", checkpoint, "--data", path], folder, checkpoint });
  }, options);
}

Deno.test("evaluate prints loss, perplexity and bits per byte that agree when --json is given", () =>
  withText(async ({ flags }) => {
    const { code, stdout } = await runTask("evaluate", [...flags, "--json"]);
    const found = JSON.parse(stdout);
    assertEquals([code, found.tokens, found.bytes, found.end_tokens], [
      0,
      TEXT.length,
      TEXT.length - 1,
      1,
    ]);
    assertEquals([found.step, found.seq_len, found.stride], [9, 32, 16]);
    assertAlmostEquals(found.perplexity, Math.exp(found.loss), 1e-9 * found.perplexity);
    const bits = found.loss * found.tokens / Math.LN2 / found.bytes;
    assertAlmostEquals(found.bits_per_byte, bits, 1e-9 * bits);
  }));

Deno.test("evaluate prints a table and its progress apart when it runs on a text", () =>
  withText(async ({ flags }) => {
    const { stdout, stderr } = await runTask("evaluate", flags);
    assertMatch(stdout, /^loss +\d+\.\d{4} nats a token\nperplexity +\d+\.\d\d\nbits per byte +\d/);
    assertMatch(stderr, /evaluate 292\/292 tokens/);
  }));

Deno.test("evaluate scores no more than --max-tokens when the text is longer", () =>
  withText(async ({ flags }) => {
    const { stdout } = await runTask("evaluate", [...flags, "--max-tokens", "50", "--json"]);
    assertEquals(JSON.parse(stdout).tokens, 50);
  }));

Deno.test("evaluate exits with 130 and leaves nothing behind when it is interrupted while it tokenizes", () =>
  withText(async ({ flags, folder }) => {
    const temporary = join(folder, "tmp");
    await Deno.mkdir(temporary);
    await Deno.writeTextFile(join(folder, "text.txt"), TEXT.repeat(300_000)); // 90 MB
    const child = startTask("evaluate", flags, { env: { TMPDIR: temporary } });
    const output = child.output();
    const names = () => Array.from(Deno.readDirSync(temporary), ({ name }) => name);
    const deadline = performance.now() + 20_000;
    while (names().length === 0 && performance.now() < deadline) {
      await new Promise((wake) => setTimeout(wake, 5));
    }
    child.kill("SIGINT");
    const { code, stderr } = await output;
    assertEquals([code, names()], [130, []], new TextDecoder().decode(stderr));
  }));

const WRONG: [string, string[], RegExp][] = [
  ["the stride is longer than a window", ["--seq-len", "8", "--stride", "9"], /stride .* 9/],
  ["a flag is unknown", ["--strid", "2"], /--stride/],
];
for (const [when, args, message] of WRONG) {
  Deno.test(`evaluate exits with 1 and prints no figures when ${when}`, () =>
    withText(async ({ flags }) => {
      const { code, stdout, stderr } = await runTask("evaluate", [...flags, ...args]);
      assertEquals([code, stdout], [1, ""]);
      assertMatch(stderr, message);
    }));
}

const BAD_FILES: [string, string, string, RegExp][] = [
  ["there is no such file", "gone.txt", "", /gone\.txt/],
  ["the text is empty", "empty.txt", "", /empty/],
  ["the text is binary", "binary.txt", "a\0b\0c", /binary\.txt/],
  ["the token file is cut short", "cut.tokens", "TITANTOK", /cut short/],
];
for (const [when, name, content, message] of BAD_FILES) {
  Deno.test(`evaluate exits with 1 and names the file when ${when}`, () =>
    withCheckpoint(async ({ checkpoint, folder }) => {
      const path = join(folder, name);
      if (name !== "gone.txt") await Deno.writeTextFile(path, content);
      const args = ["--checkpoint", checkpoint, "--data", path];
      const { code, stdout, stderr } = await runTask("evaluate", args);
      assertEquals([code, stdout], [1, ""]);
      assertMatch(stderr, /error: /);
      assertMatch(stderr, message);
    }));
}

Deno.test("evaluate asks for a tokenizer when the checkpoint has none and the data is text", () =>
  withText(async ({ flags }) => {
    const { code, stderr } = await runTask("evaluate", flags);
    assertEquals(code, 1);
    assertMatch(stderr, /needs the model's tokenizer\.json/);
  }, { tokenizer: false }));

Deno.test("evaluate warns when a tokenizer that the checkpoint was not saved with has far fewer ids", () =>
  withText(async ({ flags, checkpoint }) => {
    await Deno.writeFile(join(checkpoint, "tokenizer.json"), byteTokenizerJson());
    const { code, stderr } = await runTask("evaluate", flags);
    assertEquals(code, 0);
    assertMatch(stderr, /^warning: .*tokenizer\.json has 257 ids, the model's vocabulary 1000,/m);
  }, { tokenizer: false, vocabSize: 1000 }));
