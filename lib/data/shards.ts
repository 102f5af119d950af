/**
 * A data set: token files opened together.
 *
 * @module
 */
import { basename, dirname, join } from "@std/path";
import { FileMapping, type MappingAdvice, type TokenFileLibrary } from "../ffi/mapping.ts";
import { DataError, reading, systemReason } from "./errors.ts";
import { readTokenFileInfo, type TokenFileInfo } from "./token_format.ts";

/** What a data set is opened with. */
export interface TokenDatasetOptions {
  library: TokenFileLibrary;
  /** The model's vocabulary: every id must be below it. */
  vocabSize: number;
  /** SHA-256 of the tokenizer that the files must have been made with, where they name one. @default {null} */
  tokenizerHash?: string | null;
  /** The file of that tokenizer, for messages. @default {null} */
  tokenizerPath?: string | null;
  /** Config key that names the files, for messages; null where a command line does. @default {null} */
  key?: string | null;
  /** How the files will be read. @default {"normal"} */
  advice?: MappingAdvice;
}

/** One opened token file. */
export interface TokenShard {
  readonly path: string;
  readonly info: TokenFileInfo;
  readonly mapping: FileMapping;
}

/** A place in a data set where tokens are read. */
export interface TokenWindow {
  /** Address of its first token. */
  readonly address: bigint;
  /** Bytes of a token. */
  readonly width: 2 | 4;
  readonly shard: TokenShard;
  /** Number of its first token within the shard. */
  readonly offset: number;
}

const TOKEN_FILE = /\.(tokens|bin)$/;
// Held-out files that lie beside the training files: <name>.val.tokens, val.bin, fineweb_val_000000.bin.
const VALIDATION_FILE = /(^|[._-])(val|valid|validation)[._-]/;
// Patterns that ask for them: *.val.tokens, val*.bin, *val*.
const VALIDATION_PATTERN = /(^|[.*_-])(val|valid|validation)[.*_-]/;

/**
 * The token files that a path, a pattern or a list of them names, in order.
 *
 * A folder stands for its *.tokens and *.bin files without those whose name says `val` (held out beside the
 * training files); a `*` in a file name stands for any characters, without those files too unless the pattern itself says `val`.
 *
 * @param key Config key that names them, for messages.
 * @throws {DataError} Where a path is missing or a folder or pattern holds no token file.
 */
function findTokenFiles(
  paths: string | readonly string[],
  key: string | null = null,
): string[] {
  const given = typeof paths === "string" ? [paths] : paths;
  if (given.length === 0) {
    throw new DataError(
      "Cannot open a data set as it needs at least one token file: current value is an empty list. Name one in data.train",
    );
  }
  return given.flatMap((path) => {
    if (basename(path).includes("*")) return matchingFiles(path, key);
    let info: Deno.FileInfo;
    try {
      info = Deno.statSync(path);
    } catch (error) {
      const reason = error instanceof Deno.errors.NotFound
        ? "there is no such file or folder. Make it with `deno task tokenize`"
        : `it must be a readable file or folder: ${systemReason(error)}`;
      throw new DataError(`Cannot open ${named(path, key)} as ${reason}`, { path, cause: error });
    }
    return info.isDirectory ? trainingFiles(path, key) : [path];
  });
}

/** Token files mapped into memory, with one vocabulary. Reads nothing but headers until windows are read. */
export class TokenDataset {
  /** The files, in the order given. */
  readonly shards: readonly TokenShard[];
  /** Ids are below it. */
  readonly vocabSize: number;
  /** Tokens of all shards. */
  readonly tokenCount: number;
  /** Ids before each document's own; null where no file says so. */
  readonly startIds: readonly number[] | null;
  readonly library: TokenFileLibrary;

  private constructor(shards: readonly TokenShard[], options: TokenDatasetOptions) {
    this.shards = shards;
    this.library = options.library;
    this.vocabSize = options.vocabSize;
    this.tokenCount = shards.reduce((sum, shard) => sum + shard.info.tokenCount, 0);
    this.startIds = commonStart(shards);
  }

  /**
   * Opens files, folders and patterns, in the order given. A folder stands for its *.tokens and *.bin files without those whose
   * name says `val` (held out beside the training files); a `*` in a file name stands for any characters, without those files too
   * unless the pattern itself says `val`.
   *
   * @throws {DataError} Where one is missing, damaged, of another vocabulary or made with another tokenizer, or where documents of
   * two begin differently; nothing then stays open.
   */
  static open(paths: string | readonly string[], options: TokenDatasetOptions): TokenDataset {
    const { library, advice = "normal" } = options;
    const shards: TokenShard[] = [];
    try {
      for (const path of findTokenFiles(paths, options.key)) {
        const info = readTokenFileInfo(path);
        checkVocabulary(path, info, options);
        const mapping = FileMapping.open(path, { library, advice });
        shards.push({ path, info, mapping });
        const { dataOffset, tokenCount, tokenWidth } = info;
        if (mapping.bytes !== dataOffset + tokenCount * tokenWidth) {
          throw new DataError(`Cannot open ${path} as its length changed while it was opened`, {
            path,
          });
        }
      }
      return new TokenDataset(shards, options);
    } catch (error) {
      for (const shard of shards) shard.mapping[Symbol.dispose]();
      throw error;
    }
  }

