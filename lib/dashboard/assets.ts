/**
 * The files of the page, as they are served.
 *
 * @module
 */

import chartLibrary from "uplot/dist/uPlot.iife.min.js" with { type: "text" };
import chartStyle from "uplot/dist/uPlot.min.css" with { type: "text" };
import charts from "./page/charts.js" with { type: "text" };
import dashboard from "./page/dashboard.js" with { type: "text" };
import heatMaps from "./page/heat_maps.js" with { type: "text" };
import html from "./page/index.html" with { type: "text" };
import legend from "./page/legend.js" with { type: "text" };
import lists from "./page/lists.js" with { type: "text" };
import marks from "./page/marks.js" with { type: "text" };
import numbers from "./page/numbers.js" with { type: "text" };
import panels from "./page/panels.js" with { type: "text" };
import run from "./page/run.js" with { type: "text" };
import runsTable from "./page/runs_table.js" with { type: "text" };
import style from "./page/style.css" with { type: "text" };

/** A file by its path. */
export interface Asset {
  readonly type: string;
  readonly text: string;
}

const SCRIPT = "text/javascript; charset=utf-8";
const STYLE = "text/css; charset=utf-8";

/** Everything that the page loads. */
export const ASSETS: ReadonlyMap<string, Asset> = new Map([
  ["/", { type: "text/html; charset=utf-8", text: html }],
  ["/style.css", { type: STYLE, text: style }],
  ["/uplot.css", { type: STYLE, text: chartStyle }],
  ["/uplot.js", { type: SCRIPT, text: chartLibrary }],
  ["/dashboard.js", { type: SCRIPT, text: dashboard }],
  ["/charts.js", { type: SCRIPT, text: charts }],
  ["/heat_maps.js", { type: SCRIPT, text: heatMaps }],
  ["/legend.js", { type: SCRIPT, text: legend }],
  ["/lists.js", { type: SCRIPT, text: lists }],
  ["/marks.js", { type: SCRIPT, text: marks }],
  ["/numbers.js", { type: SCRIPT, text: numbers }],
  ["/panels.js", { type: SCRIPT, text: panels }],
  ["/run.js", { type: SCRIPT, text: run }],
  ["/runs_table.js", { type: SCRIPT, text: runsTable }],
]);
