import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openSlotFile, type OpenForWrite } from '../src/peer/slot-file.js'

const SLOT = 4096
let root: string
let path: string

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'quire-slots-'))
  path = join(root, 'slots')
})

afterEach(() => rmSync(root, { recursive: true, force: true }))

async function write(...texts: string[]): Promise<void> {
  const file = openSlotFile(path, SLOT)
  for (const text of texts) await file.write(text)
  await file.close()
}

async function read(): Promise<string> {
  const file = openSlotFile(path, SLOT)
  await file.close()
  return file.text
}

describe('slot files', () => {
  it('a slot file is empty at first, and then holds the newest text', async () => {
    expect(await read()).toBe('')
    await write('a', 'b')
    expect(await read()).toBe('b')
    await write('c')
    expect(await read()).toBe('c')
  })

  it('a slot file keeps the latest of the texts that arrive during a write', async () => {
    const file = openSlotFile(path, SLOT)
    await Promise.all([file.write('a'), file.write('b'), file.write('c')])
    await file.close()
    expect(await read()).toBe('c')
  })

  it('a slot file never changes its size, so a full disk does not prevent a write', async () => {
    await write('a')
    const { size } = statSync(path)
    await write('b'.repeat(3000), 'c')
    expect(statSync(path).size).toBe(size)
  })

  it('a slot file holds the older text if the newest write was torn at any byte', async () => {
    await write('old', 'newest')
    const whole = readFileSync(path)
    for (const slot of [0, 1]) {
      for (let byte = 0; byte < 22; byte++) {
        const torn = Buffer.from(whole)
        torn[slot * SLOT + byte]! ^= 0xff
        writeFileSync(path, torn)
        // Only one slot holds a valid text now. Either text may be in it.
        expect(['old', 'newest']).toContain(await read())
      }
    }
  })

  it('a slot file tries to open its file again after a failure, and can close in between', async () => {
    const lacking = Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })
    let lacks = true
    const openFile: OpenForWrite = (name, flags) => (lacks ? Promise.reject(lacking) : open(name, flags))
    const file = openSlotFile(path, SLOT, openFile)
    await expect(file.write('a')).rejects.toBe(lacking)
    lacks = false
    await file.write('b')
    await file.close()
    expect(await read()).toBe('b')
    lacks = true
    const another = openSlotFile(path, SLOT, openFile)
    await expect(another.write('c')).rejects.toBe(lacking)
    await another.close()
    await expect(another.write('d')).rejects.toMatchObject({ code: 'ERR_CLOSED' })
    expect(await read()).toBe('b')
  })

  it('a text in a slot file is not durable before all bytes are written, however few the system accepts at a time', async () => {
    let room = Infinity
    const openFile: OpenForWrite = async (name, flags) => {
      const handle = await open(name, flags)
      const write = (bytes: Uint8Array, offset: number, length: number, position: number) => {
        const taken = Math.min(7, length, room)
        room -= taken
        return handle.write(bytes, offset, taken, position)
      }
      return { write, datasync: () => handle.datasync(), close: () => handle.close() } as Awaited<
        ReturnType<OpenForWrite>
      >
    }
    const file = openSlotFile(path, SLOT, openFile)
    const long = 'long '.repeat(100)
    await file.write(long)
    expect(await read()).toBe(long)
    room = 100
    await expect(file.write('longer '.repeat(100))).rejects.toMatchObject({ code: 'ERR_NO_SPACE' })
    expect(await read()).toBe(long)
    room = Infinity
    await file.write('short')
    await file.close()
    expect(await read()).toBe('short')
  })

  it('a slot file is refused, and named, if neither slot is valid', async () => {
    await write('a', 'b')
    writeFileSync(path, Buffer.alloc(2 * SLOT, 7))
    expect(() => openSlotFile(path, SLOT)).toThrow(expect.objectContaining({ name: 'CorruptionError', where: path }))
    writeFileSync(path, '')
    expect(() => openSlotFile(path, SLOT)).toThrow(expect.objectContaining({ name: 'CorruptionError' }))
  })

  it('a slot file refuses a text that does not fit, and keeps the one that it has', async () => {
    await write('a')
    const file = openSlotFile(path, SLOT)
    await expect(file.write('x'.repeat(SLOT))).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT', argument: 'text' })
    await file.write('b')
    await file.close()
    expect(await read()).toBe('b')
  })
})
