/**
 * Which files of an input hold text, and in what form.
 *
 * @module
 */
import { walk } from "@std/fs";
import { basename, relative } from "@std/path";
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
    return { files: [file], leftOut: [] };
  }
  const files: SourceFile[] = [];
  const leftOut: string[] = [];
  try {
    for await (
      const { path, isFile } of walk(input, { includeDirs: false, followSymlinks: false })
    ) {
      if (isHidden(relative(input, path))) continue;
      const target = isFile ? await Deno.stat(path) : await statLink(path);
      if (!target?.isFile) continue;
      const file = classify(path, target.size);
      if (file === null) leftOut.push(path);
      else files.push(file);
    }
  } catch (error) {
    throw new DataError(
      `Cannot read ${input} as everything below it must be readable: ${
        systemReason(error)
      }. Make it so, or move it elsewhere`,
      { path: input, cause: error },
    );
  }
  if (files.length === 0) {
    throw emptyInput(
      input,
      leftOut.length === 0
        ? "the folder holds no file"
        : `none of its ${leftOut.length} files ends in ${SOURCE_ENDINGS}`,
    );
  }
  if (files.every((file) => file.bytes === 0)) {
    throw emptyInput(input, `all of its ${files.length} files are empty`);
  }
  files.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  return { files, leftOut: leftOut.sort() };
}

/** Whether a name on the way from the input to a file starts with a dot. */
function isHidden(path: string): boolean {
  return path.split("/").some((part) => part.startsWith("."));
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

/** What a link points to, or `null` where that is gone. Links to folders are not entered: they could form circles. */
async function statLink(path: string): Promise<Deno.FileInfo | null> {
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
