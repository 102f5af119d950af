/** Many runs beside each other on the page: their colours, their table, their legends and what they are drawn over. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { Dashboard } from "../../lib/dashboard/server.ts";
import {
  lines,
  rollbackRecord,
  type RunFolder,
  runFolder,
  runRecord,
  stepRecord,
  validationRecord,
} from "../history/support.ts";
import { browserTest, LIVE, text } from "./support.ts";

const ENDED = { type: "event", message: "" };

/** A run of ten steps of 1 s and 100 tokens, and its config. */
async function run(
  name: string,
  options: { lr: string; loss?: number; ms?: number; end?: string },
): Promise<RunFolder> {
  const { lr, loss = 3, ms = 1000, end } = options;
  const device = "A processor with a long name @ 2.70GHz";
  const made = await runFolder(
    lines(
      runRecord({ run: name, steps: 60, device }),
      ...Array.from(
        { length: 10 },
        (_, index) => stepRecord(index + 1, { step_ms: ms, loss: index < 9 ? 9 : loss }),
      ),
      validationRecord(10),
      ...(end === undefined ? [] : [{ ...ENDED, step: 10, event: end }]),
    ),
  );
  const checkpoint = join(made.folder, "step_0000010");
  Deno.mkdirSync(checkpoint);
  const config = `optimizer:\n  lr: ${lr}\ncheckpoint:\n  run: ${name}\n`;
  Deno.writeTextFileSync(join(checkpoint, "config.yaml"), config);
  return made;
}

const choose = (id: string, value: string) =>
  `(() => {
    const select = document.querySelector("#${id}");
    select.value = "${value}";
    select.dispatchEvent(new Event("change"));
  })()`;
const legendOf = (panel: string) =>
  `document.querySelector('[data-panel="${panel}"] .legend').textContent`;

browserTest(
  "the page tells a run's last loss, and calls the smoothed line smoothed",
  async (browser) => {
    await using one = await run("one", { lr: "1e-3" });
    await using dashboard = Dashboard.serve({ runs: [{ path: one.folder }], port: 0 });
    const page = await browser.open(dashboard.url);
    await page.until(LIVE);
    assertEquals(await page.evaluate(text("0", "loss")), "3");
    // 2/6 of 3 and the rest of 9, over the weight of ten records.
    const smoothed = (9 * (1 - (2 / 3) ** 9) * (2 / 3) + 3 / 3) / (1 - (2 / 3) ** 10);
    assertEquals(
      await page.evaluate(legendOf("loss")),
      `lastloss3smoothed over 5 records${Number(smoothed.toPrecision(4))}`,
    );
    one.append(lines(stepRecord(11, { loss: 2.5 })));
    await page.until(`${text("0", "loss")} === "2.5"`);
    assertEquals(page.problems, []);
  },
);

browserTest("the table of runs has their states and settings, and sorts", async (browser) => {
  await using a = await run("a", { lr: "0.002", loss: 4, end: "interrupted" });
  await using b = await run("b", { lr: "0.01", loss: 2, end: "finished" });
  await using c = await run("c", { lr: "0.0005", loss: 3 });
  await using silent = await run("d", { lr: "0.0005", loss: 5 });
  const old = new Date(Date.now() - 3_600_000);
  Deno.utimeSync(silent.file, old, old);
  const runs = [a, b, c, silent].map(({ folder }) => ({ path: folder }));
  await using dashboard = Dashboard.serve({ runs, port: 0 });
  const page = await browser.open(dashboard.url);
  await page.until(LIVE);
  const column = (field: string) =>
    page.evaluate<string[]>(
      `[...document.querySelectorAll('#runs tbody [data-field="${field}"]')].map((cell) => cell.textContent)`,
    );
  assertEquals(await column("state"), ["interrupted", "finished", "running", "silent for 1 h"]);
  // 50 steps of 100 tokens at 20,000 a second.
  assertEquals(await column("left"), ["–", "–", "0.25 s", "–"]);
  assertEquals(await column("optimizer.lr"), ["0.002", "0.01", "0.0005", "0.0005"]);
  assertEquals((await column("checkpoint.run")).length, 0);
  const sort = async (field: string) => {
    const head = `document.querySelector('#runs [data-sorts="${field}"]')`;
    await page.evaluate(`${head}.querySelector("button").click()`);
    return page.evaluate<string>(`${head}.ariaSort`);
  };
  assertEquals([await sort("loss"), await column("name")], ["ascending", ["b", "c", "a", "d"]]);
  assertEquals([await sort("loss"), await column("name")], ["descending", ["d", "a", "c", "b"]]);
  assertEquals([await sort("loss"), await column("name")], ["none", ["a", "b", "c", "d"]]);
  assertEquals([await sort("optimizer.lr"), await column("name")], [
    ...["ascending", ["c", "d", "a", "b"]],
  ]);
  // A run without a number is last, whichever way.
  await sort("left");
  assertEquals([await sort("left"), (await column("name"))[0]], ["descending", "c"]);
  c.append(lines({ ...ENDED, step: 10, event: "stopped" }));
  await page.until(`${text("2", "state")} === "stopped" && ${text("2", "left")} === "–"`);
  assertEquals(page.problems, []);
});

