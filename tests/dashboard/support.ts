/** What tests of the page share. */

import { Browser, findChromium } from "../support/chromium.ts";

const chromium = await findChromium();
if (chromium === null) {
  console.warn(
    "SKIPPED: the dashboard's page is not tested as there is no Chromium: install it (Debian: apt-get install chromium)",
  );
}

/** A test in a browser of its own, left out where there is none. */
export function browserTest(name: string, body: (browser: Browser) => Promise<void>): void {
  Deno.test({
    name,
    ignore: chromium === null,
    async fn() {
      await using browser = await Browser.launch(chromium!);
      await body(browser);
    },
  });
}

/** Whether the page follows its runs. */
export const LIVE = 'document.querySelector("#status")?.dataset.state === "live"';

/** What a run's row says in a field. */
export function text(run: string, field: string): string {
  return `document.querySelector('#runs [data-run="${run}"] [data-field="${field}"]').textContent`;
}

/** Share of the pixels of a figure's canvas in a colour of the page, as opaque as `alpha` says. */
export function colored(
  figure: string,
  name: string,
  alpha: readonly [least: number, most: number] = [200, 255],
): string {
  return `(() => {
    const canvas = ${figure}.querySelector("canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const color = getComputedStyle(document.documentElement).getPropertyValue("--${name}").trim();
    const rgb = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
    let pixels = 0;
    for (let i = 0; i < data.length; i += 4) {
      const seen = data[i + 3] >= ${alpha[0]} && data[i + 3] <= ${alpha[1]};
      if (seen && rgb.every((c, k) => Math.abs(data[i + k] - c) < 9)) pixels++;
    }
    return 4 * pixels / data.length;
  })()`;
}
