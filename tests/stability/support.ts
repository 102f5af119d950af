/** A run without a network: a policy, a trace of losses, and what a trainer does with the decisions. */

import * as z from "zod";
import type { StabilityEvent } from "../../lib/metrics/records.ts";
import type { StepNumbers } from "../../lib/stability/detectors.ts";
import type { StabilityConfig } from "../../lib/stability/options.ts";
import { type RollbackDecision, StabilityPolicy } from "../../lib/stability/policy.ts";
import { stabilitySchema, type StabilityState } from "../../lib/stability/state.ts";
import { parseJson } from "../../lib/std/json.ts";

/** Small numbers, so that traces are short. */
export const CONFIG: StabilityConfig = {
  onNonFinite: "skip",
  onSpike: "rollback",
  spikeThreshold: 5,
  emaDecay: 0.9,
  warmupSteps: 5,
  onLossOutlier: "off",
  onGradNormOutlier: "off",
  outlierThreshold: 6,
  outlierWindow: 16,
  maxConsecutiveSkips: 3,
  snapshotEvery: 5,
  snapshots: 2,
  stableAfter: 4,
  skipExtraSteps: 0,
  lrFactor: 0.5,
  minLrFactor: 0.1,
  lrRampSteps: 10,
  maxRollbacks: 3,
  rollbackWindow: 100,
};

const WINDOWS_PER_STEP = 8;

/** What a trace is told of a step. */
export interface TracePoint {
  readonly step: number;
  /** Steps' worth of data taken, this step's and left out ones among them. */
  readonly batch: number;
  /** Steps taken in all, undone ones among them. */
  readonly taken: number;
}

/** How a simulated run goes. */
export interface SimulationOptions {
  readonly config?: Partial<StabilityConfig>;
  readonly steps: number;
  readonly trace: (point: TracePoint) => Partial<StepNumbers>;
  /** Steps that are queued before their results are looked at. @default 1 */
  readonly capacity?: number;
  /** @default 0 */
  readonly checkpointEvery?: number;
  /** Whether steps are judged before they move the weights. @default false */
  readonly early?: boolean;
  /** Whether the policy is made anew from its state, through JSON, before each step. @default false */
  readonly restored?: boolean;
  /** Steps taken at which the process dies and goes on from its last checkpoint. @default none */
  readonly killedAt?: readonly number[];
}

/** What came of it. */
export interface Simulation {
  readonly events: readonly StabilityEvent[];
  /** Learning-rate factor and batch of each step that counts, from step 1. */
  readonly path: readonly { lr: number; batch: number }[];
  readonly state: StabilityState;
  readonly stopped: RollbackDecision | null;
}

/** What is on disk. */
interface Saved {
  readonly events: StabilityEvent[];
  readonly path: { lr: number; batch: number }[];
  readonly step: number;
  readonly window: number;
  readonly state: StabilityState;
}

const SMOOTH: StepNumbers = { loss: 3, gradNorm: 0.5 };

/** The state as a checkpoint gives it back, or the error of its first wrong field. */
export function through(state: unknown): StabilityState {
  return parseJson(JSON.stringify({ stability: state }), z.object({ stability: stabilitySchema }), {
    path: "trainer_state.json",
    maxBytes: 1e6,
    fail: (message) => new Error(message),
  }).stability;
}

export function simulate(options: SimulationOptions): Simulation {
  const { steps, trace, capacity = 1, checkpointEvery = 0, restored = false } = options;
  const settings = { ...CONFIG, ...options.config, windowsPerStep: WINDOWS_PER_STEP };
  const kills = [...options.killedAt ?? []];
  let policy = new StabilityPolicy(settings);
  let events: StabilityEvent[] = [];
  let path: { lr: number; batch: number }[] = [];
  let step = 0;
  let window = 0;
  let saved = null as Saved | null;
  const point = () => ({ step, tokens: 10 * step, updates: step, skipped: 0, window });
  policy.addSnapshot(point());
  while (step < steps) {
    const queued: { step: number; window: number; lr: number; numbers: StepNumbers }[] = [];
    do {
      window += WINDOWS_PER_STEP;
      const at = step + queued.length + 1;
      const numbers = {
        ...SMOOTH,
        ...trace({
          step: at,
          batch: window / WINDOWS_PER_STEP,
          taken: at + policy.state.undone,
        }),
      };
      queued.push({ step: at, window, lr: policy.lrFactor(queued.length), numbers });
    } while (
      queued.length < capacity && step + queued.length < steps &&
      (step + queued.length) % settings.snapshotEvery !== 0
    );
    for (const { numbers, lr, ...place } of queued) {
      if (restored) policy = new StabilityPolicy(settings, through(policy.state));
      const applied = options.early !== true && Number.isFinite(numbers.gradNorm);
      const decision = policy.judge({ ...place, ...numbers, applied });
      events.push(...decision.events);
      if (!("candidates" in decision)) {
        step++;
        path.push({ lr, batch: place.window / WINDOWS_PER_STEP });
        continue;
      }
      const [to] = decision.candidates;
      if (to === undefined) return { events, path, state: policy.state, stopped: decision };
      const back = policy.rolledBack(decision, to);
      events.push(...back.events);
      ({ step } = to);
      ({ window } = back);
      path = path.slice(0, step);
      if (decision.action === "stop") {
        return { events, path, state: policy.state, stopped: decision };
      }
      save();
      break;
    }
    if (policy.wantsSnapshot(step)) policy.addSnapshot(point());
    if (checkpointEvery > 0 && step % checkpointEvery === 0) save();
    if (kills.length > 0 && saved !== null && step + policy.state.undone >= kills[0]!) {
      kills.shift();
      ({ events, path, step, window } = structuredClone(saved));
      policy = new StabilityPolicy(settings, through(saved.state));
    }
  }
  return { events, path, state: policy.state, stopped: null };

  function save(): void {
    if (checkpointEvery === 0) return;
    policy.adopt(policy.stateOfCheckpoint(point()));
    saved = structuredClone({ events, path, step, window, state: policy.state });
  }
}

/** Events of a kind. */
export function of<Kind extends StabilityEvent["event"]>(
  { events }: Pick<Simulation, "events">,
  kind: Kind,
): Extract<StabilityEvent, { event: Kind }>[] {
  return events.filter((event): event is Extract<StabilityEvent, { event: Kind }> =>
    event.event === kind
  );
}

/** Uniform numbers from 0 to 1, the same for the same seed. */
export function random(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48271) % 2147483647) / 2147483647;
}
