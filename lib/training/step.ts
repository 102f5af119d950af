/**
 * Optimizer steps: gradients of some micro-batches, then AdamW and the new ternary weights.
 *
 * A step is queued, not waited for. On CUDA the ops of a micro-batch are one graph and those of the update another, recorded
 * after a first step that ran them one by one; the host's work is then a copy of tokens and a launch a micro-batch, and results
 * stay on the card until they are asked for.
 *
 * @module
 */

import type { BatchLoader } from "../data/loader.ts";
import { DeviceEvent } from "../ffi/event.ts";
import { Graph } from "../ffi/graph.ts";
import { sum } from "../kernels/reduce.ts";
import type { ParameterGroup } from "../model/parameters.ts";
import type { Pass } from "../model/pass.ts";
import type { BitNetTransformer } from "../model/transformer.ts";
import type { AdamW } from "../optim/adamw.ts";
import { Arena } from "../tensor/arena.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { StepFaults } from "./step_faults.ts";

/** What changes from step to step. */
export interface StepOptions {
  /** Rate of groups without a factor. */
  readonly lr: number;
  /** Decoupled weight decay of the groups that have one. */
  readonly weightDecay: number;
  /** Judges the step before its update, which costs a wait for the device; `false` leaves it out. @default none */
  readonly accepts?: (result: StepResult) => boolean;
  /** Faults made on purpose. @default none */
  readonly faults?: StepFaults | null;
}

/** What a step gives. */
export interface StepResult {
  /** Mean cross-entropy over the step's tokens, in nats. */
  readonly loss: number;
  /** Global gradient norm before clipping; the weights are as before where it is not finite. */
  readonly gradNorm: number;
}

/** Where a step's time goes, in milliseconds of the device; the last step's, its micro-batches all taken to be like the last. */
export interface StepPhases {
  readonly forwardMs: number;
  readonly backwardMs: number;
  readonly optimizerMs: number;
}

/** What {@linkcode TrainingStep.settle} gives. */
export interface SettledSteps {
  /** One a step, in order. */
  readonly results: readonly StepResult[];
  readonly phases: StepPhases;
  /** Milliseconds a step that the host spent on reading batches. */
  readonly dataMs: number;
}

/** Steps that the host may be ahead of the device: enough to keep it busy, few enough to stop soon. */
const LEAD = 2;

/**
 * Groups whose gradients a step's first micro-batch writes anew; to those of all others it adds.
 */
const WRITTEN_ANEW: readonly ParameterGroup[] = ["projections"];

/** Trains on batches of one shape. It owns graphs and events: hold it with `using`. */
export class TrainingStep implements Disposable {
  /** Steps that can be queued before they must be settled. */
  readonly capacity: number;
  readonly #model: BitNetTransformer;
  readonly #optimizer: AdamW;
  readonly #pass: Pass;
  readonly #accumulationSteps: number;
  readonly #lrFactors: ReadonlyMap<string, number>;
  readonly #decayed: ReadonlySet<string>;
  readonly #batch: { ids: Int32Array<ArrayBuffer>; targets: Int32Array<ArrayBuffer> };
  readonly #arena = new Arena("results of steps");
  readonly #lossSum: Tensor; // (1), of the step's micro-batches up to now
  readonly #result: Tensor; // (2): loss and grad norm of the last step
  readonly #results: Tensor; // (capacity, 2), of the steps that are not settled
  readonly #hostResults: Float32Array<ArrayBuffer>;
  readonly #resources = new DisposableStack();
  readonly #events: Record<"start" | "forward" | "backward" | "update" | "end", DeviceEvent>;
  readonly #ends: readonly DeviceEvent[]; // of the last LEAD steps
  /** Of a step's first micro-batch, of the others where there are any, and of the update. */
  #graphs: { first: Graph; more: Graph | null; update: Graph } | null = null;
  #steps = 0;
  #queued = 0;
  #dataMs = 0;

  /** `pass` was planned for training, with the micro-batch's shape, and committed, as the optimizer was. */
  constructor(
    model: BitNetTransformer,
    parts: {
      optimizer: AdamW;
      pass: Pass;
      accumulationSteps: number;
      capacity: number;
      /** Learning rates of groups over the step's. @default 1 for each */
      lrFactors?: ReadonlyMap<string, number>;
    },
  ) {
    const { optimizer, pass, accumulationSteps, capacity } = parts;
    const { device } = model;
    this.#model = model;
    this.#optimizer = optimizer;
    this.#pass = pass;
    this.#accumulationSteps = accumulationSteps;
    this.#lrFactors = parts.lrFactors ?? new Map();
    const { groups } = model.parameters;
    this.#decayed = new Set(groups.filter(({ decay }) => decay).map(({ group }) => group));
    this.capacity = capacity;
    const { rows } = pass.memory;
    this.#batch = { ids: new Int32Array(rows), targets: new Int32Array(rows) };
    this.#lossSum = this.#arena.tensor("loss.sum", "float32", [1]);
    this.#result = this.#arena.tensor("result", "float32", [2]);
    this.#results = this.#arena.tensor("results", "float32", [capacity, 2]);
    this.#hostResults = new Float32Array(2 * capacity);
    const own = <Owned extends Disposable>(owned: Owned) => this.#resources.use(owned);
    own(this.#arena.commit(device));
    const event = () => own(new DeviceEvent(device));
    this.#events = {
      start: event(),
      forward: event(),
      backward: event(),
      update: event(),
      end: event(),
    };
    this.#ends = Array.from({ length: LEAD }, event);
    model.parameters.zeroGradients();
  }

