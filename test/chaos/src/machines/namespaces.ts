/**
 * Machines in network namespaces, around a hub that this process lives in. Linux, root, iproute2 and nftables.
 *
 * The namespaces have no names: each exists as long as a process is in it. So nothing is left behind, however a run
 * ends.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readlinkSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { command, hasProgram } from './command.js'
import { compile } from './compiler.js'
import { FarLine } from './far-line.js'
import type { Lines, Machine, Machines } from './machine.js'
import { tied } from './tied.js'

const PROGRAMS = ['ip', 'nft', 'tc', 'nsenter', 'unshare']

/** Why this process cannot make network namespaces; undefined if it can. */
export function whyNoNamespaces(): string | undefined {
  if (process.platform !== 'linux') return 'only Linux has network namespaces'
  if (process.getuid?.() !== 0) return 'only root may make network namespaces'
  const missing = PROGRAMS.filter((program) => !hasProgram(program))
  if (missing.length > 0) return `missing programs: ${missing.join(', ')}`
  // Root of a container may lack CAP_SYS_ADMIN.
  const { status, stderr } = spawnSync('unshare', ['--net', '--mount', 'true'], { encoding: 'utf8' })
  return status === 0 ? undefined : `no network namespaces: ${stderr.trim()}`
}

/** Set in the process that lives in the hub. */
export const HUB = 'QUIRE_CHAOS_HUB'

/** True in the process that {@link runInHub} has started. */
export function isInHub(): boolean {
  return process.env[HUB] === '1'
}

/** Why this run has no machines of its own, with lines and disks and clocks; undefined if it has, or can. */
export function whyNoHub(): string | undefined {
  return isInHub() ? undefined : whyNoNamespaces()
}

/**
 * Runs this program again in a new network namespace, the hub, with the same arguments. Its mounts are its own,
 * too, and end with it. Resolves with its status.
 */
export async function runInHub(): Promise<number> {
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  const [program, ...args] = tied(['unshare', '--net', '--mount', ...again])
  const child = spawn(program!, args, { stdio: 'inherit', env: { ...process.env, [HUB]: '1' } })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  const [status, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals]
  // As shells have it.
  return status ?? 128 + constants.signals[signal]
}

// A network for documentation (RFC 5737), which no machine has.
const NETWORK = '192.0.2'
const HUB_ADDRESS = `${NETWORK}.254`
/** The hub's bridge. */
const BRIDGE = 'hub'
/** A machine's end of its line. */
const DEVICE = 'line'
const TABLE = 'inet chaos'
/** Bytes that may leave a thin machine at once. */
const BURST = '64kb'

/** The machines need no files, but programs that are compiled into the folder. */
export async function makeNamespaces(folder: string): Promise<Machines> {
  if (!isInHub()) throw new Error('this process does not live in the hub')
  await command(['mount', '-t', 'tmpfs', 'tmpfs', '/dev/shm'])
  await command(['ip', 'link', 'set', 'lo', 'up'])
  await command(['ip', 'link', 'add', BRIDGE, 'type', 'bridge'])
  await command(['ip', 'link', 'set', BRIDGE, 'up'])
  await command(['ip', 'address', 'add', `${HUB_ADDRESS}/24`, 'dev', BRIDGE])
  return new Namespaces(join(folder, 'far'))
}

class Namespace implements Machine {
  constructor(
    readonly name: string,
    readonly address: string,
    /** The hub's end of its line. */
    readonly near: string,
    /** A process that does nothing else than keep the namespace. */
    readonly keeper: ChildProcess
  ) {}

  on(line: readonly string[]): readonly string[] {
    return ['nsenter', `--net=/proc/${this.keeper.pid}/ns/net`, '--', ...line]
  }
}

class Namespaces implements Machines {
  readonly lines: Lines
  private readonly all = new Map<string, Namespace>()
  private readonly thinned = new Set<Namespace>()
  private readonly cutAt = new Set<Namespace>()
  private far: FarLine | undefined

