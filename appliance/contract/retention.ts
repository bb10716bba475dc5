/** For how long what is kept, where no setting says so: the privacy page promises it. */

/** Messages above this go earlier (`mail.deleteLargeAfterDays`), as on chatmail/relay. */
export const largeMessageBytes = 200_000;

/** Push tokens nobody renewed for so long belong to a device that is gone. */
export const pushTokenLifetimeDays = 90;
