import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { basename, join } from "@std/path";
import { CheckpointError } from "../../lib/checkpoint/errors.ts";
import { findLatest, openLatest } from "../../lib/checkpoint/find.ts";
import { openCheckpoint, verifyCheckpoint } from "../../lib/checkpoint/open.ts";
import { saveCheckpoint } from "../../lib/checkpoint/save.ts";
import { parseHuggingFaceConfig } from "../../lib/interop/huggingface.ts";
import {
  CONFIG,
  contentOf,
  holdsSeed,
  namesIn,
  stateOf,
  withFolder,
  withIntercept,
} from "./support.ts";

Deno.test("saveCheckpoint() makes the folder of the step with all its files", async () => {
  await withFolder(async (run) => {
    const { path } = await saveCheckpoint(run, contentOf(100));
    assertEquals(path, join(run, "step_0000100"));
    assertEquals(namesIn(run), [".lock", "step_0000100"]);
    assertEquals(namesIn(path), [
      "checksums.json",
      "config.json",
      "config.yaml",
      "model.safetensors",
      "optimizer.safetensors",
      "tokenizer.json",
      "trainer_state.json",
    ]);
  });
});

Deno.test("saveCheckpoint() saves what openCheckpoint() gives back, bit for bit", async () => {
  await withFolder(async (run) => {
    const { path } = await saveCheckpoint(run, contentOf(7));
    const checkpoint = await openCheckpoint(path);
    assertEquals(checkpoint.step, 7);
    assertEquals(checkpoint.config, CONFIG);
    assertEquals(checkpoint.state as unknown, stateOf(7));
    assertEquals(
      new TextDecoder().decode(checkpoint.tokenizerJson!),
      `{"version":"1.0","seed":7}`,
    );
    assert(await holdsSeed(checkpoint, 7));
  });
});

Deno.test("saveCheckpoint() writes the same files twice when nothing changed", async () => {
  await withFolder(async (run) => {
    const first = await saveCheckpoint(join(run, "a"), contentOf(7));
    const second = await saveCheckpoint(join(run, "b"), contentOf(7));
    for (const name of namesIn(first.path)) {
      assertEquals(
        Deno.readFileSync(join(first.path, name)),
        Deno.readFileSync(join(second.path, name)),
      );
    }
  });
});

Deno.test("saveCheckpoint() reports the bytes of its files", async () => {
  await withFolder(async (run) => {
    const { path, bytes } = await saveCheckpoint(run, contentOf(7));
    const sizes = namesIn(path).map((name) => Deno.statSync(join(path, name)).size);
    assertEquals(bytes, sizes.reduce((a, b) => a + b));
  });
});

Deno.test("saveCheckpoint() replaces a checkpoint of the same step", async () => {
  await withFolder(async (run) => {
    await saveCheckpoint(run, contentOf(7, { seed: 1 }));
    const { path } = await saveCheckpoint(run, contentOf(7, { seed: 2 }));
    assert(await holdsSeed(await openCheckpoint(path), 2));
    assertEquals(namesIn(run), [".lock", "step_0000007"]);
  });
});

Deno.test("saveCheckpoint() leaves out the optimizer and tokenizer when there are none", async () => {
  await withFolder(async (run) => {
    const content = { ...contentOf(7), optimizer: [], tokenizerJson: null };
    const { path } = await saveCheckpoint(run, content);
    const checkpoint = await openCheckpoint(path);
    assertEquals([checkpoint.hasOptimizer, checkpoint.tokenizerJson], [false, null]);
    assertEquals(namesIn(path).includes("optimizer.safetensors"), false);
  });
});

Deno.test("saveCheckpoint() stores the special tokens in config.json", async () => {
  await withFolder(async (run) => {
    const specialTokens = { bosTokenId: 1, eosTokenId: 2, padTokenId: null };
    const { path } = await saveCheckpoint(run, { ...contentOf(7), specialTokens });
    const text = Deno.readTextFileSync(join(path, "config.json"));
    assertEquals(parseHuggingFaceConfig(text, "config.json").specialTokens, specialTokens);
  });
});

