/**
 * A page as a sequential object. Its bytes are cut into cells at every place where an operation begins or ends; a cell's content is a number that
 * stands for its bytes, so that states are short and cheap to compare.
 */
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import type { Model } from './checker.js'

/** Offsets are bytes from the start of the page; `bytes` are hexadecimal. */
export type PageInput =
  | { readonly op: 'read'; readonly offset: number; readonly bytes: string }
  | { readonly op: 'write'; readonly offset: number; readonly bytes: string }
  /** Zeros from `offset` up to but without `end`. */
  | { readonly op: 'zero'; readonly offset: number; readonly end: number }
  /** Read, then written if `to` is there, in one: an atomic operation whose answer is known. */
  | { readonly op: 'update'; readonly offset: number; readonly from: string; readonly to: string | undefined }
  /** Atomic operations whose answer nobody has heard. Little-endian, as wide as `bytes`. */
  | { readonly op: 'add'; readonly offset: number; readonly bytes: string }
  | { readonly op: 'compareExchange'; readonly offset: number; readonly expected: string; readonly bytes: string }

export type PageState = readonly number[]

export function pageModel(inputs: Iterable<PageInput>): Model<PageState, PageInput> {
  return new PageModel(inputs)
}

class PageModel implements Model<PageState, PageInput> {
  readonly initial: PageState
  /** Where cells begin, and at last where the last one ends. */
  private readonly edges: number[]
  private readonly cellAt = new Map<number, number>()
  private readonly contents: string[] = []
  private readonly numbers = new Map<string, number>()

  constructor(inputs: Iterable<PageInput>) {
    const edges = new Set<number>()
    for (const input of inputs) for (const edge of rangeOf(input)) edges.add(edge)
    this.edges = [...edges].sort((a, b) => a - b)
    for (const [cell, edge] of this.edges.entries()) this.cellAt.set(edge, cell)
    this.initial = this.edges.slice(1).map((edge, cell) => this.numberOf(zeros(edge - this.edges[cell]!)))
  }

  key(state: PageState): string {
    return state.join()
  }

  isRead(input: PageInput): boolean {
    return input.op === 'read' || (input.op === 'update' && input.to === undefined)
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
    const end = offset + bytes.length / 2
    for (let cell = this.cellAt.get(offset)!; this.edges[cell]! < end; cell++) {
      const [from, to] = [this.edges[cell]! - offset, this.edges[cell + 1]! - offset]
      after[cell] = this.numberOf(bytes.slice(2 * from, 2 * to))
    }
    return after
  }

  private numberOf(content: string): number {
    let number = this.numbers.get(content)
    if (number === undefined) {
      number = this.contents.push(content) - 1
      this.numbers.set(content, number)
    }
    return number
  }
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
