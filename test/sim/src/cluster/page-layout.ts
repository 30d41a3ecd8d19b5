/**
 * Where programs read and write in a page: at its very start and end, and in between. Small spots make short histories.
 */
export const PAGE_BYTES = 4096

export const SPOT_BYTES = 16
export const SPOTS = [0, 64, 2048, PAGE_BYTES - SPOT_BYTES] as const
