/** Tasks as `deno task` starts them, called from a folder outside the source tree: relative paths are that folder's. */

import { assert, assertEquals } from "@std/assert";
import { exists } from "@std/fs";
import { fromFileUrl, join } from "@std/path";
import { withCheckpoint } from "./support.ts";
import { tinyRun } from "../training/support.ts";

const CONFIG = fromFileUrl(new URL("../../deno.json", import.meta.url));

/** Runs a task from `folder`, with the permissions of deno.json. */
async function call(folder: string, ...args: string[]): Promise<string> {
  const env = { ...Deno.env.toObject(), NO_COLOR: "1", TITANBIT_THREADS: "1" };
  Reflect.deleteProperty(env, "INIT_CWD"); // of the task that runs the tests
  const { code, stdout, stderr } = await new Deno.Command("deno", {
    args: ["task", "--quiet", "--config", CONFIG, ...args],
    cwd: folder,
    clearEnv: true,
    env,
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assertEquals(code, 0, `${args.join(" ")}: ${text(stderr)}`);
  return text(stdout);
}

Deno.test("train, info and report take config, --set and output from the folder of their caller", async () => {
  await using run = await tinyRun();
  const { folder } = run;
  const yaml = (await Deno.readTextFile(run.file)).replaceAll(`${folder}/`, "");
  await Deno.writeTextFile(run.file, yaml);
  await Deno.rename(join(folder, "train.bin"), join(folder, "other.bin"));
  await call(
    folder,
    ...["train", "--config", "tiny.yaml", "--set", "data.train=other.bin"],
    ...["--set", "training.steps=10", "--set", "logging.tensorboard=events"],
  );
  for (
    const path of ["checkpoints/tiny/step_0000010", "checkpoints/tiny/metrics.jsonl", "events"]
  ) {
    assert(await exists(join(folder, path)), path);
  }
  await call(
    folder,
    "train",
    "--resume",
    "checkpoints/tiny",
    "--trust-config",
    "--set",
    "training.steps=11",
  );
  assert(await exists(join(folder, "checkpoints/tiny/step_0000011")));
  await call(folder, "info", "--config", "tiny.yaml", "--no-measure");
  await call(folder, "report", "--run", "checkpoints/tiny", "--output", "a.html");
  assert(await exists(join(folder, "a.html")));
});

Deno.test("tokenize, generate, evaluate and export take their paths from the folder of their caller", () =>
  withCheckpoint(async ({ folder }) => {
    await Deno.writeTextFile(join(folder, "text.txt"), "some words, some words\n");
    await call(
      folder,
      ...["tokenize", "--input", "text.txt", "--output", "text.tokens", "--train-vocab", "258"],
    );
    for (const path of ["text.tokens", "tokenizer.json"]) {
      assert(await exists(join(folder, path)), path);
    }
    const model = ["--checkpoint", "run", "--device", "cpu"];
    const text = await call(folder, "generate", ...model, "--prompts", "text.txt");
    assert(text.startsWith("some words, some words"), text);
    await call(folder, "evaluate", ...model, "--data", "text.txt");
    await call(folder, "export", "--checkpoint", "run", "--output", "exported");
    assert(await exists(join(folder, "exported/model.safetensors")));
  }));
