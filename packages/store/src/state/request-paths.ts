import { REQUESTS, refusePath, type QuireError, type RequestRow, type RequestType } from '@quire/protocol'

/** Returns why the request is refused if a field that its row in `REQUESTS` calls a path is no valid path. */
export function refusePaths(request: { readonly type: RequestType }): QuireError | undefined {
  const { paths = [] }: RequestRow = REQUESTS[request.type]
  const fields = request as Readonly<Record<string, unknown>>
  for (const field of paths) {
    const refusal = refusePath(fields[field] as string)
    if (refusal !== undefined) return refusal
  }
  return undefined
}
