import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "@std/path";
import { runTask, withCheckpoint } from "./support.ts";

Deno.test("generate prints the prompt and the same text again when it runs twice", () =>
  withCheckpoint(async ({ checkpoint }) => {
    const args = ["--checkpoint", checkpoint, "--prompt", "Grüße", "--max-tokens", "12"];
    const first = await runTask("generate", args);
    assertEquals([first.code, first.stderr], [0, ""]);
    assert(first.stdout.startsWith("Grüße") && first.stdout.length > "Grüße\n".length);
    assertEquals((await runTask("generate", args)).stdout, first.stdout);
  }));

Deno.test("generate takes a run's newest sound checkpoint and says what it passed over when a newer is broken", () =>
  withCheckpoint(async ({ folder, checkpoint }) => {
    const newer = join(folder, "run", "step_0000010");
    await Deno.mkdir(newer);
    for (const { name } of Deno.readDirSync(checkpoint)) {
      await Deno.copyFile(join(checkpoint, name), join(newer, name));
    }
    await Deno.truncate(join(newer, "model.safetensors"), 500);
    const args = ["--checkpoint", join(folder, "run"), "--prompt", "a", "--max-tokens", "3"];
    const { code, stderr } = await runTask("generate", args);
    assertEquals(code, 0);
    assertMatch(stderr, /^warning: passed over .*step_0000010: .*model\.safetensors/);
  }));

Deno.test("generate tells both rates and why it stopped when --stats is given", () =>
  withCheckpoint(async ({ checkpoint }) => {
    const args = ["--checkpoint", checkpoint, "--prompt", "abc", "--stats", "--no-echo"];
    const { stdout, stderr } = await runTask("generate", args);
    assertMatch(
      stderr,
      /^prompt: 3 tokens in .* tok\/s; text: \d+ tokens in .* tok\/s; stop: (context full|end of text)\n$/,
    );
    assert(!stdout.startsWith("abc"));
  }));

Deno.test("generate prints each prompt's own text when several are given, by flags and by a file", () =>
  withCheckpoint(async ({ folder, checkpoint }) => {
    const common = ["--checkpoint", checkpoint, "--max-tokens", "6", "--top-k", "9"];
    const prompts = ["one", "zwei", "three"];
    const alone = [];
    for (const prompt of prompts) {
      alone.push((await runTask("generate", [...common, "--prompt", prompt])).stdout);
    }
    const file = join(folder, "prompts.txt");
    await Deno.writeTextFile(file, "zwei\nthree\n");
    const all = ["--prompt", "one", "--prompts", file, "--sequences", "2", "--stats"];
    const { code, stdout, stderr } = await runTask("generate", [...common, ...all]);
    assertEquals(code, 0, stderr);
    assertEquals(stdout, alone.map((text, i) => `==> ${i + 1} <==\n${text}`).join(""));
    assertEquals(stderr.match(/^prompt: \d+ tokens/gm)?.length, 3);
  }));

Deno.test("generate runs over a cache in 8 bits", () =>
  withCheckpoint(async ({ checkpoint }) => {
    const args = ["--checkpoint", checkpoint, "--prompt", "abc", "--cache", "int8"];
    const { code, stdout, stderr } = await runTask("generate", args);
    assertEquals([code, stderr], [0, ""]);
    assert(stdout.startsWith("abc"));
  }));

const WRONG: [string, string[], RegExp][] = [
  ["there is no prompt", [], /needs a prompt: give --prompt/],
  [
    "the head is to be bfloat16 on the CPU",
    ["--prompt", "a", "--head", "bfloat16"],
    /head in bfloat16/,
  ],
  ["the prompt is empty", ["--prompt", ""], /at least one token/],
  ["the prompt fills the context", ["--prompt", "x".repeat(32)], /context of 32 tokens/],
  ["the temperature is negative", ["--prompt", "a", "--temperature=-1"], /--temperature/],
  ["top-p is 0", ["--prompt", "a", "--top-p", "0"], /top-p must be above 0/],
  ["a flag is unknown", ["--prompt", "a", "--max-token", "3"], /--max-tokens/],
];
for (const [when, args, message] of WRONG) {
  Deno.test(`generate exits with 1 and prints no text when ${when}`, () =>
    withCheckpoint(async ({ checkpoint }) => {
      const { code, stdout, stderr } = await runTask("generate", [
        "--checkpoint",
        checkpoint,
        ...args,
      ]);
      assertEquals([code, stdout], [1, ""]);
      assertMatch(stderr, /^error: [^\n]*\n$/);
      assertMatch(stderr, message);
    }));
}

Deno.test("generate asks for a tokenizer when the checkpoint has none", () =>
  withCheckpoint(async ({ checkpoint }) => {
    const { code, stderr } = await runTask("generate", [
      "--checkpoint",
      checkpoint,
      "--prompt",
      "a",
    ]);
    assertEquals(code, 1);
    assertMatch(stderr, /^error: .*must hold tokenizer\.json/);
  }, { tokenizer: false }));
