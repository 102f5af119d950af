/**
 * `deno task quickstart`: a ternary language model out of a real corpus, from nothing, on the CPU.
 *
 * What is there already is kept: the corpus, the tokens, and a run that was interrupted.
 *
 * @module
 */

import { exists } from "@std/fs";
import { dirname, fromFileUrl } from "@std/path";
import { type Command, main } from "../lib/cli/command.ts";
import { formatBytes, formatDuration } from "../lib/cli/format.ts";
import { onInterrupt } from "../lib/cli/interrupt.ts";
import { print } from "../lib/cli/print.ts";
import { gzipSize } from "../lib/evaluation/gzip_size.ts";

/** The source tree: corpus, config and run lie in it, wherever the user stands. */
const ROOT = dirname(dirname(fromFileUrl(import.meta.url)));
const HELD_OUT = "data/sotu/heldout";
const RUN = "checkpoints/quickstart";

export const command: Command = {
  name: "quickstart",
  summary: "corpus, vocabulary, training, evaluation and a paragraph, in minutes",
  description: "Run it again to go on where it stopped; `make quickstart-clean` forgets it all.",
  flags: [],
  examples: ["deno task quickstart"],
  async run() {
    const started = performance.now();
    Deno.chdir(ROOT);
    await step("fetch-corpus");
    await tokenize("data/sotu.tokens", "data/sotu/train", ["--train-vocab", "4096"]);
    await tokenize("data/sotu.val.tokens", HELD_OUT, ["--tokenizer", "data/tokenizer.json"]);
    const resume = await hasCheckpoint() ? ["--resume", "latest"] : [];
    await step("train", "--config", "configs/quickstart.yaml", ...resume);
    const evaluation = await step("evaluate", "--checkpoint", RUN, "--data", HELD_OUT, "--json");
    await step("generate", "--checkpoint", RUN, "--prompt", "My fellow citizens,", "--stats");

    const { bits_per_byte: model } = JSON.parse(evaluation);
    const gzip = await gzipSize(HELD_OUT);
    const bits = 8 * gzip.compressed / gzip.bytes;
    print(`
Held-out text, ${gzip.files} addresses, ${formatBytes(gzip.bytes)}:
  this model  ${model.toFixed(3)} bits per byte
  gzip -9     ${bits.toFixed(3)} bits per byte (${gzip.by})
All of it took ${formatDuration(performance.now() - started)}.\n`);
    if (model < bits) return 0;
    console.error(`error: Cannot call this learnt as the model must need fewer bits than gzip -9`);
    return 1;
  },
};

/** Makes a token file, unless it is there. */
async function tokenize(output: string, input: string, how: string[]): Promise<void> {
  if (await exists(output)) return print(`\n== tokenize: ${output} is there\n`);
  await step("tokenize", "--input", input, "--output", output, ...how);
}

async function hasCheckpoint(): Promise<boolean> {
  if (!await exists(RUN)) return false;
  return [...Deno.readDirSync(RUN)].some(({ name }) => name.startsWith("step_"));
}

/** Runs another task with its own permissions, showing what it says; ends with its exit code where it fails or a signal comes. */
async function step(task: string, ...args: string[]): Promise<string> {
  print(`\n== ${[task, ...args].join(" ")}\n`);
  const child = new Deno.Command("deno", {
    args: ["task", "--quiet", task, ...args],
    env: { INIT_CWD: ROOT },
    stdout: args.includes("--json") ? "piped" : "inherit",
    stderr: "inherit",
  }).spawn();
  using interrupt = onInterrupt((name) => {
    try {
      child.kill(name); // a terminal has told it already, whoever ends this process alone hasn't
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has just ended
    }
  });
  const text = args.includes("--json") ? await new Response(child.stdout).text() : "";
  const { code } = await child.status;
  if (code !== 0) Deno.exit(code);
  if (interrupt.signal.aborted) Deno.exit(interrupt.exitCode);
  return text;
}

if (import.meta.main) await main(command);
