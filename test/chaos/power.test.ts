import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { Machine, noPower, SECTOR, unlessNoPower, useShim } from './power-support.js'

const power = useShim()

/** A record of the journal without content. */
const RECORD_BYTES = 56
/** Only root may mount a disk of a size that the test chooses. */
const canMount = process.getuid?.() === 0

describe.skipIf(noPower)(`the content of a file after a loss of power${unlessNoPower}`, () => {
  it('a write without a flush is gone', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old content')
    machine.run(`writeSync(openSync('a', 'r+'), 'new')`)
    expect(machine.text('a')).toBe('new content')
    expect(machine.lose().writes).toEqual({ kept: 0, torn: 0, dropped: 1 })
    expect(machine.text('a')).toBe('old content')
  })

  it.each(['fsyncSync', 'fdatasyncSync'])('a write stays after %s', (flush) => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.run(`const fd = openSync('a', 'r+'); writeSync(fd, 'new, longer'); ${flush}(fd)`)
    machine.lose()
    expect(machine.text('a')).toBe('new, longer')
  })

  it('a flush through another descriptor of the file counts', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.run(`writeSync(openSync('a', 'r+'), 'new'); fsyncSync(openSync('a', 'r'))`)
    machine.lose()
    expect(machine.text('a')).toBe('new')
  })

  it('a flush of another file does not count', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.make('b', 'old')
    machine.run(`for (const name of ['a', 'b']) writeSync(openSync(name, 'r+'), 'new'); fsyncSync(openSync('b', 'r+'))`)
    machine.lose()
    expect([machine.text('a'), machine.text('b')]).toEqual(['old', 'new'])
  })

  it('a write after the flush is gone, and the write before it stays', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'one')
    machine.run(
      `const fd = openSync('a', 'r+'); writeSync(fd, 'two', 0); fsyncSync(fd); writeSync(fd, 'three', 0); writeSync(fd, 'four')`
    )
    machine.lose()
    expect(machine.text('a')).toBe('two')
  })

  it.each(['O_DSYNC', 'O_SYNC'])('a write through a descriptor with %s stays, with the size of the file', (flag) => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.run(`writeSync(openSync('a', constants.O_RDWR | constants.${flag}), 'new and longer')`)
    machine.lose()
    expect(machine.text('a')).toBe('new and longer')
  })

  it('a durable write keeps only its own sectors of an earlier write', () => {
    const machine = new Machine(power.shim)
    machine.make('a', '.'.repeat(3 * SECTOR))
    machine.run(`
      writeSync(openSync('a', 'r+'), 'x'.repeat(${3 * SECTOR}))
      writeSync(openSync('a', constants.O_RDWR | constants.O_DSYNC), 'yy', ${SECTOR})`)
    machine.lose()
    expect(machine.text('a')).toBe('.'.repeat(SECTOR) + 'yy' + 'x'.repeat(SECTOR - 2) + '.'.repeat(SECTOR))
  })

  it('an append without a flush is gone, and the file has its former size', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.run(
      `appendFileSync('a', 'more'); writevSync(openSync('a', 'r+'), [Buffer.from('x'), Buffer.from('y')], 900)`
    )
    expect(statSync(machine.path('a')).size).toBe(902)
    expect(machine.lose().sizes).toBe(1)
    expect(machine.text('a')).toBe('old')
  })

  it.each([
    ['ftruncateSync', `ftruncateSync(openSync('a', 'r+'), 5)`],
    ['ftruncateSync to a greater size', `ftruncateSync(openSync('a', 'r+'), 5000)`],
    ['an open that truncates', `openSync('a', 'w')`]
  ])('a truncation without a flush is undone: %s', (_, program) => {
    const machine = new Machine(power.shim)
    const content = 'content'.repeat(400)
    machine.make('a', content)
    machine.run(program)
    expect(machine.text('a')).not.toBe(content)
    machine.lose()
    expect(machine.text('a')).toBe(content)
  })

  it('the newest of several writes is undone first', () => {
    const machine = new Machine(power.shim)
    machine.make('a', '0123456789')
    machine.run(
      `const fd = openSync('a', 'r+'); writeSync(fd, 'abcd', 2); writeSync(fd, 'XYZ', 1); writeSync(fd, '!', 3)`
    )
    machine.lose()
    expect(machine.text('a')).toBe('0123456789')
  })

  it('everything stays if only the process ends', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.run(`writeFileSync('a', 'new'); writeFileSync('b', 'b'); renameSync('a', 'c')`)
    machine.lose('nothing')
    expect([machine.text('c'), machine.text('b'), existsSync(machine.path('a'))]).toEqual(['new', 'b', false])
    expect(machine.lose()).toEqual({
      writes: { kept: 0, torn: 0, dropped: 0 },
      sizes: 0,
      names: { kept: 0, undone: 0 }
    })
  })

  it('a write of a process that ended is undone after another process, unless that one has flushed it', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.make('b', 'old')
    machine.run(`for (const name of ['a', 'b']) writeSync(openSync(name, 'r+'), 'new')`)
    machine.run(`fsyncSync(openSync('a', 'r+'))`)
    machine.lose()
    expect([machine.text('a'), machine.text('b')]).toEqual(['new', 'old'])
  })

  it('a write tears: under some seed it leaves some sectors new and others old', () => {
    const machine = new Machine(power.shim)
    const results = new Set<string>()
    for (let seed = 1; seed <= 12; seed++) {
      machine.make('a', 'o'.repeat(8 * SECTOR))
      machine.run(`writeSync(openSync('a', 'r+'), 'n'.repeat(${8 * SECTOR}))`)
      machine.lose('random', seed)
      const sectors = Array.from({ length: 8 }, (_, at) => machine.text('a').slice(at * SECTOR, (at + 1) * SECTOR))
      // A sector is written as a whole or not at all.
      expect(sectors.every((sector) => sector === 'o'.repeat(SECTOR) || sector === 'n'.repeat(SECTOR))).toBe(true)
      results.add(sectors.map((sector) => sector[0]).join(''))
    }
    expect(results).toContain('oooooooo')
    expect(results).toContain('nnnnnnnn')
    expect([...results].filter((mix) => mix.includes('o') && mix.includes('n')).length).toBeGreaterThan(1)
  })

  it('the same seed gives the same loss', () => {
    const outcome = (seed: number): string => {
      const machine = new Machine(power.shim)
      machine.make('a', 'o'.repeat(64 * SECTOR))
      machine.run(`
        const fd = openSync('a', 'r+')
        for (const letter of 'abcd') writeSync(fd, letter.repeat(${64 * SECTOR}), 0)
        for (let at = 0; at < 40; at++) closeSync(openSync('made' + at, 'w'))`)
      machine.lose('random', seed)
      return JSON.stringify([machine.text('a'), readdirSync(machine.root).sort()])
    }
    const outcomes = [1, 2, 3, 4, 5].map(outcome)
    expect([1, 2, 3, 4, 5].map(outcome)).toEqual(outcomes)
    expect(new Set(outcomes).size).toBe(5)
  })

  it('a process that is killed in the middle of its writes loses nothing that it flushed, and keeps no part of a write that it did not', async () => {
    const machine = new Machine(power.shim)
    const bytes = 1024 * 1024
    machine.make('a', Buffer.alloc(bytes))
    const program = `
      const { openSync, writeSync, fsyncSync } = require('node:fs')
      const fd = openSync('a', 'r+')
      for (let value = 1; ; value++) {
        writeSync(fd, Buffer.alloc(${bytes}, value % 251), 0, ${bytes}, 0)
        fsyncSync(fd)
        writeSync(1, value + '\\n')
      }`
    for (let round = 0; round < 3; round++) {
      const child = spawn(process.execPath, ['-e', program], { cwd: machine.root, env: machine.environment })
      let output = ''
      child.stdout.on('data', (chunk: Buffer) => (output += String(chunk)))
      await expect.poll(() => output.split('\n').length, { timeout: 20_000 }).toBeGreaterThan(3 + round)
      child.kill('SIGKILL')
      await once(child, 'close')
      const flushed = Number(output.trim().split('\n').at(-1))
      machine.lose()
      const content = readFileSync(machine.path('a'))
      expect(content.every((byte) => byte === content[0])).toBe(true)
      // The process may have been killed between the flush and the line.
      expect([flushed % 251, (flushed + 1) % 251]).toContain(content[0])
    }
  }, 60_000)
})

