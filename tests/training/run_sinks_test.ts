/** A run with its sinks: all of them, and each that fails. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import type { MetricsRecord } from "../../lib/metrics/records.ts";
import { readRecords } from "../../lib/metrics/sinks.ts";
import { runTraining } from "../../lib/training/run.ts";
import { RunSinks } from "../../lib/training/run_sinks.ts";
import { readEvents } from "../metrics/event_reader.ts";
import { ROLLBACK, RUN, STEP } from "../metrics/support.ts";
import { recorder, tinyRun } from "./support.ts";

/** A recorder that also keeps notes. */
function observer() {
  const notes: string[] = [];
  return { ...recorder(), notes, note: (message: string) => void notes.push(message) };
}

function eventFile(folder: string): string {
  const [file, ...others] = [...Deno.readDirSync(folder)];
  assertEquals(others, []);
  return join(folder, file!.name);
}

/** Writes the records through the sinks of a config; what was warned of. */
async function warnings(
  set: (folder: string) => string[],
  records: readonly MetricsRecord[],
): Promise<{ warned: string[]; folder: string }> {
  await using run = await tinyRun();
  const told = observer();
  const config = run.config(...set(run.folder));
  const sinks = new RunSinks(config, { resumed: false, version: "0", observer: told });
  for (const record of records) sinks.write(record);
  sinks[Symbol.dispose]();
  return { warned: told.warnings, folder: run.folder };
}

