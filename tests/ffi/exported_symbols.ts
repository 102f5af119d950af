/**
 * Reads the names that a shared library exports, from its ELF file.
 *
 * @module
 */

const SHT_DYNSYM = 11;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;

/** Defined global symbols of a 64-bit little-endian ELF library, sorted; throws on any other file. */
export function exportedSymbols(file: Uint8Array<ArrayBuffer>): string[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0) !== 0x7f454c46 || view.getUint8(4) !== 2 || view.getUint8(5) !== 1) {
    throw new Error("not a 64-bit little-endian ELF file");
  }
  const sections = Number(view.getBigUint64(0x28, true));
  const count = view.getUint16(0x3c, true);
  const section = (index: number) => {
    const at = sections + index * SECTION_HEADER_BYTES;
    return {
      type: view.getUint32(at + 4, true),
      offset: Number(view.getBigUint64(at + 0x18, true)),
      size: Number(view.getBigUint64(at + 0x20, true)),
      link: view.getUint32(at + 0x28, true),
    };
  };
  const all = Array.from({ length: count }, (_, index) => section(index));
  const symbols = all.find(({ type }) => type === SHT_DYNSYM);
  if (symbols === undefined) throw new Error("the library has no dynamic symbols");
  const strings = section(symbols.link);
  const names: string[] = [];
  for (let at = symbols.offset; at < symbols.offset + symbols.size; at += SYMBOL_BYTES) {
    const isGlobal = view.getUint8(at + 4) >> 4 !== 0;
    const isDefined = view.getUint16(at + 6, true) !== 0;
    if (!isGlobal || !isDefined) continue;
    const start = strings.offset + view.getUint32(at, true);
    names.push(new TextDecoder().decode(file.subarray(start, file.indexOf(0, start))));
  }
  return names.sort();
}
