import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  InvalidArgumentError,
  MAX_PATH_BYTES,
  encode,
  errorToWire,
  refusePath,
  refusePrefix,
  wireError
} from '../src/index.js'

/** The usual troublemakers: dots, NUL, combining marks, lone surrogates, compatibility characters. */
const piece = fc.constantFrom(
  '/',
  '.',
  '..',
  'a',
  'e',
  '\0',
  '\u0301',
  '\u00e9',
  '\u212b',
  '\ud83d',
  '\ude00',
  '\u{1f600}',
  'ﬁ'
)
const text = fc.oneof(
  fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
  fc.array(piece, { maxLength: 12 }).map((pieces) => `/${pieces.join('')}`),
  fc.string({ unit: 'grapheme' }).map((string) => `/${string}`)
)

describe('a prefix', () => {
  it('a prefix is accepted if a valid path starts with it', () => {
    fc.assert(
      fc.property(text, (path) => {
        if (refusePath(path) !== undefined) return
        const points = Array.from(path)
        for (let end = 0; end <= points.length; end++) {
          expect(refusePrefix(points.slice(0, end).join(''))).toBeUndefined()
        }
      }),
      { numRuns: 2000 }
    )
  })

  it('a prefix is accepted only if some valid path starts with it', () => {
    fc.assert(
      fc.property(text, (prefix) => {
        if (refusePrefix(prefix) !== undefined || prefix.length > MAX_PATH_BYTES / 8) return
        expect(refusePath(`${prefix === '' ? '/' : prefix}x`)).toBeUndefined()
      }),
      { numRuns: 2000 }
    )
  })

  it.each(['/cafe\u0301', '/\u212b', 'a', '//', '/a/../', '/a\0', '/\ud83d', `/${'x'.repeat(MAX_PATH_BYTES)}`])(
    'the prefix %j is refused with its name and value',
    (prefix) => {
      const refusal = refusePrefix(prefix)
      expect(refusal).toBeInstanceOf(InvalidArgumentError)
      expect(refusal).toMatchObject({ argument: 'prefix', value: prefix.slice(0, 256) })
    }
  )
})

describe('a refusal', () => {
  it.each([250, 251, 252, 253, 254, 255, 256])(
    'a refusal can be encoded wherever its excerpt ends, even inside a surrogate pair: after %d letters',
    (letters) => {
      const text = `/${'x'.repeat(letters)}\u{1f600}\u{1f600}//a`
      for (const refusal of [refusePath(text), refusePrefix(text)]) {
        expect(refusal).toBeInstanceOf(InvalidArgumentError)
        expect(encode(wireError, errorToWire(refusal!)).length).toBeGreaterThan(0)
        expect(String(refusal!.value).length).toBeGreaterThanOrEqual(255)
      }
    }
  )
})
