/**
 * Draws losses as a line chart in SVG.
 *
 *     deno run -A tests/reference/plot_curves.ts --out curve.svg --title "…" [--name A --name B] a.jsonl b.json
 *
 * Files are `metrics.jsonl` of training runs (validation losses become dots) or curves of loss_curve.ts and loss_curve.py.
 *
 * - `--x step|tokens`: the axis; `--log-x` makes it logarithmic
 * - `--smooth N`: lines are means over N neighbouring records, with the records faint behind them
 * - `--difference`: a second panel with each curve's difference from the first file's, in percent; `--allowed P` marks ±P
 * - `--to Y`: losses above Y are cut off, for a start that would flatten the rest
 */

import { parseArgs } from "@std/cli";
import { basename, dirname } from "@std/path";
import { decodeRecord } from "../../lib/metrics/records.ts";
import { type Curve, drawCurves, type Point } from "../../lib/report/loss_curves.ts";

/** Reads a file of losses by what is in it. Throws `Error` where it holds none. */
export function parseCurve(text: string, path: string): Curve {
  const points: Point[] = [];
  const validation: Point[] = [];
  let name = basename(path).startsWith("metrics")
    ? basename(dirname(path))
    : basename(path).replace(/\.\w+$/, "");
  const whole = path.endsWith(".json") ? JSON.parse(text) : null;
  if (whole !== null) {
    name = whole.name ?? name;
    const tokens = whole.tokens_per_step ?? 0;
    for (const { step, loss } of whole.steps) points.push({ step, tokens: step * tokens, loss });
  } else {
    for (const line of text.split("\n")) {
      const record = decodeRecord(line);
      if (record?.type === "step") points.push(record);
      if (record?.type === "validation") validation.push(record);
    }
  }
  const finite = points.filter(({ loss }) => Number.isFinite(loss) && loss !== null);
  if (finite.length === 0) throw new Error(`Cannot draw ${path} as it holds no losses`);
  return { name, points: finite, validation };
}

function main(): void {
  const args = parseArgs(Deno.args, {
    string: ["out", "title", "name", "x", "smooth", "allowed", "to"],
    boolean: ["log-x", "difference"],
    collect: ["name"],
    default: { title: "Training loss", x: "step", smooth: "1" },
  });
  const out = args.out as string | undefined;
  if (out === undefined || args._.length === 0) {
    throw new Error("Cannot draw without --out FILE.svg and at least one file of losses");
  }
  const curves = args._.map((path, index) => {
    const curve = parseCurve(Deno.readTextFileSync(String(path)), String(path));
    return { ...curve, name: (args.name as string[])[index] ?? curve.name };
  });
  const number = (value: unknown) => value === undefined ? undefined : Number(value);
  const allowed = number(args.allowed);
  const to = number(args.to);
  const svg = drawCurves(curves, {
    title: String(args.title),
    x: args.x as "step" | "tokens",
    logX: Boolean(args["log-x"]),
    smooth: Number(args.smooth),
    difference: Boolean(args.difference),
    ...(allowed !== undefined && { allowed }),
    ...(to !== undefined && { to }),
  });
  Deno.writeTextFileSync(out, svg);
}

if (import.meta.main) main();