describe.skipIf(noPower)(`the names of a folder after a loss of power${unlessNoPower}`, () => {
  const FLUSH = `; fsyncSync(openSync('.', 'r'))`

  it('a new file is gone without a flush of its folder, even if the file was flushed', () => {
    const machine = new Machine(power.shim)
    machine.run(`const fd = openSync('a', 'w'); writeSync(fd, 'content'); fsyncSync(fd)`)
    machine.lose()
    expect(readdirSync(machine.root)).toEqual([])
  })

  it('a new file stays after a flush of its folder, with the content that was flushed', () => {
    const machine = new Machine(power.shim)
    machine.run(`const fd = openSync('a', 'w'); writeSync(fd, 'content'); fsyncSync(fd); writeSync(fd, 'more')${FLUSH}`)
    machine.lose()
    expect(machine.text('a')).toBe('content')
  })

  it('a rename without a flush of the folder is undone, and the replaced file is back', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.make('b', 'new')
    machine.run(`renameSync('b', 'a')`)
    expect(machine.lose().names).toEqual({ kept: 0, undone: 1 })
    expect([machine.text('a'), machine.text('b')]).toEqual(['old', 'new'])
  })

  it('a rename stays after a flush of the folder', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.make('b', 'new')
    machine.run(`renameSync('b', 'a')${FLUSH}`)
    machine.lose()
    expect(readdirSync(machine.root)).toEqual(['a'])
    expect(machine.text('a')).toBe('new')
    expect(readdirSync(machine.folders.limbo)).toEqual([])
  })

  it('a removed file is back without a flush of its folder, with the content that was durable', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.run(`writeSync(openSync('a', 'r+'), 'new'); unlinkSync('a')`)
    machine.lose()
    expect(machine.text('a')).toBe('old')
  })

  it('a removed file is gone after a flush of its folder', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old')
    machine.run(`rmSync('a')${FLUSH}`)
    machine.lose()
    expect(readdirSync(machine.root)).toEqual([])
  })

  it('a new file that takes the inode of a removed one keeps its own content', () => {
    const machine = new Machine(power.shim)
    for (let at = 0; at < 20; at++) machine.make(`a${at}`, 'old')
    machine.run(`
      for (let at = 0; at < 20; at++) {
        const old = openSync('a' + at, 'r+')
        writeSync(old, 'not flushed')
        closeSync(old)
        unlinkSync('a' + at)
        fsyncSync(openSync('.', 'r'))
        const fd = openSync('b' + at, 'w')
        writeSync(fd, 'flushed')
        fsyncSync(fd)
      }
      fsyncSync(openSync('.', 'r'))`)
    machine.lose()
    for (let at = 0; at < 20; at++) expect(machine.text(`b${at}`)).toBe('flushed')
  })

  it('a removed tree of folders is back without a flush', () => {
    const machine = new Machine(power.shim)
    mkdirSync(machine.path('a/b'), { recursive: true })
    machine.make('a/b/c', 'content')
    machine.run(`rmSync('a', { recursive: true })`)
    expect(readdirSync(machine.root)).toEqual([])
    machine.lose()
    expect(machine.text('a/b/c')).toBe('content')
  })

  it('a new folder is gone without a flush of the folder above it, and all that is in it', () => {
    const machine = new Machine(power.shim)
    machine.run(`
      mkdirSync('a/b', { recursive: true })
      writeFileSync('a/b/c', 'content')
      for (const path of ['a/b/c', 'a/b', 'a']) fsyncSync(openSync(path, 'r'))`)
    machine.lose()
    expect(readdirSync(machine.root)).toEqual([])
  })

  it('a link and a symbolic link are gone without a flush, and what they name stays', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'content')
    machine.run(`linkSync('a', 'b'); symlinkSync('nowhere', 'c')`)
    machine.lose()
    expect(readdirSync(machine.root)).toEqual(['a'])
  })

  it('a move between two folders needs the flush of both', () => {
    const machine = new Machine(power.shim)
    for (const [at, flushes] of [['one'], ['two'], ['one', 'two']].entries()) {
      for (const name of ['one', 'two']) {
        rmSync(machine.path(name), { recursive: true, force: true })
        mkdirSync(machine.path(name))
      }
      machine.make('one/a', 'content')
      const flush = flushes.map((name) => `fsyncSync(openSync('${name}', 'r'));`).join('')
      machine.run(`renameSync('one/a', 'two/a'); ${flush}`)
      machine.lose()
      expect(existsSync(machine.path('two/a'))).toBe(at === 2)
      expect(existsSync(machine.path('one/a'))).toBe(at < 2)
    }
  })

  it('of several changes in a folder the first few survive, and never a later one without an earlier one', () => {
    const machine = new Machine(power.shim)
    const lengths = new Set<number>()
    for (let seed = 1; seed <= 12; seed++) {
      for (const name of readdirSync(machine.root)) rmSync(machine.path(name))
      machine.run(`for (let at = 0; at < 6; at++) closeSync(openSync('made' + at, 'w'))`)
      machine.lose('random', seed)
      const names = readdirSync(machine.root).sort()
      expect(names).toEqual(names.map((_, at) => `made${at}`))
      lengths.add(names.length)
    }
    expect(lengths.size).toBeGreaterThan(2)
  })

  it('a failed change of a name changes nothing', () => {
    const machine = new Machine(power.shim)
    mkdirSync(machine.path('full'))
    machine.make('full/a', 'content')
    machine.run(`
      for (const act of [() => rmdirSync('full'), () => renameSync('none', 'full/a'), () => mkdirSync('full')]) {
        try { act() } catch {}
      }`)
    expect(machine.lose().names).toEqual({ kept: 0, undone: 0 })
    expect(machine.text('full/a')).toBe('content')
  })
})

