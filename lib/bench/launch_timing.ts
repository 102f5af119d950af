/**
 * Times of ops on a device, read from its own clock.
 *
 * @module
 */

import type { Device } from "../ffi/device.ts";
import { DeviceEvent } from "../ffi/event.ts";
import { Graph } from "../ffi/graph.ts";
import { quantile } from "./measure.ts";

/** An op to be timed, once for each of its sets of operands. */
export interface Contender {
  readonly name: string;
  /** The same op over one set after the other, so that what a launch reads has left the cache before it is read again. */
  readonly runs: readonly (() => void)[];
}

/** What one launch took: the median over the samples and the quartiles, microseconds. */
export interface LaunchTiming {
  readonly us: number;
  readonly us_q1: number;
  readonly us_q3: number;
}

/** Options of {@linkcode timeLaunches}. */
export interface LaunchTimingOptions {
  /** Samples; each contender gives one a round. */
  readonly repeat: number;
  /** Milliseconds that a sample should last. @default 4 */
  readonly sampleMs?: number;
}

/** Nodes of a recorded graph, sets beyond them aside. */
const MOST_LAUNCHES = 1024;
const MOST_SETS = 512;

/** How many sets of operands of `bytes` exceed twice the cache together. */
export function countSets(bytes: number, cacheBytes: number): number {
  return Math.min(MOST_SETS, Math.floor(2 * cacheBytes / bytes) + 1);
}

/**
 * Times contenders that take turns, so that whatever slows the device down meets all of them.
 *
 * On a card a sample is a recorded graph of several launches between two events, behind one launch of the same graph that is not
 * timed: it brings clocks and caches to where they stay, and the events never wait for the host. The CPU calls the ops directly.
 */
export function timeLaunches(
  device: Device,
  contenders: readonly Contender[],
  { repeat, sampleMs = 4 }: LaunchTimingOptions,
): LaunchTiming[] {
  using stack = new DisposableStack();
  const before = stack.use(new DeviceEvent(device));
  const after = stack.use(new DeviceEvent(device));
  const time = ({ launch, count }: Sample) => {
    launch();
    before.record();
    launch();
    after.record();
    return 1000 * after.millisecondsSince(before) / count;
  };
  const samples = contenders.map(({ runs }) => {
    for (const run of runs) run(); // loads modules, which a recording may not
    const once = stack.use(makeSample(device, runs, 1));
    const us = time(once);
    const passes = Math.min(
      Math.ceil(1000 * sampleMs / (us * runs.length)),
      Math.max(1, Math.floor(MOST_LAUNCHES / runs.length)),
    );
    return passes <= 1 ? once : stack.use(makeSample(device, runs, passes));
  });
  const times: number[][] = samples.map(() => []);
  for (let round = 0; round < repeat; round++) {
    for (const [index, sample] of samples.entries()) times[index]!.push(time(sample));
  }
  return times.map((us) => ({
    us: quantile(us, 0.5),
    us_q1: quantile(us, 0.25),
    us_q3: quantile(us, 0.75),
  }));
}

interface Sample extends Disposable {
  launch(): void;
  /** Launches of the op. */
  readonly count: number;
}

function makeSample(device: Device, runs: readonly (() => void)[], passes: number): Sample {
  const count = passes * runs.length;
  const all = () => {
    for (let pass = 0; pass < passes; pass++) for (const run of runs) run();
  };
  if (!Graph.isSupported(device)) return { launch: all, count, [Symbol.dispose]() {} };
  const graph = Graph.record(device, all);
  return { launch: () => graph.launch(), count, [Symbol.dispose]: () => graph[Symbol.dispose]() };
}
