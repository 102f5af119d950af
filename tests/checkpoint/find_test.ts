import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { findLatest, listCheckpoints, openLatest } from "../../lib/checkpoint/find.ts";
import { saveCheckpoint } from "../../lib/checkpoint/save.ts";
import { contentOf, namesIn, withFolder } from "./support.ts";

async function withSteps(steps: number[], body: (run: string) => Promise<void>): Promise<void> {
  await withFolder(async (run) => {
    for (const step of steps) await saveCheckpoint(run, contentOf(step));
    await body(run);
  });
}

Deno.test("findLatest() takes the newest by step, not by time", async () => {
  await withSteps([30, 100, 20], async (run) => {
    assertEquals(await findLatest(run), { path: join(run, "step_0000100"), passedOver: [] });
  });
});

Deno.test("findLatest() passes over what does not verify and says why", async () => {
  await withSteps([10, 20, 30], async (run) => {
    Deno.truncateSync(join(run, "step_0000030", "model.safetensors"), 50);
    Deno.removeSync(join(run, "step_0000020", "checksums.json"));
    const found = (await findLatest(run))!;
    assertEquals(found.path, join(run, "step_0000010"));
    assertEquals(found.passedOver.map(({ path }) => path), [
      join(run, "step_0000030"),
      join(run, "step_0000020"),
    ]);
    assertStringIncludes(found.passedOver[0]!.reason, "model.safetensors must be");
    assertStringIncludes(found.passedOver[1]!.reason, "checksums.json is missing");
  });
});

for (
  const [what, change] of [
    ["is no JSON", () => "{"],
    ["is null", () => "null"],
    ["is a list of files", (text) => text.replace(/"files": \{/, '"files": [{}], "f": {')],
    ["has an entry that is null", (text) => text.replace(/\{\s*"bytes"[^}]*\}/, "null")],
    ["has a digest that is no text", (text) => text.replace(/"[0-9a-f]{64}"/, '{"toString":1}')],
    ["has NUL in a name", (text) => text.replace('"config.json"', '"a\\u0000b"')],
    ["nests without end", () => "[".repeat(100_000)],
    ["is not UTF-8", () => "\xff"],
  ] satisfies [string, (text: string) => string][]
) {
  Deno.test(`findLatest() passes over a checkpoint whose checksums.json ${what}`, async () => {
    await withSteps([10, 20], async (run) => {
      const newest = join(run, "step_0000020");
      const file = join(newest, "checksums.json");
      const text = change(Deno.readTextFileSync(file));
      Deno.writeFileSync(file, Uint8Array.from(text, (letter) => letter.charCodeAt(0)));
      const found = (await findLatest(run))!;
      assertEquals(found.path, join(run, "step_0000010"));
      assertEquals(found.passedOver.map(({ path }) => path), [newest]);
      assertStringIncludes(found.passedOver[0]!.reason, "checksums.json");
    });
  });
}

Deno.test("findLatest() throws when no checkpoint verifies, naming each", async () => {
  await withSteps([10, 20], async (run) => {
    Deno.removeSync(join(run, "step_0000010", "config.yaml"));
    Deno.removeSync(join(run, "step_0000020", "config.json"));
    const error = await assertRejects(
      () => findLatest(run),
      CheckpointError,
      "config.yaml is missing",
    );
    assertStringIncludes(error.message, "config.json is missing");
  });
});

Deno.test("findLatest() gives null when the run has no checkpoint", async () => {
  await withFolder(async (run) => {
    assertEquals(await findLatest(run), null);
    assertEquals(await findLatest(join(run, "none")), null);
    assertEquals(namesIn(run), []);
  });
});

Deno.test("findLatest() puts back a checkpoint whose replacement was interrupted", async () => {
  await withSteps([10], async (run) => {
    Deno.renameSync(join(run, "step_0000010"), join(run, ".replaced-step_0000010-4711"));
    assertEquals((await findLatest(run))!.path, join(run, "step_0000010"));
  });
});

Deno.test("findLatest() leaves a folder alone in which another process is saving", async () => {
  await withSteps([10], async (run) => {
    Deno.mkdirSync(join(run, ".tmp-step_0000020-4711"));
    using lock = Deno.openSync(join(run, ".lock"), { write: true });
    lock.lockSync(true);
    assertEquals((await findLatest(run))!.path, join(run, "step_0000010"));
    assertEquals(namesIn(run), [".lock", ".tmp-step_0000020-4711", "step_0000010"]);
  });
});

Deno.test("openLatest() opens the checkpoint that findLatest() names", async () => {
  await withSteps([10, 20], async (run) => {
    assertEquals((await openLatest(run))!.checkpoint.path, (await findLatest(run))!.path);
  });
});

Deno.test("listCheckpoints() lists step folders alone, oldest first", async () => {
  await withSteps([20, 3], (run) => {
    for (
      const name of ["step_12", "step_0000abc", "step_00000005", "notes", ".tmp-step_0000009-1"]
    ) {
      Deno.mkdirSync(join(run, name));
    }
    Deno.writeTextFileSync(join(run, "step_0000099"), "a file");
    Deno.mkdirSync(join(run, "step_12345678"));
    assertEquals(listCheckpoints(run).map(({ step }) => step), [3, 20, 12345678]);
    return Promise.resolve();
  });
});
