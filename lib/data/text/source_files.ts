/**
 * Which files of an input hold text, and in what form.
 *
 * @module
 */
import { basename, join, normalize } from "@std/path";
import { DataError, systemReason } from "../errors.ts";

/** A file of documents. */
export interface SourceFile {
  readonly path: string;
  /** `text`: one document; `jsonl`: one a line; `parquet`: one a row. */
  readonly kind: "text" | "jsonl" | "parquet";
  readonly compression: "none" | "gz" | "zst";
  /** Length on disk. */
  readonly bytes: number;
}

/** What {@linkcode findSourceFiles} found. */
export interface SourceListing {
  /** In the order of their paths. */
  readonly files: readonly SourceFile[];
  /** Files of a folder that are of no known kind. */
  readonly leftOut: readonly string[];
  /** Files of text and folders that can't be opened as their names are no UTF-8; `\ufffd` stands for what is none. */
  readonly unopened: readonly string[];
}

/** File name endings that are read, for help and error texts. */
export const SOURCE_ENDINGS = ".txt, .md, .jsonl (these also with .gz or .zst behind) and .parquet";

const TEXT_NAME = /\.(txt|md|jsonl)(?:\.(gz|zst))?$/i;

/**
 * Lists a file, or the files below a folder, sorted by path. Hidden files and folders (`.name`) are passed over.
 *
 * @throws {DataError} Where the input is missing, of no known kind, or holds nothing to read.
 */
export async function findSourceFiles(input: string): Promise<SourceListing> {
  const info = await statInput(input);
  if (!info.isDirectory) {
    const file = classify(input, info.size);
    if (file === null) {
      throw new DataError(
        `Cannot read ${input} as its name must end in ${SOURCE_ENDINGS}: current name is ${
          JSON.stringify(basename(input))
        }. Rename or convert it`,
        { path: input },
      );
    }
    if (file.bytes === 0) throw emptyInput(input, "it is empty");
    return { files: [file], leftOut: [], unopened: [] };
  }
  const listing = new FolderListing(input);
  await listing.add(normalize(input));
  const { files, leftOut, unopened } = listing;
  if (files.length === 0) {
    throw emptyInput(
      input,
      unopened.length > 0
        ? `${unopened[0]} has a name that is no UTF-8 and can't be opened. Rename it`
        : leftOut.length === 0
        ? "the folder holds no file"
        : `none of its ${leftOut.length} files ends in ${SOURCE_ENDINGS}`,
    );
  }
  if (files.every((file) => file.bytes === 0)) {
    throw emptyInput(input, `all of its ${files.length} files are empty`);
  }
  files.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  return { files, leftOut: leftOut.sort(), unopened: unopened.sort() };
}

/** What stands in a name for bytes that are no UTF-8; it may be part of a good name, too. */
const REPLACEMENT = "\ufffd";

/** Everything below a folder but what is hidden; links to folders are not entered: they could form circles. */
class FolderListing implements SourceListing {
  readonly files: SourceFile[] = [];
  readonly leftOut: string[] = [];
  readonly unopened: string[] = [];
  readonly #input: string;

  constructor(input: string) {
    this.#input = input;
  }

  async add(folder: string): Promise<void> {
    const names = new Set<string>();
    for (const entry of await this.#reading(folder, () => Array.fromAsync(Deno.readDir(folder)))) {
      if (entry.name.startsWith(".")) continue;
      const path = join(folder, entry.name);
      // Names that differ in bytes that are no UTF-8 read the same, and open the one of the good name.
      const info = names.has(entry.name)
        ? null
        : await this.#reading(path, () => statIfThere(path));
      names.add(entry.name);
      if (info === null) {
        // Else it is a link to nothing, or was removed meanwhile.
        if (entry.name.includes(REPLACEMENT)) this.#leaveUnopened(path, entry);
      } else if (entry.isDirectory) await this.add(path);
      else if (info.isFile) {
        const file = classify(path, info.size);
        if (file === null) this.leftOut.push(path);
        else this.files.push(file);
      }
    }
  }

  #leaveUnopened(path: string, entry: Deno.DirEntry): void {
    const shown = path.replaceAll(REPLACEMENT, "\\ufffd");
    if (entry.isDirectory || classify(path, 0) !== null) this.unopened.push(shown);
    else this.leftOut.push(shown);
  }

  async #reading<T>(path: string, body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      throw new DataError(
        `Cannot read ${this.#input} as everything below it must be readable: ${path}: ${
          systemReason(error)
        }. Make it so, or move it elsewhere`,
        { path, cause: error },
      );
    }
  }
}

async function statInput(input: string): Promise<Deno.FileInfo> {
  try {
    return await Deno.stat(input);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "there is no such file or folder"
      : `it must be a file or folder of text: ${systemReason(error)}. Copy the text into a file`;
    throw new DataError(`Cannot read ${input} as ${reason}`, { path: input, cause: error });
  }
}

/** What a path leads to, or `null` where that is gone. */
async function statIfThere(path: string): Promise<Deno.FileInfo | null> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

function classify(path: string, bytes: number): SourceFile | null {
  if (/\.parquet$/i.test(path)) return { path, kind: "parquet", compression: "none", bytes };
  const [, kind, compression] = TEXT_NAME.exec(path) ?? [];
  if (kind === undefined) return null;
  return {
    path,
    kind: kind.toLowerCase() === "jsonl" ? "jsonl" : "text",
    compression: (compression?.toLowerCase() ?? "none") as SourceFile["compression"],
    bytes,
  };
}

function emptyInput(input: string, why: string): DataError {
  return new DataError(`Cannot read ${input} as it must hold text: ${why}`, { path: input });
}
