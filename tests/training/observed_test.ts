/** A run with strangers on its ports and few files to open. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { trainObserved } from "../attack/connections.ts";
import { tinyRun } from "./support.ts";

Deno.test("train ends in the same bits when 500 connections stall and 256 files may be open", async () => {
  await using run = await tinyRun();
  const { code, stderr, ports, alone, observed } = await trainObserved(run, 500);
  assertEquals(code, 0, stderr);
  assertEquals(ports, 2, stderr);
  assertStringIncludes(stderr, "finished at step 300");
  assert(!stderr.includes("Too many open files"), stderr);
  assertEquals(observed, alone);
});
