// The programs, killed with SIGKILL at each call and after each answer, and continued in the other language.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const example = fileURLToPath(new URL('..', import.meta.url));
const root = join(example, '../..');
const { Sandbox } = createRequire(join(root, 'node/package.json'))('luacell');
const venv = join(root, 'target/py-venv', process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python');
const agents = { python: [process.env.PYTHON ?? venv, 'agent.py'], node: [process.execPath, 'agent.mjs'] };
const languages = Object.keys(agents);
const other = (language) => languages.find((name) => name !== language);

const tools = JSON.parse(readFileSync(join(example, 'tools.json'), 'utf8'));
/** What one report takes: the script, a search, six pages, two questions. */
const CALLS = 10;
/** Milliseconds for each. */
const LATENCY = 30;

let folder;
let server;
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'luacell-agent-'));
  server = await serve(install('as-it-is'));
});
after(() => {
  server?.end();
  rmSync(folder, { recursive: true, force: true });
});

/** A copy of the example with its packages, as `npm install` leaves it. */
function install(name) {
  const copy = join(folder, name);
  cpSync(example, copy, { recursive: true, filter: (path) => !path.endsWith('node_modules') });
  mkdirSync(join(copy, 'node_modules'), { recursive: true });
  symlinkSync(join(root, 'node'), join(copy, 'node_modules/luacell'), 'junction');
  return copy;
}

