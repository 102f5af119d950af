/**
 * Which room of `lib/` may import which: the arrows of docs/architecture.md.
 *
 * @module
 */

/** What a room may import besides its own files. */
export interface Room {
  /** Rooms, or single files as `room/file`. */
  readonly imports: readonly string[];
  /** The same for `import type`; `*` is everything in `lib/`. @default none */
  readonly types?: readonly string[];
}

const TRAINED_MODEL = [
  ...["model", "tokenizer", "checkpoint", "interop", "data", "kernels", "tensor", "ffi"],
];

/** Every room of `lib/`. `std` is open to all. */
export const ROOMS: Readonly<Record<string, Room>> = {
  training: {
    imports: [
      ...["config", "model", "optim", "data", "tokenizer", "checkpoint", "interop", "metrics"],
      ...["stability", "kernels", "tensor", "ffi", "evaluation", "inference/generate"],
    ],
  },
  inference: { imports: TRAINED_MODEL },
  evaluation: { imports: TRAINED_MODEL, types: ["inference"] },
  checkpoint: { imports: ["interop"], types: ["model"] },
  interop: { imports: ["model/config"], types: ["model"] },
  bench: {
    imports: [
      ...["cli/format", "cli/command", "cli/print", "report/svg_parts", "metrics/peak_ops"],
      ...["inference", "model", "kernels", "tensor", "ffi"],
    ],
  },
  cli: { imports: ["inference/load_model", "ffi/hangup"], types: ["*"] },
  config: {
    imports: [
      ...["cli/nearest", "model/config", "model/presets", "optim/schedule"],
      ...["stability/options", "stability/faults"],
    ],
    types: ["*"],
  },
  model: { imports: ["kernels", "tensor", "ffi/device"], types: ["ffi"] },
  optim: { imports: ["kernels", "tensor"], types: ["ffi"] },
  data: { imports: ["tokenizer", "ffi"] },
  tokenizer: { imports: ["ffi"] },
  dashboard: { imports: ["cli/stability_text", "history", "http"], types: ["metrics"] },
  report: {
    imports: ["cli/format", "cli/stability_text", "history", "dashboard/page/numbers.js"],
  },
  history: { imports: ["checkpoint/layout", "metrics/records"] },
  http: { imports: [] },
  metrics: { imports: ["http"] },
  stability: { imports: [], types: ["metrics"] },
  kernels: { imports: ["tensor", "ffi"] },
  tensor: { imports: ["ffi"] },
  ffi: { imports: [] },
  dist: { imports: [] },
  layers: { imports: [] },
  std: { imports: [] },
};

/** Rooms that may speak to the native library's loader: `Deno.dlopen` and raw pointers. */
export const NATIVE_ROOM = "ffi";