  /** Steps that were queued and not settled. */
  get queued(): number {
    return this.#queued;
  }

  /** Takes the next micro-batches from the loader and queues the update of the weights by them. */
  queue(loader: BatchLoader, options: StepOptions): void {
    if (this.#queued === this.capacity) {
      throw new RangeError(
        `Cannot queue a step as at most ${this.capacity} may wait to be settled`,
      );
    }
    if (this.#steps === 1) this.#record();
    const end = this.#ends[this.#steps % LEAD]!;
    if (this.#steps >= LEAD) end.wait();
    this.#model.prepare();
    for (let micro = 0; micro < this.#accumulationSteps; micro++) {
      const started = performance.now();
      loader.next(this.#batch);
      options.faults?.corrupt(this.#batch);
      this.#dataMs += performance.now() - started;
      this.#pass.ids.upload(this.#batch.ids);
      this.#pass.targets.upload(this.#batch.targets);
      const first = micro === 0;
      if (this.#graphs === null) this.#micro({ first });
      else (first ? this.#graphs.first : this.#graphs.more!).launch();
    }
    const { lr, weightDecay, accepts, faults } = options;
    if (faults?.poisonsGradient) this.#poison();
    this.#optimizer.prepare({
      lr: (group) => lr * (this.#lrFactors.get(group) ?? 1),
      weightDecay: (group) => this.#decayed.has(group) ? weightDecay : 0,
    });
    if (accepts !== undefined && !accepts(this.#look())) this.#leaveOut();
    else if (this.#graphs === null) this.#update();
    else this.#graphs.update.launch();
    this.#results.view([2], { offset: 2 * this.#queued }).copyFrom(this.#result);
    end.record();
    this.#queued++;
    this.#steps++;
  }

  /** Waits for the queued steps and gives their results; `null` where there are none. */
  settle(): SettledSteps | null {
    const count = this.#queued;
    if (count === 0) return null;
    this.#results.rows(0, count).download(this.#hostResults.subarray(0, 2 * count));
    const results = Array.from({ length: count }, (_, step) => ({
      loss: this.#hostResults[2 * step]!,
      gradNorm: this.#hostResults[2 * step + 1]!,
    }));
    const { start, forward, backward, update, end } = this.#events;
    const dataMs = this.#dataMs / count;
    this.#queued = 0;
    this.#dataMs = 0;
    return {
      results,
      phases: {
        forwardMs: this.#accumulationSteps * forward.millisecondsSince(start),
        backwardMs: this.#accumulationSteps * backward.millisecondsSince(forward),
        optimizerMs: end.millisecondsSince(update),
      },
      dataMs,
    };
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }

  #record(): void {
    const { device } = this.#model;
    if (!Graph.isSupported(device)) return;
    const record = (run: () => void) => this.#resources.use(Graph.record(device, run));
    this.#graphs = {
      first: record(() => this.#micro({ first: true })),
      more: this.#accumulationSteps === 1 ? null : record(() => this.#micro({ first: false })),
      update: record(() => this.#update()),
    };
  }

  /** The ops of a micro-batch; the first of a step begins the gradients of the projections anew. */
  #micro({ first }: { first: boolean }): void {
    const pass = this.#pass;
    const perToken = 1 / (this.#accumulationSteps * pass.memory.rows);
    this.#events.start.record();
    pass.forward();
    this.#events.forward.record();
    pass.backward({ gradScale: perToken, accumulate: !first });
    sum({ x: pass.tokenLoss, scale: perToken, out: this.#lossSum, accumulate: true });
    this.#events.backward.record();
  }

  /** Loss and grad norm of the step before its update. Waits for the device. */
  #look(): StepResult {
    this.#optimizer.measureGradNorm();
    this.#takeResult();
    const [loss, gradNorm] = this.#result.toFloat32Array();
    return { loss: loss!, gradNorm: gradNorm! };
  }

  /** In place of the update: the gradients are ready for the next step, all else is as before. */
  #leaveOut(): void {
    this.#events.update.record();
    this.#lossSum.zero();
    this.#model.parameters.zeroGradients({ except: WRITTEN_ANEW });
    this.#events.end.record();
  }

  #takeResult(): void {
    this.#result.view([1]).copyFrom(this.#lossSum);
    this.#result.view([1], { offset: 1 }).copyFrom(this.#optimizer.gradNormTensor);
  }

  /** Makes a gradient NaN, of a parameter that is trained. */
  #poison(): void {
    const { grad, trained } = this.#model.parameters.groups.find(({ trained }) =>
      trained.length > 0
    )!;
    const nan = grad!.dtype === "float32" ? Float32Array.of(NaN) : Uint16Array.of(0x7fc0);
    grad!.view([1], { offset: trained[0]!.from }).upload(nan);
  }

  /** The ops after the last micro-batch; they leave the gradients ready for the next step, and the ternary weights new. */
  #update(): void {
    const model = this.#model;
    this.#events.update.record();
    this.#optimizer.update();
    this.#takeResult();
    this.#lossSum.zero();
    model.parameters.zeroGradients({ except: WRITTEN_ANEW });
    model.parametersChanged();
    model.prepare();
    this.#events.end.record();
  }
}
