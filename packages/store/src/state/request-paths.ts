import { REQUESTS, assert, refusePath, type QuireError, type RequestRow, type RequestType } from '@quire/protocol'

/** Returns why the request is refused if a field that its row in `REQUESTS` calls a path is no valid path. */
export function refusePaths(request: { readonly type: RequestType }): QuireError | undefined {
  const { paths = [] }: RequestRow = REQUESTS[request.type]
  for (const field of paths) {
    const path: unknown = Reflect.get(request, field)
    assert(typeof path === 'string', `${request.type}: ${field} is a ${typeof path}`)
    const refusal = refusePath(path)
    if (refusal !== undefined) return refusal
  }
  return undefined
}