Deno.test("saveCheckpoint() removes what dead processes left behind", async () => {
  await withFolder(async (run) => {
    for (const name of [".tmp-step_0000003-1", ".deleted-step_0000001-99"]) {
      Deno.mkdirSync(join(run, name));
      Deno.writeTextFileSync(join(run, name, "model.safetensors"), "half");
    }
    await saveCheckpoint(run, contentOf(7));
    assertEquals(namesIn(run), [".lock", "step_0000007"]);
  });
});

Deno.test("saveCheckpoint() throws when another process is saving there", async () => {
  await withFolder(async (run) => {
    await saveCheckpoint(run, contentOf(1));
    Deno.mkdirSync(join(run, ".tmp-step_0000002-1"));
    using lock = Deno.openSync(join(run, ".lock"), { write: true });
    lock.lockSync(true);
    await assertRejects(() => saveCheckpoint(run, contentOf(2)), CheckpointError, "another one");
    assertEquals(namesIn(run), [".lock", ".tmp-step_0000002-1", "step_0000001"]);
  });
});

const wrong = contentOf(7);
const REFUSED: [string, ReturnType<typeof contentOf>, string][] = [
  ["a parameter is missing", { ...wrong, parameters: wrong.parameters.slice(1) }, "embed_tokens"],
  [
    "a parameter has another shape",
    {
      ...wrong,
      parameters: wrong.parameters.map((p, i) => i === 0 ? { ...p, shape: [12, 37] } : p),
    },
    "[12, 37]",
  ],
  [
    "a parameter is given twice",
    { ...wrong, parameters: [...wrong.parameters, wrong.parameters[0]!] },
    "twice",
  ],
  ["half of the optimizer is missing", {
    ...wrong,
    optimizer: wrong.optimizer.filter((t) => t.name.endsWith("exp_avg")),
  }, "exp_avg_sq"],
  ["the state is of another step", { ...wrong, state: stateOf(8) }, "current value is 8"],
  ["the step is negative", { ...wrong, step: -1, state: stateOf(-1) }, "-1"],
];

for (const [what, content, message] of REFUSED) {
  Deno.test(`saveCheckpoint() throws and makes nothing when ${what}`, async () => {
    await withFolder(async (folder) => {
      const run = join(folder, "run");
      await assertRejects(() => saveCheckpoint(run, content), RangeError, message);
      assertEquals(namesIn(folder), []);
    });
  });
}

Deno.test("saveCheckpoint() passes on what a source throws and leaves nothing", async () => {
  await withFolder(async (run) => {
    const content = contentOf(7);
    const last = content.optimizer.at(-1)!;
    const read = () => {
      throw new TypeError("the device is gone");
    };
    const optimizer = [...content.optimizer.slice(0, -1), { ...last, read }];
    await assertRejects(
      () => saveCheckpoint(run, { ...content, optimizer }),
      TypeError,
      "the device is gone",
    );
    assertEquals(namesIn(run), [".lock"]);
  });
});

Deno.test("saveCheckpoint() syncs files, then the folder, renames, then syncs the run", async () => {
  await withFolder(async (run) => {
    const trace: string[] = [];
    await withIntercept(
      (call) => trace.push(call.replaceAll(run, "RUN").replaceAll(String(Deno.pid), "PID")),
      () => saveCheckpoint(run, contentOf(7)),
    );
    const temporary = "RUN/.tmp-step_0000007-PID";
    const rename = trace.indexOf(`renameSync ${temporary} -> RUN/step_0000007`);
    const opened = trace.filter((call) => call.startsWith(`openSync ${temporary}/`));
    assertEquals(opened.length, 7);
    for (const file of opened.map((call) => call.slice("openSync ".length))) {
      const synced = trace.findLastIndex((call) =>
        /^sync(Sync)? /.test(call) && call.endsWith(file)
      );
      const written = trace.findLastIndex((call) => /^write/.test(call) && call.endsWith(file));
      assert(0 <= written && written < synced && synced < rename, file);
    }
    const folder = trace.indexOf(`syncSync ${temporary}`);
    assertEquals(folder, rename - 1);
    assertEquals(trace.indexOf("syncSync RUN"), rename + 1);
    assertEquals(basename(opened.at(-1)!), "checksums.json");
  });
});

class Killed extends Error {}

