import { existsSync } from 'node:fs'
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import {
  KeyFileError,
  generatePrivateKey,
  loadOrCreatePrivateKey,
  loadPrivateKey,
  peerIdFromKey,
  privateKeyFromText,
  privateKeyToText,
  savePrivateKey
} from '../src/index.js'
import { cleanup } from './helpers.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quire-net-'))
  cleanup(() => rm(folder, { recursive: true }))
})

describe('a key file', () => {
  it('a key file holds one key that only its owner can read, and leaves no temporary file behind', async () => {
    const path = join(folder, 'key')
    const key = await generatePrivateKey()
    await savePrivateKey(path, key)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(peerIdFromKey(await loadPrivateKey(path))).toBe(peerIdFromKey(key))
    expect(await readdir(folder)).toEqual(['key'])
    expect(peerIdFromKey(privateKeyFromText(privateKeyToText(key)))).toBe(peerIdFromKey(key))
  })

  it('a key file is never overwritten', async () => {
    const path = join(folder, 'key')
    const first = await loadOrCreatePrivateKey(path)
    const error: unknown = await savePrivateKey(path, await generatePrivateKey()).catch((each: unknown) => each)
    expect(error).toBeInstanceOf(KeyFileError)
    expect(error).toMatchObject({ code: 'ERR_KEY_FILE', path, reason: 'the file exists and is not overwritten' })
    expect(peerIdFromKey(await loadOrCreatePrivateKey(path))).toBe(peerIdFromKey(first))
  })

  it('a key file with other content is refused by a one-line error that names the file', async () => {
    const path = join(folder, 'key')
    for (const content of ['', 'hello', 'aGVsbG8=', '\u0000\u0001', 'x'.repeat(20_000)]) {
      await writeFile(path, content)
      const error: unknown = await loadPrivateKey(path).catch((each: unknown) => each)
      expect(error).toBeInstanceOf(KeyFileError)
      expect((error as Error).message).toMatch(/^.*key: [^\n]+$/)
      await expect(loadOrCreatePrivateKey(path)).rejects.toBeInstanceOf(KeyFileError)
      expect(await readFile(path, 'utf8')).toBe(content)
    }
    const none = {
      name: 'KeyFileError',
      code: 'ERR_KEY_FILE',
      path: join(folder, 'none'),
      reason: 'cannot be read (ENOENT)'
    }
    await expect(loadPrivateKey(join(folder, 'none'))).rejects.toMatchObject(none)
    const nowhere = join(folder, 'no', 'key')
    const unwritten = { name: 'KeyFileError', path: nowhere, reason: 'cannot be written (ENOENT)' }
    await expect(savePrivateKey(nowhere, await generatePrivateKey())).rejects.toMatchObject(unwritten)
    // A caller may swap the arguments. No error may show the key.
    const key = await generatePrivateKey()
    const swapped: unknown = await savePrivateKey(key as never, path as never).catch((each: unknown) => each)
    expect(swapped).toMatchObject({ name: 'InvalidArgumentError', argument: 'path', value: 'object' })
  })

  it.runIf(existsSync('/dev/zero'))(
    'a key file is read only up to the limit for key files, even from a device without an end',
    async () => {
      await expect(loadPrivateKey('/dev/zero')).rejects.toMatchObject({
        name: 'KeyFileError',
        reason: 'larger than a key file can be (16384 bytes)'
      })
    }
  )
})
