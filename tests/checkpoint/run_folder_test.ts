import { assertEquals, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { holdRunFolder } from "../../lib/checkpoint/run_folder.ts";
import { namesIn, withFolder } from "./support.ts";

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
