/**
 * The records of a run: one JSON object a line, told apart by `type`. Units are in the names: `_ms`, `_per_s`,
 * `_bytes`; `mfu_*` are fractions of 1. Losses are natural-logarithm nats a token.
 *
 * @module
 */

/** First record of each start of a run. */
export interface RunRecord {
  readonly type: "run";
  /** Step the run starts after: 0, or the checkpoint's where it was resumed. */
  readonly step: number;
  /** ISO 8601. */
  readonly time: string;
  readonly version: string;
  readonly run: string;
  /** Device as its driver or the system names it. */
  readonly device: string;
  readonly backend: "cuda" | "cpu";
  readonly parameters: number;
  readonly tokens_per_step: number;
  readonly steps: number;
  /** Steps that rollbacks have undone since the run began. With `step` they count the steps taken. */
  readonly undone_steps: number;
  /** Host memory that snapshots may take. */
  readonly snapshot_bytes: number;
  /** PCI address of the card, such as `0000:c1:00.0`; null on a CPU, absent from older files. */
  readonly pci_bus_id?: string | null;
}

/** An optimizer step, or the mean of the steps since the last record. */
export interface StepRecord {
  readonly type: "step";
  /** Optimizer steps done, 1 after the first. */
  readonly step: number;
  /** Tokens trained on since the run began. */
  readonly tokens: number;
  readonly loss: number;
  readonly lr: number;
  readonly weight_decay: number;
  /** Global norm before clipping. */
  readonly grad_norm: number;
  readonly step_ms: number;
  /** Device time of the last step's forward passes, of its backward passes, and of its update; `null` where none was measured. */
  readonly forward_ms: number | null;
  readonly backward_ms: number | null;
  readonly optimizer_ms: number | null;
  /** Host time a step for reading batches, most of it while the device works. */
  readonly data_ms: number | null;
  readonly tokens_per_s: number;
  /** All model FLOPs over the card's bfloat16 peak; `null` on an unknown card. */
  readonly mfu_bf16: number | null;
  /** int8 and bfloat16 FLOPs, each over its own peak; `null` on an unknown card. */
  readonly mfu_mixed: number | null;
  /** Optimizer steps that were skipped since the run began. */
  readonly skipped: number;
  /** Metrics of a program's own by their names, null where not finite; absent where none was logged. */
  readonly metrics?: Readonly<Record<string, number | null>>;
}

/** An evaluation on held-out tokens. */
export interface ValidationRecord {
  readonly type: "validation";
  readonly step: number;
  readonly tokens: number;
  readonly loss: number;
  readonly perplexity: number;
  /** `null` where the token file doesn't say how many bytes its text has. */
  readonly bits_per_byte: number | null;
  readonly validation_tokens: number;
  readonly validation_ms: number;
}

/**
 * The ternary weights of a run and what feeds them (docs/ternary-statistics.md). Arrays of weights have a number for each matrix,
 * those of inputs one for each input, layer by layer: matrix m of layer l stands at l · matrices.length + m. Shares are fractions of
 * 1; numbers have 6 digits.
 */
export interface TernaryRecord {
  readonly type: "ternary";
  readonly step: number;
  readonly layers: number;
  /** Names of a layer's matrices. */
  readonly matrices: readonly string[];
  /** Names of a layer's inputs of projections. */
  readonly inputs: readonly string[];
  /** Share of weights that are 0, and that have flipped, over all matrices. */
  readonly zero_share: number;
  readonly flip_rate: number | null;
  /** Steps that the flips are of; `null`, as the flips, where nothing is known to compare with. */
  readonly flip_steps: number | null;
  /** Shares of -1, 0 and 1. */
  readonly minus: readonly number[];
  readonly zero: readonly number[];
  readonly plus: readonly number[];
  /** Share of weights whose ternary value is another one than `flip_steps` before. */
  readonly flipped: readonly number[] | null;
  /** Mean magnitude of the latent weights. */
  readonly beta: readonly number[];
  /** Share of latent weights within 0.1 beta of a threshold, beta/2 or -beta/2. */
  readonly near: readonly number[];
  /** Magnitude that each token of the last micro-batch was scaled by: mean and maximum over tokens. */
  readonly gamma_mean: readonly number[];
  readonly gamma_max: readonly number[];
  /** Shares of integers that are 0, and that are at the quantiser's limits. */
  readonly input_zero: readonly number[];
  readonly input_clipped: readonly number[];
  /** Time that counting took, between two steps. */
  readonly collect_ms: number;
}

