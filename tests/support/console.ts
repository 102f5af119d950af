/** Runs `body` with `console.log`, `console.error` and what goes to stdout past them collected instead of printed. */
export async function captureConsole(
  body: () => Promise<number>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { log, error } = console;
  const { writeSync } = Deno.stdout;
  const lines = { stdout: "", stderr: "" };
  console.log = (...values: unknown[]) => void (lines.stdout += values.join(" ") + "\n");
  console.error = (...values: unknown[]) => void (lines.stderr += values.join(" ") + "\n");
  Deno.stdout.writeSync = (bytes) => {
    lines.stdout += new TextDecoder().decode(bytes);
    return bytes.length;
  };
  try {
    const code = await body();
    return { code, ...lines };
  } finally {
    Object.assign(console, { log, error });
    Deno.stdout.writeSync = writeSync;
  }
}
