/** The page in a real browser. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Dashboard } from "../../lib/dashboard/server.ts";
import {
  lines,
  machineRecord,
  rollbackRecord,
  runFolder,
  runRecord,
  sampleRecord,
  spikeRecord,
  stepLines,
  ternaryRecord,
  validationRecord,
} from "../history/support.ts";
import type { Page } from "../support/chromium.ts";
import { browserTest, colored, LIVE, text } from "./support.ts";

/** Pixels of a panel's canvas in the first run's colour, once it is seen and drawn. */
async function ink(page: Page, panel: string): Promise<number> {
  const figure = `document.querySelector('[data-panel="${panel}"]')`;
  await page.evaluate(`${figure}.scrollIntoView({ block: "center" })`);
  await page.until(`${figure}.querySelector("canvas") && !${figure}.hasAttribute("data-waits")`);
  await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))");
  return page.evaluate(`(() => {
    const canvas = document.querySelector('[data-panel="${panel}"] canvas');
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const color = getComputedStyle(document.documentElement).getPropertyValue("--run-0").trim();
    const run = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    let pixels = 0;
    for (let i = 0; i < data.length; i += 4) {
      if (data[i + 3] > 200 && run.every((c, k) => Math.abs(data[i + k] - c) < 40)) pixels++;
    }
    return pixels;
  })()`);
}

const RUN = lines(runRecord({ run: "first" })) + stepLines(1, 40) + lines(validationRecord(40)) +
  lines(spikeRecord(41), rollbackRecord(41, 30)) + stepLines(31, 60) +
  lines(validationRecord(50), validationRecord(60));

browserTest(
  "the page draws its charts, follows the run and zooms, without an error",
  async (browser) => {
    await using run = await runFolder(RUN);
    await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
    const page = await browser.open(dashboard.url);
    await page.until(LIVE);
    const panels = ["loss", "grad_norm", "validation", "bits_per_byte", "lr", "tokens_per_s"];
    for (const panel of [...panels, "mfu", "phases"]) {
      const pixels = await ink(page, panel);
      assert(pixels > 200, `${panel}: ${pixels} pixels of its line`);
    }
    const label = await page.evaluate<string>(
      `document.querySelector('[data-panel="loss"] canvas').getAttribute("aria-label")`,
    );
    assertStringIncludes(label, "Loss by step; last: first loss 2.133");
    assertEquals(await page.evaluate(text("0", "rollbacks")), "1");
    assertStringIncludes(
      await page.evaluate(`document.querySelector("#events").textContent`),
      "back from step 41 to 30",
    );

    run.append(stepLines(61, 90));
    await page.until(`${text("0", "step")} === "90 / 1000"`);
    const late = await page.evaluate<string>(`document.querySelector("#events").textContent`);
    run.append(lines({ type: "event", step: 90, event: "finished", message: "all done" }));
    await page.until(`document.querySelector("#events").textContent.includes("all done")`);
    assert(!late.includes("all done"));

    run.append(lines(rollbackRecord(91, 84)) + stepLines(85, 86));
    await page.until(`${text("0", "step")} === "86 / 1000" && ${text("0", "rollbacks")} === "2"`);
    const steps = `document.querySelector('[data-panel="lr"]').dataset.steps`;
    await page.until(`${steps} === "1 to 86"`);

    await page.evaluate(`document.querySelector("#log").click()`);
    // Drawn anew once it is seen, which would end a drag.
    await ink(page, "loss");
    const { x, y } = await page.evaluate<{ x: number; y: number }>(
      `(({ x, y }) => ({ x, y }))(document.querySelector('[data-panel="loss"] .u-over').getBoundingClientRect())`,
    );
    for (
      const [type, at] of [["mousePressed", 100], ["mouseMoved", 200], [
        "mouseReleased",
        200,
      ]] as const
    ) {
      await page.send("Input.dispatchMouseEvent", {
        ...{ type, x: x + at, y: y + 50, button: "left", clickCount: 1 },
      });
    }
    await page.until(`!document.querySelector("#reset").hidden && ${steps} !== "1 to 86"`);
    await page.evaluate(`document.querySelector("#reset").click()`);
    await page.until(`document.querySelector("#reset").hidden && ${steps} === "1 to 86"`);
    assertEquals(page.problems, []);
  },
);

browserTest("the page charts the machine, live too", async (browser) => {
  const steps = Array.from({ length: 20 }, (_, index) => 3 * (index + 1));
  const busy = machineRecord(60, { gpu_throttle_reasons: ["sw_power_cap"] });
  await using run = await runFolder(
    RUN + lines(...steps.map((step) => machineRecord(step)), busy),
  );
  await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
  const page = await browser.open(dashboard.url, { dark: true });
  await page.until(LIVE);
  const panels = ["power", "temperature", "clocks", "utilisation", "memory", "ecc"];
  for (const panel of [...panels.map((name) => `gpu_${name}`), "host_memory", "disk"]) {
    const pixels = await ink(page, panel);
    assert(pixels > 100, `${panel}: ${pixels} pixels of its line`);
  }
  await ink(page, "gpu_throttled");
  const said = (panel: string) =>
    `document.querySelector('[data-panel="${panel}"] canvas').ariaLabel`;
  assertStringIncludes(await page.evaluate(said("gpu_throttled")), "sw power cap 1");
  await page.evaluate(`document.querySelector('[data-panel="gpu_power"]').scrollIntoView()`);
  run.append(lines(machineRecord(60, { gpu_power_w: 123 })));
  await page.until(`${said("gpu_power")}.endsWith("power 123")`);
  // Another of the same step is another row.
  run.append(lines(machineRecord(60, { gpu_power_w: 77 })));
  await page.until(`${said("gpu_power")}.endsWith("power 77")`);
  assertEquals(page.problems, []);
});

