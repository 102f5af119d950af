/** Runs that are resumed with other data, or with the same in another place. */

import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { DataError } from "../../lib/data/errors.ts";
import { TokenDataset } from "../../lib/data/shards.ts";
import { checkResumedData, runDataOf } from "../../lib/training/run_data.ts";
import { Trainer } from "../../lib/training/trainer.ts";
import { testLibrary } from "../data/support.ts";
import { recorder, tensorsOf, tinyRun } from "./support.ts";

/** A run of 20 steps on files of the same length, `train.bin` and those of `more`. */
async function runOn(more: readonly string[]) {
  const run = await tinyRun();
  const first = join(run.folder, "train.bin");
  for (const [i, name] of more.entries()) {
    const ids = new Uint16Array((await Deno.readFile(first)).buffer).map((id) => (id + i + 1) % 64);
    await Deno.writeFile(join(run.folder, name), new Uint8Array(ids.buffer));
  }
  const train = async (files: readonly string[], options: { stopAfter?: number } = {}) => {
    const observer = recorder();
    const { stopAfter } = options;
    const list = files.map((name) => join(run.folder, name)).join(", ");
    using trainer = await Trainer.open(run.config(`data.train=[${list}]`), {
      observer,
      version: "test",
      ...(stopAfter === undefined && { resume: "latest" }),
    });
    const result = await trainer.run({ shouldStop: () => trainer.state.step === stopAfter });
    return { result, warnings: observer.warnings };
  };
  return { run, train, [Symbol.asyncDispose]: () => run[Symbol.asyncDispose]() };
}

Deno.test("open() refuses to resume when a file of data.train was replaced by one of the same length", async () => {
  await using on = await runOn(["b.bin"]);
  const { result } = await on.train(["train.bin", "b.bin"], { stopAfter: 7 });
  const before = await tensorsOf(result.checkpoint!);
  const path = join(on.run.folder, "b.bin");
  const bytes = await Deno.readFile(path);
  await Deno.writeFile(path, bytes.toReversed());
  const error = await assertRejects(() => on.train(["train.bin", "b.bin"]), DataError);
  assertEquals(error.path, path);
  assertStringIncludes(error.message, `Cannot resume from ${result.checkpoint} as data.train must`);
  assertStringIncludes(error.message, "file 2 of 2 must be b.bin (40000 bytes, sampled SHA-256 ");
  assertStringIncludes(error.message, `current value is ${path} (40000 bytes, sampled SHA-256 `);
  assertStringIncludes(error.message, "Restore the files and their order, or begin another run");
  assertEquals(await tensorsOf(result.checkpoint!), before);

  await Deno.writeFile(path, bytes);
  assertEquals((await on.train(["train.bin", "b.bin"])).result.state.step, 20);
});

Deno.test("open() refuses to resume when the files of data.train come in another order", async () => {
  await using on = await runOn(["b.bin"]);
  await on.train(["train.bin", "b.bin"], { stopAfter: 7 });
  const error = await assertRejects(() => on.train(["b.bin", "train.bin"]), DataError);
  const found = join(on.run.folder, "train.bin");
  assertStringIncludes(error.message, "file 1 of 2 must be train.bin (");
  assertStringIncludes(error.message, `, and train.bin is file 2, ${found}.`);
});

Deno.test("open() refuses to resume when data.train has a file more or less", async () => {
  await using on = await runOn(["b.bin", "c.bin"]);
  await on.train(["train.bin", "b.bin"], { stopAfter: 7 });
  await assertRejects(
    () => on.train(["train.bin", "b.bin", "c.bin"]),
    DataError,
    "there must be 2 files: current value is 3",
  );
  await assertRejects(
    () => on.train(["train.bin"]),
    DataError,
    "file 2 of 2 must be b.bin",
  );
});

Deno.test("open() resumes to the same bits when the files have moved and have other names", async () => {
  await using on = await runOn(["b.bin"]);
  await using other = await runOn(["b.bin"]);
  const straight = await other.train(["train.bin", "b.bin"], { stopAfter: 20 });
  await on.train(["train.bin", "b.bin"], { stopAfter: 7 });
  await Deno.mkdir(join(on.run.folder, "moved"));
  await Deno.rename(join(on.run.folder, "train.bin"), join(on.run.folder, "moved", "z.bin"));
  const after = await on.train(["moved/z.bin", "b.bin"]);
  assertEquals(
    await tensorsOf(after.result.checkpoint!),
    await tensorsOf(straight.result.checkpoint!),
  );
});

