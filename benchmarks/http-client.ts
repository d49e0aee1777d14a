/** HTTP as an SDK speaks it: one kept-alive connection, JSON. */
import { Agent, request } from 'node:http'

export interface Response {
  status: number
  body: string
}

export class HttpClient {
  readonly #port: number
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })

  constructor(port: number) {
    this.#port = port
  }

  request(method: string, path: string, json?: unknown): Promise<Response> {
    const body = json === undefined ? undefined : JSON.stringify(json)
    const headers =
      body === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    return new Promise((resolve, reject) => {
      const options = { host: '127.0.0.1', port: this.#port, method, path, agent: this.#agent, headers }
      const call = request(options, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk) => chunks.push(chunk))
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() })
        })
        response.on('error', reject)
      })
      call.on('error', reject)
      call.end(body)
    })
  }

  /** The answer's JSON; throws where the status is not `status`. */
  async json<T>(status: number, method: string, path: string, json?: unknown): Promise<T> {
    const response = await this.request(method, path, json)
    if (response.status !== status) throw new Error(`${method} ${path}: ${response.status} ${response.body}`)
    return (response.body === '' ? undefined : JSON.parse(response.body)) as T
  }

  async createSession(): Promise<string> {
    const { session_id } = await this.json<{ session_id: string }>(200, 'POST', '/sessions', {})
    return session_id
  }

  async deleteSession(id: string): Promise<void> {
    await this.json(204, 'DELETE', `/sessions/${id}`)
  }

  async run(path: string, command: string[]): Promise<void> {
    const result = await this.json<{ exit_code: number | null }>(200, 'POST', path, { command })
    if (result.exit_code !== 0) throw new Error(`${path}: ${JSON.stringify(result)}`)
  }

  close(): void {
    this.#agent.destroy()
  }
}
