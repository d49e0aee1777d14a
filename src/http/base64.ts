import { invalid } from '../../proto/errors.ts'

const PADDING = /={1,2}$/

/**
 * Standard alphabet (RFC 4648 §4), padding optional, nothing else: no line breaks, no URL alphabet, no stray bits.
 * `Buffer.from` skips whatever it does not know, so what it read is encoded again and compared.
 */
export function decodeBase64(field: string, text: unknown): Buffer {
  if (typeof text !== 'string') throw invalid(field, 'must be a base64 string')
  const bytes = Buffer.from(text, 'base64')
  const canonical = bytes.toString('base64')
  if (canonical !== text && canonical.replace(PADDING, '') !== text) {
    throw invalid(field, 'not valid base64 (standard alphabet, no line breaks)')
  }
  return bytes
}

export function encodeBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}