Deno.test("open() warns when data.validation is another file, and trains on to the same bits", async () => {
  await using on = await runOn([]);
  await using other = await runOn([]);
  const straight = await other.train(["train.bin"], { stopAfter: 20 });
  await on.train(["train.bin"], { stopAfter: 7 });
  const path = join(on.run.folder, "val.bin");
  const ids = new Uint16Array((await Deno.readFile(path)).buffer).reverse();
  await Deno.writeFile(path, new Uint8Array(ids.buffer));
  const after = await on.train(["train.bin"]);
  assertEquals(after.warnings.length, 1);
  assertStringIncludes(after.warnings[0]!, "of data.validation file 1 of 1 must be val.bin (");
  assertEquals(
    await tensorsOf(after.result.checkpoint!),
    await tensorsOf(straight.result.checkpoint!),
  );
});

Deno.test("checkResumedData() warns once of a checkpoint from before it kept the files, and names a malformed field", async () => {
  await using run = await tinyRun();
  const options = { library: testLibrary(), vocabSize: 64 };
  using train = TokenDataset.open(join(run.folder, "train.bin"), options);
  const opened = { train, validation: null };
  const warnings: string[] = [];
  const data = runDataOf(opened, { warn: (message) => void warnings.push(message) });
  const check = (state: object) =>
    checkResumedData({ path: "step_7", state: { step: 7, tokens: 9, ...state } }, data, {
      opened,
      warn: (message) => void warnings.push(message),
    });
  check({ data });
  assertEquals(warnings, []);
  check({});
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, "step_7 does not say which files it was trained on");
  const malformed = { ...data, train: [{ ...data.train[0], bytes: "many" }] };
  assertThrows(
    () => check({ data: malformed }),
    CheckpointError,
    "Cannot resume from step_7 as data.train.0.bytes of its trainer state is malformed",
  );
});

const SAME: [string, (folder: string) => Promise<string> | string][] = [
  ["another path of it", (folder) => {
    Deno.mkdirSync(join(folder, "sub"));
    return `${folder}/sub/../val.bin`;
  }],
  ["a symlink to it", (folder) => {
    Deno.symlinkSync(join(folder, "val.bin"), join(folder, "link.bin"));
    return join(folder, "link.bin");
  }],
  ["a hard link to it", (folder) => {
    Deno.linkSync(join(folder, "val.bin"), join(folder, "hard.bin"));
    return join(folder, "hard.bin");
  }],
  ["a copy of it", (folder) => {
    Deno.copyFileSync(join(folder, "val.bin"), join(folder, "copy.bin"));
    return join(folder, "copy.bin");
  }],
];
for (const [what, make] of SAME) {
  Deno.test(`open() refuses to train on the validation file when data.train has ${what}`, async () => {
    await using run = await tinyRun();
    const path = await make(run.folder);
    const config = run.config(`data.train=[${join(run.folder, "train.bin")}, ${path}]`);
    const error = await assertRejects(
      () => Trainer.open(config, { observer: recorder(), version: "test" }),
      DataError,
    );
    assertStringIncludes(error.message, `${join(run.folder, "val.bin")} (data.validation)`);
    assertStringIncludes(error.message, `current content is that of ${path} (data.train)`);
  });
}

Deno.test("open() leaves the validation file out of a pattern of data.train, and trains as without it", async () => {
  await using run = await tinyRun();
  for (const [from, to] of [["train.bin", "x.bin"], ["val.bin", "x.val.bin"]] as const) {
    await Deno.rename(join(run.folder, from), join(run.folder, to));
  }
  const observer = recorder();
  const set = [`data.train=${run.folder}/*.bin`, `data.validation=${run.folder}/x.val.bin`];
  using trainer = await Trainer.open(run.config(...set), { observer, version: "test" });
  assertEquals((await trainer.run()).state.sampler.windowCount, 624); // of 20,000 tokens
  assertEquals(observer.warnings, []);
});

Deno.test("open() warns when data.train has a file twice, and takes it twice an epoch", async () => {
  await using run = await tinyRun();
  const observer = recorder();
  const path = join(run.folder, "train.bin");
  const config = run.config(`data.train=[${path}, ${path}]`);
  using trainer = await Trainer.open(config, { observer, version: "test" });
  assertEquals(trainer.state.sampler.windowCount, 2 * 624);
  assertEquals(observer.warnings, [
    `data.train has one content 2 times, as ${path}, ${path}: an epoch takes it so often`,
  ]);
});
