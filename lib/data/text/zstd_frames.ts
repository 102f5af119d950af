/**
 * The outer structure of zstd data (RFC 8878): where frames begin and end, without decompressing them.
 *
 * Decompressing streams stop silently after the first of several frames, and take data that was cut short for
 * complete; knowing the frames repairs both.
 *
 * @module
 */

/** A part of one frame: it never goes on behind the end of a block. */
export interface FramePart {
  readonly bytes: Uint8Array;
  /** Whether the frame ends with it. */
  readonly ends: boolean;
}

/** What ends with a byte. */
type End = "nothing" | "block" | "frame";

type State = "magic" | "skipSize" | "descriptor" | "header" | "block" | "body" | "checksum";

const MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const RLE_BLOCK = 1;

/** Logarithm of the largest window that the decoder takes, as `zstd --long=31` writes it. */
export const MAX_WINDOW_LOG = 31;

/** Cuts zstd data, given in chunks, into parts of frames. Skippable frames are left out. */
export class ZstdFrameSplitter {
  #state: State = "magic";
  /** Bytes of the current field that have come, and how many it has. */
  readonly #field = new Uint8Array(16);
  #have = 0;
  #need = 4;
  /** Bytes still to pass over: a block's content, or a skippable frame's. */
  #body = 0;
  #lastBlock = false;
  #hasChecksum = false;
  /** Whether the frame's content is one segment, and so its window; and the bytes that its size is written in. */
  #single = false;
  #sizeBytes = 0;
  #skipping = false;
  /** Start of a magic number that goes on in the next chunk. */
  #carry: Uint8Array = new Uint8Array(0);

  /** Whether the data so far ends where a frame ends. */
  get isBetweenFrames(): boolean {
    return this.#state === "magic" && this.#carry.length === 0;
  }

  /**
   * The parts of frames in the next chunk, in order.
   *
   * @throws {Error} Where what should be a frame is none, or needs a larger window than the decoder has.
   */
  *split(next: Uint8Array): Generator<FramePart> {
    const chunk = this.#withCarry(next);
    let start = 0;
    let at = 0;
    while (at < chunk.length) {
      if (this.#state === "magic" && chunk.length - at < 4) {
        this.#carry = chunk.slice(at);
        return;
      }
      const skipped = this.#skipping;
      let end: End = "nothing";
      if (this.#state === "body") {
        const step = Math.min(this.#body, chunk.length - at);
        at += step;
        this.#body -= step;
        if (this.#body === 0) end = this.#endBody();
      } else {
        while (this.#have < this.#need && at < chunk.length) {
          this.#field[this.#have++] = chunk[at++]!;
        }
        if (this.#have === this.#need) end = this.#endField();
      }
      if (end === "nothing") continue;
      if (!skipped) yield { bytes: chunk.subarray(start, at), ends: end === "frame" };
      start = at;
    }
    if (start < at && !this.#skipping) yield { bytes: chunk.subarray(start, at), ends: false };
  }

  #withCarry(next: Uint8Array): Uint8Array {
    if (this.#carry.length === 0) return next;
    const whole = new Uint8Array(this.#carry.length + next.length);
    whole.set(this.#carry);
    whole.set(next, this.#carry.length);
    this.#carry = new Uint8Array(0);
    return whole;
  }

  #expect(state: State, need: number): "nothing" {
    this.#state = state;
    this.#need = need;
    this.#have = 0;
    return "nothing";
  }

  #endFrame(): "frame" {
    this.#skipping = false;
    this.#expect("magic", 4);
    return "frame";
  }

  /** Takes in a whole field; says what ends with it. */
  #endField(): End {
    const view = new DataView(this.#field.buffer);
    switch (this.#state) {
      case "magic": {
        const magic = view.getUint32(0, true);
        this.#skipping = (magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC;
        if (this.#skipping) return this.#expect("skipSize", 4);
        if (magic !== MAGIC) throw new Error("it is no zstd data");
        return this.#expect("descriptor", 1);
      }
      case "skipSize":
        this.#body = view.getUint32(0, true);
        this.#lastBlock = true;
        this.#hasChecksum = false;
        return this.#beginBody();
      case "descriptor": {
        const descriptor = this.#field[0]!;
        this.#single = ((descriptor >> 5) & 1) === 1;
        this.#sizeBytes = [this.#single ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
        const dictionary = [0, 1, 2, 4][descriptor & 3]!;
        this.#hasChecksum = ((descriptor >> 2) & 1) === 1;
        // Never 0: a frame without a window descriptor states its content size.
        return this.#expect("header", this.#sizeBytes + dictionary + (this.#single ? 0 : 1));
      }
      case "header":
        this.#checkWindow();
        return this.#expect("block", 3);
      case "block": {
        const header = this.#field[0]! | (this.#field[1]! << 8) | (this.#field[2]! << 16);
        this.#lastBlock = (header & 1) === 1;
        this.#body = ((header >> 1) & 3) === RLE_BLOCK ? 1 : header >> 3;
        return this.#beginBody();
      }
      default: // the checksum, the last field of a frame
        return this.#endFrame();
    }
  }

  #checkWindow(): void {
    let window = 0;
    if (this.#single) {
      // The content's size is the header's last field.
      const size = this.#field.subarray(this.#need - this.#sizeBytes, this.#need);
      for (const byte of size.toReversed()) window = 256 * window + byte;
    } else {
      const descriptor = this.#field[0]!;
      window = 2 ** (10 + (descriptor >> 3)) * (1 + (descriptor & 7) / 8);
    }
    if (window <= 2 ** MAX_WINDOW_LOG) return;
    throw new Error(
      `its zstd window has ${window} bytes, at most 2^${MAX_WINDOW_LOG} can be read: ` +
        `compress it anew by zstd --long=${MAX_WINDOW_LOG} or less`,
    );
  }

  #beginBody(): End {
    this.#expect("body", 0);
    return this.#body === 0 ? this.#endBody() : "nothing";
  }

  /** Goes on after a block's content; says what ends with it. */
  #endBody(): "block" | "frame" {
    if (this.#lastBlock && !this.#hasChecksum) return this.#endFrame();
    if (this.#lastBlock) this.#expect("checksum", 4);
    else this.#expect("block", 3);
    return "block";
  }
}
