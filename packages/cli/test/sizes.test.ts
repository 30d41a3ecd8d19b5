import { InvalidArgumentError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { formatBytes, parseSize } from '../src/sizes.js'

describe('sizes', () => {
  it.each([
    ['0', 0],
    ['65536', 65_536],
    ['7B', 7],
    ['512KiB', 524_288],
    ['64MiB', 67_108_864],
    ['1.5GiB', 1_610_612_736],
    ['2TiB', 2 ** 41],
    ['1PiB', 2 ** 50]
  ])('the size %s is %d bytes', (text, bytes) => {
    expect(parseSize('--size')(text)).toBe(bytes)
  })

  it.each(['', ' 1', '-1', '.5MiB', '1 MiB', '1MB', '1mib', '1e6', 'MiB', '1KiB2', 'Infinity', '9PiB', '8192TiB'])(
    'no size is read from %j',
    (text) => {
      expect(() => parseSize('--size')(text)).toThrow(InvalidArgumentError)
    }
  )

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1_610_612_736, '1.5 GiB'],
    [2 ** 60, '1024.0 PiB']
  ])('%d bytes are shown as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text)
  })
})
