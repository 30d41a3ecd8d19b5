/**
 * Ends a child process when its parent has ended, however that happened. A child loads this module with `--import`. Its
 * standard input is a pipe that only the parent holds open.
 */
process.stdin.on('error', () => process.exit(1))
process.stdin.on('close', () => process.exit(1))
process.stdin.resume()
// The pipe must not keep a process alive that has finished its work.
;(process.stdin as unknown as { unref?: () => void }).unref?.()
