/** TCP and UDP ports that two places need. */
export const ports = {
  smtp: 25,
  dns: 53,
  http: 80,
  imap: 143,
  https: 443,
  submissions: 465,
  submission: 587,
  imaps: 993,
  ssh: 22,
  /** On loopback, for the multiplexer on 443: TLS with a PROXY v2 header before it. */
  submissionsProxy: 10465,
  imapsProxy: 10993,
  /** On loopback: mail that came over HTTPS, on its way to the same filter and queue as that of port 25. */
  injection: 10025,
} as const;
