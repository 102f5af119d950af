/**
 * Takes the pictures of docs/pictures anew: `deno run -A tests/dashboard/take_pictures.ts WITH_FAULTS WITHOUT`, each a run's folder;
 * the first was trained with `--inject`, so that there are bands and marks to see.
 */

import { join } from "@std/path";
import { Dashboard } from "../../lib/dashboard/server.ts";
import { Browser, findChromium } from "../support/chromium.ts";
import { LIVE } from "./support.ts";

const [first, second] = Deno.args;
const chromium = await findChromium();
if (first === undefined || second === undefined || chromium === null) {
  throw new Error("Cannot take pictures without two runs and a Chromium: name two runs' folders");
}
const FOLDER = new URL("../../docs/pictures", import.meta.url).pathname;
const choose = (statistic: string) =>
  `(() => {
    const select = document.querySelector("#statistic");
    select.value = "${statistic}";
    select.dispatchEvent(new Event("change"));
  })()`;
const scroll = (to: string) => `document.querySelector('${to}').scrollIntoView()`;
/** Drawing and what it fetches. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 2500));

interface Picture {
  readonly name: string;
  readonly runs: readonly string[];
  readonly width: number;
  readonly height: number;
  readonly dark?: boolean;
  readonly phone?: boolean;
  /** What the page is made to show. */
  readonly before?: readonly string[];
}

const PICTURES: readonly Picture[] = [
  { name: "dark", runs: [first], dark: true, width: 1280, height: 1500 },
  {
    name: "machine",
    runs: [first],
    ...{ width: 1280, height: 1300 },
    before: [choose("flipped"), scroll("[data-panel=phases]")],
  },
  { name: "phone", runs: [first], width: 400, height: 860, phone: true },
  { name: "compare", runs: [first, second], width: 1280, height: 1200 },
  {
    name: "ternary",
    runs: [first, second],
    ...{ dark: true, width: 1280, height: 760 },
    before: [choose("near"), scroll("#ternary")],
  },
];

await using browser = await Browser.launch(chromium);
for (const { name, runs, before = [], ...look } of PICTURES) {
  await using dashboard = Dashboard.serve({ runs: runs.map((path) => ({ path })), port: 0 });
  const page = await browser.open(dashboard.url, look);
  await page.until(LIVE);
  await settle();
  for (const expression of before) await page.evaluate(expression);
  await settle();
  if (page.problems.length > 0) throw new Error(page.problems.join("\n"));
  await Deno.writeFile(join(FOLDER, `dashboard_${name}.png`), await page.screenshot());
}
