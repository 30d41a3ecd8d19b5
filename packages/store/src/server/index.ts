export * from './group-server.js'
export * from './limits.js'
export * from './raft-port.js'
export * from './session-server.js'
