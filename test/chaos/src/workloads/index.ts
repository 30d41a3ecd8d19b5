import { bank } from './bank.js'
import { counters } from './counters.js'
import { fsx } from './fsx.js'
import { names } from './names.js'
import { privateCopies } from './private-copies.js'
import { queue } from './queue.js'
import { registers } from './registers.js'
import type { Workload } from './workload.js'

/** Each workload runs in each client. To add one, add it here. */
export const WORKLOADS: readonly Workload[] = [registers, counters, bank, queue, fsx, names, privateCopies]
