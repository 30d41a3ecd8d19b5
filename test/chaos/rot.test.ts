import { createRandomSource } from '@quire/testing'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { flip } from './src/faults/rot.js'

/** A page of LMDB with these flags, a number of pages, and content. */
function page(flags: number, count: number, content: (page: Buffer) => void): Buffer {
  const bytes = Buffer.alloc(4096)
  bytes.writeUInt16LE(flags, 18)
  bytes.writeUInt32LE(count, 20)
  content(bytes)
  return bytes
}

it('bits flip in bodies of pages, and in no other page of LMDB', () => {
  const text = (bytes: Buffer): Buffer => bytes.fill('a page of a file', 24)
  const list = (bytes: Buffer): void => [3n, 80n, 78n, 12n].forEach((n, i) => bytes.writeBigInt64LE(n, 24 + 8 * i))
  const body = page(4, 1, text)
  const others = [page(2, 0, text), page(1, 0, text), page(4, 13, text), page(4, 1, list)]
  const zeros = page(4, 1, () => {})
  const folder = mkdtempSync(join(tmpdir(), 'quire-rot-'))
  try {
    const path = join(folder, 'pages.lmdb')
    writeFileSync(path, Buffer.concat([...others, body, zeros]))
    expect(flip(path, createRandomSource(1))).toBe(40)
    const after = readFileSync(path)
    const at = (i: number): Buffer => after.subarray(i * 4096, (i + 1) * 4096)
    for (const [i, other] of others.entries()) expect(at(i).equals(other)).toBe(true)
    for (const [i, before] of [body, zeros].entries()) {
      const now = at(others.length + i)
      expect(now.equals(before)).toBe(false)
      expect(now.subarray(0, 24).equals(before.subarray(0, 24))).toBe(true)
    }
    expect(flip(path, createRandomSource(2))).toBe(40)
    writeFileSync(path, Buffer.concat(others))
    expect(flip(path, createRandomSource(3))).toBe(0)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
