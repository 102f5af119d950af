/** The train command as a process: signals, kill -9, exit codes. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { readRecords } from "../../lib/metrics/sinks.ts";
import { BYTE_VOCAB, byteTokenizerJson } from "../inference/support.ts";
import { hasCuda } from "../support/devices.ts";
import { hasScript, startInTerminal } from "../support/terminal.ts";
import { tensorsOf, type TinyRun, tinyRun } from "./support.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));
const TASK = `${ROOT}tasks/train.ts`;

interface Ended {
  readonly code: number;
  readonly signal: string | null;
  readonly stderr: string;
}

/** Starts the command on a run, or with its arguments alone, after `shell`; `onText` sees stderr as it grows and may send a signal. */
async function train(
  run: TinyRun | null,
  args: string[],
  options: {
    onText?: (text: string, process: Deno.ChildProcess) => void;
    shell?: string;
  } = {},
): Promise<Ended> {
  const { onText = () => {}, shell = ":" } = options;
  const command = ["run", "-A", "--no-prompt", "--no-check", "--cached-only", TASK];
  const process = new Deno.Command("sh", {
    args: ["-c", `${shell}; exec "$@"`, "sh", Deno.execPath(), ...command]
      .concat(run === null ? [] : ["--config", run.file], args),
    stdout: "null",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  let stderr = "";
  for await (const chunk of process.stderr.pipeThrough(new TextDecoderStream())) {
    stderr += chunk;
    onText(stderr, process);
  }
  const { code, signal } = await process.status;
  return { code, signal, stderr };
}

/** Sends a signal once, when `mark` is first seen. */
function signalAt(mark: string, signal: Deno.Signal) {
  let sent = false;
  return (text: string, process: Deno.ChildProcess) => {
    if (sent || !text.includes(mark)) return;
    sent = true;
    process.kill(signal);
  };
}

async function killAndResume(device: "cpu" | "cuda"): Promise<void> {
  await using run = await tinyRun();
  // Long enough that the signal comes before the end; the schedule is that of the whole run in both.
  const set = [
    "--device",
    device,
    "--set",
    "training.steps=80",
    "--set",
    "checkpoint.keep_every=10",
  ];
  const killed = await train(
    run,
    [...set, "--set", "checkpoint.run=killed"],
    { onText: signalAt("step_0000010", "SIGKILL") },
  );
  assertEquals(killed.signal, "SIGKILL");
  const straight = await train(run, [...set, "--set", "checkpoint.run=straight"]);
  assertEquals(straight.code, 0, straight.stderr);
  const resumed = await train(run, [
    ...set,
    "--set",
    "checkpoint.run=killed",
    "--resume",
    "latest",
  ]);
  assertEquals(resumed.code, 0, resumed.stderr);
  const checkpoints = join(run.folder, "checkpoints");
  assertEquals(
    await tensorsOf(join(checkpoints, "killed", "step_0000080")),
    await tensorsOf(join(checkpoints, "straight", "step_0000080")),
  );
}

for (const device of ["cpu", "cuda"] as const) {
  const ignore = device === "cuda" && !hasCuda();
  Deno.test({
    name: `${
      ignore ? "cuda: no device found, skipped: " : ""
    }train on ${device} ends in the same bits when it was killed with SIGKILL and resumed`,
    ignore,
    fn: () => killAndResume(device),
  });
}

/** What a run that is long enough is given to be interrupted. */
const LONG = ["--set", "training.steps=20000", "--set", "checkpoint.every_steps=0"];

/** Folders of the run's checkpoints. */
function checkpointsOf(run: TinyRun): string[] {
  return [...Deno.readDirSync(run.run)].filter(({ isDirectory }) => isDirectory)
    .map(({ name }) => name);
}

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
  Deno.test(`train finishes its step, saves, says how to go on and exits with ${code} when it gets ${signal}`, async () => {
    await using run = await tinyRun();
    const faults = join(run.folder, "no faults.yaml");
    await Deno.writeTextFile(faults, "[]\n");
    const ended = await train(run, [...LONG, "--inject", faults], {
      onText: signalAt("step 3/", signal),
    });
    assertEquals([ended.code, ended.signal], [code, null], ended.stderr);
    assertStringIncludes(ended.stderr, "interrupted at step");
    assertStringIncludes(ended.stderr, "hidden_size:"); // the whole config, as the run began
    // What the checkpoint's config holds needn't be given again.
    const line = `go on with  deno task train --resume ${run.run} --inject '${faults}'\n`;
    assert(ended.stderr.endsWith(line), ended.stderr.slice(-300));
    assertEquals(checkpointsOf(run).length, 1);
    const records = await readRecords(join(run.run, "metrics.jsonl"));
    assertEquals(records.at(-1)!.type, "event");
  });
}

Deno.test("train goes on from the folder alone when it was interrupted, to the same last step", async () => {
  await using run = await tinyRun();
  const set = ["--set", "training.steps=60", "--set", "checkpoint.every_steps=0"];
  const { code } = await train(run, set, { onText: signalAt("step 3/", "SIGINT") });
  assertEquals(code, 130);
  const { code: end, stderr } = await train(null, ["--resume", run.run]);
  assertEquals(end, 0, stderr);
  assertStringIncludes(stderr, "finished at step 60");
});

Deno.test("train takes signals that come together for one", async () => {
  await using run = await tinyRun();
  let sent = false;
  const ended = await train(run, LONG, {
    onText(text, process) {
      if (sent || !text.includes("step 3/")) return;
      sent = true;
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.kill(signal);
    },
  });
  assertStringIncludes(ended.stderr, "go on with");
  assertEquals(checkpointsOf(run).length, 1);
});

Deno.test("train exits at once when a second signal comes later", async () => {
  await using run = await tinyRun();
  // Steps of some seconds: the first is still at work when the second signal comes.
  const slow = ["training.batch_sequences=20000", "training.micro_batch=1"];
  let sent = false;
  const ended = await train(run, [...LONG, ...slow.flatMap((one) => ["--set", one])], {
    onText(text, process) {
      if (sent || !text.includes("steps 1 to")) return;
      sent = true;
      process.kill("SIGINT");
      setTimeout(() => process.kill("SIGTERM"), 800);
    },
  });
  assertEquals(ended.code, 143, ended.stderr);
  assertEquals(checkpointsOf(run), []);
});

Deno.test("train goes on through SIGHUP when it was started to ignore it, as nohup does", async () => {
  await using run = await tinyRun();
  let hungUp = false;
  const ended = await train(run, LONG, {
    shell: "trap '' HUP",
    onText(text, process) {
      if (!hungUp && text.includes("step 3/")) {
        hungUp = true;
        process.kill("SIGHUP");
        setTimeout(() => process.kill("SIGTERM"), 1500);
      }
    },
  });
  assertEquals(ended.code, 143, ended.stderr);
  assert(!ended.stderr.slice(0, ended.stderr.indexOf("step 4/")).includes("stopping"));
});

Deno.test({
  name: "train saves and exits with 130 when Ctrl-C is typed in the terminal of its task",
  ignore: !hasScript(),
  fn: async () => {
    await using run = await tinyRun();
    const words = [Deno.execPath(), "task", "train", "--config", run.file, ...LONG];
    const terminal = startInTerminal(words, { cwd: ROOT });
    await terminal.until((text) => /step \d+\//.test(text));
    await terminal.type("\x03");
    const text = await terminal.until(() => false);
    assertEquals((await terminal.process.status).code, 130, text);
    assertStringIncludes(text, "go on with  deno task train --resume");
    assertEquals(checkpointsOf(run).length, 1);
  },
});

Deno.test({
  name: "train saves when its terminal is closed",
  ignore: !hasScript(),
  fn: async () => {
    await using run = await tinyRun();
    const task = [Deno.execPath(), "run", "-A", "--no-prompt", "--no-check", "--cached-only", TASK];
    const set = ["training.steps=200000", "checkpoint.every_steps=0", "logging.console=plain"];
    const terminal = startInTerminal([
      ...[...task, "--config", run.file],
      ...set.flatMap((one) => ["--set", one]),
    ]);
    await terminal.until((text) => text.includes("step 3/"));
    terminal.process.kill("SIGKILL"); // the terminal goes away with the program that made it
    const text = await terminal.until(() => false);
    await terminal.process.status;
    const isSaved = () => checkpointsOf(run).some((name) => name.startsWith("step_"));
    for (let turn = 0; turn < 200 && !isSaved(); turn++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert(isSaved(), `no checkpoint after the hangup; the terminal showed ${text}`);
  },
});

Deno.test("train refuses a run that another process trains, and takes it when that was killed", async () => {
  await using run = await tinyRun();
  const long = ["--set", "training.steps=200000", "--set", "checkpoint.every_steps=5"];
  let second: Promise<Ended> | null = null;
  const first = await train(run, [...long, "--set", "checkpoint.keep_last=100000"], {
    onText: (text, process) => {
      if (second !== null || !text.includes("step_0000005")) return;
      second = train(run, [...long, "--resume", "latest"]);
      second.then(() => process.kill("SIGKILL"));
    },
  });
  assertEquals(first.signal, "SIGKILL");
  const { code, stderr } = await second!;
  assertEquals(code, 1, stderr);
  assertStringIncludes(stderr, `error: Cannot train in ${run.run} as a training is at work there`);
  assertStringIncludes(stderr, "checkpoint.run=NAME");
  const after = await train(run, [...long, "--resume", run.run], {
    onText: signalAt("tok/s", "SIGTERM"),
  });
  assertEquals(after.code, 143, after.stderr);
});

Deno.test("train refuses before its first step when checkpoints can't go where they should", async () => {
  await using run = await tinyRun();
  const { code, stderr } = await train(run, ["--set", `checkpoint.directory=${run.file}`]);
  assertEquals(code, 1);
  assertStringIncludes(
    stderr,
    `error: Cannot train in ${run.file}/tiny as checkpoints must go there`,
  );
  assert(!stderr.includes("step 1/"), stderr);
});

for (const key of ["data.train", "data.validation"]) {
  Deno.test(`train prints one error line with the key and exits with 1 when ${key} is missing`, async () => {
    await using run = await tinyRun();
    const { code, stderr } = await train(run, ["--set", `${key}=/nowhere/at/all.tokens`]);
    assertEquals(code, 1);
    assertStringIncludes(
      stderr,
      `error: Cannot open /nowhere/at/all.tokens (${key}) as there is no`,
    );
    assert(!stderr.includes("    at "), stderr);
    assert(!stderr.includes("hidden_size:"), `the config precedes the error: ${stderr}`);
  });
}

Deno.test("train names the tokenizer's key when its file is missing, and its ids when the model has fewer", async () => {
  await using run = await tinyRun();
  const missing = await train(run, ["--set", "data.tokenizer=/nowhere/tokenizer.json"]);
  assertEquals(missing.code, 1);
  assertStringIncludes(missing.stderr, "error: Cannot read the tokenizer /nowhere/tokenizer.json");
  assertStringIncludes(missing.stderr, "in data.tokenizer");
  const file = join(run.folder, "tokenizer.json");
  await Deno.writeFile(file, byteTokenizerJson());
  const { code, stderr } = await train(run, ["--set", `data.tokenizer=${file}`]);
  assertEquals(code, 1);
  assertStringIncludes(
    stderr,
    `error: Cannot train with the tokenizer ${file} (data.tokenizer) as it has ${BYTE_VOCAB} ids: model.vocab_size must be as many`,
  );
});

Deno.test("train goes on when a checkpoint can't be written, and keeps the one before", async () => {
  await using run = await tinyRun();
  const first = await train(run, ["--set", "training.steps=10"]);
  assertEquals(first.code, 0, first.stderr);
  const kept = join(run.run, "step_0000010");
  const before = await tensorsOf(kept);
  // Files may not grow past 200 KiB; ignoring the signal turns it into an error of write().
  const { code, stderr } = await train(run, ["--resume", "latest"], {
    shell: "trap '' XFSZ; ulimit -f 400",
  });
  assertEquals(code, 1, stderr);
  assertStringIncludes(stderr, "training goes on");
  assertStringIncludes(stderr, "finished at step 20");
  assertStringIncludes(stderr, "error: Nothing was kept of the last steps: Cannot save checkpoint");
  assertEquals(await tensorsOf(kept), before);
});

Deno.test("train gets over injected faults, and tells on the console and in the records", async () => {
  await using run = await tinyRun();
  const faults = join(run.folder, "faults.yaml");
  await Deno.writeTextFile(
    faults,
    "- { kind: loss, steps: 9, factor: 50 }\n- { kind: nan_gradient, steps: 15 }\n",
  );
  const set = ["warmup_steps=4", "snapshot_every=4", "stable_after=2", "lr_ramp_steps=3"];
  const { code, stderr } = await train(run, [
    ...["--inject", faults],
    ...set.flatMap((one) => ["--set", `stability.${one}`]),
  ]);
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, "snapshots to go back to take up to");
  assertStringIncludes(stderr, "warning: step 9 is undone");
  assertStringIncludes(stderr, "rollback 1 of 5: back from step 9 to 4 (memory)");
  assertStringIncludes(stderr, "recovered at step 7");
  assertStringIncludes(stderr, "warning: step 15 is left out: loss");
  const records = await readRecords(join(run.run, "metrics.jsonl"));
  assertEquals(
    records.flatMap((one) => one.type === "stability" ? [`${one.event} ${one.step}`] : []),
    ["spike 9", "rollback 9", "recovered 7", "spike 15"],
  );
});

Deno.test("train exits with 3 when it gives up, and can be resumed", async () => {
  await using run = await tinyRun();
  const faults = join(run.folder, "faults.json");
  await Deno.writeTextFile(faults, '[{ "kind": "inf_loss", "steps": 9, "repeat": "always" }]');
  const set = ["snapshot_every=4", "stable_after=2", "max_rollbacks=1"];
  const args = set.flatMap((one) => ["--set", `stability.${one}`]);
  const given = await train(run, ["--inject", faults, ...args]);
  assertEquals(given.code, 3, given.stderr);
  assertStringIncludes(given.stderr, "error: Cannot go on at step 9");
  assertStringIncludes(given.stderr, "after 1 rollback within 1000 steps");
  const resumed = await train(run, ["--resume", "latest", ...args]);
  assertEquals(resumed.code, 0, resumed.stderr);
  assertStringIncludes(resumed.stderr, "steps 5 to 20");
});

Deno.test("train --dashboard shows the run while it trains", async () => {
  await using run = await tinyRun();
  let seen: Promise<{ runs: { name: string; rows: number; max_grad_norm: number }[] }> | null =
    null;
  const { code, stderr } = await train(
    run,
    ["--set", "training.steps=120", "--set", "checkpoint.every_steps=0", "--dashboard", "0"],
    {
      onText(text) {
        const url = /dashboard {2}(http:\S+)/.exec(text)?.[1];
        if (seen !== null || url === undefined || !text.includes("step 20/")) return;
        seen = fetch(`${url}api/runs`).then((response) => response.json());
      },
    },
  );
  assertEquals(code, 0, stderr);
  const { runs: [shown] } = await seen!;
  assertEquals([shown!.name, shown!.max_grad_norm], ["tiny", 1]);
  // Below the config, where it is seen.
  const [config, address] = [stderr.indexOf("\nlogging:"), stderr.indexOf("dashboard  http")];
  assert(0 < config && config < address && address < stderr.indexOf("step 10/"), stderr);
  assert(shown!.rows >= 10, `${shown!.rows} rows`);
});