/** Starts the stand-in server; `log` has what it has printed, and `heard` is told of each line. */
async function serve(copy) {
  const child = spawn(process.execPath, ['server.mjs', '0', String(LATENCY)], { cwd: copy, stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  const [url] = await once(lines, 'line');
  const server = { copy, url, log: [], heard: null, end: () => child.kill() };
  lines.on('line', (line) => {
    server.log.push(line);
    server.heard?.(line);
  });
  return server;
}

/** Runs an agent, and kills it when the server prints a line that is `fatal`. Gives its report; null if it was killed. */
async function run(server, language, home, topic, fatal = () => false) {
  const [program, file] = agents[language];
  const child = spawn(program, [file, home, server.url, topic], { cwd: server.copy, stdio: ['ignore', 'pipe', 'pipe'] });
  server.heard = (line) => fatal(line) && child.kill('SIGKILL');
  let [out, errors] = ['', ''];
  child.stdout.on('data', (data) => (out += data));
  child.stderr.on('data', (data) => (errors += data));
  const [status, signal] = await once(child, 'close');
  server.heard = null;
  if (signal === 'SIGKILL') return null;
  assert.equal(status, 0, `${language}: ${errors}`);
  return JSON.parse(out);
}

/** What is in a store, looked up in a copy of the file: the numbers of open requests if the run waits, whether the report is there, `_home.pages`. */
function stored(home, topic) {
  const copy = `${home}.copy`;
  copyFileSync(home, copy);
  const lua = new Sandbox({ store: copy });
  try {
    for (const { name } of tools) lua.declare(name);
    const waits = lua.pendingRuns().some(({ name }) => name === topic);
    const open = waits ? lua.resume(topic).requests.map(({ id, name, args }) => `${topic}/${id}: ${name} ${JSON.stringify(args).slice(0, 60)}`) : null;
    return { open, ended: Boolean(lua.home.get('reports')?.has(topic)), pages: lua.home.get('pages') };
  } finally {
    lua.close();
    rmSync(copy);
  }
}

const isCall = (line) => /^(call|again) /.test(line);
/** `tides/3: fetch [...]` of `call tides/3: fetch [...]`. */
const callOf = (line) => line.slice(line.indexOf(' ') + 1);
const about = (lines, topic) => lines.filter((line) => line.split(' ')[1].startsWith(`${topic}/`));

/** Checks that what was called after a kill is new, or was open in the store then. */
function checkCalls(before, after, { open, ended }, topic) {
  const script = `${topic}/script: write`;
  for (const line of after.filter(isCall)) {
    const call = callOf(line);
    assert.ok(!ended, `${call}, although the report was stored`);
    assert.ok(open === null || !call.startsWith(script), 'the script was asked for again, although it was stored');
    const key = call.split(':')[0];
    const earlier = before.filter(isCall).map(callOf).find((call) => call.split(':')[0] === key);
    if (earlier === undefined) continue;
    assert.equal(call, earlier, 'the same number means the same call');
    assert.ok(open === null ? call.startsWith(script) : open.includes(call), `${call} came again, although its answer was stored`);
  }
}

function checkEnd(home, topic, report, lines) {
  assert.deepEqual(report, {
    topic,
    notes: [1, 2, 3, 4, 5, 6].map((i) => `${topic}, part ${i}: ${i === 4 ? "can't be read" : `all about ${i}`}`),
    summary: `${report.notes.join('\n').length + 'Summarize:\n'.length} characters were read`,
    critique: `${`What is missing about ${topic}?`.length} characters were read`,
  });
  assert.deepEqual(stored(home, topic), { open: null, ended: true, pages: 6 });
  const keys = new Set(lines.filter(isCall).map((line) => callOf(line).split(':')[0]));
  assert.equal(keys.size, CALLS, [...keys].join(', '));
}

for (const language of languages) {
  test(`${language}: a report, and again what is stored`, async () => {
    const topic = `whole-${language}`;
    const home = join(folder, topic);
    const report = await run(server, language, home, topic);
    const lines = about(server.log, topic);
    checkEnd(home, topic, report, lines);
    assert.equal(lines.filter(isCall).length, CALLS);
    assert.deepEqual(await run(server, other(language), home, topic), report);
    assert.equal(about(server.log, topic).filter(isCall).length, CALLS);
  });

  for (const what of ['call', 'answer']) {
    test(`${language}: killed at each ${what}, and continued in the other language`, async () => {
      let killed = 0;
      for (let k = 1; k <= CALLS; k++) {
        const topic = `${what}-${k}-${language}`;
        const home = join(folder, topic);
        let seen = 0;
        if ((await run(server, language, home, topic, (line) => line.startsWith(`${what} ${topic}/`) && ++seen === k)) === null) killed++;
        const before = about(server.log, topic);
        const state = stored(home, topic);
        const report = await run(server, other(language), home, topic);
        checkCalls(before, about(server.log, topic).slice(before.length), state, topic);
        checkEnd(home, topic, report, about(server.log, topic));
      }
      // It may be faster than the signal, above all at the end.
      assert.ok(killed >= CALLS / 2, `${killed} were killed`);
    });
  }
}

test('killed at every new call, with the languages taking turns', async () => {
  const topic = 'tides';
  const home = join(folder, topic);
  let report = null;
  let starts = 0;
  for (let before = [], state = { open: null, ended: false }; report === null; starts++) {
    assert.ok(starts <= CALLS, 'each start gets further');
    report = await run(server, languages[starts % 2], home, topic, (line) => line.startsWith(`call ${topic}/`));
    const lines = about(server.log, topic);
    checkCalls(before, lines.slice(before.length), state, topic);
    [before, state] = [lines, stored(home, topic)];
  }
  checkEnd(home, topic, report, about(server.log, topic));
});

test('whatever a script does with its tools', async (t) => {
  const copy = install('odd');
  writeFileSync(
    join(copy, 'report.lua'),
    `local task = require "task"
     for _, odd in ipairs {search, "\\xff", 0/0, math.maxinteger, {[{}] = 1}} do pcall(search, odd) end
     -- What loses the race is cancelled: nobody waits for it.
     local hits = task.race(function() return search("a", 2) end, function() task.sleep(1e6) end)
     -- The first error cancels the others.
     local failed = pcall(task.all, function() return fetch("x/4") end, function() return ask("?") end)
     task.sleep(0.01)
     return {hits = #hits, failed = failed}`,
  );
  const server = await serve(copy);
  t.after(server.end);
  for (const language of languages) {
    assert.deepEqual(await run(server, language, join(folder, `odd-${language}`), 'odd'), { hits: 2, failed: false });
  }
});

test('a server that is away ends the program, and the run waits', async (t) => {
  const copy = install('away');
  writeFileSync(join(copy, 'report.lua'), 'for _ = 1, 1000 do search("a", 1) end');
  const server = await serve(copy);
  t.after(server.end);
  const away = { ...server, url: 'http://127.0.0.1:9' };
  for (const language of languages) {
    const topic = `away-${language}`;
    const home = join(folder, topic);
    assert.equal(await run(server, language, home, topic, (line) => line.startsWith(`call ${topic}/3:`)), null);
    const before = stored(home, topic);
    assert.equal(before.open.length, 1);
    await assert.rejects(run(away, other(language), home, topic), /agent\.(py|mjs)/);
    assert.deepEqual(stored(home, topic), before);
  }
});

test('README.md shows a part of agent.py, and the prompt', () => {
  const read = (name) => readFileSync(join(example, name), 'utf8');
  const block = (language) => read('README.md').match(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'ms'))[1];
  const shown = block('python').replace(/^(?=.)/gm, '    ');
  assert.ok(read('agent.py').includes(shown), shown);
  assert.equal(block('text'), read('prompt.txt').replace('TOOLS', tools.map(({ description }) => `- ${description}`).join('\n')));
});
