/** A file's size as a sequential object. */
import type { Model } from './checker.js'

export type SizeInput =
  | { readonly op: 'read'; readonly size: number }
  /** An access up to `end` succeeded. */
  | { readonly op: 'reaches'; readonly end: number }
  /** Nothing was found from there on. */
  | { readonly op: 'endsBy'; readonly size: number }
  | { readonly op: 'set'; readonly size: number }
  /** A write extended the file to `end`, if it was shorter. */
  | { readonly op: 'extend'; readonly end: number }

export const sizeModel = (initial: number): Model<number, SizeInput> => ({
  initial,
  key: String,
  isIdle: (_, { op }) => op === 'read' || op === 'reaches' || op === 'endsBy',
  step(size, input) {
    switch (input.op) {
      case 'read':
        return input.size === size ? size : undefined
      case 'reaches':
        return size >= input.end ? size : undefined
      case 'endsBy':
        return size <= input.size ? size : undefined
      case 'set':
        return input.size
      case 'extend':
        return Math.max(size, input.end)
    }
  }
})
