/** Defaults and bounds of everything a caller may set. Times ms, sizes KB (1024 bytes), unless named otherwise. */

const DAY_MS = 24 * 60 * 60 * 1000

/** CPU time of all processes of a command together. */
export const CPU_TIME_MS = { default: 5_000, min: 1, max: DAY_MS } as const
/** Wall time: the default is twice the CPU time, at least this, so that a sleeping command ends too. */
export const WALL_TIME_MS = { defaultMin: 10_000, min: 1, max: DAY_MS } as const
/** Real memory of the command's cgroup; below 1 MiB no program can be executed. */
export const MEMORY_KB = { default: 2_097_152, min: 1_024, max: 1_073_741_824 } as const
/** Largest file that a command may write. */
export const FILE_SIZE_KB = { default: 10_240, min: 0, max: 1_073_741_824 } as const
/** Open files of one process; below 8 a shell cannot work. */
export const OPEN_FILES = { default: 64, min: 8, max: 1_048_576 } as const
/** Processes and threads of one command; ends a fork bomb, leaves room for a build or a JVM. */
export const PROCESSES = { default: 512, min: 1, max: 32_768 } as const
/** Kept bytes of each output stream of a command; the rest is dropped and flagged. */
export const OUTPUT_BYTES = { default: 10 * 1024 * 1024, min: 0, max: 64 * 1024 * 1024 } as const
/** Idle time after which a session expires. */
export const SESSION_TTL_SECS = { default: 300, min: 1, max: 7 * 24 * 60 * 60 } as const

export const DEFAULT_CWD = '/'

/** argv and environment together; the kernel refuses more than a quarter of the 8 MiB stack. */
export const MAX_ARGUMENT_BYTES = 1_048_576
/** One argument or `NAME=value`: the kernel's MAX_ARG_STRLEN, less the terminator. */
export const MAX_ARGUMENT_STRING_BYTES = 131_071
export const MAX_ARGUMENTS = 16_384
export const MAX_ENV_VARIABLES = 4_096
/** PATH_MAX less the terminator. */
export const MAX_PATH_BYTES = 4_095
/** stdin of one run, and one file written or read in one request. Larger files are for streams. */
export const MAX_STDIN_BYTES = 64 * 1024 * 1024
export const MAX_FILE_BYTES = 64 * 1024 * 1024
export const MAX_BULK_FILES = 1_000
/** All the contents of one bulk write together. */
export const MAX_BULK_BYTES = MAX_FILE_BYTES
/** Entries that one directory listing returns; a larger directory is an error, never a shortened list. */
export const MAX_DIRECTORY_ENTRIES = 100_000
export const MAX_METADATA_ENTRIES = 64
export const MAX_METADATA_BYTES = 1_024
/** Commands that run at once in one session. */
export const MAX_CONCURRENT_COMMANDS = 64
