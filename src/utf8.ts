/** Bytes that are not UTF-8 become U+FFFD; none are dropped, a byte order mark neither. */
export function decodeUtf8(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}
