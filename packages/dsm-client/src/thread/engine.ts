/** The client's thread: serves the calls of the program's thread (docs/threads.md). */
import { onAbort, privateKeyFromText } from '@quire/net'
import { ClosedError } from '@quire/protocol'
import { pino } from 'pino'
import type { MessagePort } from 'node:worker_threads'
import { createClientHere } from '../api/create-client.js'
import { addressSpaceOf } from '../api/file.js'
import type { Client } from '../api/client.js'
import { MappingBase } from '../api/mapping-base.js'
import { SharedFrames } from '../core/shared-frames.js'
import type { DsmFile, FileStat, Mapping, PinnedRange } from '../types.js'
import {
  CLIENT,
  type Answer,
  type Call,
  type EngineInit,
  type FromEngine,
  type RemoteFile,
  type RemoteMapping,
  type RemotePin,
  type SlabMessage,
  type ToEngine
} from './messages.js'
import { encodeError } from './thread-errors.js'

/** How long this thread sleeps between two looks at a page that the program's thread is inside. */
const NAP_MS = 1

/** Connects to the cluster and serves calls from `port`. Tells the outcome as `ready` or `refused`. */
export async function runEngine(init: EngineInit, port: MessagePort): Promise<void> {
  const post = (message: FromEngine): void => port.postMessage(message)
  const frames = new SharedFrames({
    cacheBytes: init.cacheBytes,
    onSlab: (number, memory) => init.slabs.postMessage({ number, memory } satisfies SlabMessage),
    // The thread that is inside the page does not say when it leaves: that would cost it more than its access.
    sleep: (words, entry, word) => void Atomics.wait(words, entry, word, NAP_MS)
  })
  const { peers, cluster, cacheBytes, sessionTtlMs, faultTimeoutMs } = init
  try {
    const client = await createClientHere(
      {
        peers,
        cacheBytes,
        sessionTtlMs,
        faultTimeoutMs,
        ...(cluster === undefined ? {} : { cluster }),
        ...(init.privateKey === undefined ? {} : { privateKey: privateKeyFromText(init.privateKey) }),
        ...(init.hasHistory ? { history: (event) => post({ type: 'history', event }) } : {}),
        // The program's logger adds what is left out here.
        logger: pino(
          { level: init.logLevel, base: null, timestamp: false },
          { write: (line) => post({ type: 'log', line }) }
        )
      },
      frames
    )
    new Engine(client, init, port).serve()
    post({ type: 'ready', peerId: client.peerId, table: frames.table.memory })
  } catch (error) {
    post({ type: 'refused', error: encodeError(error) })
    port.close()
  }
}

/** Finds the object of each call, calls it, and sends the outcome. */
class Engine {
  private lastObject = CLIENT
  private readonly objects = new Map<number, object>()
  /** The mappings that die with their file. */
  private readonly mappings = new Map<number, Set<number>>()
  /** Withdraws what an object has registered elsewhere. */
  private readonly leaves = new Map<number, () => void>()
  private readonly aborts = new Map<number, AbortController>()

  constructor(
    private readonly client: Client,
    private readonly init: EngineInit,
    private readonly port: MessagePort
  ) {
    this.objects.set(CLIENT, client)
  }

  serve(): void {
    for (const name of ['sessionlost', 'leaderchange'] as const) {
      this.client.addEventListener(name, ({ detail }) =>
        this.port.postMessage({ type: 'event', name, detail } satisfies FromEngine)
      )
    }
    this.port.on('message', (message: ToEngine) => {
      if (message.type === 'abort') this.aborts.get(message.id)?.abort()
      else if (message.isSync) this.answerNow(message)
      else void this.answer(message)
    })
  }

  private answerNow(call: Call): void {
    const { answers, answered } = this.init
    try {
      const value = this.returned(call, this.begin(call, undefined))
      answers.postMessage({ type: 'done', id: call.id, value } satisfies Answer, transferOf(value))
    } catch (error) {
      answers.postMessage({ type: 'failed', id: call.id, error: encodeError(error) } satisfies Answer)
    }
    Atomics.add(answered, 0, 1)
    Atomics.notify(answered, 0)
  }