  /** A window at a token of a shard; the caller keeps within the shard. */
  window(shard: TokenShard, offset: number): TokenWindow {
    const { dataOffset, tokenWidth } = shard.info;
    const address = shard.mapping.address + BigInt(dataOffset + offset * tokenWidth);
    return { address, width: tokenWidth, shard, offset };
  }

  /** Unmaps every file. No window may be read afterwards. */
  [Symbol.dispose](): void {
    for (const shard of this.shards) shard.mapping[Symbol.dispose]();
  }
}

function checkVocabulary(path: string, info: TokenFileInfo, options: TokenDatasetOptions): void {
  const { vocabSize, tokenizerHash = null, tokenizerPath = null, key = null } = options;
  if (info.vocabSize !== null && info.vocabSize > vocabSize) {
    const remedy = key === null
      ? "Tokenize the text with the model's tokenizer"
      : `Set model.vocab_size to ${info.vocabSize} or tokenize with the model's tokenizer`;
    throw new DataError(
      `Cannot use ${
        named(path, key)
      } as its vocabulary has ${info.vocabSize} ids: the model's has ${vocabSize}. ${remedy}`,
      { path },
    );
  }
  if (
    tokenizerHash !== null && info.tokenizerHash !== null && info.tokenizerHash !== tokenizerHash
  ) {
    throw new DataError(
      `Cannot use ${named(path, key)} as it was made with another tokenizer than ${
        tokenizerPath ?? "the one given"
      }: SHA-256 ${info.tokenizerHash}, not ${tokenizerHash}. ` +
        "Give the tokenizer.json that it was made with, or tokenize the text again",
      { path },
    );
  }
}

/** What the documents of all files begin with, as far as the files say so. */
function commonStart(shards: readonly TokenShard[]): readonly number[] | null {
  const known = shards.filter(({ info }) => info.startIds !== null);
  for (const { path, info } of known) {
    requireSameStart(known[0]!.path, known[0]!.info.startIds, { path, startIds: info.startIds });
  }
  return known[0]?.info.startIds ?? null;
}

/**
 * Makes sure that documents of two sources begin alike, where both say how.
 *
 * @throws {DataError} naming both sources and their ids.
 */
export function requireSameStart(
  source: string,
  startIds: readonly number[] | null,
  other: { readonly path: string; readonly startIds: readonly number[] | null },
): void {
  if (startIds === null || other.startIds === null || sameIds(startIds, other.startIds)) return;
  throw new DataError(
    `Cannot use ${other.path} with ${source} as documents must begin alike: they begin with ${
      describeStart(other.startIds)
    }, not with ${
      describeStart(startIds)
    }. Tokenize the text again with the same tokenizer.json (and tokenizer_config.json)`,
    { path: other.path },
  );
}

/** Whether documents begin alike. */
export function sameIds(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((id, i) => id === b[i]);
}

/** Ids before a document in words. */
export function describeStart(ids: readonly number[]): string {
  if (ids.length === 0) return "no token of their own";
  return ids.length === 1 ? `the id ${ids[0]}` : `the ids ${ids.join(", ")}`;
}

/** A path with the key that gave it. */
function named(path: string, key: string | null): string {
  return key === null ? path : `${path} (${key})`;
}

function trainingFiles(folder: string, key: string | null): string[] {
  const names = tokenFileNames(folder);
  const training = withoutHeldOut(names);
  if (training.length === 0) {
    throw new DataError(
      `Cannot open ${named(folder, key)} as it holds no token file (*.tokens, *.bin) to train on${
        heldOut(names)
      }. ` +
        "Make one with `deno task tokenize`",
      { path: folder },
    );
  }
  return training.map((name) => join(folder, name));
}

function matchingFiles(pattern: string, key: string | null): string[] {
  const folder = dirname(pattern);
  const source = basename(pattern).split("*").map(escapeRegExp).join(".*");
  const expression = new RegExp(`^${source}$`, "s");
  let matching: string[] = [];
  try {
    matching = tokenFileNames(folder).filter((name) => expression.test(name));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const names = VALIDATION_PATTERN.test(basename(pattern)) ? matching : withoutHeldOut(matching);
  if (names.length === 0) {
    throw new DataError(
      `Cannot open ${named(pattern, key)} as no token file (*.tokens, *.bin) matches it${
        heldOut(matching)
      }`,
      { path: pattern },
    );
  }
  return names.map((name) => join(folder, name));
}

function withoutHeldOut(names: readonly string[]): string[] {
  return names.filter((name) => !VALIDATION_FILE.test(name));
}

/** What an error adds where only such files were found. */
function heldOut(names: readonly string[]): string {
  return names.length === 0 ? "" : ` (${names.length} held out for validation: name them)`;
}

function tokenFileNames(folder: string): string[] {
  const names = reading(folder, () => Array.from(Deno.readDirSync(folder)))
    .filter((entry) => !entry.isDirectory && TOKEN_FILE.test(entry.name))
    .map((entry) => entry.name);
  return names.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
