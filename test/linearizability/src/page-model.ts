/**
 * A page as a sequential object. Cells divide its bytes wherever an operation begins or ends. A number stands for the
 * content of a cell, so that states are short and cheap to compare.
 */
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import type { Model } from './checker.js'

/** Offsets are bytes from the start of the page. `bytes` are hexadecimal. */
export type PageInput =
  | { readonly op: 'read'; readonly offset: number; readonly bytes: string }
  | { readonly op: 'write'; readonly offset: number; readonly bytes: string }
  /** Zeros from `offset` up to but without `end`. */
  | { readonly op: 'zero'; readonly offset: number; readonly end: number }
  /** Reads, and then writes if there is `to`, in one step: an atomic operation with a known answer. */
  | { readonly op: 'update'; readonly offset: number; readonly from: string; readonly to: string | undefined }
  /** Atomic operations without a known answer. Little-endian, as wide as `bytes`. */
  | { readonly op: 'add'; readonly offset: number; readonly bytes: string }
  | { readonly op: 'compareExchange'; readonly offset: number; readonly expected: string; readonly bytes: string }

export type PageState = readonly number[]

const UNSEEN = 0

export function pageModel(inputs: Iterable<PageInput>): Model<PageState, PageInput> {
  return new PageModel(inputs)
}

/** Computes the states of one page, whose cells it derives from all inputs that will come. */
class PageModel implements Model<PageState, PageInput> {
  readonly initial: PageState
  /** Where cells begin, and the end of the last one. */
  private readonly edges: number[]
  private readonly cellAt = new Map<number, number>()
  /**
   * The first number stands for all contents that no operation has found in a cell, because it makes no difference
   * which one it is.
   */
  private readonly contents: string[] = ['?']
  private readonly numbers = new Map<string, number>()
  /** The values that an operation found in each cell. Undefined if the findings of some operation are unknown. */
  private readonly found: readonly Set<string>[] | undefined

  constructor(inputs: Iterable<PageInput>) {
    const edges = new Set<number>()
    const all = [...inputs]
    for (const input of all) for (const edge of rangeOf(input)) edges.add(edge)
    this.edges = [...edges].sort((a, b) => a - b)
    for (const [cell, edge] of this.edges.entries()) this.cellAt.set(edge, cell)
    this.found = this.findings(all)
    this.initial = this.edges.slice(1).map((edge, cell) => this.numberOf(cell, zeros(edge - this.edges[cell]!)))
  }

  private findings(inputs: readonly PageInput[]): Set<string>[] | undefined {
    const found = this.edges.map(() => new Set<string>())
    for (const input of inputs) {
      const bytes = foundBy(input)
      if (bytes === undefined) return undefined
      for (const [cell, content] of this.cells(input.offset, bytes)) found[cell]!.add(content)
    }
    return found
  }

  /** Returns the content numbers of these bytes, cell by cell. */
  private *cells(offset: number, bytes: string): Iterable<[number, string]> {
    const end = offset + bytes.length / 2
    if (bytes === '') return
    for (let cell = this.cellAt.get(offset)!; this.edges[cell]! < end; cell++) {
      const [from, to] = [this.edges[cell]! - offset, this.edges[cell + 1]! - offset]
      yield [cell, bytes.slice(2 * from, 2 * to)]
    }
  }

  key(state: PageState): string {
    return state.join()
  }

  isIdle(state: PageState, input: PageInput): boolean {
    if (input.op === 'read' || (input.op === 'update' && input.to === undefined)) return true
    if (input.op !== 'write') return false
    for (const [cell, content] of this.cells(input.offset, input.bytes)) {
      if (state[cell] !== UNSEEN || this.numberOf(cell, content) !== UNSEEN) return false
    }
    return true
  }

  step(state: PageState, input: PageInput): PageState | undefined {
    const { offset } = input
    switch (input.op) {
      case 'read':
        return this.bytesAt(state, offset, input.bytes.length / 2) === input.bytes ? state : undefined
      case 'write':
        return this.written(state, offset, input.bytes)
      case 'zero':
        return this.written(state, offset, zeros(input.end - offset))
      case 'update':
        if (this.bytesAt(state, offset, input.from.length / 2) !== input.from) return undefined
        return input.to === undefined ? state : this.written(state, offset, input.to)
      case 'add':
        return this.written(state, offset, sum(this.bytesAt(state, offset, input.bytes.length / 2), input.bytes))
      case 'compareExchange': {
        const isExpected = this.bytesAt(state, offset, input.bytes.length / 2) === input.expected
        return isExpected ? this.written(state, offset, input.bytes) : state
      }
    }
  }

  private bytesAt(state: PageState, offset: number, length: number): string {
    let bytes = ''
    for (let cell = this.cellAt.get(offset)!; this.edges[cell]! < offset + length; cell++) {
      bytes += this.contents[state[cell]!]!
    }
    return bytes
  }

  private written(state: PageState, offset: number, bytes: string): PageState {
    const after = [...state]
    for (const [cell, content] of this.cells(offset, bytes)) after[cell] = this.numberOf(cell, content)
    return after
  }

  private numberOf(cell: number, content: string): number {
    if (this.found?.[cell]!.has(content) === false) return UNSEEN
    let number = this.numbers.get(content)
    if (number === undefined) {
      number = this.contents.push(content) - 1
      this.numbers.set(content, number)
    }
    return number
  }
}

/**
 * Returns the bytes that the input found, empty if it looks at nothing; undefined if it looked, and its findings are
 * unknown.
 */
export function foundBy(input: PageInput): string | undefined {
  switch (input.op) {
    case 'read':
      return input.bytes
    case 'update':
      return input.from
    case 'write':
    case 'zero':
      return ''
    case 'add':
    case 'compareExchange':
      return undefined
  }
}

/** Whether the input changes bytes that `found` looks at. */
export function writesTo(input: PageInput, found: PageInput): boolean {
  if (input.op === 'read' || (input.op === 'update' && input.to === undefined)) return false
  const [[start, end], [first, last]] = [rangeOf(input), rangeOf(found)]
  return start < last && first < end
}

export function rangeOf(input: PageInput): [number, number] {
  const { offset } = input
  if (input.op === 'zero') return [offset, input.end]
  return [offset, offset + (input.op === 'update' ? input.from : input.bytes).length / 2]
}

function zeros(length: number): string {
  return '00'.repeat(length)
}

function sum(a: string, b: string): string {
  const bytes = fromString(a, 'hex')
  let carry = 0
  for (const [i, byte] of fromString(b, 'hex').entries()) {
    carry += bytes[i]! + byte
    bytes[i] = carry & 0xff
    carry >>= 8
  }
  return toString(bytes, 'hex')
}