/** What the model wrote after a prompt, as `logging.samples` asks for. */
export interface SampleRecord {
  readonly type: "sample";
  readonly step: number;
  readonly tokens: number;
  readonly prompt: string;
  /** What follows the prompt; empty where it could not be written. */
  readonly text: string;
  readonly prompt_tokens: number;
  /** Tokens of the text. */
  readonly sample_tokens: number;
  /** Why it ends: the model ended it, or it was long enough; `null` where it could not be written. */
  readonly stop: "end_of_text" | "max_tokens" | "context_full" | null;
  /** Time that it took, between two steps. */
  readonly sample_ms: number;
  /** Why it could not be written; `null` where it was. */
  readonly error: string | null;
}

/** A checkpoint that was written, or couldn't be. */
export interface CheckpointRecord {
  readonly type: "checkpoint";
  readonly step: number;
  readonly path: string;
  readonly write_ms: number;
  readonly size_bytes: number;
  /** Why it wasn't written; `null` where it was. */
  readonly error: string | null;
}

/** Something that happened to a run. */
export interface EventRecord {
  readonly type: "event";
  readonly step: number;
  /** `interrupted` is a signal, `stopped` is stability giving up, `finished` the last step. */
  readonly event: "interrupted" | "stopped" | "finished";
  readonly message: string;
}

/**
 * The machine at one moment, every `logging.machine_every_s` seconds. A figure that the system, the driver or the card does
 * not tell is `null`; those of a card are, all of them, on a CPU. `lib/ffi/nvml.ts` has the sources of the latter.
 */
export interface MachineRecord extends HostFigures, CardFigures {
  readonly type: "machine";
  /** Optimizer steps done, as the record before says. */
  readonly step: number;
  /** ISO 8601. */
  readonly time: string;
}

/** Of the whole machine, in a container too, but for the process's own. */
export interface HostFigures {
  readonly host_memory_total_bytes: number | null;
  /** Not to be had without swapping: total less available. */
  readonly host_memory_used_bytes: number | null;
  readonly host_memory_available_bytes: number | null;
  /** Left to this user on the file system of the run's checkpoints. */
  readonly disk_available_bytes: number | null;
  /** Resident memory of this process, mapped token files among it. */
  readonly process_rss_bytes: number | null;
}

/** Of the card that trains. */
export interface CardFigures {
  readonly gpu_power_w: number | null;
  readonly gpu_temperature_c: number | null;
  readonly gpu_sm_clock_mhz: number | null;
  readonly gpu_memory_clock_mhz: number | null;
  /** Share of the driver's last sample period (1/6 s to 1 s) in which a kernel ran, 0 to 100. */
  readonly gpu_utilisation_percent: number | null;
  /** By all processes on the card, with what the driver keeps for itself. */
  readonly gpu_memory_used_bytes: number | null;
  readonly gpu_memory_total_bytes: number | null;
  /** ECC errors since the driver was loaded. */
  readonly gpu_ecc_corrected: number | null;
  readonly gpu_ecc_uncorrected: number | null;
  /** Why clocks are below their highest now; empty where they are not. */
  readonly gpu_throttle_reasons: readonly ThrottleReason[] | null;
}

