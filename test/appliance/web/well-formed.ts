/**
 * A strict reader of the HTML that our templates make: every element is closed in order, every attribute is
 * quoted, every `&` starts an entity. Much less than HTML allows, so that nothing depends on mending.
 */
const voidElements = new Set(['br', 'hr', 'img', 'input', 'link', 'meta', 'wbr']);

/** @throws Error with the place where the page is not well-formed */
export function assertWellFormed(html: string): void {
  const open: string[] = [];
  const token =
    /<!doctype html>|<(\/?)([a-z][a-z0-9]*)((?:\s+[a-zA-Z-]+(?:="[^"<]*")?)*)\s*(\/?)>|([^<]+)|(<)/giy;
  for (let match = token.exec(html); match !== null; match = token.exec(html)) {
    const [whole, slash, name = '', attributes = '', selfClosed, text = '', stray] = match;
    const at = `at ${match.index}: ${html.slice(match.index, match.index + 60)}`;
    if (stray !== undefined) throw new Error(`A < that starts nothing ${at}`);
    if (/&(?!(?:amp|lt|gt|quot|#34|#39);)/.test(open.at(-1) === 'style' ? '' : text + attributes)) {
      throw new Error(`A bare & ${at}`);
    }
    const names = [...attributes.matchAll(/\s([a-zA-Z-]+)(?==|\s|$)/g)].map(([, attribute]) => attribute);
    if (new Set(names).size !== names.length) throw new Error(`An attribute twice ${at}`);
    if (whole.startsWith('<!') || name === '') continue;
    if (slash === '/') {
      if (open.pop() !== name) throw new Error(`</${name}> closes something else ${at}`);
    } else if (selfClosed !== '/' && !voidElements.has(name)) open.push(name);
  }
  if (open.length > 0) throw new Error(`Never closed: ${open.join(' ')}`);
}
