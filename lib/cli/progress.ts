/**
 * Progress of something long: a bar that redraws itself on a terminal, plain lines elsewhere.
 *
 * @module
 */

import { formatDuration } from "./format.ts";

/** Where a {@linkcode ProgressLine} writes; stdout or stderr by default, a stub in tests. */
export interface ProgressOutput {
  /** Writes text as it is, without a line end of its own. */
  write(text: string): void;
  /** Width of the terminal in columns, or `null` where there is none. */
  columns(): number | null;
}

/** Options of {@linkcode ProgressLine}. */
export interface ProgressOptions {
  /** Units of work in all; `null` where that isn't known: no bar and no time left then. @default null */
  total?: number | null;
  /** Word before the bar. @default "" */
  label?: string;
  /** `auto` draws a bar on a terminal, `plain` writes lines. @default "auto" */
  style?: "auto" | "bar" | "plain";
  /** Shortest time between two redraws of the bar, in ms. @default 100 */
  barIntervalMs?: number;
  /** Shortest time between two plain lines, in ms; 0 writes every one. @default 0 */
  plainIntervalMs?: number;
  /** @default stderr */
  output?: ProgressOutput;
  /** Clock in ms. @default performance.now */
  now?: () => number;
  /** When the work began, by that clock, where it was before the line is made. @default now */
  startedAt?: number;
}

/** Where progress stands. */
export interface ProgressState {
  /** Units that are done. */
  done: number;
  /** What the line says beside the bar. */
  text: string;
}

const BAR_WIDTH = 24;
const CLEAR = "\r\x1b[K";

/**
 * One line of progress with the time that is left.
 *
 * The time left assumes the pace since the line was made (or since `startedAt`, or since {@linkcode start} said where a resumed run
 * began). {@linkcode log} writes a lasting line above the bar; {@linkcode finish} leaves the last state on screen.
 */
export class ProgressLine {
  readonly #total: number | null;
  readonly #label: string;
  readonly #bar: boolean;
  readonly #intervalMs: number;
  readonly #output: ProgressOutput;
  readonly #now: () => number;
  #startedAt: number;
  #startedWith = 0;
  #drawnAt = -Infinity;
  #state: ProgressState | null = null;
  #drawn = true;

  constructor(options: ProgressOptions = {}) {
    this.#total = options.total ?? null;
    this.#label = options.label ?? "";
    this.#output = options.output ?? streamOutput(Deno.stderr);
    const style = options.style ?? "auto";
    this.#bar = style === "bar" || (style === "auto" && this.#output.columns() !== null);
    this.#intervalMs = this.#bar ? options.barIntervalMs ?? 100 : options.plainIntervalMs ?? 0;
    this.#now = options.now ?? (() => performance.now());
    this.#startedAt = options.startedAt ?? this.#now();
  }

  /** Whether a bar is drawn, as opposed to plain lines. */
  get isBar(): boolean {
    return this.#bar;
  }

  /** Starts the clock again at `done` units: a resumed run didn't just do what it found done. */
  start(done: number): void {
    this.#startedWith = done;
    this.#startedAt = this.#now();
  }

  /** Shows a state; states that come faster than the interval are passed over, the last one never. */
  update(state: ProgressState): void {
    this.#state = state;
    this.#drawn = false;
    if (this.#now() - this.#drawnAt >= this.#intervalMs) this.#draw();
  }

  /** Writes a line that stays, above the bar. */
  log(line: string): void {
    this.#output.write(this.#bar ? `${CLEAR}${line}\n` : `${line}\n`);
    if (this.#bar && this.#state !== null) this.#draw();
  }

  /** Draws what was passed over and ends the line. */
  finish(): void {
    if (this.#state !== null && !this.#drawn) this.#draw();
    if (this.#bar && this.#state !== null) this.#output.write("\n");
    this.#state = null;
  }

  /** Milliseconds that are left at the pace so far, `null` where nothing can be said. */
  remainingMs(done: number): number | null {
    const made = done - this.#startedWith;
    if (this.#total === null || made <= 0) return null;
    return ((this.#now() - this.#startedAt) / made) * Math.max(0, this.#total - done);
  }

  #draw(): void {
    const { done, text } = this.#state!;
    this.#drawnAt = this.#now();
    this.#drawn = true;
    const left = this.remainingMs(done);
    const eta = left === null || done === this.#total ? "" : ` eta ${formatDuration(left)}`;
    if (!this.#bar) {
      this.#output.write([this.#label, text].filter((part) => part !== "").join(" ") + eta + "\n");
      return;
    }
    const parts = [this.#label, this.#total === null ? "" : drawBar(done / this.#total), text];
    const line = parts.filter((part) => part !== "").join(" ") + eta;
    const columns = this.#output.columns() ?? 100;
    const fits = line.length < columns ? line : line.slice(0, Math.max(0, columns - 2)) + "…";
    this.#output.write(CLEAR + fits);
  }
}

/** A {@linkcode ProgressOutput} over stdout or stderr. A terminal that was closed, or a pipe, costs its lines, not the work. */
export function streamOutput(stream: typeof Deno.stdout | typeof Deno.stderr): ProgressOutput {
  const encoder = new TextEncoder();
  return {
    write(text) {
      const bytes = encoder.encode(text);
      withoutReader(() => {
        for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
      });
    },
    columns() {
      if (!stream.isTerminal()) return null;
      try {
        return Deno.consoleSize().columns; // throws where stdin, stdout and stderr are all redirected
      } catch {
        return 80;
      }
    },
  };
}

/** A line to stderr, which is lost where nothing is there to read it any more. */
export function tell(line: string): void {
  withoutReader(() => console.error(line));
}

/** Writes; of what goes wrong only what is wrong with the reader is passed over: EPIPE of a pipe, EIO of a terminal. */
function withoutReader(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof Error) || !/\(os error (5|32)\)/.test(error.message)) throw error;
  }
}

function drawBar(fraction: number): string {
  const filled = Math.round(BAR_WIDTH * Math.min(1, Math.max(0, fraction)));
  const percent = Math.floor(100 * Math.min(1, Math.max(0, fraction)));
  return `${"█".repeat(filled)}${"░".repeat(BAR_WIDTH - filled)} ${String(percent).padStart(3)}%`;
}
