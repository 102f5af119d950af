/** Runs `body` with `console.log` and `console.error` collected instead of printed. */
export async function captureConsole(
  body: () => Promise<number>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { log, error } = console;
  const lines = { stdout: "", stderr: "" };
  console.log = (...values: unknown[]) => void (lines.stdout += values.join(" ") + "\n");
  console.error = (...values: unknown[]) => void (lines.stderr += values.join(" ") + "\n");
  try {
    const code = await body();
    return { code, ...lines };
  } finally {
    Object.assign(console, { log, error });
  }
}
