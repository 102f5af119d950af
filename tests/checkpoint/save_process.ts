// A process that saves checkpoints, for tests that kill it or take its disk away.
//   save_process.ts loop RUN FIRST        saves FIRST, FIRST+1, ... for ever, keeping two
//   save_process.ts die RUN STEP CALLS    dies by SIGKILL inside the CALLS-th read of a tensor
//   save_process.ts full RUN              saves 1, then 2 of a model that does not fit, then 3
// It prints a line of JSON after each save.

import { BitNetConfig } from "../../lib/model/config.ts";
import { applyRetention } from "../../lib/checkpoint/retention.ts";
import { saveCheckpoint, type TensorSource } from "../../lib/checkpoint/save.ts";
import { CONFIG, contentOf, namesIn } from "./support.ts";

function print(line: object): void {
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(line) + "\n"));
}

async function loop(run: string, first: number): Promise<void> {
  print({ pid: Deno.pid });
  for (let step = first;; step++) {
    const { path } = await saveCheckpoint(run, contentOf(step));
    print({ saved: step });
    await applyRetention(run, { keepLast: 2, keepEvery: null, justSaved: path });
  }
}

async function die(run: string, step: number, calls: number): Promise<void> {
  let left = calls;
  const content = contentOf(step);
  const deadly = (source: TensorSource): TensorSource => ({
    ...source,
    read: (into, at) => {
      if (--left === 0) Deno.kill(Deno.pid, "SIGKILL");
      source.read(into, at);
    },
  });
  const optimizer = content.optimizer.map(deadly);
  await saveCheckpoint(run, { ...content, parameters: content.parameters.map(deadly), optimizer });
  print({ saved: step });
}

async function full(run: string): Promise<void> {
  const big = new BitNetConfig({ ...CONFIG, vocabSize: 20000 }); // 0.96 MB, its optimizer 1.92 MB
  for (const [step, config] of [[1, CONFIG], [2, big], [3, CONFIG]] as const) {
    try {
      await saveCheckpoint(run, contentOf(step, { config }));
      print({ saved: step });
    } catch (error) {
      const { name, message } = error as Error;
      print({ failed: step, name, message, names: namesIn(run) });
    }
  }
}

if (import.meta.main) {
  const [mode, run, a, b] = Deno.args;
  if (mode === "loop") await loop(run!, Number(a));
  else if (mode === "die") await die(run!, Number(a), Number(b));
  else await full(run!);
}
