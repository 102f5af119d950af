import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { findLatest } from "../../lib/checkpoint/find.ts";
import { holdRunFolder } from "../../lib/checkpoint/run_folder.ts";
import { saveCheckpoint } from "../../lib/checkpoint/save.ts";
import { contentOf, namesIn, withFolder } from "./support.ts";

Deno.test("holdRunFolder() leaves nothing behind when nothing was written, and only that when something was", () =>
  withFolder((folder) => {
    const run = join(folder, "runs", "one");
    const held = holdRunFolder(run);
    assertEquals(namesIn(run), [".running"]);
    assertEquals(Deno.readTextFileSync(join(run, ".running")), `${Deno.pid}\n`);
    held[Symbol.dispose]();
    assertEquals(namesIn(join(folder, "runs")), []);
    {
      using _again = holdRunFolder(run);
      Deno.writeTextFileSync(join(run, "metrics.jsonl"), "");
    }
    assertEquals(namesIn(run), ["metrics.jsonl"]);
    Deno.removeSync(join(run, "metrics.jsonl"));
    holdRunFolder(run)[Symbol.dispose]();
    assertEquals(namesIn(run), [], "a folder that was there stays");
    return Promise.resolve();
  }));

Deno.test("holdRunFolder() refuses a second training, and leaves the first one's file", () =>
  withFolder((folder) => {
    using _held = holdRunFolder(folder);
    for (let attempt = 0; attempt < 2; attempt++) {
      assertThrows(
        () => holdRunFolder(folder),
        CheckpointError,
        `a training is at work there, process ${Deno.pid}:`,
      );
    }
    assertEquals(namesIn(folder), [".running"]);
    return Promise.resolve();
  }));

Deno.test("holdRunFolder() holds the file that others find when a training ends between its opening and its locking", () =>
  withFolder((folder) => {
    const first = holdRunFolder(folder);
    const open = Deno.openSync;
    let ends = true;
    try {
      Deno.openSync = (...args) => {
        const file = open(...args);
        if (ends) {
          ends = false;
          first[Symbol.dispose](); // which takes away what was just opened
        }
        return file;
      };
      using _second = holdRunFolder(folder);
      assertThrows(() => holdRunFolder(folder), CheckpointError, "a training is at work there");
    } finally {
      Deno.openSync = open;
    }
    return Promise.resolve();
  }));

/** Runs `body` in a folder whose disk fails to lock. */
function withoutLocks(body: (folder: string) => unknown): Promise<void> {
  return withFolder(async (folder) => {
    const { tryLockSync } = Deno.FsFile.prototype;
    Deno.FsFile.prototype.tryLockSync = () => {
      throw new Error("Input/output error (os error 5)");
    };
    try {
      await body(folder);
    } finally {
      Deno.FsFile.prototype.tryLockSync = tryLockSync;
    }
  });
}

Deno.test("holdRunFolder() names the file that could not be locked", () =>
  withoutLocks((folder) => {
    const lock = join(folder, ".running");
    assertThrows(() => holdRunFolder(folder), CheckpointError, `(os error 5): lock '${lock}'`);
  }));

Deno.test("saveCheckpoint() names the file that could not be locked", () =>
  withoutLocks(async (folder) => {
    const lock = join(folder, ".lock");
    const save = () => saveCheckpoint(folder, contentOf(1));
    await assertRejects(save, CheckpointError, `(os error 5): lock '${lock}'`);
  }));

Deno.test("findLatest() names the file that could not be locked", () =>
  withoutLocks(async (folder) => {
    Deno.mkdirSync(join(folder, ".tmp-step_0000020-4711"));
    const lock = join(folder, ".lock");
    await assertRejects(() => findLatest(folder), CheckpointError, `(os error 5): lock '${lock}'`);
  }));
