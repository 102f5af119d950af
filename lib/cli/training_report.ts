/**
 * What a training shows on the console: a bar on a terminal, a line for every logged step elsewhere.
 *
 * @module
 */

import type { MetricsRecord, StepRecord, TernaryRecord } from "../metrics/records.ts";
import { formatBytes, formatCount, formatDuration, formatPercent, formatRate } from "./format.ts";
import { ProgressLine, type ProgressOutput } from "./progress.ts";
import { describeStability } from "./stability_text.ts";

/** Options of {@linkcode TrainingReport}. */
export interface TrainingReportOptions {
  /** Optimizer steps of the whole run. */
  readonly steps: number;
  /** `auto` draws a bar on a terminal. @default "auto" */
  readonly style?: "auto" | "bar" | "plain";
  /** Shown when the run begins, as opposed to one that data or a checkpoint keep from it. @default none */
  readonly heading?: string;
  /** Line that ends what is shown when the run begins: where to look at it. @default none */
  readonly address?: string;
  /** @default stderr */
  readonly output?: ProgressOutput;
}

/** Turns records into lines. */
export class TrainingReport {
  readonly #line: ProgressLine;
  readonly #steps: number;
  readonly #heading: string | null;
  readonly #address: string | null;
  /** Notes that came before the run began, which the heading would push out of sight; null from then on. */
  #early: string[] | null = [];
  #step: StepRecord | null = null;
  /** Whether the newest step's line lacks what has been measured since. */
  #isBehind = false;
  #bitsPerByte: number | null = null;
  #ternary: TernaryRecord | null = null;

  constructor(options: TrainingReportOptions) {
    this.#steps = options.steps;
    this.#heading = options.heading ?? null;
    this.#address = options.address ?? null;
    this.#line = new ProgressLine({
      total: options.steps,
      label: "train",
      style: options.style ?? "auto",
      ...(options.output !== undefined && { output: options.output }),
    });
  }

  /** Shows a record. */
  record(record: MetricsRecord): void {
    switch (record.type) {
      case "run":
        this.#line.start(record.step);
        if (this.#heading !== null) this.#line.log(this.#heading);
        this.#line.log(
          `${record.run}: ${
            formatCount(record.parameters)
          } parameters on ${record.device} (${record.backend}), ` +
            `${formatCount(record.tokens_per_step)} tokens a step, ` +
            (record.step < record.steps
              ? `steps ${record.step + 1} to ${record.steps}`
              : `all ${record.steps} steps were done before`),
        );
        if (record.snapshot_bytes > 0) {
          this.#line.log(
            `snapshots to go back to take up to ${
              formatBytes(record.snapshot_bytes)
            } of host memory`,
          );
        }
        for (const note of this.#early ?? []) this.#line.log(note);
        this.#early = null;
        if (this.#address !== null) this.#line.log(this.#address);
        break;
      case "step":
        this.#step = record;
        this.#showStep();
        break;
      case "validation": {
        this.#bitsPerByte = record.bits_per_byte;
        this.#fallBehind();
        const bits = record.bits_per_byte === null
          ? ""
          : `, ${record.bits_per_byte.toFixed(3)} bits per byte`;
        this.#line.log(
          `validation at step ${record.step}: loss ${record.loss.toFixed(4)}, ` +
            `perplexity ${record.perplexity.toFixed(2)}${bits} ` +
            `(${formatCount(record.validation_tokens)} tokens in ${
              formatDuration(record.validation_ms)
            })`,
        );
        break;
      }
      case "ternary":
        this.#ternary = record;
        this.#fallBehind();
        break;
      case "sample":
        this.#line.log(
          record.error === null
            ? `sample at step ${record.step}: ${JSON.stringify(record.prompt)} → ` +
              `${JSON.stringify(record.text)} (${record.sample_tokens} tokens in ${
                formatDuration(record.sample_ms)
              })`
            : `sample at step ${record.step}: none, ${record.error}`,
        );
        break;
      case "checkpoint":
        if (record.error !== null) break; // a warning says it
        this.#line.log(
          `checkpoint ${record.path} (${formatBytes(record.size_bytes)} in ${
            formatDuration(record.write_ms)
          })`,
        );
        break;
      case "stability":
        this.#line.log(describeStability(record));
        if (record.event === "rollback") this.#line.start(record.to_step);
        break;
      case "event":
        if (this.#isBehind) this.#showStep();
        this.#line.finish();
        break;
    }
  }

  /** Shows a warning that stays. */
  warn(message: string): void {
    this.#line.log(`warning: ${message}`);
  }

  /** Shows a line that stays: below the heading. */
  note(message: string): void {
    if (this.#early === null) this.#line.log(message);
    else this.#early.push(message);
  }

  /** Ends the line that stands. */
  finish(): void {
    this.#line.finish();
  }

  #showStep(): void {
    if (this.#step === null) return;
    this.#isBehind = false;
    this.#line.update({ done: this.#step.step, text: this.#describe(this.#step) });
  }

  /** A bar takes what is new at once; of plain lines the next one, or one more at the end. */
  #fallBehind(): void {
    this.#isBehind = true;
    if (this.#line.isBar) this.#showStep();
  }

  /** The numbers, those that matter most first: a narrow terminal has no room for all. */
  #describe(record: StepRecord): string {
    const parts = [
      `step ${record.step}/${this.#steps}`,
      `loss ${record.loss.toFixed(4)}`,
      formatRate(record.tokens_per_s),
      ...(this.#bitsPerByte === null ? [] : [`val ${this.#bitsPerByte.toFixed(3)} bpb`]),
      `lr ${record.lr.toExponential(2)}`,
      `grad ${record.grad_norm.toFixed(2)}`,
      ...(record.mfu_bf16 === null ? [] : [`MFU ${formatPercent(record.mfu_bf16)}`]),
      ...describeTernary(this.#ternary),
      ...(record.skipped === 0 ? [] : [`${record.skipped} skipped`]),
      ...describeMetrics(record.metrics ?? {}),
    ];
    return parts.join("  ");
  }
}

/** The newest counts as they stand among a step's numbers. */
function describeTernary(record: TernaryRecord | null): string[] {
  if (record === null) return [];
  const { zero_share, flip_rate } = record;
  const flips = flip_rate === null ? [] : [`flips ${formatPercent(flip_rate)}`];
  return [`zeros ${formatPercent(zero_share)}`, ...flips];
}

/** Metrics of the program's own that a line has room for. */
const MOST_METRICS = 4;

function describeMetrics(metrics: NonNullable<StepRecord["metrics"]>): string[] {
  const named = Object.entries(metrics);
  const shown = named.slice(0, MOST_METRICS)
    .map(([name, value]) =>
      `${name} ${value === null ? "–" : String(Number(value.toPrecision(4)))}`
    );
  const others = named.length - shown.length;
  return others === 0 ? shown : [...shown, `and ${others} more`];
}
