/**
 * The charts of a report.
 *
 * @module
 */

import { type Columns, downsample } from "../history/downsample.ts";
import { clipNorm } from "../history/run_files.ts";
import type { RunHistory } from "../history/run_history.ts";
import { smooth } from "../history/smoothing.ts";
import { drawRunChart, type RunChart, type RunLine, type RunMarks } from "./run_chart.ts";

/** A run of a report. */
export interface ReportedRun {
  readonly name: string;
  readonly history: RunHistory;
  /** Its config as YAML, null where no checkpoint holds it. */
  readonly config: string | null;
}

/** Two for each pixel of a chart's width. */
const POINTS = 1600;
/** Records that losses are smoothed over, as on the dashboard's page. */
const WINDOW = 5;

/** A column, and what it is called. */
export type Field = readonly [column: string, label: string];

/** Charts of what the runs have records of, as SVG. */
export function chartsOf(runs: readonly ReportedRun[]): string[] {
  const columns = runs.map(({ history }) => thinned(history));
  /** One line a run. */
  const byRun = (
    column: string,
    options: { label?: string; style?: "faint" } = {},
  ): RunLine[] =>
    runs.map(({ name }, index) => ({
      name: options.label === undefined ? name : `${name} ${options.label}`,
      color: index,
      x: columns[index]!.step!,
      y: columns[index]![column] ?? [],
      ...(options.style !== undefined && { style: options.style }),
    }));
  const byField = (fields: readonly Field[]) => linesByField(runs, columns, fields);
  const validations = (of: "loss" | "bits_per_byte"): RunLine[] =>
    runs.map(({ name, history }, color) => ({
      name,
      color,
      x: history.validations.map(({ step }) => step),
      y: history.validations.map((one) => one[of] ?? null),
      style: "dots" as const,
    }));
  const level = runs.map(({ config }) => clipNorm(config)).find((norm) => norm !== null) ?? null;
  return [
    {
      title: "Loss",
      unit: "nats a token",
      lines: [
        ...byRun("loss", { style: "faint" }),
        ...byRun("loss_smooth", { label: `smoothed over ${WINDOW} records` }),
      ],
      marks: marksOf(runs, "loss"),
    },
    { title: "Validation loss", unit: "nats a token", lines: validations("loss") },
    {
      title: "Validation, bits per byte",
      unit: "bits per byte",
      lines: validations("bits_per_byte"),
    },
    { title: "Learning rate", unit: "", lines: byRun("lr"), marks: marksOf(runs, null) },
    {
      title: "Gradient norm before clipping",
      unit: "norm",
      lines: byRun("grad_norm"),
      marks: { ...marksOf(runs, "grad_norm"), level },
    },
    { title: "Throughput", unit: "tokens/s", lines: byRun("tokens_per_s") },
    {
      title: "Model FLOPs utilisation",
      unit: "fraction of the peak",
      ...byField([["mfu_bf16", "bf16 peak"], ["mfu_mixed", "int8 and bf16 peaks"]]),
    },
    {
      title: "Time by phase",
      unit: "ms",
      ...byField([
        ["forward_ms", "forward"],
        ["backward_ms", "backward"],
        ["optimizer_ms", "optimizer"],
        ["data_ms", "data"],
      ]),
    },
    ...ownMetrics(columns).map((column) => ({
      title: column.replace(OWN, ""),
      unit: "",
      lines: byRun(column),
    })),
  ].map(drawRunChart).filter((svg) => svg !== "");
}

/** Metrics of the program's own among columns. */
const OWN = /^metrics\./;

function ownMetrics(runs: readonly Columns[]): string[] {
  return [...new Set(runs.flatMap(Object.keys))].filter((name) => OWN.test(name));
}

/** Several lines a run: of one run a colour a line, of several a colour a run, whose lines dashes tell apart. */
export function linesByField(
  runs: readonly ReportedRun[],
  columns: readonly Columns[],
  fields: readonly Field[],
): Pick<RunChart, "lines" | "key"> {
  const several = runs.length > 1;
  return {
    lines: runs.flatMap(({ name }, run) =>
      fields.map(([column, label], field) => ({
        ...(several
          ? { name: `${name} ${label}`, color: run, dash: field }
          : { name: label, color: field }),
        x: columns[run]!.step ?? [],
        y: columns[run]![column] ?? [],
      }))
    ),
    ...(several && {
      key: {
        colors: runs.map(({ name }) => name),
        dashes: fields.length === 1 ? [] : fields.map(([, label]) => label),
      },
    }),
  };
}

function thinned({ steps }: RunHistory): Columns {
  const losses = steps.get("loss") ?? new Float32Array();
  return downsample(
    steps,
    { from: 0, to: steps.length, points: POINTS },
    new Map([["loss_smooth", smooth(losses, WINDOW).values]]),
  );
}

function marksOf(runs: readonly ReportedRun[], field: "loss" | "grad_norm" | null): RunMarks {
  const notes = runs.flatMap(({ history }) => history.notes);
  return {
    bands: notes.flatMap((note) => {
      if (note.type !== "stability") return [];
      if (note.event === "rollback") return [{ from: note.to_step, to: note.step }];
      return note.event === "spike" && note.answer === "skip"
        ? [{ from: note.step - 1, to: note.step, leftOut: true }]
        : [];
    }),
    spikes: notes.flatMap((note) =>
      note.type === "stability" && note.event === "spike" && field !== null
        ? [{ step: note.step, value: note[field] ?? null }]
        : []
    ),
  };
}