describe.skipIf(noPower)(`a process that is killed in the middle of a change of names${unlessNoPower}`, () => {
  /** Takes away the record that the last change has happened. */
  function forgetEnd(machine: Machine): void {
    const path = join(machine.folders.journal, readdirSync(machine.folders.journal)[0]!)
    truncateSync(path, statSync(path).size - RECORD_BYTES)
  }

  it.each([
    ['a removal', `unlinkSync('a')`],
    ['a rename', `renameSync('b', 'c')`],
    ['a replacement', `renameSync('b', 'a')`],
    ['a new file', `openSync('c', 'w')`],
    ['a new folder', `mkdirSync('c')`],
    ['a removed folder', `rmdirSync('d')`]
  ])('%s that has happened is undone', (_, program) => {
    const machine = new Machine(power.shim)
    machine.make('a', 'one')
    machine.make('b', 'two')
    mkdirSync(machine.path('d'))
    machine.run(program)
    forgetEnd(machine)
    expect(machine.lose().names.undone).toBe(1)
    expect(readdirSync(machine.root)).toEqual(['a', 'b', 'd'])
    expect([machine.text('a'), machine.text('b')]).toEqual(['one', 'two'])
  })

  it.each([
    ['a removal', `unlinkSync('a'); renameSync('../limbo/' + readdirSync('../limbo')[0], 'a')`],
    ['a rename', `renameSync('b', 'c'); execSync('mv c b')`],
    ['a new file', `openSync('c', 'w'); execSync('rm c')`],
    ['a removed folder', `rmdirSync('d'); execSync('mkdir d')`]
  ])('%s that has not happened changes nothing', (_, program) => {
    const machine = new Machine(power.shim)
    machine.make('a', 'one')
    machine.make('b', 'two')
    mkdirSync(machine.path('d'))
    // A process without the shim takes the change back.
    const execSync = `((command) => require('node:child_process').execSync(command, { env: { PATH: process.env.PATH } }))`
    machine.run(`const execSync = ${execSync}; ${program}`)
    forgetEnd(machine)
    machine.lose()
    expect(readdirSync(machine.root)).toEqual(['a', 'b', 'd'])
    expect([machine.text('a'), machine.text('b')]).toEqual(['one', 'two'])
  })

  it('a change that was not announced to the end has not begun', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'old content')
    machine.run(`writeSync(openSync('a', 'r+'), 'new')`)
    forgetEnd(machine)
    const path = join(machine.folders.journal, readdirSync(machine.folders.journal)[0]!)
    truncateSync(path, statSync(path).size - 1)
    expect(machine.lose().writes.dropped).toBe(0)
    expect(machine.text('a')).toBe('new content')
  })
})

