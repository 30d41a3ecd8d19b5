import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDataDirectory, type DataDirectory } from '../src/peer/data-dir.js'

const me = { peerId: '12D3KooWme', cluster: { clusterId: 'blue', digest: 'd1' } }
let root: string
let path: string
const opened: DataDirectory[] = []

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'quire-data-'))
  path = join(root, 'peer')
})

afterEach(async () => {
  for (const directory of opened.splice(0)) await directory.close()
  rmSync(root, { recursive: true, force: true })
})

async function open(init: Partial<Parameters<typeof openDataDirectory>[0]> = {}): Promise<DataDirectory> {
  const directory = await openDataDirectory({ path, ...me, ...init })
  opened.push(directory)
  return directory
}

async function started(): Promise<void> {
  const directory = await open()
  directory.completeBootstrap()
  await directory.close()
}

describe('data directory', () => {
  it('is made for a cluster and opened again without one', async () => {
    const first = await open()
    expect(first.bootstrapped).toBe(false)
    first.completeBootstrap()
    await first.close()
    const second = await open({ cluster: undefined })
    expect(second.bootstrapped).toBe(true)
    expect(second.clusterId).toBe('blue')
    expect(existsSync(second.logPath) && existsSync(second.pagesPath)).toBe(true)
  })

  it('is refused while another process uses it, and free again after that process is killed', async () => {
    await started()
    const script = `
      import { lockFolder } from ${JSON.stringify(fileURLToPath(new URL('../dist/peer/folder-lock.js', import.meta.url)))}
      await lockFolder(${JSON.stringify(path)})
      console.log('locked')
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    try {
      await once(child.stdout, 'data')
      await expect(open()).rejects.toThrow(`${path}: in use by another process`)
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    } finally {
      child.kill('SIGKILL')
    }
    const again = await open()
    expect(again.bootstrapped).toBe(true)
    expect(readdirSync(path).filter((name) => name.startsWith('lock-'))).toHaveLength(1)
  })

  it('goes to at most one of many that want it at once', async () => {
    await started()
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => open()))
    expect(results.filter((result) => result.status === 'fulfilled').length).toBeLessThanOrEqual(1)
    for (const result of results) if (result.status === 'rejected') expect(String(result.reason)).toContain('in use')
  })

  it('is locked under a path that is too long for a socket', async () => {
    path = join(root, 'p'.repeat(120))
    await started()
    await open()
    await expect(open()).rejects.toThrow('in use')
  })

  it('leaves no socket behind when it is closed', async () => {
    await started()
    expect(readdirSync(path).sort()).toEqual(['identity.json', 'log', 'pages', 'peers.state'])
  })

  it('refuses a peer that it does not belong to', async () => {
    await started()
    await expect(open({ peerId: '12D3KooWother' })).rejects.toThrow(`${path} belongs to peer 12D3KooWme`)
  })

  it('refuses a cluster that it does not belong to', async () => {
    await started()
    await expect(open({ cluster: { clusterId: 'green', digest: 'd1' } })).rejects.toThrow(
      `${path} belongs to cluster blue, not green`
    )
  })

  it('starts from nothing when its first start was interrupted', async () => {
    const first = await open()
    writeFileSync(join(first.logPath, 'half'), 'a torn log')
    await first.close()
    await expect(open({ cluster: undefined })).rejects.toThrow('its first start was interrupted')
    const second = await open()
    expect(second.bootstrapped).toBe(false)
    expect(readdirSync(second.logPath)).toEqual([])
  })

  it('is not made without a cluster, nor in a folder that holds something else', async () => {
    await expect(open({ cluster: undefined })).rejects.toThrow('no such directory')
    expect(existsSync(path)).toBe(false)
    mkdirSync(path)
    writeFileSync(join(path, 'thesis.txt'), 'precious')
    await expect(open()).rejects.toThrow('not a data directory: it has thesis.txt but no identity.json')
    expect(readFileSync(join(path, 'thesis.txt'), 'utf8')).toBe('precious')
  })

  it('names the file when its identity is damaged, and both versions when it is newer', async () => {
    await started()
    writeFileSync(join(path, 'identity.json'), '{"version":1')
    await expect(open()).rejects.toMatchObject({ name: 'CorruptionError', where: join(path, 'identity.json') })
    writeFileSync(join(path, 'identity.json'), '{"version":2}')
    await expect(open()).rejects.toThrow(`${path}: version 2, this program speaks 1`)
  })

  it('keeps its incarnation and its founding digest, and has others when it is made anew', async () => {
    const first = await open()
    const { incarnation } = first
    first.completeBootstrap()
    await first.close()
    const second = await open({ cluster: undefined })
    expect([second.incarnation, second.founding]).toEqual([incarnation, 'd1'])
    await second.close()
    rmSync(path, { recursive: true })
    expect((await open()).incarnation).not.toBe(incarnation)
  })

  it('keeps what the peer remembers, and that it was admitted', async () => {
    const first = await open()
    first.completeBootstrap()
    expect([first.admitted, first.remembered]).toEqual([false, ''])
    await Promise.all([first.remember('one'), first.remember('two'), first.remember('three')])
    first.admit()
    await first.close()
    const second = await open({ cluster: undefined })
    expect([second.bootstrapped, second.admitted, second.remembered]).toEqual([true, true, 'three'])
  })

  it('remembers the ports that were chosen', async () => {
    const directory = await open()
    const wanted = ['/ip4/127.0.0.1/tcp/0']
    expect(directory.listenAddresses(wanted)).toEqual(wanted)
    directory.rememberListen(wanted, ['/ip4/127.0.0.1/tcp/4711'])
    directory.completeBootstrap()
    await directory.close()
    expect((await open()).listenAddresses(wanted)).toEqual(['/ip4/127.0.0.1/tcp/4711'])
  })
})
