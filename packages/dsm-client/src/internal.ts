/** For the simulator and other checkers of this repository: not the API, may change in any release. */
export { inspectClient, type ClientView } from './api/client.js'
export { createMappedClientOn, type MappedClient } from './thread/mapped-client.js'
export type { DirectMapping } from './thread/direct-mapping.js'
