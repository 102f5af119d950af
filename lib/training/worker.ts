/**
 * The thread that trains. Native calls block it, so the main thread is left to signals, the console and the record file.
 *
 * @module
 */

/// <reference lib="deno.worker" />

import { BitNetConfig } from "../model/config.ts";
import { importLayers } from "./import_layers.ts";
import { Trainer } from "./trainer.ts";
import type { WorkerMessage, WorkerTask } from "./worker_messages.ts";
import { describeValue } from "../std/describe.ts";

self.onmessage = async (event: MessageEvent<WorkerTask>) => {
  // The other thread ends this one when it has the answer: closing it here could overtake the message.
  post(await train(event.data));
};

async function train(task: WorkerTask): Promise<WorkerMessage> {
  const stop = new Int32Array(task.stop);
  // A class loses its prototype on the way between threads.
  const config = { ...task.config, model: new BitNetConfig(task.config.model) };
  try {
    const layers = task.layers === null ? null : await importLayers(task.layers);
    using trainer = await Trainer.open(config, {
      ...(task.resume !== null && { resume: task.resume }),
      version: task.version,
      faults: task.faults,
      ...(layers !== null && { layers }),
      observer: {
        record: (record) => post({ kind: "record", record }),
        warn: (message) => post({ kind: "warning", message }),
      },
    });
    const result = await trainer.run({ shouldStop: () => Atomics.load(stop, 0) !== 0 });
    return { kind: "done", result };
  } catch (error) {
    const { name, message, stack } = error instanceof Error
      ? error
      : new Error(describeValue(error));
    return { kind: "failed", name, message, stack: stack ?? message };
  }
}

function post(message: WorkerMessage): void {
  self.postMessage(message);
}
