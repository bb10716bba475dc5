import type { Texts } from '../texts.ts';

const days = (count: number): string => (count === 1 ? '1 day' : `${count} days`);

export const en: Texts = {
  name: 'English',
  navigation: { label: 'Pages', languages: 'Languages' },
  start: {
    label: 'Start',
    description: 'A relay for private chat with Delta Chat and other chatmail apps',
    lead: 'Private chat with the people you know. No phone number, no ads, nobody reading along.',
    invite: 'Join in',
    steps: {
      app: ['Get the app', 'Delta Chat is free, for phones and computers:'],
      scan: [
        'Scan the code',
        'Open the app and scan it. Reading this on your phone? Tap the button instead.',
      ],
      chat: ['Say hello', 'Pick a name for yourself, and show your friends your own code in the app.'],
    },
    codeLabel: 'QR code that makes an account on this relay',
    open: 'Open in the app',
    copy: 'Or copy this into the app:',
    once: 'This code makes one account, for whoever uses it first. Load the page again for the next person.',
    selfSigned:
      'Your browser may have warned you: this relay signs its own certificate. The app learns from the code that this is as it should be.',
    print: 'Scan with Delta Chat: get.delta.chat',
    what: 'What is this?',
    points: (deleteAfterDays) => [
      [
        'A mail carrier for chats',
        'A chatmail relay is a small mail server made for chat. Anybody can run one, and all of them talk to each other: your friends may well be on another.',
      ],
      [
        'It cannot read along',
        'Messages are encrypted on your device, and only those you write to can open them. The relay refuses all others.',
      ],
      [
        'It asks for nothing',
        'No phone number, no e-mail address, no name. Your address is made up at random, and costs nothing.',
      ],
      [
        'It forgets',
        `Messages wait here for your devices, and are deleted after ${days(deleteAfterDays)} at the latest. Your chats are kept by your app.`,
      ],
    ],
    comment: 'From those who run it',
    needsInvite: {
      heading: 'By invitation',
      paragraphs: [
        'Accounts here are for people who were invited. Those who run this relay can give you a link or a code of your own.',
        'You have an account already? It works as it always did.',
      ],
    },
    closed: {
      heading: 'No new accounts',
      paragraphs: [
        'This relay takes nobody new at the moment.',
        'You have an account already? It works as it always did.',
      ],
    },
  },
  invitation: {
    title: 'You are invited',
    lead: 'With this invitation you get an account on this relay.',
    make: 'Make my account',
    press: 'Press the button',
    makeText: 'That makes your account. Have the app at hand: the next page shows its code, once.',
    ready: 'Your account is ready',
    readyText:
      'Scan the code with the app now, or tap the button: this page is shown only once. Whoever has the code has the account.',
    address: 'Address',
    password: 'Password',
  },
  info: {
    label: 'Details',
    lead: 'What this relay does, and how much of it.',
    accounts: 'Accounts',
    addresses: 'Addresses',
    join: 'Who may join',
    joinAs: { open: 'Everybody', token: 'People with an invitation', closed: 'Nobody new' },
    inactive: 'Deleted when not used for',
    days,
    messages: 'Messages',
    encryption: 'Encryption',
    encryptionText: 'Only end-to-end encrypted messages are carried; all others are refused.',
    largest: 'Largest message',
    space: 'Space for each account',
    rate: 'Sending',
    perMinute: (messages, recipients) =>
      `Up to ${messages} messages a minute, each to up to ${recipients} people`,
    deletion: 'Deletion',
    deletionText: (all, large, kilobytes) =>
      `After ${days(all)}; messages above ${kilobytes} kB after ${days(large)}. When the space is nearly used up, the oldest go first.`,
    servers: 'Servers',
    serversText:
      'Chat apps find these by themselves. The user name is the whole address. On port 443 mail is told from the web by ALPN.',
    service: 'Service',
    host: 'Server',
    port: 'Port',
    certificate: 'Certificate',
    certificateText: {
      vouched: 'Vouched for by a public authority',
      own: 'Signed by the relay itself',
    },
    contact: 'Contact',
  },
  privacy: {
    label: 'Privacy',
    lead: 'What this relay knows about you, for how long, and what it never learns.',
    sections: (figures) => [
      {
        heading: 'What is kept',
        paragraphs: [
          'Your address. Apps make it up at random; nobody asks who you are.',
          'A hash of your password (Argon2id), which the password cannot be read from.',
          'The day your account was made, and the day of your last sign-in. No time of day, no place.',
          `Your messages, encrypted, until your app deletes them, and for ${days(figures.deleteAfterDays)} at most. Messages above ${figures.largeKilobytes} kB go after ${days(figures.deleteLargeAfterDays)} once your app has seen them. Messages to people on other relays are deleted as soon as those have taken them.`,
          `If your app asks for notifications: the code by which your device is woken, until ${days(figures.pushTokenDays)} after your app last renewed it.`,
          ...(figures.usesTokens
            ? ['Of invitations: how many accounts were made with each. Not which accounts.']
            : []),
        ],
      },
      {
        heading: 'What it sees, and does not keep',
        paragraphs: [
          'Your IP address while you are connected. It is written to no disk, and is in no message that leaves the relay.',
          'From whom, to whom, when and how large a message is: it could not be delivered otherwise. What is in it, its subject included, is encrypted.',
          'Logs on the disk name no user and no IP address of one, and only the last few megabytes exist. To find faults, the last few hundred lines of the mail programs are in memory as they were, for minutes to hours.',
        ],
      },
      {
        heading: 'Notifications',
        paragraphs: [
          'To wake your device the relay sends its code to notifications.delta.chat, and that to Apple or Google. No message and no address goes with it.',
        ],
      },
      {
        heading: 'These pages',
        paragraphs: ['No cookies, no scripts, no statistics, and nothing loaded from anywhere else.'],
      },
      {
        heading: 'When you leave',
        paragraphs: [
          `An account that nobody signs in to for ${days(figures.deleteInactiveDays)} is deleted, with all that belongs to it. To leave, delete the profile in your app.`,
        ],
      },
    ],
  },
  problems: {
    notFound: {
      heading: 'There is nothing here',
      paragraphs: ['Perhaps the address was mistyped, or cut off where it was copied from.'],
    },
    method: { heading: 'Not that way', paragraphs: ['This address does not take requests of this kind.'] },
    busy: { heading: 'One moment', paragraphs: ['That was a little often. Try again in a minute.'] },
    failed: {
      heading: 'That went wrong',
      paragraphs: ['The mistake is the relay’s, not yours. Try again in a minute.'],
    },
    unavailable: {
      heading: 'Not just now',
      paragraphs: ['The relay has too much to do, or too little space. Try again later.'],
    },
    request: { heading: 'Not understood', paragraphs: ['The relay could not read this request.'] },
    back: 'To the start page',
  },
  refusals: {
    closed: { heading: 'No new accounts', paragraphs: ['This relay takes nobody new at the moment.'] },
    missing: {
      heading: 'An invitation is needed',
      paragraphs: [
        'Accounts here are for people who were invited. Those who run this relay can give you a link.',
      ],
    },
    unknown: {
      heading: 'Unknown invitation',
      paragraphs: ['Was the link copied whole? Otherwise ask for a new one.'],
    },
    expired: { heading: 'Too late', paragraphs: ['This invitation has expired. Ask for a new one.'] },
    usedUp: {
      heading: 'Used already',
      paragraphs: ['All accounts of this invitation have been made. Ask for a new one.'],
    },
  },
};
