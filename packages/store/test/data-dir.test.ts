import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { hasToJoin, inspectDataDirectory } from '../src/peer/directory-identity.js'
import { foundingDigest } from '../src/peer/founding.js'
import type { ReplicatedConfig } from '../src/state/index.js'
import { founded } from './support/linked-peer.js'
import { encodeCluster } from '../src/peer/cluster.js'
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

describe('data directories', () => {
  it('a data directory counts as admitted only once that is on disk, and can be admitted later', async () => {
    const first = await open()
    first.completeBootstrap()
    // New content is first written under this name.
    const obstacle = join(path, 'identity.json.new')
    mkdirSync(obstacle)
    expect(() => first.admit()).toThrow('EISDIR')
    expect(first.admitted).toBe(false)
    rmSync(obstacle, { recursive: true })
    first.admit()
    expect(first.admitted).toBe(true)
    await first.close()
    expect((await open({ cluster: undefined })).admitted).toBe(true)
  })

  it('a data directory needs the cluster file only when it is made: later starts open it without the file', async () => {
    const first = await open()
    expect(first.bootstrapped).toBe(false)
    first.completeBootstrap()
    await first.close()
    const second = await open({ cluster: undefined })
    expect(second.bootstrapped).toBe(true)
    expect(second.clusterId).toBe('blue')
    expect(existsSync(second.logPath) && existsSync(second.pagesPath)).toBe(true)
  })

  it('a data directory is refused while another process uses it, and is free again after that process is killed', async () => {
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

  it('a data directory is opened by at most one of many processes that try at once', async () => {
    await started()
    const results = await Promise.allSettled(Array.from({ length: 8 }, () => open()))
    expect(results.filter((result) => result.status === 'fulfilled').length).toBeLessThanOrEqual(1)
    for (const result of results) if (result.status === 'rejected') expect(String(result.reason)).toContain('in use')
  })

  it('a data directory is locked even if its path is too long for a socket', async () => {
    path = join(root, 'p'.repeat(120))
    await started()
    await open()
    await expect(open()).rejects.toThrow('in use')
  })

  it('a data directory leaves no socket behind when it is closed', async () => {
    await started()
    expect(readdirSync(path).sort()).toEqual(['identity.json', 'log', 'pages', 'peers.state'])
  })

  it('an inspection of a data directory takes no lock, writes nothing, and refuses what a start refuses', async () => {
    const { cluster } = me
    expect(inspectDataDirectory(path, cluster)).toBeUndefined()
    mkdirSync(path)
    expect(inspectDataDirectory(path, cluster)).toBeUndefined()
    writeFileSync(join(path, 'client.key'), '')
    const foreign = `${path}: not a data directory: it has client.key but no identity.json`
    expect(() => inspectDataDirectory(path, cluster)).toThrow(foreign)
    await expect(open()).rejects.toThrow(foreign)
    rmSync(join(path, 'client.key'))
    expect(readdirSync(path)).toEqual([])
    await started()
    await open()
    const before = readdirSync(path)
    expect(inspectDataDirectory(path, cluster)).toEqual({ peerId: me.peerId, clusterId: 'blue' })
    const other = `${path} belongs to cluster blue, not green`
    expect(() => inspectDataDirectory(path, { clusterId: 'green', digest: 'd2' })).toThrow(other)
    expect(() => inspectDataDirectory(path, { clusterId: 'blue', digest: 'd2' })).toThrow('founded from another')
    expect(readdirSync(path)).toEqual(before)
  })

  it('a data directory refuses a peer that it does not belong to', async () => {
    await started()
    await expect(open({ peerId: '12D3KooWother' })).rejects.toThrow(`${path} belongs to peer 12D3KooWme`)
  })

  it('a data directory refuses a cluster that it does not belong to', async () => {
    await started()
    await expect(open({ cluster: { clusterId: 'green', digest: 'd1' } })).rejects.toThrow(
      `${path} belongs to cluster blue, not green`
    )
  })

  it('a data directory starts anew after its first start was interrupted', async () => {
    const first = await open()
    writeFileSync(join(first.logPath, 'half'), 'a torn log')
    await first.close()
    await expect(open({ cluster: undefined })).rejects.toThrow('its first start was interrupted')
    const second = await open()
    expect(second.bootstrapped).toBe(false)
    expect(readdirSync(second.logPath)).toEqual([])
  })

  it('a data directory is not made without a cluster, or in a folder that holds other files', async () => {
    await expect(open({ cluster: undefined })).rejects.toThrow('no such directory')
    expect(existsSync(path)).toBe(false)
    mkdirSync(path)
    writeFileSync(join(path, 'thesis.txt'), 'precious')
    await expect(open()).rejects.toThrow('not a data directory: it has thesis.txt but no identity.json')
    expect(readFileSync(join(path, 'thesis.txt'), 'utf8')).toBe('precious')
  })

  it('a data directory whose identity is damaged or gone is refused with the way back', async () => {
    const directory = await open()
    directory.completeBootstrap()
    await directory.close()
    const remedy = 'move everything out of the folder, and start the peer with --join and --rejoin'
    writeFileSync(join(path, 'identity.json'), '{')
    await expect(open()).rejects.toThrow(`not JSON; ${remedy}`)
    rmSync(join(path, 'identity.json'))
    await expect(open()).rejects.toThrow(`but no identity.json; if it was one: ${remedy}`)
  })

  it('a data directory is made in a mount point that holds only lost+found', async () => {
    mkdirSync(join(path, 'lost+found'), { recursive: true })
    const directory = await open()
    directory.completeBootstrap()
    expect(readdirSync(path)).toContain('lost+found')
    await directory.close()
    expect((await open()).bootstrapped).toBe(true)
  })

  it('a data directory is not made beside a file called lost+found, which no file system leaves', async () => {
    mkdirSync(path)
    writeFileSync(join(path, 'lost+found'), '')
    await expect(open()).rejects.toThrow('not a data directory: it has lost+found but no identity.json')
  })

  it('a data directory is refused in one line, at once, if no folder can be made or used', async () => {
    const file = join(root, 'file')
    writeFileSync(file, '')
    const [dangling, loop] = [join(root, 'dangling'), join(root, 'loop')]
    symlinkSync(join(root, 'nowhere'), dangling)
    symlinkSync('loop', loop)
    const long = join(root, 'n'.repeat(300))
    const cases: [path: string, reason: string][] = [
      [file, 'not a directory'],
      [join(file, 'x', 'y'), `cannot be made: ${file} is there and is not a folder`],
      [dangling, 'a symbolic link that leads nowhere'],
      [join(dangling, 'x'), `cannot be made: ${dangling} is there and is not a folder`],
      [loop, 'cannot be read (ELOOP)'],
      [long, 'cannot be read (ENAMETOOLONG)'],
      [join(root, 'a', 'n'.repeat(300), 'b'), `cannot be made (ENAMETOOLONG at ${join(root, 'a', 'n'.repeat(300))})`]
    ]
    // Folders of the kernel accept no other folders. The recursive mkdir of Node.js never returns there.
    if (process.platform === 'linux') {
      cases.push(['/proc/quire/data', 'cannot be made (ENOENT at /proc/quire)'])
      cases.push(['/proc/self', expect.stringMatching(/^cannot be used \(E\w+\)$/) as string])
    }
    for (const [where, reason] of cases) {
      await expect(open({ path: where })).rejects.toMatchObject({ name: 'DataDirectoryError', path: where, reason })
    }
    expect(readdirSync(root).sort()).toEqual(['dangling', 'file', 'loop'])
  })

  it('a data directory leaves no file if its first start fails before it is founded', async () => {
    const beforeFounding = (): Promise<void> => Promise.reject(new Error('not today'))
    path = join(root, 'deep', 'er')
    await expect(open({ beforeFounding })).rejects.toThrow('not today')
    expect(readdirSync(root)).toEqual([])
    mkdirSync(path, { recursive: true })
    await expect(open({ beforeFounding })).rejects.toThrow('not today')
    expect(readdirSync(path)).toEqual([])
    await started()
    expect((await open({ beforeFounding })).bootstrapped).toBe(true)
  })

  it('a data directory names the file of a damaged identity, and both versions if it has another format', async () => {
    await started()
    writeFileSync(join(path, 'identity.json'), '{"version":1')
    await expect(open()).rejects.toMatchObject({ name: 'CorruptionError', where: join(path, 'identity.json') })
    for (const version of [1, 4]) {
      writeFileSync(join(path, 'identity.json'), JSON.stringify({ version }))
      await expect(open()).rejects.toThrow(`${path}: version ${version}, this program speaks 3`)
    }
  })

  it('a data directory is refused in one line, at once, if something else has the name of one of its files or folders', async () => {
    const others: [what: string, make: (at: string) => unknown][] = [
      ['a folder', (at) => mkdirSync(at)],
      ['a named pipe', (at) => execFileSync('mkfifo', [at])],
      ['a device', (at) => symlinkSync('/dev/null', at)],
      ['a symbolic link that leads nowhere', (at) => symlinkSync(join(root, 'nowhere'), at)]
    ]
    for (const name of ['identity.json', 'peers.state', 'listen.json']) {
      for (const [what, make] of others) {
        rmSync(path, { recursive: true, force: true })
        await started()
        const file = join(path, name)
        rmSync(file, { force: true })
        make(file)
        const opening = open().then((directory) => directory.listenAddresses([]))
        await expect(opening, `${name} as ${what}`).rejects.toMatchObject({
          name: 'CorruptionError',
          message: `${file}: damaged: ${what} stands in place of the file; put the peer's own file back`
        })
        await opened.pop()?.close()
      }
      // A leftover of an interrupted write blocks nothing, whatever it is.
      rmSync(path, { recursive: true, force: true })
      await started()
      execFileSync('mkfifo', [join(path, 'identity.json.new')])
      const directory = await open()
      directory.admit()
      await directory.close()
    }
    for (const name of ['log', 'pages']) {
      rmSync(path, { recursive: true, force: true })
      await started()
      rmSync(join(path, name), { recursive: true })
      writeFileSync(join(path, name), '')
      const reason = `cannot be made: ${join(path, name)} is there and is not a folder`
      await expect(open()).rejects.toMatchObject({ name: 'DataDirectoryError', path, reason })
    }
  })

  it('a data directory keeps its incarnation and founding digest, and has another incarnation when it is made anew', async () => {
    const first = await open()
    const { incarnation } = first
    first.completeBootstrap()
    await first.close()
    const second = await open({ cluster: undefined })
    expect([second.incarnation, second.founding]).toEqual([incarnation, 'd1'])
    await second.close()
    rmSync(path, { recursive: true })
    for (const now = Date.now(); Date.now() === now;) await new Promise(setImmediate)
    // The incarnation of a newer folder sorts after that of the older one.
    const third = await open()
    expect(third.incarnation > incarnation).toBe(true)
    expect(third.incarnation).toHaveLength(incarnation.length)
  })

  it('a data directory keeps the memory and the admission of the peer', async () => {
    const first = await open()
    first.completeBootstrap()
    expect([first.admitted, first.remembered]).toEqual([false, ''])
    await Promise.all([first.remember('one'), first.remember('two'), first.remember('three')])
    first.admit()
    await first.close()
    const second = await open({ cluster: undefined })
    expect([second.bootstrapped, second.admitted, second.remembered]).toEqual([true, true, 'three'])
  })

  it('a data directory remembers the ports that were chosen', async () => {
    const directory = await open()
    const wanted = ['/ip4/127.0.0.1/tcp/0']
    expect(directory.listenAddresses(wanted)).toEqual(wanted)
    directory.rememberListen(wanted, ['/ip4/127.0.0.1/tcp/4711'])
    directory.completeBootstrap()
    await directory.close()
    expect((await open()).listenAddresses(wanted)).toEqual(['/ip4/127.0.0.1/tcp/4711'])
  })

  it('a data directory names a file that cannot be written, leaves no part of it, and writes the ports when it is closed', async () => {
    const directory = await open()
    directory.completeBootstrap()
    const [wanted, bound] = [['/ip4/127.0.0.1/tcp/0'], ['/ip4/127.0.0.1/tcp/4711']]
    const [file, identity] = [join(path, 'listen.json'), join(path, 'identity.json')]
    // A file cannot be renamed over a folder.
    rmSync(identity)
    mkdirSync(identity)
    expect(() => directory.admit()).toThrow(`${identity}: cannot be written (EISDIR)`)
    // A folder cannot be written like a file.
    mkdirSync(`${file}.new`)
    const failure = { name: 'FileWriteError', path: file, message: `${file}: cannot be written (EISDIR)` }
    expect(() => directory.rememberListen(wanted, bound)).toThrow(expect.objectContaining(failure))
    rmSync(`${file}.new`, { recursive: true })
    expect(readdirSync(path).filter((name) => name.endsWith('.new'))).toEqual([])
    await directory.close()
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ [wanted[0]!]: bound[0] })
  })
})

