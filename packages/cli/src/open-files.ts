/** This file imports nothing, because the command reads it before it loads anything else. */

/**
 * The least limit of open files of any command: Node opens the modules of a program at the same time, about 170 here.
 */
export const LEAST_OPEN_FILES = 256