  private async answer(call: Call): Promise<void> {
    const { id } = call
    const abort = new AbortController()
    if (call.isAborted) abort.abort()
    this.aborts.set(id, abort)
    let answer: Answer
    try {
      const value = this.returned(call, await this.begin(call, abort.signal))
      answer = { type: 'done', id, value }
    } catch (error) {
      answer = { type: 'failed', id, error: encodeError(error) }
    }
    this.aborts.delete(id)
    if (id !== 0) this.port.postMessage(answer, answer.type === 'done' ? transferOf(answer.value) : [])
  }

  /** Calls the method, or reads the property. */
  private begin({ object, method, args, hasOptions }: Call, signal: AbortSignal | undefined): unknown {
    const owner = this.objects.get(object)
    if (owner === undefined) throw new ClosedError('the file, mapping or pin')
    if (method === 'tryRead') return tryRead(owner as Mapping, args as [number, number])
    const { target, name } = findMember(owner, method)
    const member = target[name]
    if (typeof member !== 'function') return member
    if (!hasOptions) return member.apply(target, args)
    const options = args.at(-1)
    const isObject = typeof options === 'object' && options !== null
    // The method itself refuses options that are no object.
    return member.apply(target, [...args.slice(0, -1), isObject ? { ...options, signal } : options])
  }

  /** Gives a number to each object that stays here, and forgets objects that are gone. */
  private returned({ object, method }: Call, value: unknown): unknown {
    switch (method) {
      case 'open':
      case 'createUnnamed':
        return this.openedFile(value as DsmFile)
      case 'mmap':
        return this.mapped(object, value as Mapping)
      case 'pin':
        return this.pinned(value as PinnedRange)
      case 'list':
        return this.add((value as AsyncIterable<FileStat>)[Symbol.asyncIterator]())
      case 'close':
      case 'munmap':
      case 'release':
      case 'return':
        if (object !== CLIENT) this.forget(object)
        return undefined
      default:
        return value
    }
  }

  private openedFile(file: DsmFile): RemoteFile {
    const { id, path, pageSize } = file
    const session = this.client.session.id
    return { object: this.add(file), id, path, pageSize, space: addressSpaceOf(file), session }
  }

  private mapped(file: number, mapping: Mapping): RemoteMapping {
    const object = this.add(mapping)
    const all = this.mappings.get(file) ?? new Set()
    this.mappings.set(file, all.add(object))
    this.leaves.set(object, () => all.delete(object))
    const { offset, length } = mapping
    return { object, offset, length, isShared: mapping instanceof MappingBase && mapping.isShared }
  }

  private pinned(pin: PinnedRange): RemotePin {
    const object = this.add(pin)
    const lost = (): void => {
      const error = encodeError(pin.lost.reason)
      this.port.postMessage({ type: 'lost', object, error } satisfies FromEngine)
    }
    // Behind the answer that brings the pin.
    if (pin.lost.aborted) queueMicrotask(lost)
    else this.leaves.set(object, onAbort(pin.lost, lost))
    return { object, bytes: pin.bytes }
  }

  private add(object: object): number {
    this.objects.set(++this.lastObject, object)
    return this.lastObject
  }

  private forget(object: number): void {
    for (const mapping of this.mappings.get(object) ?? []) this.forget(mapping)
    this.mappings.delete(object)
    this.leaves.get(object)?.()
    this.leaves.delete(object)
    this.objects.delete(object)
  }
}

/** `method` may name a property on the way, as in `addressSpace.evictMappingRange`. */
function findMember(owner: object, method: string): { target: Record<string, unknown>; name: string } {
  const names = method.split('.')
  const name = names.pop()!
  let target = owner as Record<string, unknown>
  for (const property of names) target = target[property] as Record<string, unknown>
  return { target, name }
}

/** Returns the bytes, or false. */
function tryRead(mapping: Mapping, [offset, length]: [number, number]): Uint8Array | false {
  const target = new Uint8Array(length)
  return mapping.tryRead(offset, target) && target
}

/** Bytes of a result belong to the program: their memory moves. That of a pin is shared. */
function transferOf(value: unknown): ArrayBuffer[] {
  return value instanceof Uint8Array && value.buffer instanceof ArrayBuffer ? [value.buffer] : []
}
