/** A run with strangers on its ports and few files to open. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { tensorsOf, type TinyRun, tinyRun } from "./support.ts";

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

Deno.test("train ends in the same bits when 500 connections stall and 256 files may be open", async () => {
  await using run = await tinyRun();
  const set = ["--set", "training.steps=300", "--set", "checkpoint.every_steps=100"];
  const alone = await train(run, [...set, "--set", "checkpoint.run=alone"]);
  assertEquals(alone.code, 0, alone.stderr);
  const stalled = new Map<string, ReturnType<typeof stall>>();
  const observed = await train(
    run,
    [...set, "--set", "checkpoint.run=observed", "--dashboard", "0"]
      .concat("--set", "logging.prometheus=0"),
    (text) => {
      for (const [, port] of text.matchAll(/http:\/\/127\.0\.0\.1:(\d+)\/(?:metrics)?\n/g)) {
        if (!stalled.has(port!)) stalled.set(port!, stall(Number(port), 250));
      }
    },
  );
  for (const one of stalled.values()) await one[Symbol.asyncDispose]();
  assertEquals(observed.code, 0, observed.stderr);
  assertEquals(stalled.size, 2, observed.stderr);
  assertStringIncludes(observed.stderr, "finished at step 300");
  assert(!observed.stderr.includes("Too many open files"), observed.stderr);
  const last = (name: string) => tensorsOf(join(run.folder, "checkpoints", name, "step_0000300"));
  assertEquals(await last("observed"), await last("alone"));
});
