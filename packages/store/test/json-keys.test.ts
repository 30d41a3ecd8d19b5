import fc from 'fast-check'
import { expect, it } from 'vitest'
import { repeatedKey } from '../src/peer/json-keys.js'

it.each([
  ['{"a":1,"b":2,"a":3}', 'a'],
  ['[{"a":{"x":1,"y":[{}],"x":2}}]', 'x'],
  ['{"a\\"{":1, "b":"{", "a\\u0022{" :2}', 'a"{'],
  ['{"a":"a","b":["a","a"],"c":{"a":1}}', undefined],
  ['[{"a":1},{"a":1}]', undefined],
  ['{"a":"\\\\","b":"a"}', undefined],
  ['"a"', undefined]
])('a search for repeated keys finds the key that an object has twice: %s', (text, key) => {
  JSON.parse(text)
  expect(repeatedKey(text)).toBe(key)
})

it('a search for repeated keys finds none in the output of JSON.stringify', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(0, 2), (value, space) => {
      expect(repeatedKey(JSON.stringify(value, undefined, space))).toBeUndefined()
    })
  )
})
