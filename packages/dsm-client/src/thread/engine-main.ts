/** The entry of the client's thread. */
import { parentPort, workerData } from 'node:worker_threads'
import { runEngine } from './engine.js'
import type { EngineInit } from './messages.js'

await runEngine(workerData as EngineInit, parentPort!)
