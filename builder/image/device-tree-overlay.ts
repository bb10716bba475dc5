/**
 * A device tree overlay (Documentation/devicetree/overlay-notes.rst) that makes of one device tree another:
 * pure. For boards whose firmware knows the first only, and applies an overlay by itself.
 */
import { encodeFdt, type FdtNode, stringList } from '../formats/fdt.ts';

/**
 * Encodes what `to` has otherwise than `from`: properties that differ or are new. Every node must be in
 * both, and nothing may be missing from `to`, since overlays cannot take away.
 * @throws RangeError naming the first thing that an overlay cannot do
 */
export function deviceTreeOverlay(from: FdtNode, to: FdtNode): Uint8Array {
  const fragments: FdtNode[] = [];
  const compare = (before: FdtNode, after: FdtNode, path: string) => {
    const lost = [...before.properties.keys()].find((name) => !after.properties.has(name));
    if (lost !== undefined) throw new RangeError(`No overlay takes the property ${lost} from ${path || '/'}`);
    const changed = [...after.properties].filter(([name, value]) => {
      const old = before.properties.get(name);
      return old === undefined || Buffer.compare(old, value) !== 0;
    });
    if (changed.length > 0) fragments.push(fragment(fragments.length, path, changed));
    const names = ({ children }: FdtNode) => children.map(({ name }) => name).toSorted();
    if (names(before).join('\0') !== names(after).join('\0')) {
      throw new RangeError(`The nodes below ${path || '/'} are not the same in both device trees`);
    }
    for (const child of after.children) {
      const same = before.children.find(({ name }) => name === child.name);
      if (same !== undefined) compare(same, child, `${path}/${child.name}`);
    }
  };
  compare(from, to, '');
  // The last, and most general, word of what the board is: firmware holds an overlay against it.
  const chip = stringList(to.properties.get('compatible')).at(-1) ?? '';
  return encodeFdt({
    name: '',
    properties: new Map([['compatible', text(chip)]]),
    children: fragments,
  });
}

function fragment(
  index: number,
  path: string,
  properties: readonly (readonly [string, Uint8Array])[],
): FdtNode {
  return {
    name: `fragment@${index}`,
    properties: new Map([['target-path', text(path === '' ? '/' : path)]]),
    children: [{ name: '__overlay__', properties: new Map(properties), children: [] }],
  };
}

function text(value: string): Uint8Array {
  return Buffer.from(`${value}\0`, 'latin1');
}
