import type { Texts } from '../texts.ts';

const days = (count: number): string => (count === 1 ? '1 día' : `${count} días`);

export const es: Texts = {
  name: 'Español',
  navigation: { label: 'Páginas', languages: 'Idiomas' },
  start: {
    label: 'Inicio',
    description: 'Un relay para chatear en privado con Delta Chat y otras aplicaciones chatmail',
    lead: 'Chats privados con la gente que conoces. Sin número de teléfono, sin anuncios, sin nadie que lea.',
    invite: 'Únete',
    steps: {
      app: ['Consigue la aplicación', 'Delta Chat es gratis, para teléfonos y ordenadores:'],
      scan: [
        'Escanea el código',
        'Abre la aplicación y escanéalo. ¿Lees esto en el teléfono? Toca el botón.',
      ],
      chat: ['Saluda', 'Elige un nombre y muestra a tus amigos tu propio código en la aplicación.'],
    },
    codeLabel: 'Código QR que crea una cuenta en este relay',
    open: 'Abrir en la aplicación',
    copy: 'O copia esto en la aplicación:',
    once: 'Este código crea una sola cuenta, para quien lo use primero. Recarga la página para la siguiente persona.',
    selfSigned:
      'Quizá tu navegador te ha avisado: este relay firma su propio certificado. La aplicación sabe por el código que así debe ser.',
    print: 'Escanea con Delta Chat: get.delta.chat',
    what: '¿Qué es esto?',
    points: (deleteAfterDays) => [
      [
        'Un correo para chats',
        'Un relay chatmail es un pequeño servidor de correo hecho para chats. Cualquiera puede tener uno, y todos se hablan: tus amigos pueden estar en otro.',
      ],
      [
        'No puede leer nada',
        'Los mensajes se cifran en tu dispositivo, y solo los abre quien los recibe. El relay rechaza los demás.',
      ],
      [
        'No pregunta nada',
        'Ni teléfono, ni correo, ni nombre. Tu dirección se inventa al azar y no cuesta nada.',
      ],
      [
        'Olvida',
        `Los mensajes esperan aquí a tus dispositivos y se borran como mucho después de ${days(deleteAfterDays)}. Tus chats los guarda tu aplicación.`,
      ],
    ],
    comment: 'De quienes lo llevan',
    needsInvite: {
      heading: 'Con invitación',
      paragraphs: [
        'Aquí las cuentas son para quien ha sido invitado. Quienes llevan este relay pueden darte un enlace o un código.',
        '¿Ya tienes una cuenta? Funciona como siempre.',
      ],
    },
    closed: {
      heading: 'Sin cuentas nuevas',
      paragraphs: [
        'Por ahora este relay no admite a nadie más.',
        '¿Ya tienes una cuenta? Funciona como siempre.',
      ],
    },
  },
  invitation: {
    title: 'Tienes una invitación',
    lead: 'Con esta invitación obtienes una cuenta en este relay.',
    make: 'Crear mi cuenta',
    press: 'Pulsa el botón',
    makeText:
      'Así se crea tu cuenta. Ten la aplicación a mano: la página siguiente muestra su código, una sola vez.',
    ready: 'Tu cuenta está lista',
    readyText:
      'Escanea ahora el código con la aplicación o toca el botón: esta página se muestra una sola vez. Quien tiene el código tiene la cuenta.',
    address: 'Dirección',
    password: 'Contraseña',
  },
  info: {
    label: 'Detalles',
    lead: 'Qué hace este relay, y cuánto.',
    accounts: 'Cuentas',
    addresses: 'Direcciones',
    join: 'Quién puede unirse',
    joinAs: { open: 'Todo el mundo', token: 'Quien tenga una invitación', closed: 'Nadie más' },
    inactive: 'Se borran sin uso tras',
    days,
    messages: 'Mensajes',
    encryption: 'Cifrado',
    encryptionText: 'Solo se llevan mensajes cifrados de extremo a extremo; los demás se rechazan.',
    largest: 'Mensaje más grande',
    space: 'Espacio por cuenta',
    rate: 'Envío',
    perMinute: (messages, recipients) =>
      `Hasta ${messages} mensajes por minuto, cada uno a un máximo de ${recipients} personas`,
    deletion: 'Borrado',
    deletionText: (all, large, kilobytes) =>
      `Después de ${days(all)}; los mensajes de más de ${kilobytes} kB, después de ${days(large)}. Cuando queda poco espacio, los más antiguos se van primero.`,
    servers: 'Servidores',
    serversText:
      'Las aplicaciones de chat los encuentran solas. El nombre de usuario es la dirección entera. En el puerto 443, ALPN distingue el correo de la web.',
    service: 'Servicio',
    host: 'Servidor',
    port: 'Puerto',
    certificate: 'Certificado',
    certificateText: {
      vouched: 'Avalado por una autoridad pública',
      own: 'Firmado por el propio relay',
    },
    contact: 'Contacto',
  },
  privacy: {
    label: 'Privacidad',
    lead: 'Qué sabe este relay de ti, durante cuánto tiempo, y qué no llega a saber nunca.',
    sections: (figures) => [
      {
        heading: 'Lo que se guarda',
        paragraphs: [
          'Tu dirección. Las aplicaciones la inventan al azar; nadie pregunta quién eres.',
          'Un hash de tu contraseña (Argon2id), del que no se puede leer la contraseña.',
          'El día en que se creó tu cuenta y el día de tu última conexión. Ni la hora, ni el lugar.',
          `Tus mensajes, cifrados, hasta que tu aplicación los borra, y como mucho ${days(figures.deleteAfterDays)}. Los de más de ${figures.largeKilobytes} kB se van a los ${days(figures.deleteLargeAfterDays)} si tu aplicación ya los ha visto. Los mensajes a gente de otros relays se borran en cuanto estos los aceptan.`,
          `Si tu aplicación quiere notificaciones: el código con el que se despierta tu dispositivo, hasta ${days(figures.pushTokenDays)} después de que tu aplicación lo renueve por última vez.`,
          ...(figures.usesTokens
            ? ['De las invitaciones: cuántas cuentas se han creado con cada una. No cuáles.']
            : []),
        ],
      },
      {
        heading: 'Lo que ve y no guarda',
        paragraphs: [
          'Tu dirección IP mientras estás conectado. No se escribe en ningún disco ni está en ningún mensaje que salga del relay.',
          'De quién, para quién, cuándo y de qué tamaño es un mensaje: de otro modo no podría entregarse. Lo que dice, incluido el asunto, va cifrado.',
          'Los registros en el disco no nombran a los usuarios ni sus direcciones IP, y solo existen los últimos megabytes. Para encontrar fallos, las últimas centenas de líneas de los programas de correo están en la memoria tal cual, de minutos a horas.',
        ],
      },
      {
        heading: 'Notificaciones',
        paragraphs: [
          'Para despertar tu dispositivo, el relay envía su código a notifications.delta.chat, y este a Apple o Google. No va con él ningún mensaje ni ninguna dirección.',
        ],
      },
      {
        heading: 'Estas páginas',
        paragraphs: ['Sin cookies, sin scripts, sin estadísticas, y nada se carga de otro sitio.'],
      },
      {
        heading: 'Cuando te vas',
        paragraphs: [
          `Una cuenta en la que nadie entra durante ${days(figures.deleteInactiveDays)} se borra, con todo lo suyo. Para irte, borra el perfil en tu aplicación.`,
        ],
      },
    ],
  },
  problems: {
    notFound: {
      heading: 'Aquí no hay nada',
      paragraphs: ['Quizá la dirección está mal escrita o se cortó al copiarla.'],
    },
    method: { heading: 'Así no', paragraphs: ['Esta dirección no acepta peticiones de este tipo.'] },
    busy: { heading: 'Un momento', paragraphs: ['Han sido demasiadas veces. Inténtalo en un minuto.'] },
    failed: {
      heading: 'Algo ha ido mal',
      paragraphs: ['El error es del relay, no tuyo. Inténtalo en un minuto.'],
    },
    unavailable: {
      heading: 'Ahora no',
      paragraphs: ['El relay tiene demasiado que hacer o muy poco espacio. Inténtalo más tarde.'],
    },
    request: { heading: 'No se entiende', paragraphs: ['El relay no ha podido leer esta petición.'] },
    back: 'A la página de inicio',
  },
  refusals: {
    closed: { heading: 'Sin cuentas nuevas', paragraphs: ['Por ahora este relay no admite a nadie más.'] },
    missing: {
      heading: 'Hace falta una invitación',
      paragraphs: [
        'Aquí las cuentas son para quien ha sido invitado. Quienes llevan este relay pueden darte un enlace.',
      ],
    },
    unknown: {
      heading: 'Invitación desconocida',
      paragraphs: ['¿Se copió el enlace entero? Si no, pide uno nuevo.'],
    },
    expired: { heading: 'Demasiado tarde', paragraphs: ['Esta invitación ha caducado. Pide una nueva.'] },
    usedUp: {
      heading: 'Ya usada',
      paragraphs: ['Ya se crearon todas las cuentas de esta invitación. Pide una nueva.'],
    },
  },
};
