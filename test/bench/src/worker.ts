/** A process of the benchmark: programs with clients, or the other end of the bare round trips. */
import { fill, scan, type BulkAsk } from './tasks/bulk.js'
import type { Figures } from './tasks/contest.js'
import {
  changer,
  commits,
  pingPong,
  reader,
  writers,
  type CommitsAsk,
  type CrowdAsk,
  type ReaderAnswer,
  type WritersAsk
} from './tasks/crowds.js'
import { directoryMemory, type DirectoryAnswer, type DirectoryAsk } from './tasks/directory.js'
import { commit, readFault, writeFault, type FaultAsk } from './tasks/faults.js'
import { connectAll, type Addresses, type Parties } from './tasks/parties.js'
import { firstReads, pinHit, warmRead, type ResidentAsk } from './tasks/resident.js'
import { overwrite, type OverwriteAsk, type Progress } from './overwrite.js'
import { serveBare } from './rivals/bare.js'

export interface Tasks {
  serve: { ask: undefined; answer: string }
  connect: { ask: Addresses; answer: undefined }
  pinHit: { ask: ResidentAsk; answer: Figures }
  warmRead: { ask: ResidentAsk; answer: Figures }
  firstReads: { ask: ResidentAsk; answer: Figures }
  readFault: { ask: FaultAsk; answer: Figures }
  writeFault: { ask: FaultAsk; answer: Figures }
  commit: { ask: FaultAsk; answer: Figures }
  scan: { ask: BulkAsk; answer: Figures }
  fill: { ask: BulkAsk; answer: Figures }
  writers: { ask: WritersAsk; answer: number }
  commits: { ask: CommitsAsk; answer: undefined }
  pingPong: { ask: CrowdAsk; answer: number }
  reader: { ask: CrowdAsk; answer: ReaderAnswer }
  changer: { ask: CrowdAsk; answer: number }
  overwrite: { ask: OverwriteAsk; answer: readonly Progress[] }
  directoryMemory: { ask: DirectoryAsk; answer: DirectoryAnswer }
}

export type TaskName = keyof Tasks
export type Request = { [N in TaskName]: { readonly task: N; readonly ask: Tasks[N]['ask'] } }[TaskName]
export type Report = { readonly answer: unknown } | { readonly error: string }

type Run = { readonly [N in TaskName]: (ask: Tasks[N]['ask']) => Promise<Tasks[N]['answer']> }

let parties: Parties | undefined

const RUN: Run = {
  serve: () => serveBare(),
  connect: async (addresses) => {
    parties = await connectAll(addresses)
    return undefined
  },
  pinHit: (ask) => pinHit(parties!, ask),
  warmRead: (ask) => warmRead(parties!, ask),
  firstReads: (ask) => firstReads(parties!, ask),
  readFault: (ask) => readFault(parties!, ask),
  writeFault: (ask) => writeFault(parties!, ask),
  commit: (ask) => commit(parties!, ask),
  scan: (ask) => scan(parties!, ask),
  fill: (ask) => fill(parties!, ask),
  writers: (ask) => writers(parties!, ask),
  commits: (ask) => commits(parties!, ask),
  pingPong: (ask) => pingPong(parties!, ask),
  reader: (ask) => reader(parties!, ask),
  changer: (ask) => changer(parties!, ask),
  overwrite: (ask) => overwrite(ask),
  directoryMemory: async (ask) => directoryMemory(ask)
}

// The benchmark imports this module for its types, and runs it as a process.
if (process.send !== undefined) {
  const report = (message: Report) => process.connected && process.send!(message)
  process.on('message', ({ task, ask }: Request) => {
    const run = RUN[task] as (ask: unknown) => Promise<unknown>
    run(ask).then(
      (answer) => report({ answer }),
      (error: Error) => report({ error: `${error.name}: ${error.message}` })
    )
  })
  process.on('disconnect', () => process.exit())
}
