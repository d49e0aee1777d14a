/** The files of a sandbox's /etc that say who it is: the same in every sandbox, and nothing of the host's. */

export const HOSTNAME = 'sandbox'
/** Home of root, as which commands run. */
export const HOME = '/root'

const PASSWD = `root:x:0:0:root:${HOME}:/bin/sh
sandbox:x:1000:1000:sandbox:/home/sandbox:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
`

/** tty is the group of the terminals that init's devpts makes. */
const GROUP = `root:x:0:
tty:x:5:
sandbox:x:1000:
nogroup:x:65534:
`

const HOSTS = `127.0.0.1 localhost ${HOSTNAME}
::1 localhost ip6-localhost ip6-loopback
`

/** Without this, glibc asks services that are not there (nss-systemd, mymachines) before it looks into files. */
const NSSWITCH = `passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
`

/**
 * Everything inside has one owner, so git's check against repositories of other users protects nobody; it would
 * refuse repositories that an operator binds, whose owner is unmapped inside.
 */
const GITCONFIG = `[safe]
\tdirectory = *
`

/** `resolver` is the content of resolv.conf: empty where there is no network. */
export function generatedFiles(resolver: string): [string, string][] {
  return [
    ['/etc/passwd', PASSWD],
    ['/etc/group', GROUP],
    ['/etc/hostname', `${HOSTNAME}\n`],
    ['/etc/hosts', HOSTS],
    ['/etc/nsswitch.conf', NSSWITCH],
    ['/etc/resolv.conf', resolver],
    ['/etc/gitconfig', GITCONFIG],
  ]
}