/** Why a card's clocks are low. `idle` is none to worry about. */
export type ThrottleReason =
  | "idle"
  | "clocks_setting"
  | "sw_power_cap"
  | "hw_slowdown"
  | "sync_boost"
  | "sw_thermal"
  | "hw_thermal"
  | "hw_power_brake"
  | "display_clocks"
  | "unknown";

/** Something is wrong with a step's numbers. */
export interface SpikeEvent {
  readonly event: "spike";
  /** The step, from 1. */
  readonly step: number;
  /** What found it; `non_finite` values are judged before all else. */
  readonly detector: "non_finite" | "loss_ema" | "loss_outlier" | "grad_norm_outlier";
  /** `skip`: the step is left out; `rollback` and `stop`: it is undone. */
  readonly answer: "skip" | "rollback" | "stop";
  readonly loss: number;
  /** Global norm before clipping. */
  readonly grad_norm: number;
  /** Moving average or median that the value was judged by; null for `non_finite`. */
  readonly reference: number | null;
  /** `loss_ema`: loss over the average; outliers: robust deviations above the median; null for `non_finite`. */
  readonly score: number | null;
  /** Score above which it is a spike; null for `non_finite`. */
  readonly threshold: number | null;
  /** Steps left out in a row, this one among them where it is left out. */
  readonly consecutive_skips: number;
}

/** The run went back to a snapshot. */
export interface RollbackEvent {
  readonly event: "rollback";
  /** The step that was found wrong. The next record's steps go on from `to_step`. */
  readonly step: number;
  /** Step of the snapshot. */
  readonly to_step: number;
  readonly place: "memory" | "disk";
  readonly undone_steps: number;
  /** Windows of data that are left out, from the first to before the last, counted since the run began. */
  readonly window_from: number;
  readonly window_to: number;
  /** Learning rate over the schedule's from here on. */
  readonly lr_factor: number;
  /** Rollbacks within the window of steps, this one among them unless the run ends by it. */
  readonly rollbacks: number;
  readonly max_rollbacks: number;
}

/** The learning rate is the schedule's again. */
export interface RecoveredEvent {
  readonly event: "recovered";
  readonly step: number;
  /** Calm steps since the rollback. */
  readonly calm_steps: number;
}

/** Outliers went on for so long that they are what is normal now. */
export interface NewLevelEvent {
  readonly event: "new_level";
  readonly step: number;
  readonly detector: SpikeEvent["detector"];
  /** Median of the values before. */
  readonly from: number | null;
  readonly to: number;
}

/** The run ends, as too much went wrong. */
export interface GaveUpEvent {
  readonly event: "gave_up";
  readonly step: number;
  readonly reason: string;
  /** Rollbacks within the window of steps. */
  readonly rollbacks: number;
}

/** A decision of stability. */
export type StabilityEvent =
  | SpikeEvent
  | RollbackEvent
  | RecoveredEvent
  | NewLevelEvent
  | GaveUpEvent;

/** A decision of stability, as a record. */
export type StabilityRecord = { readonly type: "stability" } & StabilityEvent;

/** Any record. */
export type MetricsRecord =
  | RunRecord
  | StepRecord
  | ValidationRecord
  | TernaryRecord
  | SampleRecord
  | CheckpointRecord
  | StabilityRecord
  | MachineRecord
  | EventRecord;

/** A record as one line of JSON with its line end. Numbers that aren't finite become `null`, as JSON has none. */
export function encodeRecord(record: MetricsRecord): string {
  return JSON.stringify(record) + "\n";
}

/** Reads a line that {@linkcode encodeRecord} wrote; `null` for a line that is torn or something else. */
export function decodeRecord(line: string): MetricsRecord | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const { type, step } = value as { type?: unknown; step?: unknown };
  const known = [
    ...["run", "step", "validation", "ternary", "sample", "checkpoint", "stability", "machine"],
    "event",
  ];
  return typeof type === "string" && known.includes(type) && typeof step === "number"
    ? value as MetricsRecord
    : null;
}
