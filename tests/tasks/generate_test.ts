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

Deno.test("generate says so when a text ended as the context was full", () =>
  withCheckpoint(async ({ checkpoint }) => {
    const args = ["--checkpoint", checkpoint, "--prompt", "x".repeat(31), "--temperature", "0"];
    const { code, stderr } = await runTask("generate", args);
    assertEquals(code, 0);
    assertEquals(stderr, "note: the text ended as the context of 32 tokens was full\n");
  }));

Deno.test("generate draws several samples, each that of its seed, and prints lines of JSON", () =>
  withCheckpoint(async ({ checkpoint }) => {
    const common = ["--checkpoint", checkpoint, "--max-tokens", "6", "--no-echo", "--prompt", "ab"];
    const second = await runTask("generate", [...common, "--seed", "8"]);
    const args = [...common, "--seed", "7", "--samples", "2"];
    const both = await runTask("generate", args);
    assertEquals([both.code, both.stderr], [0, ""]);
    assert(both.stdout.startsWith("==> 1, sample 1 <==\n"));
    assert(both.stdout.endsWith(`==> 1, sample 2 <==\n${second.stdout}`));
    const { stdout } = await runTask("generate", [...args, "--json"]);
    const records = stdout.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(records.length, 2);
    assertEquals(records[1], {
      ...{ index: 1, sample: 2, prompt: "ab", text: second.stdout.slice(0, -1) },
      ...{ stop: "max_tokens", prompt_tokens: 2, tokens: 6, seed: 8 },
    });
  }));

Deno.test("generate ends a text at --stop and says so", () =>
  withCheckpoint(async ({ checkpoint }) => {
    const common = ["--checkpoint", checkpoint, "--prompt", "ab", "--no-echo", "--temperature=0"];
    const free = (await runTask("generate", [...common, "--max-tokens", "12"])).stdout.trimEnd();
    const stop = free.slice(3, 5);
    const args = [...common, `--stop=${stop}`, "--stop", "other", "--stats"];
    const { code, stdout, stderr } = await runTask("generate", args);
    assertEquals([code, stdout], [0, `${free.slice(0, free.indexOf(stop))}\n`]);
    assertMatch(stderr, /stop: stop text\n$/);
  }));

Deno.test("generate reads prompts from standard input, and passes over blank lines", () =>
  withCheckpoint(async ({ folder, checkpoint }) => {
    const file = join(folder, "prompts.txt");
    await Deno.writeTextFile(file, "\none\n\n   \r\ntwo\n\n");
    const args = ["--checkpoint", checkpoint, "--max-tokens", "4"];
    const fromFile = await runTask("generate", [...args, "--prompts", file]);
    assertEquals(fromFile.code, 0, fromFile.stderr);
    assertMatch(fromFile.stdout, /^==> 1 <==\none[^]*\n==> 2 <==\ntwo/);
    const piped = await runTask("generate", [...args, "--prompts", "-"], { stdin: file });
    assertEquals([piped.code, piped.stdout], [0, fromFile.stdout]);
  }));

Deno.test("generate names file and line of a prompt that it can't continue", () =>
  withCheckpoint(async ({ folder, checkpoint }) => {
    const file = join(folder, "prompts.txt");
    await Deno.writeTextFile(file, `one\n\n${"x".repeat(32)}\n`);
    const { code, stdout, stderr } = await runTask("generate", [
      ...["--checkpoint", checkpoint, "--prompts", file],
    ]);
    assertEquals([code, stdout], [1, ""]);
    assertMatch(stderr, /^error: Cannot continue line 3 of .*prompts\.txt as it must leave room/);
  }));

Deno.test("generate stops with 141 when the reader of its texts is gone", () =>
  withCheckpoint(async ({ checkpoint }) => {
    // The first line goes through; of 3000 texts the others would take most of a minute.
    const { code, stdout, stderr } = await runTask("generate", [
      ...["--checkpoint", checkpoint, "--prompt", "ab", "--samples", "3000", "--sequences", "1"],
      ...["--json", "--stats"],
    ], { reader: "head -n 1" });
    assertEquals([code, stdout.split("\n").length, stderr], [141, 2, ""]);
  }));

const WRONG: [string, string[], RegExp][] = [
  ["there is no prompt", [], /needs a prompt: give --prompt/],
  [
    "the head is to be bfloat16 on the CPU",
    ["--prompt", "a", "--head", "bfloat16"],
    /head in bfloat16/,
  ],
  [
    "the prompts' file is not there",
    ["--prompts", "/none/such.txt"],
    /Cannot read --prompts as \/none\/such\.txt must be a file .* no such file or directory; .* - for standard input/,
  ],
  ["the prompts' file is a folder", ["--prompts", "/"], /current value is a directory/],
  ["the prompts' file is a device", ["--prompts", "/dev/stdin"], /- for standard input/],
  ["samples are asked for at temperature 0", [
    ...["--prompt", "a", "--samples", "2", "--temperature", "0"],
  ], /--temperature must be above 0/],
  ["the stop text is empty", ["--prompt", "a", "--stop="], /must hold a character/],
  ["there are more threads than cores", ["--prompt", "a", "--threads", "999"], /--threads must be/],
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
