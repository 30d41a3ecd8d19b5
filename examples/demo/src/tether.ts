/**
 * Loaded into a child process with `--import`: ends it when its parent is gone, whatever ended the parent. The child's standard
 * input is a pipe that only the parent holds open.
 */
process.stdin.on('error', () => process.exit(1))
process.stdin.on('close', () => process.exit(1))
process.stdin.resume()
// The pipe alone does not keep a process alive that has done its work.
;(process.stdin as unknown as { unref?: () => void }).unref?.()
