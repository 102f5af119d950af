/** A training with strangers on its ports and few files to open. */

import { fromFileUrl, join } from "@std/path";
import { tensorsOf, type TinyRun } from "../training/support.ts";

const TASK = fromFileUrl(new URL("../../tasks/train.ts", import.meta.url));

/** Trains with at most 256 open files; `onText` sees stderr as it grows. */
async function train(run: TinyRun, args: string[], onText: (text: string) => void = () => {}) {
  const command = ["run", "-A", "--no-prompt", "--no-check", "--cached-only", TASK];
  const process = new Deno.Command("sh", {
    args: ["-c", `ulimit -n 256; exec "$@"`, "sh", Deno.execPath(), ...command]
      .concat("--config", run.file, args),
    stdout: "null",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  let stderr = "";
  for await (const chunk of process.stderr.pipeThrough(new TextDecoderStream())) {
    stderr += chunk;
    onText(stderr);
  }
  return { code: (await process.status).code, stderr };
}

/** Connections that stand still, each opened anew whenever it is closed. */
function stall(port: number, count: number) {
  let open = true;
  const connections = new Set<Deno.Conn>();
  const one = async (index: number) => {
    while (open) {
      try {
        using connection = await Deno.connect({ hostname: "127.0.0.1", port });
        connections.add(connection);
        const request = [
          "",
          "GET / HTTP/1.1\r\nHo",
          "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ];
        await connection.write(new TextEncoder().encode(request[index % 3]));
        while (await connection.read(new Uint8Array(64)) !== null);
      } catch {
        // The server closed it, or is no more.
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  const ended = Promise.all(Array.from({ length: count }, (_, index) => one(index)));
  return {
    async [Symbol.asyncDispose]() {
      open = false;
      for (const connection of connections) {
        try {
          connection.close();
        } catch {
          // Closed before.
        }
      }
      await ended;
    },
  };
}

/** What a training came to, alone and with strangers. */
export interface ObservedRun {
  readonly code: number;
  readonly stderr: string;
  /** Ports that the connections stood at. */
  readonly ports: number;
  readonly alone: Uint8Array[];
  readonly observed: Uint8Array[];
}

/** Trains alone, then with `connections` that stall on the ports of dashboard and metrics. */
export async function trainObserved(run: TinyRun, connections: number): Promise<ObservedRun> {
  const set = ["--set", "training.steps=300", "--set", "checkpoint.every_steps=100"];
  const alone = await train(run, [...set, "--set", "checkpoint.run=alone"]);
  if (alone.code !== 0) throw new Error(alone.stderr);
  const stalled = new Map<string, ReturnType<typeof stall>>();
  const { code, stderr } = await train(
    run,
    [...set, "--set", "checkpoint.run=observed", "--dashboard", "0"]
      .concat("--set", "logging.prometheus=0"),
    (text) => {
      for (const [, port] of text.matchAll(/http:\/\/127\.0\.0\.1:(\d+)\/(?:metrics)?\n/g)) {
        if (!stalled.has(port!)) stalled.set(port!, stall(Number(port), connections / 2));
      }
    },
  );
  for (const one of stalled.values()) await one[Symbol.asyncDispose]();
  const last = (name: string) => tensorsOf(join(run.folder, "checkpoints", name, "step_0000300"));
  return {
    code,
    stderr,
    ports: stalled.size,
    alone: await last("alone"),
    observed: code === 0 ? await last("observed") : [],
  };
}
