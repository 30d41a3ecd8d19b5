/** The way from the program's thread to the client's. */
import { onAbort } from '@quire/net'
import { assert, ClosedError, InvalidArgumentError, UnavailableError } from '@quire/protocol'
import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from 'node:worker_threads'
import { checkSignal } from '../validate.js'
import { abortReason } from '../waiting.js'
import type { Answer, Call, EngineInit, FromEngine, SlabMessage, ToEngine } from './messages.js'
import { decodeError } from './thread-errors.js'

/** How long a synchronous call waits for the client's thread. */
const SYNC_TIMEOUT_MS = 5000

interface Pending {
  readonly signal: AbortSignal | undefined
  readonly leave: () => void
  resolve(value: unknown): void
  reject(error: unknown): void
}

type Ready = Extract<FromEngine, { type: 'ready' }>
/** What the client's thread says of itself. */
export type Notice = Exclude<FromEngine, Answer | Ready | { type: 'refused' }>

export type EngineLinkInit = Omit<EngineInit, 'slabs' | 'answers' | 'answered'>

/** Starts the client's thread, carries calls to it, and keeps the slabs of its frames. */
export class EngineLink {
  private readonly worker: Worker
  private readonly slabPort: MessagePort
  private readonly answerPort: MessagePort
  private readonly answered = new Int32Array(new SharedArrayBuffer(4))
  private readonly pending = new Map<number, Pending>()
  private readonly slabs = new Map<number, Uint8Array>()
  private lastCall = 0
  private failure: Error | undefined
  private isReady = false
  private starting = { resolve: (_: Ready): void => {}, reject: (_: unknown): void => {} }

  /** `onNotice` runs before answers that the client's thread sends after the notice. */
  constructor(
    init: EngineLinkInit,
    private readonly onNotice: (notice: Notice) => void
  ) {
    const slabs = new MessageChannel()
    const answers = new MessageChannel()
    this.slabPort = slabs.port1
    this.answerPort = answers.port1
    const workerData: EngineInit = { ...init, slabs: slabs.port2, answers: answers.port2, answered: this.answered }
    const transferList = [slabs.port2, answers.port2]
    this.worker = new Worker(new URL('./engine-main.js', import.meta.url), {
      name: 'quire',
      workerData,
      transferList,
      // A thread inherits the options of Node, but refuses that of a program in an argument or on the standard input.
      ...(process.execArgv.some((option) => option.startsWith('--input-type')) && { execArgv: [] })
    })
    this.slabPort.on('message', (message: SlabMessage) => this.tookSlab(message))
    // Only the thread itself keeps the process alive.
    this.slabPort.unref()
    this.worker.on('message', (message: FromEngine) => this.receive(message))
    this.worker.on('exit', () => this.fail(new ClosedError('the client')))
    this.worker.on('error', (error: Error) => {
      this.fail(error)
      // An invariant is broken. Without a thread, this would be an uncaught exception, too.
      if (this.isReady) throw error
    })
  }

  /** Resolves when the client is connected. Rejects with the errors of `createDsmClient`. */
  start(): Promise<Ready> {
    return new Promise((resolve, reject) => (this.starting = { resolve, reject }))
  }

  /** The thread has ended. */
  get hasEnded(): boolean {
    return this.failure !== undefined
  }

  /** Calls a method. If there are `options`, the method takes them after `args`. */
  async call<T>(object: number, method: string, args: readonly unknown[], options?: object): Promise<T> {
    const { signal, rest } = splitOptions(options)
    if (signal !== undefined) checkSignal(signal)
    if (this.failure !== undefined) throw this.failure
    const hasOptions = options !== undefined
    const id = ++this.lastCall
    const call = { id, object, method, args: hasOptions ? [...args, rest] : args, hasOptions }
    this.post({ type: 'call', ...call, isSync: false, isAborted: signal?.aborted === true })
    return new Promise<T>((resolve, reject) => {
      const abort = (): void => this.worker.postMessage({ type: 'abort', id } satisfies ToEngine)
      const leave = signal === undefined ? () => {} : onAbort(signal, abort)
      this.pending.set(id, { signal, leave, resolve, reject })
    })
  }

