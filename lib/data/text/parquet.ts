/**
 * The text column of a parquet file, row by row.
 *
 * @module
 */
import {
  type AsyncBuffer,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import type { SourceFile } from "./source_files.ts";

/** A row's text in UTF-8, or why it has none. */
export type ParquetText = Uint8Array | { readonly failure: string };

/**
 * Yields every row's text. Holds the text column of one row group at a time.
 *
 * @throws {Error} Where the file is damaged, or has no such column.
 */
export async function* readParquetText(
  file: SourceFile,
  options: { textField: string; onRead?: (bytes: number) => void },
): AsyncGenerator<ParquetText, void, undefined> {
  const { textField, onRead } = options;
  using handle = await Deno.open(file.path);
  const buffer: AsyncBuffer = {
    byteLength: file.bytes,
    slice: (start, end = file.bytes) => readRange(handle, start, end),
  };
  const metadata = await parquetMetadataAsync(buffer);
  const names = parquetSchema(metadata).children.map(({ element }) => element.name);
  if (!names.includes(textField)) {
    throw new Error(`it has no column "${textField}", only ${names.join(", ")}: set --text-field`);
  }
  let reported = 0;
  let rowStart = 0;
  for (const [number, group] of metadata.row_groups.entries()) {
    const rowEnd = rowStart + Number(group.num_rows);
    const rows = await parquetReadObjects({
      file: buffer,
      metadata,
      columns: [textField],
      rowStart,
      rowEnd,
      compressors,
      // Texts stay the bytes they are; what is no text is another type.
      parsers: { stringFromBytes: (bytes) => bytes },
    });
    for (const row of rows) yield asText(row[textField], textField);
    rowStart = rowEnd;
    const read = Math.round(file.bytes * ((number + 1) / metadata.row_groups.length));
    onRead?.(read - reported);
    reported = read;
  }
}

function asText(value: unknown, textField: string): ParquetText {
  if (value instanceof Uint8Array) return value;
  const got = value === null || value === undefined ? "null" : typeof value;
  return { failure: `has no text: column "${textField}" holds ${got}` };
}

// Without awaiting: the reader asks for several ranges at once, and they share the file's position.
function readRange(handle: Deno.FsFile, start: number, end: number): ArrayBuffer {
  const bytes = new Uint8Array(end - start);
  handle.seekSync(start, Deno.SeekMode.Start);
  for (let done = 0; done < bytes.length;) {
    const read = handle.readSync(bytes.subarray(done));
    if (read === null) throw new Error("unexpected end of file");
    done += read;
  }
  return bytes.buffer;
}