browserTest(
  "the page draws the ternary weights and tells the value under the pointer",
  async (browser) => {
    await using run = await runFolder(RUN + lines(ternaryRecord(20), ternaryRecord(40)));
    await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
    for (const dark of [false, true]) {
      const page = await browser.open(dashboard.url, { dark });
      await page.until(LIVE);
      await page.evaluate(`document.querySelector("#ternary").scrollIntoView()`);
      const figure = `document.querySelector("#heat-maps figure")`;
      const columns = dark ? "3" : "2";
      await page.until(`${figure}?.dataset.columns === "${columns}"`);
      for (const stop of ["heat-0", "heat-4"]) {
        const share = await page.evaluate<number>(colored(figure, stop));
        assert(share > 0.03, `${stop}: ${share} of the picture`);
      }
      const value = await page.evaluate<string>(`(() => {
      const canvas = ${figure}.querySelector("canvas");
      const { width } = canvas.getBoundingClientRect();
      canvas.onpointermove({ offsetX: 74 + (width - 74) / 2, offsetY: 2 });
      return ${figure}.querySelector(".value").textContent;
    })()`);
      assertEquals(value, "step 40, layer 0 q: 0.304");
      const choose = (id: string, to: string) =>
        page.evaluate(`(() => {
        const select = document.querySelector("#${id}");
        select.value = "${to}";
        select.dispatchEvent(new Event("change"));
      })()`);
      await choose("projection", "down");
      await choose("statistic", "gamma_max");
      await page.until(`${figure}.querySelector("figcaption").textContent.includes("largest")`);
      assertEquals(await page.evaluate(`${figure}.querySelector(".low").textContent`), "25");
      if (!dark) {
        run.append(lines(ternaryRecord(60)));
        await page.until(`${figure}.dataset.columns === "3"`);
        assertEquals(await page.evaluate(`${figure}.querySelector(".high").textContent`), "67");
      }
      assertEquals(page.problems, []);
    }
  },
);

browserTest(
  "the page shows what the model wrote, the latest first, and new texts as they come",
  async (browser) => {
    const html = sampleRecord(20, { prompt: "<b>", text: " & <i>" });
    await using run = await runFolder(RUN + lines(sampleRecord(10), html));
    await using dashboard = Dashboard.serve({ runs: [{ path: run.folder }], port: 0 });
    const page = await browser.open(dashboard.url);
    await page.until(LIVE);
    const texts = `[...document.querySelectorAll("#samples li")].map((item) => item.textContent)`;
    assertEquals(await page.evaluate(texts), ["step 20<b> & <i>", "step 10Once upon step 10"]);
    run.append(lines(sampleRecord(60, { text: "", error: "no numbers" })));
    await page.until(`${texts}[0] === "step 60Once no numbers"`);
    assertEquals(page.problems, []);
  },
);

browserTest("the page compares two runs, and hides one", async (browser) => {
  await using first = await runFolder(RUN);
  await using second = await runFolder(lines(runRecord({ run: "second" })) + stepLines(1, 90));
  const runs = [{ path: first.folder }, { path: second.folder }];
  await using dashboard = Dashboard.serve({ runs, port: 0 });
  const page = await browser.open(dashboard.url, { width: 400, height: 800, phone: true });
  await page.until(LIVE);
  const legend = `document.querySelector('[data-panel="grad_norm"] .legend').textContent`;
  const both = await page.evaluate<string>(legend);
  assertStringIncludes(both, "first0.5");
  assertStringIncludes(both, "second0.5");
  await page.evaluate(`document.querySelector('#runs [data-run="0"] button').click()`);
  await page.until(`!${legend}.includes("first")`);
  assertEquals(
    await page.evaluate(
      `document.querySelector('#runs [data-run="0"] button').getAttribute("aria-pressed")`,
    ),
    "false",
  );
  const wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
  assertEquals(await page.evaluate(wider), false);
  assertEquals(page.problems, []);
});

browserTest("the page goes on when its server was away", async (browser) => {
  await using run = await runFolder(RUN);
  const runs = [{ path: run.folder }];
  const first = Dashboard.serve({ runs, port: 0, token: "secret token" });
  const page = await browser.open(first.url);
  await page.until(LIVE);
  const port = Number(new URL(first.url).port);
  await first[Symbol.asyncDispose]();
  await page.until('document.querySelector("#status").dataset.state === "waiting"');
  run.append(stepLines(61, 75));
  await using _second = Dashboard.serve({ runs, port, token: "secret token" });
  await page.until(LIVE);
  await page.until(`${text("0", "step")} === "75 / 1000"`);
  // That it could not connect while there was no server is the browser's to say.
  assertEquals(
    page.problems.filter((one) =>
      !one.includes("ERR_CONNECTION_REFUSED") && !one.includes("ERR_INCOMPLETE_CHUNKED")
    ),
    [],
  );
});
