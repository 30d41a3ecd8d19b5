/**
 * What the tests of the whole project use of the command: its questions to peers, without a process for each, and its
 * choice of ports.
 */
export { freePorts } from './dev-cluster.js'
export { askLeader } from './leader-search.js'
export { createProbe, type Probe, type StatusAnswer } from './probe.js'
