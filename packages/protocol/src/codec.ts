/**
 * Binary codecs as values. A `Codec<T>` writes a T and reads it back; larger codecs are composed of smaller ones.
 *
 * All messages on the wire and all records in the log are declared with codecs. One declaration holds the encoding, the
 * TypeScript type and the limits. Decoding trusts no length: it checks a count against the bytes that are left before
 * it allocates anything, and throws {@link CodecError} for every malformed input.
 */
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'

/** The bytes cannot be decoded, or the value does not fit its codec. */
export class CodecError extends Error {
  override readonly name = 'CodecError'
  readonly code = 'ERR_CODEC'
}

/** Writes and reads values of one type. Both methods are synchronous and keep no reference to their arguments. */
export interface Codec<T> {
  /**
   * Appends `value`. Throws CodecError if the value exceeds a limit of the codec; the writer then holds a part of it.
   */
  write(writer: Writer, value: T): void
  /** Reads one value. Byte arrays in the value are views of the reader's buffer: copy those that must outlive it. */
  read(reader: Reader): T
  /** The size of the shortest encoding. It bounds the length of a list before the list is allocated. */
  readonly minBytes: number
}

export type TypeOf<C> = C extends Codec<infer T> ? T : never

/**
 * Appends values to a growing buffer.
 *
 * Integers are little-endian. `uint` is LEB128, up to 2^53 - 1.
 */
export class Writer {
  private bytes: Uint8Array
  private view: DataView

  /**
   * Appends behind the first `length` bytes of `into`, which is overwritten from there on, or to a new buffer. A writer
   * that outgrows its buffer goes on in a larger one.
   */
  constructor(
    into: number | Uint8Array = 256,
    private length = 0
  ) {
    this.bytes = typeof into === 'number' ? new Uint8Array(into) : into
    this.view = viewOf(this.bytes)
  }

  u8(value: number): void {
    this.reserve(1)
    this.bytes[this.length++] = value
  }

  u32(value: number): void {
    this.reserve(4)
    this.view.setUint32(this.length, value, true)
    this.length += 4
  }

  f64(value: number): void {
    this.reserve(8)
    this.view.setFloat64(this.length, value, true)
    this.length += 8
  }

