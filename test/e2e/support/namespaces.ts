/** Network namespaces: machines of their own on a network of their own, whose packets a test can drop. Linux, root. */
import { execFileSync, spawnSync } from 'node:child_process'

/** True if this machine has what it takes: Linux, root, and the programs `ip` (iproute2) and `nft` (nftables). */
export const canSeparate =
  process.platform === 'linux' &&
  process.getuid?.() === 0 &&
  ['ip', 'nft'].every((program) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0)

let made = 0

/** Two machines on one network. The first has several addresses. */
export class TwoMachines implements Disposable {
  /** The names of the namespaces, for `ip netns exec`. */
  readonly first: string
  readonly second: string
  readonly addresses: readonly string[]
  private readonly secondAddress: string

  constructor(addresses: number) {
    const name = `quire-${process.pid}-${++made}`
    this.first = `${name}a`
    this.second = `${name}b`
    // A network for documentation (RFC 5737), which no machine has.
    this.addresses = Array.from({ length: addresses }, (_, i) => `192.0.2.${i + 1}`)
    this.secondAddress = '192.0.2.100'
    try {
      this.make()
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  /** Drops all packets that the second machine sends to these addresses of the first, and to no others. */
  drop(...addresses: readonly string[]): void {
    const rules = addresses.map((to) => `add rule inet test input ip saddr ${this.secondAddress} ip daddr ${to} drop`)
    this.run(this.first, ['nft', ['flush chain inet test input', ...rules].join('; ')])
  }

  [Symbol.dispose](): void {
    for (const name of [this.first, this.second]) spawnSync('ip', ['netns', 'delete', name])
  }

  private make(): void {
    for (const name of [this.first, this.second]) {
      execFileSync('ip', ['netns', 'add', name])
      this.run(name, ['ip', 'link', 'set', 'lo', 'up'])
    }
    // The ends of the line get their names in their namespaces, so that they disturb no name of this machine.
    this.run(this.first, ['ip', 'link', 'add', 'line', 'type', 'veth', 'peer', 'name', 'line', 'netns', this.second])
    for (const address of this.addresses) {
      this.run(this.first, ['ip', 'address', 'add', `${address}/24`, 'dev', 'line'])
    }
    this.run(this.second, ['ip', 'address', 'add', `${this.secondAddress}/24`, 'dev', 'line'])
    for (const name of [this.first, this.second]) this.run(name, ['ip', 'link', 'set', 'line', 'up'])
    this.run(this.first, ['nft', 'add table inet test'])
    this.run(this.first, ['nft', 'add chain inet test input { type filter hook input priority 0; }'])
  }

  private run(namespace: string, command: readonly string[]): void {
    execFileSync('ip', ['netns', 'exec', namespace, ...command], { stdio: 'pipe' })
  }
}
