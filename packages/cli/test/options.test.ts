import { InvalidArgumentError } from '@quire/protocol'
import { describe, expect, it } from 'vitest'
import { parseDuration } from '../src/options.js'
import { showControls, showPath, visibleJson } from '../src/visible.js'

describe('parseDuration', () => {
  it.each([
    ['5', 5000],
    ['1.5', 1500],
    ['5s', 5000],
    ['500ms', 500],
    ['2m', 120_000],
    ['24h', 86_400_000]
  ])('reads %s as %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  it.each(['', ' 5', '0', '-1', '5x', '5 s', '1e3', 's', '.5', '25h', '0.1ms', 'Infinity'])(
    'parseDuration refuses %j',
    (text) => {
      expect(() => parseDuration(text)).toThrow(InvalidArgumentError)
    }
  )
})

describe('text for a terminal', () => {
  it.each([
    ['/a b/é/\u{1f600}/\u5b57', '/a b/é/\u{1f600}/\u5b57'],
    ['/a\nb\tc\rd', '/a\\nb\\tc\\rd'],
    ['/\x1b]0;title\x07', '/\\u001b]0;title\\u0007'],
    ['/\x7f\x9b31m\u2028\u2029', '/\\u007f\\u009b31m\\u2028\\u2029'],
    ['/abc\u202egnp.exe\u2066', '/abc\\u202egnp.exe\\u2066'],
    ['/a\\nb', '/a\\\\nb']
  ])('shows the path %j as %s', (path, shown) => {
    expect(showPath(path)).toBe(shown)
  })

  it('text for a terminal shows two different paths differently', () => {
    const paths = ['/a\nb', '/a\\nb', '/a\\\nb', '/a\\u000ab']
    expect(new Set(paths.map((path) => showPath(path))).size).toBe(paths.length)
  })

  it('text for a terminal has escapes for control characters in JSON, which still parses to the same value', () => {
    const value = { path: '/\u009b31m\u202e\u007f\n\\u0041', list: ['\u001b[2J'] }
    const shown = visibleJson(value)
    expect(JSON.parse(shown)).toEqual(value)
    expect(shown).not.toMatch(/[\p{Cc}\p{Bidi_Control}]/u)
  })

  it('text for a terminal keeps the backslashes of a message, which may have quoted them already', () => {
    expect(showControls('path is "a\\n", must\x1b[1m')).toBe('path is "a\\n", must\\u001b[1m')
  })
})