browserTest("legends of many runs list the lines next to the pointer alone", async (browser) => {
  const names = Array.from({ length: 12 }, (_, index) => `run${index + 1}`);
  const made = await Promise.all(names.map((name, index) => run(name, { lr: "1", loss: index })));
  const runs = made.map(({ folder }) => ({ path: folder }));
  await using dashboard = Dashboard.serve({ runs, port: 0 });
  const page = await browser.open(dashboard.url, { height: 2400 });
  await page.until(LIVE);
  await page.until(`document.querySelector('[data-panel="phases"] .legend')?.textContent`);
  assertEquals(await page.evaluate(legendOf("grad_norm")), "12 lines");
  assertEquals(
    await page.evaluate(legendOf("phases")),
    "forwardbackwardoptimizerdata48 lines",
  );
  const height = `document.querySelector('[data-panel="phases"]').offsetHeight`;
  const before = await page.evaluate<number>(height);
  const point = async (panel: string, down: number) => {
    const { x, y } = await page.evaluate<{ x: number; y: number }>(
      `(({ right, y }) => ({ x: right, y }))(
        document.querySelector('[data-panel="${panel}"] .u-over').getBoundingClientRect())`,
    );
    await page.send("Input.dispatchMouseEvent", { type: "mouseMoved", x: x - 1, y: y + down });
  };
  // At the upper edge of the last step the losses of the last runs are the highest.
  await point("loss", 0);
  await page.until(`${legendOf("loss")}.startsWith("step 10")`);
  assertStringIncludes(await page.evaluate(legendOf("loss")), "and 21 more");
  await page.evaluate(choose("smooth", "0"));
  await page.until(`!${legendOf("loss")}.includes("smoothed")`);
  await point("loss", 1);
  await page.until(`${legendOf("loss")} === "step 10run1211run1110run109and 9 more"`);
  assertEquals(await page.evaluate(height), before);
  // Each run has a colour of its own.
  const colors = await page.evaluate<string[]>(
    `[...document.querySelectorAll("#runs tbody button")].map((one) =>
      getComputedStyle(one, "::before").borderTopColor)`,
  );
  assertEquals(new Set(colors).size, 12);
  assertEquals(page.problems, []);
  for (const one of made) await one[Symbol.asyncDispose]();
});

browserTest(
  "charts are drawn over steps, tokens or time, and a part of them is looked at",
  async (browser) => {
    await using fast = await run("fast", { lr: "1" });
    await using slow = await run("slow", { lr: "1", ms: 3000 });
    slow.append(lines(rollbackRecord(10, 8)) + lines(stepRecord(9, { step_ms: 3000 })));
    const runs = [fast, slow].map(({ folder }) => ({ path: folder }));
    await using dashboard = Dashboard.serve({ runs, port: 0 });
    const page = await browser.open(dashboard.url);
    await page.until(LIVE);
    const steps = `document.querySelector('[data-panel="loss"]').dataset.steps`;
    await page.until(`${steps} === "1 to 10"`);
    await page.evaluate(choose("x", "tokens"));
    await page.until(`${steps} === "100 to 1000"`);
    await page.evaluate(choose("x", "time"));
    // Nine steps of 3 s that count, in ms.
    await page.until(`${steps} === "1000 to 27000"`);
    const label = `document.querySelector('[data-panel="validation"] canvas').ariaLabel`;
    assertStringIncludes(await page.evaluate(label), "Validation loss by time");
    const { x, y, width } = await page.evaluate<{ x: number; y: number; width: number }>(
      `(({ x, y, width }) => ({ x, y, width }))(
      document.querySelector('[data-panel="loss"] .u-over').getBoundingClientRect())`,
    );
    for (const [type, at] of [["Pressed", 0.5], ["Moved", 1], ["Released", 1]] as const) {
      await page.send("Input.dispatchMouseEvent", {
        ...{
          type: `mouse${type}`,
          x: x + at * width - 1,
          y: y + 60,
          button: "left",
          clickCount: 1,
        },
      });
    }
    await page.until(`/^1[34]\\d+ to 2[67]\\d+$/.test(${steps})`);
    // Another axis has another part.
    await page.evaluate(choose("x", "step"));
    await page.until(`${steps} === "1 to 10" && document.querySelector("#reset").hidden`);
    fast.append(lines(stepRecord(11, { step_ms: 60_000 })));
    await page.until(`${steps} === "1 to 11"`);
    await page.evaluate(choose("x", "time"));
    await page.until(`${steps} === "1000 to 70000"`);
    assertEquals(page.problems, []);
  },
);

browserTest("a phone shows the loss beside the run's name", async (browser) => {
  await using one = await run("a-run-of-a-name-that-is-long-too-lr-1e-3", { lr: "1" });
  await using dashboard = Dashboard.serve({ runs: [{ path: one.folder }], port: 0 });
  const page = await browser.open(dashboard.url, { width: 400, height: 800, phone: true });
  await page.until(LIVE);
  for (const field of ["loss", "state"]) {
    const right = await page.evaluate<number>(
      `document.querySelector('#runs [data-field="${field}"]').getBoundingClientRect().right`,
    );
    assert(right > 100 && right < 400, `${field} ends at ${right}`);
  }
  assertEquals(page.problems, []);
});