describe.skipIf(noPower)(`the shim${unlessNoPower}`, () => {
  it('power cannot be lost if a process mapped a file for shared writes', () => {
    const machine = new Machine(power.shim)
    machine.runModule(`
      import { open } from '${import.meta.resolve('lmdb')}'
      await open({ path: 'mapped', noSubdir: true, useWritemap: true }).put('key', 'value')`)
    expect(() => machine.lose()).toThrow(/mapped: mapped for shared writes, which the shim cannot see/)
  })

  it('a file whose name was never durable takes no room after it is removed', () => {
    const machine = new Machine(power.shim)
    machine.run(`writeFileSync('a', 'content'); unlinkSync('a'); writeFileSync('a', 'again'); unlinkSync('a')`)
    expect(readdirSync(machine.folders.limbo)).toEqual([])
    machine.lose()
    expect(readdirSync(machine.root)).toEqual([])
  })

  it('a durable file that takes the name of a new one and is removed comes back', () => {
    const machine = new Machine(power.shim)
    machine.make('a', 'content')
    machine.run(`writeFileSync('b', 'new'); renameSync('a', 'b'); unlinkSync('b')`)
    machine.lose()
    expect(machine.text('a')).toBe('content')
  })

  it.skipIf(!canMount).each([
    ['a removal', `unlinkSync('a')`, ['b']],
    ['a replacement', `renameSync('b', 'a')`, ['a']]
  ])('%s on a disk without an inode for limbo happens, and counts at once', (_, program, names) => {
    const disk = mkdtempSync(join(tmpdir(), 'quire-power-disk-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1M,nr_inodes=10', 'tmpfs', disk])
    onTestFinished(() => {
      execFileSync('umount', ['-l', disk])
      rmSync(disk, { recursive: true })
    })
    const machine = new Machine(power.shim, disk)
    machine.make('a', 'one')
    machine.make('b', 'two')
    const { ffree } = statfsSync(disk)
    for (let at = 0; at < ffree; at++) writeFileSync(join(disk, `full${at}`), '')
    machine.run(program)
    machine.lose()
    expect(readdirSync(machine.root)).toEqual(names)
    expect(machine.text(names[0]!)).toBe('two')
  })

  it('a journal does not grow if everything in it is durable', () => {
    const machine = new Machine(power.shim)
    machine.make('a', Buffer.alloc(64 * 1024))
    machine.run(`
      const fd = openSync('a', constants.O_RDWR | constants.O_DSYNC)
      for (let at = 0; at < 100; at++) writeSync(fd, Buffer.alloc(65536, at), 0, 65536, 0)`)
    const [journal] = readdirSync(machine.folders.journal)
    expect(statSync(join(machine.folders.journal, journal!)).size).toBeLessThan(2 * 1024 * 1024)
    machine.lose()
    expect(readFileSync(machine.path('a')).every((byte) => byte === 99)).toBe(true)
  })

  it('files outside the watched folder are left alone', () => {
    const machine = new Machine(power.shim)
    machine.run(`writeFileSync('../outside', 'content'); renameSync('../outside', '../other')`)
    expect(readdirSync(machine.folders.journal)).toEqual([])
  })

  it('concurrent writes of all threads of a process are undone', () => {
    const machine = new Machine(power.shim)
    const content = Buffer.alloc(256 * SECTOR, 'old')
    machine.make('a', content)
    machine.run(`
      const { spawnSync } = require('node:child_process')
      const fd = openSync('a', 'r+')
      for (let at = 0; at < 256; at++) write(fd, Buffer.alloc(${SECTOR}, 'new'), 0, ${SECTOR}, at * ${SECTOR}, () => {})
      // Another process with the shim begins meanwhile.
      spawnSync(process.execPath, ['-e', "require('node:fs').appendFileSync('a', 'child')"])
      while (readFileSync('a').includes('old'));`)
    machine.lose()
    expect(readFileSync(machine.path('a')).equals(content)).toBe(true)
  })
})
