import { SetupError } from './say.mjs'

const NODE_MIN = [20, 19]

export function checkHost() {
  if (process.platform !== 'linux') {
    throw new SetupError(
      `OpenSandbox needs Linux, this is ${process.platform}; use a Linux machine or the container image`,
    )
  }
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < NODE_MIN[0] || (major === NODE_MIN[0] && minor < NODE_MIN[1])) {
    throw new SetupError(
      `Node ${process.versions.node} is too old; install Node ${NODE_MIN.join('.')} or newer, e.g. from nodejs.org`,
    )
  }
}
