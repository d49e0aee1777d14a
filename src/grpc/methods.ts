/** What each method of `sandbox.SandboxService` does: decode, ask the bus, encode. */
import { DEFAULT_CWD } from '../../proto/limits.ts'
import type { CallContext, SandboxClient } from '../bus/sandbox-client.ts'
import type * as Messages from './messages.ts'
import { decodeRun, encodeRun } from './run-command.ts'
import { fileErrorText } from './status.ts'

export type Method<Request, Response> = (
  client: SandboxClient,
  context: CallContext,
  request: Request,
) => Promise<Response>

export const runCommand: Method<Messages.RunCommandRequest, Messages.RunCommandResponse> = async (
  client,
  context,
  request,
) => {
  const stdin = request.stdin.length > 0 ? request.stdin : undefined
  return encodeRun(await client.run(context, request.session_id, decodeRun(request), stdin))
}

export const writeFile: Method<Messages.WriteFileRequest, Messages.WriteFileResponse> = async (
  client,
  context,
  { session_id, path, content },
) => {
  try {
    await client.writeFile(context, session_id, { path }, content)
    return { success: true, error: '' }
  } catch (thrown) {
    return { success: false, error: fileErrorText(thrown) }
  }
}

export const writeFiles: Method<Messages.WriteFilesRequest, Messages.WriteFilesResponse> = (
  client,
  context,
  { session_id, files },
) => client.writeFiles(context, session_id, files)

export const readFile: Method<Messages.ReadFileRequest, Messages.ReadFileResponse> = async (
  client,
  context,
  { session_id, path },
) => {
  try {
    return { content: await client.readFile(context, session_id, { path }), error: '' }
  } catch (thrown) {
    return { content: new Uint8Array(), error: fileErrorText(thrown) }
  }
}

export const setEnv: Method<Messages.SetEnvRequest, Messages.SuccessResponse> = async (
  client,
  context,
  { session_id, env },
) => {
  await client.setEnv(context, session_id, { env })
  return { success: true }
}

export const setCwd: Method<Messages.SetCwdRequest, Messages.SuccessResponse> = async (
  client,
  context,
  { session_id, cwd },
) => {
  await client.setCwd(context, session_id, { cwd: cwd || DEFAULT_CWD })
  return { success: true }
}