  uint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new CodecError(`${value} is not a safe unsigned integer`)
    this.reserve(8)
    while (value > 127) {
      this.bytes[this.length++] = (value & 127) | 128
      value = Math.floor(value / 128)
    }
    this.bytes[this.length++] = value
  }

  /** Copies `value`, without a length. */
  raw(value: Uint8Array): void {
    this.reserve(value.length)
    this.bytes.set(value, this.length)
    this.length += value.length
  }

  /** Overwrites four bytes at `offset`, which must have been written before. */
  patchU32(offset: number, value: number): void {
    this.view.setUint32(offset, value, true)
  }

  get size(): number {
    return this.length
  }

  /** Returns the written bytes, which the caller owns. The writer must not be used afterwards. */
  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }

  private reserve(more: number): void {
    const needed = this.length + more
    if (needed <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
    this.view = viewOf(grown)
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * Reads values from a buffer that the caller owns.
 *
 * `raw` returns views of that buffer, which are never of Node's class Buffer. `slice` of a Buffer does not copy, and
 * callers copy with it.
 */
export class Reader {
  private readonly view: DataView
  private offset = 0

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get left(): number {
    return this.bytes.length - this.offset
  }

  u8(): number {
    return this.view.getUint8(this.take(1))
  }

  u32(): number {
    return this.view.getUint32(this.take(4), true)
  }

  f64(): number {
    return this.view.getFloat64(this.take(8), true)
  }

  uint(): number {
    let value = 0
    let scale = 1
    for (let count = 0; count < 8; count++) {
      const byte = this.u8()
      value += (byte & 127) * scale
      if (byte < 128) {
        if (!Number.isSafeInteger(value)) break
        // Each value has one encoding, so that decode(x) = y implies encode(y) = x.
        if (byte === 0 && count > 0) throw new CodecError('overlong integer')
        return value
      }
      scale *= 128
    }
    throw new CodecError('integer above 2^53 - 1')
  }

  raw(length: number): Uint8Array {
    const start = this.take(length)
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset + start, length)
  }

  private take(length: number): number {
    const start = this.offset
    if (length > this.bytes.length - start) throw new CodecError(`${length} bytes wanted, ${this.left} left`)
    this.offset = start + length
    return start
  }
}

/** A safe integer, 0 or more, in 1 to 8 bytes. */
export const uint: Codec<number> = {
  minBytes: 1,
  write: (writer, value) => writer.uint(value),
  read: (reader) => reader.uint()
}

export const f64: Codec<number> = {
  minBytes: 8,
  write: (writer, value) => writer.f64(value),
  read: (reader) => reader.f64()
}

export const bool: Codec<boolean> = {
  minBytes: 1,
  write: (writer, value) => writer.u8(value ? 1 : 0),
  read: (reader) => {
    const byte = reader.u8()
    if (byte > 1) throw new CodecError(`${byte} is not a boolean`)
    return byte === 1
  }
}

/** At most `maxBytes` bytes. Decoding returns a view of the input; copy it if it must outlive the input. */
export function bytes(maxBytes: number): Codec<Uint8Array> {
  return {
    minBytes: 1,
    write: (writer, value) => {
      if (value.length > maxBytes) throw new CodecError(`${value.length} bytes, at most ${maxBytes}`)
      writer.uint(value.length)
      writer.raw(value)
    },
    read: (reader) => {
      const length = reader.uint()
      if (length > maxBytes) throw new CodecError(`${length} bytes, at most ${maxBytes}`)
      return reader.raw(length)
    }
  }
}

/** Text of at most `maxBytes` bytes of UTF-8. Decoding throws CodecError for bytes that are not UTF-8. */
export function text(maxBytes: number): Codec<string> {
  const inner = bytes(maxBytes)
  return {
    minBytes: 1,
    write: (writer, value) => {
      // A lone surrogate would silently change into another character.
      if (/\p{Surrogate}/u.test(value)) throw new CodecError('text is not well-formed Unicode')
      inner.write(writer, fromString(value))
    },
    read: (reader) => {
      const encoded = inner.read(reader)
      const value = toString(encoded)
      // A malformed sequence decodes to U+FFFD, which does not encode back to the same bytes.
      if (value.includes('\ufffd') && !sameBytes(fromString(value), encoded)) throw new CodecError('not UTF-8')
      return value
    }
  }
}

/** One of the names, encoded as its position. */
export function oneOf<const T extends string>(...names: readonly T[]): Codec<T> {
  return {
    minBytes: 1,
    write: (writer, value) => {
      const position = names.indexOf(value)
      if (position < 0) throw new CodecError(`${value} is none of ${names.join(', ')}`)
      writer.u8(position)
    },
    read: (reader) => {
      const position = reader.u8()
      const name = names[position]
      if (name === undefined) throw new CodecError(`${position} names none of ${names.join(', ')}`)
      return name
    }
  }
}

export function list<T>(item: Codec<T>, maxItems: number): Codec<T[]> {
  return {
    minBytes: 1,
    write: (writer, values) => {
      if (values.length > maxItems) throw new CodecError(`${values.length} items, at most ${maxItems}`)
      writer.uint(values.length)
      for (const value of values) item.write(writer, value)
    },
    read: (reader) => {
      const count = reader.uint()
      if (count > maxItems) throw new CodecError(`${count} items, at most ${maxItems}`)
      if (count * Math.max(1, item.minBytes) > reader.left)
        throw new CodecError(`${count} items in ${reader.left} bytes`)
      const values: T[] = []
      for (let i = 0; i < count; i++) values.push(item.read(reader))
      return values
    }
  }
}

export function optional<T>(inner: Codec<T>): Codec<T | undefined> {
  return {
    minBytes: 1,
    write: (writer, value) => {
      bool.write(writer, value !== undefined)
      if (value !== undefined) inner.write(writer, value)
    },
    read: (reader) => (bool.read(reader) ? inner.read(reader) : undefined)
  }
}

type Fields = Readonly<Record<string, Codec<unknown>>>
/** The value of a struct with these fields. */
export type StructOf<F extends Fields> = { readonly [K in keyof F]: TypeOf<F[K]> }
// Codec is contravariant in `write`, so only `any` holds codecs of several types. `StructOf` types each field.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type AnyFields = Readonly<Record<string, Codec<any>>>

/** The fields one after the other, in the order of their declaration. */
export function struct<F extends AnyFields>(fields: F): Codec<StructOf<F>> {
  const entries = Object.entries(fields)
  return {
    minBytes: entries.reduce((sum, [, codec]) => sum + codec.minBytes, 0),
    write: (writer, value) => {
      for (const [name, codec] of entries) codec.write(writer, value[name as keyof F])
    },
    read: (reader) => {
      const value: Record<string, unknown> = {}
      for (const [name, codec] of entries) value[name] = codec.read(reader)
      return value as StructOf<F>
    }
  }
}

type Variants = Readonly<Record<string, readonly [tag: number, codec: Codec<object>]>>
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type AnyVariants = Readonly<Record<string, readonly [tag: number, codec: Codec<any>]>>
/** `{ type: 'name' } & fields` for each variant. */
export type Union<V extends AnyVariants> = {
  [K in keyof V]: { readonly type: K } & TypeOf<V[K][1]>
}[keyof V]

/** One of several structs behind a tag byte. Tags are part of the format, so never reuse one. */
export function union<V extends AnyVariants>(variants: V): Codec<Union<V>> {
  const byTag = new Map<number, [name: string, codec: Codec<object>]>()
  for (const [name, [tag, codec]] of Object.entries(variants as Variants)) {
    if (byTag.has(tag)) throw new CodecError(`tag ${tag} is used twice`)
    byTag.set(tag, [name, codec])
  }
  return {
    minBytes: 1,
    write: (writer, value) => {
      const variant = variants[value.type as string]
      if (variant === undefined) throw new CodecError(`unknown type ${String(value.type)}`)
      writer.u8(variant[0])
      variant[1].write(writer, value)
    },
    read: (reader) => {
      const tag = reader.u8()
      const variant = byTag.get(tag)
      if (variant === undefined) throw new CodecError(`unknown tag ${tag}`)
      return { type: variant[0], ...variant[1].read(reader) } as unknown as Union<V>
    }
  }
}

export function encode<T>(codec: Codec<T>, value: T, capacity?: number): Uint8Array {
  const writer = new Writer(capacity)
  codec.write(writer, value)
  return writer.finish()
}

/** Decodes all of `input`. Throws CodecError if bytes are left over. */
export function decode<T>(codec: Codec<T>, input: Uint8Array): T {
  const reader = new Reader(input)
  const value = codec.read(reader)
  if (reader.left > 0) throw new CodecError(`${reader.left} bytes left over`)
  return value
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