  constructor(
    /** Where the program of far lines is, or will be. */
    private readonly farProgram: string
  ) {
    this.lines = {
      cut: (from, to) => this.cut(from, to),
      thin: (machine, bitsPerSecond) => this.thin(machine, bitsPerSecond),
      lengthen: (machine, delayMs) => this.lengthen(machine, delayMs),
      mend: () => this.mend()
    }
  }

  async add(name: string): Promise<Machine> {
    const number = this.all.size + 1
    // `cat` ends when this process does.
    const [program, ...args] = tied(['unshare', '--net', 'cat'])
    const keeper = spawn(program!, args, { stdio: ['pipe', 'ignore', 'inherit'] })
    await once(keeper, 'spawn')
    await untilUnshared(keeper.pid!)
    const near = `machine${number}`
    const machine = new Namespace(name, `${NETWORK}.${number}`, near, keeper)
    this.all.set(name, machine)
    const netns = ['netns', String(keeper.pid)]
    await command(['ip', 'link', 'add', near, 'type', 'veth', 'peer', 'name', DEVICE, ...netns])
    // The hub is reached through its bridge only.
    await command(['ip', 'link', 'set', near, 'arp', 'off', 'master', BRIDGE, 'up'])
    const inside = (...line: string[]): Promise<string> => command(machine.on(line))
    await inside('ip', 'link', 'set', 'lo', 'up')
    await inside('ip', 'address', 'add', `${machine.address}/24`, 'dev', DEVICE)
    await inside('ip', 'link', 'set', DEVICE, 'up')
    await inside(
      'nft',
      [
        `add table ${TABLE}`,
        `add set ${TABLE} cut { type ipv4_addr; }`,
        `add chain ${TABLE} input { type filter hook input priority 0; }`,
        `add rule ${TABLE} input ip saddr @cut drop`
      ].join('; ')
    )
    return machine
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { keeper } of this.all.values()) {
      if (keeper.exitCode !== null) continue
      keeper.kill('SIGKILL')
      await once(keeper, 'exit')
    }
    await command(['ip', 'link', 'delete', BRIDGE])
  }

  private async cut(from: Machine, to: Machine): Promise<void> {
    const machine = this.of(to)
    this.cutAt.add(machine)
    await command(machine.on(['nft', `add element ${TABLE} cut { ${from.address} }`]))
  }

  private async thin(at: Machine, bitsPerSecond: number): Promise<void> {
    const machine = this.of(at)
    this.thinned.add(machine)
    const limit = ['rate', `${bitsPerSecond}bit`, 'burst', BURST, 'latency', '500ms']
    await command(machine.on(['tc', 'qdisc', 'replace', 'dev', DEVICE, 'root', 'tbf', ...limit]))
  }

  private async lengthen(at: Machine, delayMs: number): Promise<void> {
    if (this.far !== undefined) throw new Error('there is a far line already')
    const { near } = this.of(at)
    if (!existsSync(this.farProgram)) await compile(['far.c'], [], this.farProgram)
    this.far = await FarLine.begin({ program: this.farProgram, near, bridge: BRIDGE, delayMs })
  }

  private async mend(): Promise<void> {
    await this.far?.end()
    this.far = undefined
    for (const machine of this.cutAt) await command(machine.on(['nft', `flush set ${TABLE} cut`]))
    for (const machine of this.thinned) await command(machine.on(['tc', 'qdisc', 'delete', 'dev', DEVICE, 'root']))
    this.cutAt.clear()
    this.thinned.clear()
  }

  private of({ name }: Machine): Namespace {
    const machine = this.all.get(name)
    if (machine === undefined) throw new Error(`${name} is no machine of this network`)
    return machine
  }
}

/** `unshare` is in the namespace of its parent for a moment. */
async function untilUnshared(pid: number): Promise<void> {
  const own = readlinkSync('/proc/self/ns/net')
  for (let tries = 0; tries < 500; tries++) {
    if (readlinkSync(`/proc/${pid}/ns/net`) !== own) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`process ${pid} has made no network namespace`)
}
