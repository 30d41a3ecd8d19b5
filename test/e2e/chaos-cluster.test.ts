/** `pnpm chaos --cluster FILE` makes faults on a cluster that a user has set up. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { freePorts } from '@quire/cli/internal'
import { CHAOS, chaos, type Ended } from './support/chaos.js'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const DOCS = join(ROOT, 'docs/chaos.md')

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'quire-chaos-cluster-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1')
  const isListening = await once(server, 'listening').then(
    () => true,
    () => false
  )
  server.close()
  return isListening
}

/** Three ports that differ in their last digit, which is 1, 2 and 3. Returns the digits before it. */
async function portPrefix(): Promise<string> {
  for (;;) {
    const prefix = String((await freePorts(1))[0]).slice(0, -1)
    const areFree = await Promise.all([1, 2, 3].map((digit) => isFree(Number(`${prefix}${digit}`))))
    if (areFree.every(Boolean)) return prefix
  }
}

/** The example, with other ports and other options of `pnpm chaos`. */
async function example(options: string): Promise<string> {
  const blocks = [...readFileSync(DOCS, 'utf8').matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block!)
  const block = blocks.find((each) => each.includes('--cluster "$three"/chaos.json'))!
  const pnpm = `pnpm() { shift; ${process.execPath} ${CHAOS} "$@" ${options}; }\n`
  return pnpm + block.replaceAll('tcp/410', `tcp/${await portPrefix()}`)
}

/** Ends the peers whose ids are in files of the folder, if they still run. */
function endPeers(folder: string): void {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.pid'))
  for (const name of names) {
    try {
      process.kill(Number(readFileSync(join(folder, name), 'utf8')), 'SIGKILL')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

/** Runs the script in the folder, and ends the peers that it has started. */
async function runIn(folder: string, commands: string): Promise<Ended> {
  onTestFinished(() => endPeers(folder))
  const shell = spawn('sh', ['-c', commands], { cwd: ROOT, env: { ...process.env, TMPDIR: folder } })
  let output = ''
  for (const stream of [shell.stdout, shell.stderr]) stream.on('data', (bytes: Buffer) => (output += String(bytes)))
  const [status] = (await once(shell, 'close')) as [number]
  return { status, output }
}

it('the example of docs/chaos.md founds a cluster whose peers a run kills and stops, and breaks no guarantee', async () => {
  const folder = temporaryFolder()
  const options = `--minutes 0.5 --seed 119 --faults kill,stop,partition --report ${folder}/report`
  const { output } = await runIn(folder, await example(options))
  expect(output).toContain('no acknowledged write is lost, and the history is linearizable')
  for (const fault of ['leader killed', 'client killed', 'peer stopped'])
    expect(output).toMatch(new RegExp(`[1-9]\\d* {2}${fault}`))
  expect(output).toContain('not made: line thin: it needs the lines of its machines')
}, 240_000)

it('a run ends with a verdict on what happened, and status 2, if a command of the cluster file fails', async () => {
  const folder = temporaryFolder()
  const commands = await example(
    `--minutes 0.1 --seed 3 --rate 20 --faults kill --report ${folder}/report; echo "status $?"`
  )
  const { output } = await runIn(folder, commands.replaceAll('"kill": "kill -KILL', '"kill": "echo no kill; false'))
  expect(output).toMatch(/the run could not go on: [a-z ]+: the command ended with 1, see .*: echo no kill; false/)
  expect(output).toContain('until then, no acknowledged write is lost, and the history is linearizable')
  expect(output).toContain('status 2')
  // Several peers may be killed at once, so lines of other commands may stand between these.
  expect(readFileSync(`${folder}/report/commands.log`, 'utf8')).toMatch(
    /^\S+Z (\d+) \$ echo no kill; false[^]*^no kill$[^]*^\S+Z \1 ended with 1$/m
  )
}, 240_000)

it('a wrong cluster file is refused before anything runs, and the message names the file and the field', async () => {
  const file = join(temporaryFolder(), 'chaos.json')
  writeFileSync(file, JSON.stringify({ peers: [{ addresses: [] }] }))
  const { status, output } = await chaos('--cluster', file)
  expect(output).toContain(`--cluster ${file}: peers[0].addresses: a list of multiaddrs is missing`)
  expect(status).toBe(2)
})

it('a cluster file without the key of an admin leaves no change of members to make, and the run says so', async () => {
  const file = join(temporaryFolder(), 'chaos.json')
  const addresses = ['/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWLemdri1zNbMBuemEyHQtd4crNYGMbVoguXNvzSdLNacz']
  writeFileSync(file, JSON.stringify({ peers: [{ addresses }] }))
  const { status, output } = await chaos('--cluster', file, '--faults', 'members')
  expect(output).toContain('not made: leadership handed over: it needs the key of an admin')
  expect(output).toContain('no fault is left to make')
  expect(status).toBe(2)
})