Deno.test("runTraining() hands every record to every sink, and the machine's among them", async () => {
  await using run = await tinyRun();
  const told = observer();
  let scraped = "";
  let scraping = Promise.resolve();
  const config = run.config(
    ...["logging.prometheus=0", `logging.tensorboard=${join(run.folder, "tb")}`],
    "logging.machine_every_s=0.02",
  );
  const record = (one: MetricsRecord) => {
    told.record(one);
    if (one.type !== "step" || one.step !== 5) return;
    const url = told.notes[0]!.replace("metrics are at ", "");
    scraping = fetch(url).then(async (response) => {
      scraped = await response.text();
    });
  };
  const result = await runTraining(config, {
    version: "0",
    observer: { ...told, record },
  });
  await scraping;
  assertEquals(result.ended, "finished");
  assertEquals(told.warnings, []);
  assertMatch(told.notes[0]!, /^metrics are at http:\/\/127\.0\.0\.1:\d+\/metrics$/);
  assertMatch(scraped, /^titanbit_loss_nats\{run="tiny"\} \d/m);
  assertMatch(scraped, /^titanbit_disk_available_bytes\{run="tiny"\} \d/m);
  assertEquals(await readRecords(config.logging.jsonl!), told.records);
  const machine = told.records.filter(({ type }) => type === "machine");
  assert(machine.length >= 2, `${machine.length} records of the machine`);
  assertEquals(told.records.slice(0, 2).map(({ type }) => type), ["run", "machine"]);
  const events = await readEvents(eventFile(join(run.folder, "tb", "tiny")));
  assertEquals(
    events.flatMap(({ step, scalars }) => "step/loss" in scalars ? [step] : []),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
});

Deno.test("runTraining() finishes without a port that is taken, and says so once", async () => {
  await using run = await tinyRun();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const address = `127.0.0.1:${taken.addr.port}`;
  const told = observer();
  const result = await runTraining(run.config(`logging.prometheus=${address}`), {
    version: "0",
    observer: told,
  });
  assertEquals(result.ended, "finished");
  assertEquals(told.warnings.length, 1);
  assertMatch(
    told.warnings[0]!,
    /^Cannot serve metrics at 127\.0\.0\.1:\d+: Address already in use .*; training goes on without them$/,
  );
  assertEquals(told.notes, []);
});

Deno.test("RunSinks warns once of a folder that can't be made, and goes on with the others", async () => {
  const { warned } = await warnings((folder) => {
    Deno.writeTextFileSync(join(folder, "file"), "");
    return [`logging.tensorboard=${join(folder, "file")}`];
  }, [RUN, STEP, STEP]);
  assertEquals(warned.length, 1);
  assertMatch(
    warned[0]!,
    /^Cannot write TensorBoard's events to .*; training goes on without them$/,
  );
});

Deno.test("RunSinks warns once of each file that can't grow, as on a full disk, and goes on", async () => {
  const path = fromFileUrl(new URL("./sinks_process.ts", import.meta.url));
  // Files may not grow past 100 KiB; ignoring the signal turns it into an error of write().
  const shell = `trap '' XFSZ; ulimit -f 200; exec "$@"`;
  const command = [
    Deno.execPath(),
    "run",
    "-A",
    "--no-prompt",
    "--no-check",
    "--cached-only",
    path,
  ];
  const { success, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", shell, "sh", ...command],
    env: { NO_COLOR: "1" },
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const [events, records, ended, ...others] = new TextDecoder().decode(stdout).trim().split("\n");
  assertMatch(records!, /^Cannot write records to .*: File too large .*; training goes on without/);
  assertMatch(
    events!,
    /^Cannot write TensorBoard's events to .*: File too large .*; training goes/,
  );
  assertEquals([ended, others], ["ended", []]);
});

Deno.test({
  name: "RunSinks warns once where the network is not allowed",
  permissions: { read: true, write: true, net: false, env: true },
  async fn() {
    const { warned } = await warnings(() => ["logging.prometheus=9464"], [RUN, STEP]);
    assertEquals(warned.length, 1);
    assertMatch(
      warned[0]!,
      /^Cannot serve metrics at 127\.0\.0\.1:9464: .*--allow-net=127\.0\.0\.1:9464;/,
    );
  },
});

Deno.test("RunSinks opens no file where logging names none", async () => {
  await using run = await tinyRun();
  const told = observer();
  const config = run.config("logging.jsonl=null");
  const before = [...Deno.readDirSync(run.folder)].length;
  const sinks = new RunSinks(config, { resumed: false, version: "0", observer: told });
  sinks.write(RUN);
  sinks[Symbol.dispose]();
  assertEquals([...Deno.readDirSync(run.folder)].length, before);
  assertEquals([told.warnings, told.notes], [[], []]);
});

for (
  const [what, lose] of [
    ["its file is deleted", (_: string, file: string) => Deno.removeSync(file)],
    ["its file is renamed", (_: string, file: string) => Deno.renameSync(file, `${file}.old`)],
    ["its folder is deleted", (run: string) => Deno.removeSync(run, { recursive: true })],
    ["its folder is renamed", (run: string) => Deno.renameSync(run, `${run}.old`)],
  ] as const
) {
  Deno.test(`RunSinks warns once and goes on in a new file when ${what}, with a start to read it by`, async () => {
    await using run = await tinyRun();
    const told = observer();
    const config = run.config(`logging.tensorboard=${run.run}/tb`);
    const file = config.logging.jsonl!;
    using sinks = new RunSinks(config, { resumed: false, version: "0", observer: told });
    sinks.write(RUN);
    for (const step of [1, 2, 3]) sinks.write({ ...STEP, step });
    sinks.write({ ...ROLLBACK, step: 4, to_step: 2, undone_steps: 2 });
    lose(run.run, file);
    for (const step of [3, 4]) sinks.write({ ...STEP, step });
    if (what.endsWith("deleted")) lose(run.run, file);
    else Deno.removeSync(file);
    sinks.write({ ...STEP, step: 5 });
    const lost = [`${file} was moved or deleted: records go on in a new file there`];
    const events = told.warnings.filter((one) => one.includes("TensorBoard"));
    assertEquals(told.warnings.filter((one) => one.startsWith(lost[0]!)).length, 1);
    assertEquals(events.length, what.startsWith("its folder") ? 1 : 0);
    assertEquals(told.warnings.length, 1 + events.length);
    assertEquals(await readRecords(file), [
      { ...RUN, step: 4, undone_steps: 2 },
      { ...STEP, step: 5 },
    ]);
  });
}

Deno.test("RunSinks warns once and goes on without records when a pipe takes their file's place", async () => {
  await using run = await tinyRun();
  const told = observer();
  const config = run.config();
  const file = config.logging.jsonl!;
  using sinks = new RunSinks(config, { resumed: false, version: "0", observer: told });
  sinks.write(RUN);
  Deno.removeSync(file);
  await new Deno.Command("mkfifo", { args: [file] }).output();
  sinks.write(STEP);
  sinks.write(STEP);
  assertEquals(told.warnings, [
    `Cannot write records to ${file}: Cannot append to ${file} as it must be a regular file: current value is ` +
    "a device, pipe or socket; move it away; training goes on without them",
  ]);
});
