import { assert, assertEquals, assertLess } from "@std/assert";
import { openCpu } from "../support/devices.ts";

/** The text of a file of the kernel's, which Deno reads to no one without all permissions; null where there is none. */
async function kernelText(path: string): Promise<string | null> {
  const { success, stdout } = await new Deno.Command("sh", {
    args: ["-c", 'exec cat "$0"', path],
    clearEnv: true,
    env: { PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin" },
    stderr: "null",
  }).output();
  return success ? new TextDecoder().decode(stdout) : null;
}

/** Bytes that a line of /proc/meminfo gives. */
async function hostBytes(name: string): Promise<number> {
  const text = await kernelText("/proc/meminfo");
  return 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text!)![1]);
}

/** The smallest limit of the cgroups (version 2) that this process is in; Infinity where there is none. */
async function cgroupBytes(): Promise<number> {
  const groups = await kernelText("/proc/self/cgroup");
  let smallest = Infinity;
  let folder = /^0::(.*)$/m.exec(groups ?? "")?.[1]?.replace(/\/$/, "") ?? "";
  for (;;) {
    const limit = (await kernelText(`/sys/fs/cgroup${folder}/memory.max`))?.trim() ?? "max";
    if (limit !== "max") smallest = Math.min(smallest, Number(limit));
    if (folder === "") return smallest;
    folder = folder.slice(0, folder.lastIndexOf("/"));
  }
}

Deno.test("memory() gives the host's memory, or its cgroup's where that is less", async () => {
  using device = openCpu();
  const { freeBytes, totalBytes } = device.memory();
  assertEquals(totalBytes, Math.min(await hostBytes("MemTotal"), await cgroupBytes()));
  assert(freeBytes > 0 && freeBytes <= totalBytes, `${freeBytes} of ${totalBytes} bytes`);
  // What is available moves while others work.
  assertLess(freeBytes, await hostBytes("MemAvailable") + 2 ** 30);
});

Deno.test("memory() falls when memory is taken and touched", () => {
  using device = openCpu();
  const bytes = 2 ** 29;
  const before = device.memory().freeBytes;
  if (before < 4 * bytes) return; // would push others out
  const address = device.alloc(bytes);
  device.fill(address, 1, bytes);
  const during = device.memory().freeBytes;
  device.free(address);
  assertLess(during, before - bytes / 4); // others may give some back meanwhile
});
