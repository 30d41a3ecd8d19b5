/** The demo's side of a client process. It sends tasks, and receives answers, progress and news. */
import { program, type Child, type Children } from './children.js'
import type { Answer, Ask, Report, TaskName } from './messages.js'

export interface ClientNews {
  /** The running task has completed the fraction `done`, from 0 to 1. */
  progressed(index: number, done: number): void
  followed(index: number, leader: string, term: number): void
  sessionLost(index: number, message: string): void
}

export interface ClientProcess {
  /** Rejects with the client's error. */
  run<N extends TaskName>(task: N, ask: Ask<N>): Promise<Answer<N>>
  /** Closes the client and waits for its process to end. */
  close(): Promise<void>
}

export function startClient(children: Children, index: number, news: ClientNews): ClientProcess {
  const name = `client ${index + 1}`
  const child: Child = children.start(name, program('./client.js'), [], { ipc: true })
  let settle: { resolve: (answer: unknown) => void; reject: (error: Error) => void } | undefined

  child.process.on('message', (report: Report) => {
    switch (report.type) {
      case 'answer':
        return settle?.resolve(report.answer)
      case 'error':
        return settle?.reject(new Error(`${name}: ${report.message}`))
      case 'progress':
        return news.progressed(index, report.done)
      case 'leader':
        return news.followed(index, report.leader, report.term)
      case 'session-lost':
        return news.sessionLost(index, report.message)
    }
  })

  function run<N extends TaskName>(task: N, ask: Ask<N>): Promise<Answer<N>> {
    return new Promise((resolve, reject) => {
      settle = { resolve: (answer) => resolve(answer as Answer<N>), reject }
      // An error here means that the process has died. `children.failure` reports that.
      child.process.send({ task, ask }, () => {})
    })
  }

  async function close(): Promise<void> {
    await run('close', undefined)
    child.expectExit()
    child.process.disconnect()
    await child.exited
  }

  return { run, close }
}
