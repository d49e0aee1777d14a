import type { FastifyInstance } from 'fastify'
import * as limits from '../../proto/limits.ts'
import type { SandboxClient } from '../bus/sandbox-client.ts'

/** `OK` means that this front-end answers; `?verbose` says what stands behind it. */
export function healthRoutes(app: FastifyInstance, client: SandboxClient, version: string): void {
  app.get<{ Querystring: { verbose?: string } }>('/health', async (request, reply) => {
    if (request.query.verbose === undefined) return reply.type('text/plain; charset=utf-8').send('OK')
    const workers = client.workers()
    return {
      status: workers.some((worker) => !worker.draining) ? 'ok' : 'no_worker',
      versions: { opensandbox: version, node: process.version },
      workers,
      limits: {
        cpu_time_ms: limits.CPU_TIME_MS,
        wall_time_ms: limits.WALL_TIME_MS,
        memory_kb: limits.MEMORY_KB,
        file_size_kb: limits.FILE_SIZE_KB,
        open_files: limits.OPEN_FILES,
        processes: limits.PROCESSES,
        output_bytes: limits.OUTPUT_BYTES,
        session_ttl_secs: limits.SESSION_TTL_SECS,
        file_bytes: { max: limits.MAX_FILE_BYTES },
        stdin_bytes: { max: limits.MAX_STDIN_BYTES },
      },
    }
  })
}
