import { assert, assertEquals, assertRejects } from "@std/assert";
import { basename, join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { findLatest, listCheckpoints } from "../../lib/checkpoint/find.ts";
import {
  applyRetention,
  chooseSurplus,
  discardCheckpoints,
} from "../../lib/checkpoint/retention.ts";
import { saveCheckpoint } from "../../lib/checkpoint/save.ts";
import { contentOf, namesIn, withFolder, withIntercept } from "./support.ts";

async function withSteps(steps: number[], body: (run: string) => Promise<void>): Promise<void> {
  await withFolder(async (run) => {
    for (const step of steps) await saveCheckpoint(run, contentOf(step));
    await body(run);
  });
}

function surplus(steps: number[], keepLast: number, keepEvery: number | null): number[] {
  const entries = steps.map((step) => ({ step, path: `step_${step}` }));
  return chooseSurplus(entries, { keepLast, keepEvery }).map(({ step }) => step);
}

function stepsIn(run: string): number[] {
  return listCheckpoints(run).map(({ step }) => step);
}

Deno.test("chooseSurplus() keeps the last K", () => {
  assertEquals(surplus([50, 10, 20, 40, 30], 2, null), [10, 20, 30]);
});

Deno.test("chooseSurplus() keeps every multiple of N besides", () => {
  assertEquals(surplus([0, 10, 20, 30, 40, 50], 1, 20), [10, 30]);
});

Deno.test("chooseSurplus() finds none when there are no more than K", () => {
  assertEquals(surplus([10, 20], 2, null), []);
});

Deno.test("chooseSurplus() keeps what is protected", () => {
  const entries = [10, 20, 30].map((step) => ({ step, path: `step_${step}` }));
  const found = chooseSurplus(entries, { keepLast: 1, keepEvery: null, protect: [10] });
  assertEquals(found.map(({ step }) => step), [20]);
});

Deno.test("discardCheckpoints() deletes what lies after one step up to another", async () => {
  await withSteps([10, 20, 30, 40], async (run) => {
    await discardCheckpoints(run, { from: 10, to: 30 });
    assertEquals(stepsIn(run), [10, 40]);
  });
});

Deno.test("discardCheckpoints() does nothing where there is no folder", async () => {
  await withFolder(async (run) => {
    await discardCheckpoints(join(run, "none"), { from: 0, to: 9 });
    assertEquals(namesIn(run), []);
  });
});

Deno.test("applyRetention() deletes the surplus and tells which", async () => {
  await withSteps([10, 20, 30, 40], async (run) => {
    const deleted = await applyRetention(run, { keepLast: 1, keepEvery: 20 });
    assertEquals(deleted.map((path) => basename(path)), ["step_0000010", "step_0000030"]);
    assertEquals(namesIn(run), [".lock", "step_0000020", "step_0000040"]);
  });
});

Deno.test("applyRetention() keeps the newest that verifies when newer ones do not", async () => {
  await withSteps([10, 20, 30, 40], async (run) => {
    for (const step of ["step_0000030", "step_0000040"]) {
      const file = join(run, step, "optimizer.safetensors");
      const bytes = Deno.readFileSync(file);
      bytes[bytes.length - 9]! ^= 4;
      Deno.writeFileSync(file, bytes);
    }
    await applyRetention(run, { keepLast: 2, keepEvery: null });
    assertEquals(stepsIn(run), [20, 30, 40]);
    assertEquals((await findLatest(run))!.path, join(run, "step_0000020"));
  });
});

Deno.test("applyRetention() deletes nothing while no checkpoint verifies", async () => {
  await withSteps([10, 20, 30], async (run) => {
    for (const step of stepsIn(run)) {
      Deno.removeSync(join(run, `step_00000${step}`, "config.json"));
    }
    assertEquals(await applyRetention(run, { keepLast: 1, keepEvery: null }), []);
    assertEquals(stepsIn(run), [10, 20, 30]);
  });
});

Deno.test("applyRetention() still looks at the sizes of a checkpoint just saved", async () => {
  await withSteps([10, 20, 30], async (run) => {
    const justSaved = join(run, "step_0000030");
    Deno.truncateSync(join(justSaved, "model.safetensors"), 100);
    await applyRetention(run, { keepLast: 1, keepEvery: null, justSaved });
    assertEquals(stepsIn(run), [20, 30]);
  });
});

Deno.test("applyRetention() throws when another process is saving", async () => {
  await withSteps([10, 20], async (run) => {
    using lock = Deno.openSync(join(run, ".lock"), { write: true });
    lock.lockSync(true);
    await assertRejects(
      () => applyRetention(run, { keepLast: 1, keepEvery: null }),
      CheckpointError,
      "another one",
    );
    assertEquals(stepsIn(run), [10, 20]);
  });
});

Deno.test("applyRetention() throws when it is told to keep none", async () => {
  await withFolder(async (run) => {
    await assertRejects(
      () => applyRetention(run, { keepLast: 0, keepEvery: null }),
      RangeError,
      "keepLast",
    );
    await assertRejects(
      () => applyRetention(run, { keepLast: 1, keepEvery: 0.5 }),
      RangeError,
      "keepEvery",
    );
  });
});

Deno.test("applyRetention() leaves whole checkpoints alone wherever its process dies", async () => {
  for (let last = 0, finished = false; !finished; last++) {
    await withSteps([10, 20, 30], async (run) => {
      let calls = 0;
      await withIntercept(() => {
        if (calls++ >= last) throw new Error("killed");
      }, () => applyRetention(run, { keepLast: 1, keepEvery: null })).then(
        () => finished = true,
        () => {},
      );
      const found = (await findLatest(run))!;
      assertEquals([basename(found.path), found.passedOver], ["step_0000030", []]);
      for (const { path } of listCheckpoints(run)) {
        assertEquals(namesIn(path).length, 7, `${path} after ${last} calls`);
      }
    });
    assert(last < 100);
  }
});
