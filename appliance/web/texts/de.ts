import type { Texts } from '../texts.ts';

const days = (count: number): string => (count === 1 ? '1 Tag' : `${count} Tage`);
const daysDative = (count: number): string => (count === 1 ? '1 Tag' : `${count} Tagen`);

export const de: Texts = {
  name: 'Deutsch',
  navigation: { label: 'Seiten', languages: 'Sprachen' },
  start: {
    label: 'Start',
    description: 'Ein Relay für private Chats mit Delta Chat und anderen Chatmail-Apps',
    lead: 'Privat chatten mit denen, die Du kennst. Ohne Telefonnummer, ohne Werbung, ohne Mitleser.',
    invite: 'Mitmachen',
    steps: {
      app: ['Hol Dir die App', 'Delta Chat ist kostenlos, für Telefon und Computer:'],
      scan: [
        'Scanne den Code',
        'Öffne die App und scanne ihn. Du liest das auf dem Telefon? Dann tippe auf den Knopf.',
      ],
      chat: ['Sag Hallo', 'Such Dir einen Namen aus und zeig Deinen Leuten Deinen eigenen Code in der App.'],
    },
    codeLabel: 'QR-Code, der ein Konto auf diesem Relay anlegt',
    open: 'In der App öffnen',
    copy: 'Oder kopiere das in die App:',
    once: 'Dieser Code ergibt ein Konto, für den, der ihn zuerst benutzt. Für die Nächsten lade die Seite neu.',
    selfSigned:
      'Dein Browser hat Dich vielleicht gewarnt: Dieses Relay unterschreibt sein Zertifikat selbst. Die App erfährt aus dem Code, dass das so sein soll.',
    print: 'Mit Delta Chat scannen: get.delta.chat',
    what: 'Was ist das?',
    points: (deleteAfterDays) => [
      [
        'Eine Post für Chats',
        'Ein Chatmail-Relay ist ein kleiner Mailserver für Chats. Jeder kann eines betreiben, und alle reden miteinander: Deine Freunde können gern auf einem anderen sein.',
      ],
      [
        'Es liest nicht mit',
        'Nachrichten werden auf Deinem Gerät verschlüsselt, und nur wem Du schreibst, kann sie öffnen. Andere lehnt das Relay ab.',
      ],
      [
        'Es fragt nichts',
        'Keine Telefonnummer, keine E-Mail-Adresse, kein Name. Deine Adresse wird ausgewürfelt und kostet nichts.',
      ],
      [
        'Es vergisst',
        `Nachrichten warten hier auf Deine Geräte und werden nach spätestens ${daysDative(deleteAfterDays)} gelöscht. Deine Chats bewahrt Deine App auf.`,
      ],
    ],
    comment: 'Von denen, die es betreiben',
    needsInvite: {
      heading: 'Mit Einladung',
      paragraphs: [
        'Konten gibt es hier für alle, die eingeladen wurden. Wer dieses Relay betreibt, kann Dir einen Link oder einen Code geben.',
        'Du hast schon ein Konto? Es funktioniert wie immer.',
      ],
    },
    closed: {
      heading: 'Keine neuen Konten',
      paragraphs: [
        'Dieses Relay nimmt zurzeit niemanden neu auf.',
        'Du hast schon ein Konto? Es funktioniert wie immer.',
      ],
    },
  },
  invitation: {
    title: 'Du bist eingeladen',
    lead: 'Mit dieser Einladung bekommst Du ein Konto auf diesem Relay.',
    make: 'Konto anlegen',
    press: 'Drück den Knopf',
    makeText: 'Damit entsteht Dein Konto. Halte die App bereit: Die nächste Seite zeigt seinen Code, einmal.',
    ready: 'Dein Konto ist da',
    readyText:
      'Scanne den Code jetzt mit der App oder tippe auf den Knopf: Diese Seite gibt es nur einmal. Wer den Code hat, hat das Konto.',
    address: 'Adresse',
    password: 'Passwort',
  },
  info: {
    label: 'Genaueres',
    lead: 'Was dieses Relay tut, und wie viel davon.',
    accounts: 'Konten',
    addresses: 'Adressen',
    join: 'Wer darf mitmachen',
    joinAs: { open: 'Alle', token: 'Wer eine Einladung hat', closed: 'Niemand neues' },
    inactive: 'Gelöscht, wenn unbenutzt seit',
    days: daysDative,
    messages: 'Nachrichten',
    encryption: 'Verschlüsselung',
    encryptionText:
      'Nur Ende-zu-Ende-verschlüsselte Nachrichten werden befördert; alle anderen werden abgelehnt.',
    largest: 'Größte Nachricht',
    space: 'Platz je Konto',
    rate: 'Senden',
    perMinute: (messages, recipients) =>
      `Bis zu ${messages} Nachrichten in der Minute, jede an bis zu ${recipients} Menschen`,
    deletion: 'Löschen',
    deletionText: (all, large, kilobytes) =>
      `Nach ${daysDative(all)}; Nachrichten über ${kilobytes} kB nach ${daysDative(large)}. Wird der Platz knapp, gehen die ältesten zuerst.`,
    servers: 'Server',
    serversText:
      'Chat-Apps finden sie von selbst. Der Benutzername ist die ganze Adresse. Auf Port 443 unterscheidet ALPN zwischen Mail und Web.',
    service: 'Dienst',
    host: 'Server',
    port: 'Port',
    certificate: 'Zertifikat',
    certificateText: {
      vouched: 'Von einer öffentlichen Stelle beglaubigt',
      own: 'Vom Relay selbst unterschrieben',
    },
    contact: 'Kontakt',
  },
  privacy: {
    label: 'Datenschutz',
    lead: 'Was dieses Relay von Dir weiß, wie lange, und was es nie erfährt.',
    sections: (figures) => [
      {
        heading: 'Was aufbewahrt wird',
        paragraphs: [
          'Deine Adresse. Apps würfeln sie aus; niemand fragt, wer Du bist.',
          'Ein Hash Deines Passworts (Argon2id), aus dem sich das Passwort nicht ablesen lässt.',
          'Der Tag, an dem Dein Konto entstand, und der Tag, an dem Du zuletzt angemeldet warst. Keine Uhrzeit, kein Ort.',
          `Deine Nachrichten, verschlüsselt, bis Deine App sie löscht, und höchstens ${days(figures.deleteAfterDays)} lang. Nachrichten über ${figures.largeKilobytes} kB gehen nach ${daysDative(figures.deleteLargeAfterDays)}, wenn Deine App sie gesehen hat. Nachrichten an Menschen auf anderen Relays werden gelöscht, sobald diese sie angenommen haben.`,
          `Wenn Deine App Benachrichtigungen haben will: der Code, mit dem Dein Gerät geweckt wird, bis ${days(figures.pushTokenDays)} nachdem Deine App ihn zuletzt erneuert hat.`,
          ...(figures.usesTokens
            ? ['Von Einladungen: wie viele Konten mit jeder angelegt wurden. Nicht welche.']
            : []),
        ],
      },
      {
        heading: 'Was es sieht und nicht aufbewahrt',
        paragraphs: [
          'Deine IP-Adresse, solange Du verbunden bist. Sie kommt auf keine Platte und in keine Nachricht, die das Relay verlässt.',
          'Von wem, an wen, wann und wie groß eine Nachricht ist: Anders ließe sie sich nicht zustellen. Was darin steht, auch der Betreff, ist verschlüsselt.',
          'Protokolle auf der Platte nennen keine Benutzer und keine IP-Adressen von ihnen, und es gibt nur die letzten paar Megabyte. Um Fehler zu finden, stehen die letzten paar hundert Zeilen der Mailprogramme unverändert im Speicher, Minuten bis Stunden lang.',
        ],
      },
      {
        heading: 'Benachrichtigungen',
        paragraphs: [
          'Um Dein Gerät zu wecken, schickt das Relay dessen Code an notifications.delta.chat, und das an Apple oder Google. Keine Nachricht und keine Adresse geht mit.',
        ],
      },
      {
        heading: 'Diese Seiten',
        paragraphs: ['Keine Cookies, keine Skripte, keine Statistik, und nichts wird von anderswo geladen.'],
      },
      {
        heading: 'Wenn Du gehst',
        paragraphs: [
          `Ein Konto, bei dem sich ${days(figures.deleteInactiveDays)} lang niemand anmeldet, wird gelöscht, mit allem, was dazugehört. Zum Gehen lösche das Profil in Deiner App.`,
        ],
      },
    ],
  },
  problems: {
    notFound: {
      heading: 'Hier ist nichts',
      paragraphs: ['Vielleicht ist die Adresse vertippt oder beim Kopieren abgeschnitten worden.'],
    },
    method: { heading: 'So nicht', paragraphs: ['Diese Adresse nimmt solche Anfragen nicht an.'] },
    busy: {
      heading: 'Einen Augenblick',
      paragraphs: ['Das war ein wenig oft. Versuch es in einer Minute wieder.'],
    },
    failed: {
      heading: 'Das ging schief',
      paragraphs: ['Der Fehler liegt beim Relay, nicht bei Dir. Versuch es in einer Minute wieder.'],
    },
    unavailable: {
      heading: 'Gerade nicht',
      paragraphs: ['Das Relay hat zu viel zu tun oder zu wenig Platz. Versuch es später wieder.'],
    },
    request: {
      heading: 'Nicht verstanden',
      paragraphs: ['Das Relay konnte mit dieser Anfrage nichts anfangen.'],
    },
    back: 'Zur Startseite',
  },
  refusals: {
    closed: {
      heading: 'Keine neuen Konten',
      paragraphs: ['Dieses Relay nimmt zurzeit niemanden neu auf.'],
    },
    missing: {
      heading: 'Du brauchst eine Einladung',
      paragraphs: [
        'Konten gibt es hier für alle, die eingeladen wurden. Wer dieses Relay betreibt, kann Dir einen Link geben.',
      ],
    },
    unknown: {
      heading: 'Unbekannte Einladung',
      paragraphs: ['Ist der Link vollständig kopiert? Sonst lass Dir einen neuen geben.'],
    },
    expired: {
      heading: 'Zu spät',
      paragraphs: ['Diese Einladung ist abgelaufen. Lass Dir eine neue geben.'],
    },
    usedUp: {
      heading: 'Schon verbraucht',
      paragraphs: ['Alle Konten dieser Einladung sind angelegt. Lass Dir eine neue geben.'],
    },
  },
};