describe('data directories of peers that join', () => {
  const founding = founded(['12D3KooWme', '12D3KooWother'])
  const config: ReplicatedConfig = { ...founding, revision: 7 }
  const joining = (rejoins = '') => ({ cluster: undefined, join: { cluster: { founding, config }, rejoins } })

  it('a directory that joins keeps the configurations of its cluster, and votes without an admission', async () => {
    expect(hasToJoin(path, '')).toBe(true)
    const first = await open(joining())
    expect(first).toMatchObject({ joined: true, admitted: true, bootstrapped: false, clusterId: founding.clusterId })
    expect(first.founding).toBe(foundingDigest(founding))
    const newer = { founding, config: { ...config, revision: 8 } }
    first.becomeMember(newer)
    first.completeBootstrap()
    await first.close()
    expect(hasToJoin(path, '')).toBe(false)
    const second = await open({ cluster: undefined })
    expect(second.joinedCluster).toEqual(newer)
    expect(second).toMatchObject({ joined: true, admitted: true, incarnation: first.incarnation })
  })

  it('a first start that was interrupted while it joined begins anew, with another incarnation', async () => {
    const first = await open(joining())
    await first.close()
    expect(hasToJoin(path, '')).toBe(true)
    await expect(open({ cluster: undefined })).rejects.toThrow('or a member to ask (--join)')
    expect((await open(joining())).incarnation).not.toBe(first.incarnation)
  })

  it('a directory that is given up by its name moves what it had away and keeps its port, and the new one stays', async () => {
    const former = await open()
    former.completeBootstrap()
    former.rememberListen(['/ip4/127.0.0.1/tcp/0'], ['/ip4/127.0.0.1/tcp/4001'])
    writeFileSync(join(former.logPath, 'segment'), 'entries')
    await former.close()
    expect(hasToJoin(path, me.peerId)).toBe(true)

    const again = await open(joining(me.peerId))
    again.completeBootstrap()
    const away = join(path, `before-rejoin-${former.incarnation.slice(-8)}`)
    expect(readFileSync(join(away, 'log', 'segment'), 'utf8')).toBe('entries')
    expect(readdirSync(away).sort()).toEqual(['identity.json', 'log', 'pages', 'peers.state'])
    expect(readdirSync(again.logPath)).toEqual([])
    expect(again.listenAddresses(['/ip4/127.0.0.1/tcp/0'])).toEqual(['/ip4/127.0.0.1/tcp/4001'])
    expect(again).toMatchObject({ joined: true, bootstrapped: true })
    await again.close()

    expect(hasToJoin(path, me.peerId)).toBe(false)
    const kept = await open(joining(me.peerId))
    expect(kept.incarnation).toBe(again.incarnation)
    expect(kept.movedAway.map((name) => join(path, name))).toEqual([away])
    await kept.close()

    // The new directory has a name of its own, by which it can be given up as well.
    const named = `${me.peerId}/${again.incarnation}`
    expect(hasToJoin(path, named)).toBe(true)
    expect((await open(joining(named))).incarnation).not.toBe(again.incarnation)
  })

  it.each([[1], [2], [3], [4]])(
    'a directory is given up although a crash came after %i parts, and a start without the option made these anew',
    async (moved) => {
      const former = await open(joining())
      former.completeBootstrap()
      await former.close()
      const away = join(path, `before-rejoin-${former.incarnation.slice(-8)}`)
      mkdirSync(away)
      writeFileSync(join(former.logPath, 'segment'), 'entries')
      for (const name of ['log', 'pages', 'peers.state', 'join.json'].slice(0, moved)) {
        renameSync(join(path, name), join(away, name))
      }
      if (moved < 4) await (await open()).close()
      else await expect(open()).rejects.toMatchObject({ name: 'CorruptionError', where: join(path, 'join.json') })

      const again = await open(joining(`${me.peerId}/${former.incarnation}`))
      expect(again.incarnation).not.toBe(former.incarnation)
      expect(readFileSync(join(away, 'log', 'segment'), 'utf8')).toBe('entries')
      expect(existsSync(join(`${away}-2`, 'identity.json'))).toBe(true)
    }
  )

  it('a directory of another peer is not moved away', async () => {
    await started()
    await expect(open({ ...joining(me.peerId), peerId: '12D3KooWother' })).rejects.toThrow('belongs to peer 12D3KooWme')
    expect(existsSync(join(path, 'log'))).toBe(true)
  })

  it('a directory names the file of the cluster that it has joined if that is damaged or missing', async () => {
    const first = await open(joining())
    first.completeBootstrap()
    await first.close()
    const file = join(path, 'join.json')
    const other = { ...founding, roundTripMs: 500 }
    const text = (of: ReplicatedConfig): string => Buffer.from(encodeCluster(of)).toString('base64')
    for (const content of ['{', '{}', JSON.stringify({ founding: text(other), config: text(config) })]) {
      writeFileSync(file, content)
      await expect(open({ cluster: undefined })).rejects.toMatchObject({ name: 'CorruptionError', where: file })
    }
    rmSync(file)
    await expect(open({ cluster: undefined })).rejects.toMatchObject({ name: 'CorruptionError', where: file })
  })
})
