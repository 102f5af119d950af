/** A run with faults made on purpose, on the page. */

import { assert, assertEquals } from "@std/assert";
import { Dashboard } from "../../lib/dashboard/server.ts";
import { encodeRecord } from "../../lib/metrics/records.ts";
import { Trainer } from "../../lib/training/trainer.ts";
import { runFolder } from "../history/support.ts";
import { tinyRun } from "../training/support.ts";
import { browserTest, colored, LIVE, text } from "./support.ts";

browserTest(
  "the page marks what a run with faults left out and where it went back",
  async (browser) => {
    await using records = await runFolder("");
    await using run = await tinyRun();
    const config = run.config(
      ...["stability.snapshot_every=4", "stability.stable_after=2", "stability.warmup_steps=3"],
      ...["training.steps=30", "logging.ternary_every=5"],
    );
    const fault = { repeat: "once", factor: 50, ms: 0 } as const;
    using trainer = await Trainer.open(config, {
      version: "test",
      observer: { record: (record) => records.append(encodeRecord(record)), warn() {} },
      faults: [
        { ...fault, kind: "nan_gradient", steps: [9] },
        { ...fault, kind: "loss", steps: [22] },
      ],
    });
    await trainer.run();
    await using dashboard = Dashboard.serve({ runs: [{ path: records.file }], port: 0 });
    const page = await browser.open(dashboard.url);
    await page.until(LIVE);
    assertEquals(await page.evaluate(text("0", "step")), "30 / 30");
    assertEquals(await page.evaluate(text("0", "rollbacks")), "1");
    assertEquals(await page.evaluate(text("0", "skipped")), "1");
    const figure = `document.querySelector('[data-panel="loss"]')`;
    await page.until(`${figure}.querySelector("canvas")`);
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))");
    const share = (name: string, alpha?: [number, number]) =>
      page.evaluate<number>(colored(figure, name, alpha));
    const [undone, left, spikes] = [
      await share("warn", [45, 65]),
      await share("skip", [45, 65]),
      await share("warn"),
    ];
    // Some of 30 steps, one of them, and two triangles.
    assert(undone > 0.04, `undone by a rollback: ${undone} of the picture`);
    assert(left > 0.01 && left < 0.05, `left out: ${left} of the picture`);
    assert(spikes > 0.00005, `spikes: ${spikes} of the picture`);
    const events = await page.evaluate<string[]>(
      `[...document.querySelectorAll("#events li")].map((item) => item.dataset.kind)`,
    );
    for (const kind of ["spike", "rollback", "finished"]) assert(events.includes(kind), kind);
    assertEquals(page.problems, []);
  },
);
