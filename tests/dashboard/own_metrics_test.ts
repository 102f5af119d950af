/** Metrics of a program's own on the page, in a real browser. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Dashboard } from "../../lib/dashboard/server.ts";
import { lines, runFolder, runRecord, stepRecord } from "../history/support.ts";
import { browserTest, LIVE } from "./support.ts";

browserTest(
  "the page has a chart for each metric of the program's own, by its name",
  async (browser) => {
    const step = (at: number, metrics: Record<string, number | null>) =>
      stepRecord(at, { metrics });
    await using run = await runFolder(
      lines(
        runRecord(),
        step(1, { "norm.loss_c": 1, odd: null }),
        step(2, { "norm.loss_c": 2.5, odd: 3 }),
      ),
    );
    await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
    const page = await browser.open(dashboard.url);
    await page.until(LIVE);
    const label = (name: string) => {
      const canvas = `document.querySelector('[data-panel="metrics.${name}"] canvas')`;
      return page.evaluate<string>(`${canvas}.getAttribute("aria-label")`);
    };
    const scroll = (name: string) =>
      page.evaluate(`document.querySelector('[data-panel="metrics.${name}"]').scrollIntoView()`);
    for (const [name, last] of [["norm.loss_c", "2.5"], ["odd", "3"]] as const) {
      await scroll(name);
      await page.until(`document.querySelector('[data-panel="metrics.${name}"] canvas')`);
      const text = await label(name);
      assert(text.startsWith(`${name} by step`), text);
      assertStringIncludes(text, last);
    }
    assertEquals(await page.evaluate(`document.querySelector('[data-panel="temperature"]')`), null);

    run.append(lines(step(3, { "norm.loss_c": 4.5 })));
    await scroll("norm.loss_c");
    await page.until(
      `document.querySelector('[data-panel="metrics.norm.loss_c"] canvas')?.getAttribute("aria-label").includes("4.5")`,
    );
  },
);