  /** Calls a method or reads a property, and sleeps until the answer is here. */
  callNow<T>(object: number, method: string, args: readonly unknown[] = []): T {
    if (this.failure !== undefined) throw this.failure
    const id = ++this.lastCall
    let seen = Atomics.load(this.answered, 0)
    this.post({ type: 'call', id, object, method, args, hasOptions: false, isSync: true, isAborted: false })
    for (;;) {
      const found = receiveMessageOnPort(this.answerPort)
      if (found === undefined) {
        if (Atomics.wait(this.answered, 0, seen, SYNC_TIMEOUT_MS) === 'timed-out') {
          throw new UnavailableError(`the thread of the client has not answered for ${SYNC_TIMEOUT_MS / 1000} s`)
        }
        seen = Atomics.load(this.answered, 0)
        continue
      }
      const message = found.message as Answer
      // The answer to a call that has given up is of no use.
      if (message.id !== id) continue
      if (message.type === 'failed') throw decodeError(message.error)
      return message.value as T
    }
  }

  /** Calls a method whose outcome does not matter. */
  tell(object: number, method: string): void {
    if (this.failure !== undefined) return
    this.post({ type: 'call', id: 0, object, method, args: [], hasOptions: false, isSync: false, isAborted: false })
  }

  /** The bytes of a slab; undefined if it is gone. */
  slab(number: number): Uint8Array | undefined {
    const slab = this.slabs.get(number)
    if (slab !== undefined) return slab
    // The message of a new slab may wait for a turn of the event loop.
    for (;;) {
      const found = receiveMessageOnPort(this.slabPort)
      if (found === undefined) return this.slabs.get(number)
      this.tookSlab(found.message as SlabMessage)
    }
  }

  /** Ends the thread. Calls that wait fail with ClosedError. */
  async end(): Promise<void> {
    this.fail(new ClosedError('the client'))
    await this.worker.terminate()
    this.slabPort.close()
    this.answerPort.close()
  }

  private tookSlab({ number, memory }: SlabMessage): void {
    if (memory === undefined) this.slabs.delete(number)
    else this.slabs.set(number, new Uint8Array(memory))
  }

  private post(call: Call): void {
    try {
      this.worker.postMessage(call)
    } catch (error) {
      throw new InvalidArgumentError(call.method, String(error), 'called with values that can be copied')
    }
  }

  private receive(message: FromEngine): void {
    switch (message.type) {
      case 'ready':
        this.isReady = true
        return this.starting.resolve(message)
      case 'refused':
        return this.starting.reject(decodeError(message.error))
      case 'done':
      case 'failed':
        return this.answeredCall(message)
      default:
        this.onNotice(message)
    }
  }

  private answeredCall(message: Answer): void {
    const pending = this.pending.get(message.id)
    assert(pending !== undefined, `the client's thread answers call ${message.id}, which nobody has made`)
    this.pending.delete(message.id)
    pending.leave()
    if (message.type === 'done') return pending.resolve(message.value)
    // The engine's signal gave its own reason.
    const { signal } = pending
    const isAbort = signal?.aborted === true && 'other' in message.error
    pending.reject(isAbort ? abortReason(signal) : decodeError(message.error))
  }

  private fail(error: Error): void {
    if (this.failure !== undefined) return
    this.failure = error
    this.starting.reject(error)
    for (const pending of this.pending.values()) {
      pending.leave()
      pending.reject(error)
    }
    this.pending.clear()
  }
}

/** A signal stays in the program's thread. */
function splitOptions(options: object | undefined): { signal: AbortSignal | undefined; rest: unknown } {
  if (typeof options !== 'object' || options === null) return { signal: undefined, rest: options }
  const { signal, ...rest } = options as { signal?: AbortSignal }
  return { signal, rest }
}
