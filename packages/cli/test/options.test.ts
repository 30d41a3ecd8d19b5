import { InvalidArgumentError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { parseDuration } from '../src/options.js'
import { showControls, showPath, visibleJson } from '../src/visible.js'

describe('a duration', () => {
  it.each([
    ['5', 5000],
    ['1.5', 1500],
    ['5s', 5000],
    ['500ms', 500],
    ['2m', 120_000],
    ['24h', 86_400_000]
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  it.each(['', ' 5', '0', '-1', '5x', '5 s', '1e3', 's', '.5', '25h', '0.1ms', 'Infinity'])('%j is none', (text) => {
    expect(() => parseDuration(text)).toThrow(InvalidArgumentError)
  })
})

describe('what a terminal is shown', () => {
  it.each([
    ['/a b/é/\u{1f600}/\u5b57', '/a b/é/\u{1f600}/\u5b57'],
    ['/a\nb\tc\rd', '/a\\nb\\tc\\rd'],
    ['/\x1b]0;title\x07', '/\\u001b]0;title\\u0007'],
    ['/\x7f\x9b31m\u2028\u2029', '/\\u007f\\u009b31m\\u2028\\u2029'],
    ['/abc\u202egnp.exe\u2066', '/abc\\u202egnp.exe\\u2066'],
    ['/a\\nb', '/a\\\\nb']
  ])('of the path %j is %s', (path, shown) => {
    expect(showPath(path)).toBe(shown)
  })

  it('of two different paths is never the same', () => {
    const paths = ['/a\nb', '/a\\nb', '/a\\\nb', '/a\\u000ab']
    expect(new Set(paths.map((path) => showPath(path))).size).toBe(paths.length)
  })

  it('is shown as JSON that means the same', () => {
    const value = { path: '/\u009b31m\u202e\u007f\n\\u0041', list: ['\u001b[2J'] }
    const shown = visibleJson(value)
    expect(JSON.parse(shown)).toEqual(value)
    expect(shown).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u)
  })

  it('of a message keeps backslashes, which it may have quoted already', () => {
    expect(showControls('path is "a\\n", must\x1b[1m')).toBe('path is "a\\n", must\\u001b[1m')
  })
})
