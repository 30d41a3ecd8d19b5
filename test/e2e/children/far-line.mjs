/**
 * Prints the shortest of a few round trips between two machines in milliseconds, as JSON: while their line is short,
 * while it is far, and after that. All are of one connection, which must survive. Runs in the hub; the argument is a
 * folder.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { makeNamespaces } from '../../chaos/dist/machines/namespaces.js'

const DELAY_MS = 120
const ECHO = `require('net').createServer((socket) => socket.pipe(socket)).listen(5000, () => console.log('listens'))`
/** More than the kernel sends as one segment. */
const MESSAGE = Buffer.alloc(256 * 1024, 7)

const machines = await makeNamespaces(process.argv[2])
const machine = await machines.add('one')
const [program, ...args] = machine.on([process.execPath, '-e', ECHO])
const server = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
await once(server.stdout, 'data')
const socket = connect(5000, machine.address)
await once(socket, 'connect')

async function oneMs() {
  const begin = performance.now()
  socket.write(MESSAGE)
  for (let left = MESSAGE.length; left > 0;) left -= (await once(socket, 'data'))[0].length
  return performance.now() - begin
}

/** A lost frame makes one of them longer. */
async function roundTripMs() {
  const all = []
  while (all.length < 3) all.push(await oneMs())
  return Math.min(...all)
}

const before = await roundTripMs()
await machines.lines.lengthen(machine, DELAY_MS)
const during = await roundTripMs()
await machines.lines.mend()
const after = await roundTripMs()
console.log(JSON.stringify({ before, during, after }))
server.kill('SIGKILL')
socket.destroy()
await machines[Symbol.asyncDispose]()
