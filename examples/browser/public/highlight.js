// Colours for Lua source.

const keywords = "and break do else elseif end false for function goto if in local nil not or repeat return then true until while";
const builtins =
  "_G _VERSION _home _io assert collectgarbage error getmetatable ipairs load next pairs pcall print rawequal rawget rawlen rawset require select " +
  "setmetatable tonumber tostring type xpcall coroutine debug ext math os package string table utf8 sleep self";

const kinds = new Map();
for (const word of keywords.split(" ")) kinds.set(word, "keyword");
for (const word of builtins.split(" ")) kinds.set(word, "builtin");

// What is not closed goes on to the end: of the line for short strings, of the text for long ones.
const token = new RegExp(
  [
    String.raw`(?<comment>--\[(?<c>=*)\[[\s\S]*?(?:\]\k<c>\]|$(?![\s\S]))|--[^\n]*)`,
    String.raw`(?<string>\[(?<s>=*)\[[\s\S]*?(?:\]\k<s>\]|$(?![\s\S]))|"(?:\\[\s\S]|[^"\\\n])*"?|'(?:\\[\s\S]|[^'\\\n])*'?)`,
    String.raw`(?<number>\b0[xX][\da-fA-F.]+(?:[pP][+-]?\d+)?|\b\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)`,
    String.raw`(?<word>[A-Za-z_]\w*)`,
  ].join("|"),
  "g",
);

/** Pieces of the source with their colours: `[text, class or ""]`. */
export function* pieces(source) {
  let at = 0;
  for (const match of source.matchAll(token)) {
    const { comment, string, number, word } = match.groups;
    const afterDot = word && /[.:]\s*$/.test(source.slice(Math.max(0, match.index - 2), match.index)) && source[match.index - 2] !== ".";
    const kind = comment ? "comment" : string ? "string" : number ? "number" : afterDot ? "" : (kinds.get(word) ?? "");
    if (!kind) continue;
    if (match.index > at) yield [source.slice(at, match.index), ""];
    yield [match[0], kind];
    at = match.index + match[0].length;
  }
  if (at < source.length) yield [source.slice(at), ""];
}

/** The source as coloured nodes, with one line marked (from 1; 0 for none). */
export function highlighted(source, badLine) {
  const out = document.createDocumentFragment();
  let line = 1;
  let marked = null;
  const place = () => {
    if (line !== badLine) return out;
    if (!marked) {
      marked = document.createElement("span");
      marked.className = "bad-line";
      out.append(marked);
    }
    return marked;
  };
  for (const [text, kind] of pieces(source)) {
    const lines = badLine ? text.split(/(?<=\n)/) : [text];
    for (const part of lines) {
      const ends = badLine && part.endsWith("\n");
      const body = ends ? part.slice(0, -1) : part;
      const target = place();
      if (kind && body) {
        const span = document.createElement("span");
        span.className = kind;
        span.textContent = body;
        target.append(span);
      } else {
        target.append(body);
      }
      if (ends) {
        if (line === badLine && target.textContent === "") target.append(" ");
        out.append("\n");
        line++;
      }
    }
  }
  place();
  return out;
}