/** Runs `body` again and again, dying at its first change to the disk, its second, ... its last. */
async function dyingAtEachCall(
  prepare: (run: string) => Promise<void>,
  body: (run: string) => Promise<unknown>,
  check: (run: string, died: string) => Promise<void>,
): Promise<number> {
  for (let last = 0;; last++) {
    let finished = false;
    await withFolder(async (run) => {
      await prepare(run);
      let calls = 0;
      let died = "";
      const intercept = (call: string) => {
        if (calls++ < last) return;
        died ||= call;
        throw new Killed(call); // and every later call: the dead clean up nothing
      };
      await withIntercept(intercept, async () => {
        try {
          await body(run);
          finished = died === "";
        } catch (error) {
          assertInstanceOf(error, Killed);
        }
      });
      await check(run, died);
    });
    if (finished) return last;
  }
}

Deno.test("saveCheckpoint() loses nothing wherever its process dies", async () => {
  const calls = await dyingAtEachCall(
    async (run) => void await saveCheckpoint(run, contentOf(1)),
    (run) => saveCheckpoint(run, contentOf(2)),
    async (run, died) => {
      const latest = (await openLatest(run))!;
      assertEquals(latest.passedOver, [], died);
      assert(await holdsSeed(latest.checkpoint, latest.checkpoint.step), died);
      await saveCheckpoint(run, contentOf(3));
      assertEquals(namesIn(run).filter((name) => name.startsWith(".")), [".lock"], died);
    },
  );
  assert(calls > 20, `only ${calls} calls were seen`);
});

Deno.test("saveCheckpoint() loses nothing wherever it dies replacing its only checkpoint", async () => {
  await dyingAtEachCall(
    async (run) => void await saveCheckpoint(run, contentOf(5, { seed: 1 })),
    (run) => saveCheckpoint(run, contentOf(5, { seed: 2 })),
    async (run, died) => {
      const { checkpoint, passedOver } = (await openLatest(run))!;
      assertEquals(passedOver, [], died);
      const seed = checkpoint.runConfig.includes("seed: 1") ? 1 : 2;
      assert(await holdsSeed(checkpoint, seed), died);
    },
  );
});

Deno.test("saveCheckpoint() puts the replaced checkpoint back when the new one cannot take its name", async () => {
  await withFolder(async (run) => {
    const { path } = await saveCheckpoint(run, contentOf(5, { seed: 1 }));
    await withIntercept((call) => {
      if (/^renameSync .*\.tmp-/.test(call)) throw new Error("Input/output error (os error 5)");
    }, () =>
      assertRejects(
        () => saveCheckpoint(run, contentOf(5, { seed: 2 })),
        CheckpointError,
        "os error 5",
      ));
    assertEquals(namesIn(run), [".lock", "step_0000005"]);
    assert(await holdsSeed(await openCheckpoint(path), 1));
  });
});

Deno.test("saveCheckpoint() reports a full disk at every call, and leaves no trace", async () => {
  let failures = 0;
  for (let failing = 0;; failing++) {
    let failed: string | null = null;
    await withFolder(async (run) => {
      await saveCheckpoint(run, contentOf(1));
      let calls = 0;
      const intercept = (call: string) => {
        if (calls++ !== failing) return;
        failed = call;
        throw new Error("No space left on device (os error 28)");
      };
      await withIntercept(intercept, async () => {
        if (await settled(saveCheckpoint(run, contentOf(2)))) return;
        failures++;
      });
      const inPlace = namesIn(run).includes("step_0000002"); // when only the last sync failed
      assertEquals(namesIn(run).filter((name) => name.includes("tmp")), [], failed ?? "");
      assertEquals(basename((await findLatest(run))!.path), `step_000000${inPlace ? 2 : 1}`);
      assertEquals(await verifyCheckpoint(join(run, "step_0000001")), []);
    });
    if (failed === null) break;
  }
  assert(failures > 20, `only ${failures} failures were seen`);
});

async function settled(saving: Promise<unknown>): Promise<boolean> {
  try {
    await saving;
    return true;
  } catch (error) {
    assertInstanceOf(error, CheckpointError);
    assert(error.message.includes("room on the disk"), error.message);
    return false;
  }
}
