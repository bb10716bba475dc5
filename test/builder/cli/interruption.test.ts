import { describe, expect, test } from 'vitest';
import { createInterruption, sameInterruptMs } from '../../../builder/cli/interruption.ts';

function fixture() {
  const state = { nowMs: 0, exits: 0 };
  const interruption = createInterruption(
    () => state.nowMs,
    () => state.exits++,
  );
  const press = (afterMs: number) => {
    state.nowMs += afterMs;
    interruption.interrupt();
    const { signal, force } = interruption;
    return { stopped: signal.aborted, forced: force.aborted, exits: state.exits };
  };
  return press;
}

describe('createInterruption', () => {
  test('the first stops, the second forces, every further one exits', () => {
    const press = fixture();
    expect(press(5)).toEqual({ stopped: true, forced: false, exits: 0 });
    expect(press(sameInterruptMs)).toEqual({ stopped: true, forced: true, exits: 0 });
    expect(press(sameInterruptMs)).toEqual({ stopped: true, forced: true, exits: 1 });
    expect(press(sameInterruptMs)).toMatchObject({ exits: 2 });
  });

  test('what npm passes on of the same key is the same one', () => {
    const press = fixture();
    press(0);
    expect(press(1)).toEqual({ stopped: true, forced: false, exits: 0 });
    // Measured from the first, so that a process that is sent one after the other still ends.
    expect(press(sameInterruptMs - 1)).toEqual({ stopped: true, forced: true, exits: 0 });
  });
});
