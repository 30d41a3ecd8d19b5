/** For the simulator and other checkers. Not part of the API. */
export { inspectClient, type ClientView } from './client.js'
