// A log on the real disk in a process with few file descriptors (`ulimit -n`). Prints what happened as JSON.
//   argv: the log's directory, how many segments to write, how many descriptors to leave for it
import { closeSync, openSync, readdirSync } from 'node:fs'
import { createSegmentedLog } from '@quire/raft'
import { createNodeDisk } from '@quire/raft/node-disk'

const [directory, segments, spare] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const clock = {
  schedule: (delayMs, callback) => {
    // A tenth of the log's second: it tries again sooner.
    const timer = setTimeout(() => callback(), delayMs / 10)
    return () => clearTimeout(timer)
  }
}
const create = { bootstrap: { voters: ['a'], learners: [], context: new Uint8Array(0) } }
const reports = []
const open = () =>
  createSegmentedLog({
    disk: createNodeDisk(directory),
    segmentBytes: 32 * 1024,
    cacheBytes: 0,
    create,
    clock,
    onSpace: (fault) => reports.push(fault?.message ?? 'over')
  })
const countSegments = () => readdirSync(directory).filter((name) => name.endsWith('.log')).length
const used = () => readdirSync(process.platform === 'linux' ? '/proc/self/fd' : '/dev/fd').length
const entry = (index) => ({ index, term: 1, kind: 'normal', data: new Uint8Array(10_000).fill(index) })

/** Opens whatever can be opened, but for `count` descriptors. */
function exhaust(count) {
  const held = []
  try {
    for (;;) held.push(openSync('/dev/null', 'r'))
  } catch (error) {
    if (error.code !== 'EMFILE') throw error
  }
  for (const fd of held.splice(0, count)) closeSync(fd)
  return () => {
    for (const fd of held) closeSync(fd)
  }
}

// Loads what the first use of each call loads.
used()
const before = used()
let release = exhaust(spare)
let log = await open()
while (countSegments() < segments) await log.append({ entries: [entry(log.lastIndex + 1)] })
const { lastIndex } = log
for (let index = 2; index <= lastIndex; index += 3) {
  const [found] = log.entries(index, index + 1, 1)
  if (found?.data[0] !== index % 256) throw new Error(`entry ${index}: ${found?.index}`)
}
await log.close()
log = await open()
const recovered = log.lastIndex
release()
const held = used() - before

// Nothing at all is left: the log gives entries back at the end of its segment, and old ones are not there now.
release = exhaust(0)
let appended = 0
let full
const target = log.lastIndex + 10
const append = async () => {
  await log.append({ entries: [entry(log.lastIndex + 1)] })
  appended++
}
while (full === undefined) await append().catch((error) => (full = error))
const unreadable = log.entries(2, 3, 1).length
const { term } = log.hardState
await log.append({ hardState: { term: term + 1, vote: 'a', commit: 1 }, entries: [] })
const voted = log.hardState.term - term
release()
await full.room
while (log.lastIndex < target) await append()
const readable = log.entries(2, 3, 1).length
await log.close()
console.log(
  JSON.stringify({
    lastIndex,
    recovered,
    held,
    leaked: used() - before,
    unreadable,
    readable,
    voted,
    appended,
    reports,
    full: full.name
  })
)
