/**
 * Files of a run's folder, which may come from anyone.
 *
 * @module
 */

/** What a file must be to be read. */
export interface RunFileRules {
  /** Folder that holds it, by whatever path. */
  readonly folder: string;
  readonly mostBytes: number;
}

/**
 * Opens a file of a run's folder; `null` where it isn't there.
 *
 * Throws `Error` where it is no regular file, as a link or a device, where it lies outside the folder or is too large: a folder that
 * was made by somebody else must not show what else this user may read.
 */
export function openRunFile(path: string, rules: RunFileRules): Deno.FsFile | null {
  try {
    const found = Deno.lstatSync(path);
    if (!found.isFile) throw refusal(path, rules, `${kindOf(found)}`);
    const [real, folder] = [Deno.realPathSync(path), Deno.realPathSync(rules.folder)];
    if (!real.startsWith(folder === "/" ? folder : `${folder}/`)) {
      throw refusal(path, rules, `a file at ${real}`);
    }
    const file = Deno.openSync(path);
    const opened = file.statSync();
    const isOther = !opened.isFile || opened.dev !== found.dev || opened.ino !== found.ino;
    if (!isOther && opened.size <= rules.mostBytes) return file;
    file.close();
    if (isOther) return null; // replaced at this very moment
    throw refusal(path, rules, `${opened.size} bytes`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return null;
    }
    throw error;
  }
}

/** Reads a text of a run's folder whole, `null` where it isn't there; throws as {@linkcode openRunFile} does. */
export function readRunText(path: string, rules: RunFileRules): string | null {
  const file = openRunFile(path, rules);
  if (file === null) return null;
  using open = file;
  const bytes = new Uint8Array(rules.mostBytes);
  let size = 0;
  for (let count; (count = open.readSync(bytes.subarray(size))) !== null && count > 0;) {
    size += count;
  }
  return new TextDecoder().decode(bytes.subarray(0, size));
}

function refusal(path: string, { folder, mostBytes }: RunFileRules, found: string): Error {
  return new Error(
    `Cannot read ${path} as a run's files must be regular files inside its folder ${folder}, of ${mostBytes} bytes at the most: ` +
      `current value is ${found}; put the file itself there, or name the folder that it lies in`,
  );
}

function kindOf(info: Deno.FileInfo): string {
  if (info.isSymlink) return "a symbolic link";
  return info.isDirectory ? "a folder" : "a device, pipe or socket";
}
