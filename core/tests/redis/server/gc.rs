//! What nobody needs goes; what anybody holds stays.

use luacell::Value as V;

use super::*;

fn tables(server: &Server) -> usize {
    server.cli(&["keys", "*:t:*"]).lines().count()
}

/// With other connections than those of this process's other sandboxes: as from another process.
fn elsewhere(server: &Server) -> Sandbox {
    sandbox(RedisStore::options().timeout(Duration::from_secs(61)).open(&server.url()).unwrap())
}

const OVERWRITE: &str =
    "for i = 1, 2000 do _home.x = {i, {i}} _home.list = _home.list or {} _home.list[i % 3 + 1] = {i} end";

fn overwrite(sandbox: &Sandbox) {
    // Each for itself, so that all of them come to the store.
    for i in 0..200 {
        sandbox
            .compute(format!(
                "_home.x = {{{i}, {{{i}}}}} _home.list = _home.list or {{}} _home.list[{i} % 3 + 1] = {{{i}}}"
            ))
            .unwrap();
    }
    sandbox.compute(OVERWRITE).unwrap();
}

#[test]
fn what_was_overwritten_goes() {
    let server = Server::start(&[]);
    let sandbox = server.sandbox();
    overwrite(&sandbox);
    assert!(tables(&server) > 400);
    sandbox.gc().unwrap();
    assert_eq!(tables(&server), 7);
    assert_eq!(sandbox.table_count().unwrap(), Some(7));
    assert_eq!(sandbox.compute("return _home.x[2][1], #_home.list").unwrap().values, [2000.into(), 3.into()]);
    // Others have come and gone.
    for _ in 0..3 {
        elsewhere(&server).compute("kept = _home.x").unwrap();
        server.sandbox().compute("kept = _home.x").unwrap();
    }
    overwrite(&sandbox);
    sandbox.gc().unwrap();
    assert_eq!(tables(&server), 7);
    assert_eq!(server.cli(&["hlen", "{luacell}:users"]), "1");
    drop(sandbox);
    assert_eq!(server.cli(&["hlen", "{luacell}:users"]), "0");
    assert_eq!(server.cli(&["hget", "{luacell}:meta", "users"]), "0");
    assert_eq!(server.cli(&["keys", "*grey*"]), "");
}

/// Takes tables out of `_home` and holds them in all the ways that there are.
const HOLD: &str = "
    local held = _home.held
    variable, closure = held.a, (function(t) return function() return t end end)(held.b)
    plain = {{held.c}} _io.output = {held.d} waiting = coroutine.wrap(function(t) coroutine.yield() return t end)
    waiting(held.e)";
const HELD: &str = "
    local function check(t, name) assert(t.name == name and t.inner.inner.name == name, name) end
    check(variable, 'a') check(closure(), 'b') check(plain[1][1], 'c') check(_io.output[1], 'd')";

#[test]
fn what_others_hold_stays() {
    let server = Server::start(&[]);
    let setup = "_home.held = {} for name in ('abcdefg'):gmatch('.') do
        _home.held[name] = {name = name, inner = {inner = {name = name}}} end";
    let sandbox = server.sandbox();
    sandbox.compute(setup).unwrap();
    let holders = [server.sandbox(), elsewhere(&server)];
    let views: Vec<_> = holders
        .iter()
        .map(|holder| {
            holder.compute(HOLD).unwrap();
            let held = holder.home().get("held").unwrap();
            held.as_stored_table().unwrap().get("f").unwrap().as_stored_table().unwrap().clone()
        })
        .collect();
    sandbox.compute("_home.held = nil").unwrap();
    overwrite(&sandbox);
    sandbox.gc().unwrap();
    let check = |holder: &Sandbox, view: &luacell::StoredTable| {
        holder.compute(HELD).unwrap();
        assert_eq!(view.get("name").unwrap(), V::from("f"));
        let inner = view.get("inner").unwrap();
        let inner = inner.as_stored_table().unwrap().get("inner").unwrap();
        assert_eq!(inner.as_stored_table().unwrap().get("name").unwrap(), V::from("f"));
    };
    // They have done something since: each tells what it holds, and the next time the rest goes.
    holders.iter().zip(&views).for_each(|(holder, view)| check(holder, view));
    sandbox.gc().unwrap();
    holders.iter().zip(&views).for_each(|(holder, view)| check(holder, view));
    sandbox.gc().unwrap();
    // `_home`, what is in it, and of what was held a to f.
    let left = tables(&server);
    assert!(left <= 7 + 6 * 3 + 3, "{left}");
    holders.iter().zip(&views).for_each(|(holder, view)| check(holder, view));
    // Who holds something may put it back.
    holders[0].compute("_home.back = variable _home.also = waiting()").unwrap();
    drop((holders, views));
    sandbox.gc().unwrap();
    sandbox.gc().unwrap();
    let back = "return _home.back.name .. _home.back.inner.inner.name .. _home.also.inner.inner.name";
    assert_eq!(sandbox.compute(back).unwrap().into_value(), "aae".into());
    assert_eq!(tables(&server), 7 + 6);
}

#[test]
fn who_is_idle_keeps_what_it_can_have_seen_and_no_more() {
    let server = Server::start(&[]);
    let sandbox = server.sandbox();
    sandbox.compute("_home.t = {1}").unwrap();
    let (here, there) = (server.sandbox(), elsewhere(&server));
    here.compute("t = _home.t").unwrap();
    // What was made after it had seen anything can't be its.
    drop(there);
    overwrite(&sandbox);
    sandbox.compute("_home.t = nil").unwrap();
    sandbox.gc().unwrap();
    assert_eq!(tables(&server), 7 + 1);
    assert_eq!(here.compute("return t[1]").unwrap().into_value(), 1.into());
    // Of another process that is not known as well: it is after a first time.
    let there = elsewhere(&server);
    overwrite(&sandbox);
    sandbox.gc().unwrap();
    overwrite(&sandbox);
    let before = tables(&server);
    sandbox.gc().unwrap();
    assert!(tables(&server) <= before / 2 + 20, "{before} {}", tables(&server));
    // It was killed, and is not heard of for more than a day.
    let users = server.cli(&["hkeys", "{luacell}:users"]);
    let old = "local u = redis.call('HGETALL', KEYS[1]) for i = 1, #u, 2 do
        redis.call('HSET', KEYS[1], u[i], (string.gsub(u[i + 1], '^%d+', function(t) return t - 90000 end))) end";
    assert_eq!(users.lines().count(), 3);
    server.cli(&["eval", old, "1", "{luacell}:users"]);
    sandbox.gc().unwrap();
    assert_eq!(tables(&server), 7);
    assert_eq!(server.cli(&["hlen", "{luacell}:users"]), "1");
    // It was not: it is told so, and its table is not taken for an empty one.
    for sandbox in [&here, &there] {
        let error = sandbox.compute("return _home.x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains("day"), "{error}");
    }
    assert_eq!(here.compute("return t[1]").unwrap_err().kind(), ErrorKind::Store);
}

/// Who uses the namespace is lost: nobody loses what it holds.
#[test]
fn users_that_are_lost() {
    let server = Server::start(&[]);
    let sandbox = server.sandbox();
    sandbox.compute("_home.t = {1}").unwrap();
    let holder = elsewhere(&server);
    holder.compute("t = _home.t").unwrap();
    sandbox.compute("_home.t = nil").unwrap();
    assert_eq!(server.cli(&["del", "{luacell}:users"]), "1");
    let late = elsewhere(&server);
    for _ in 0..2 {
        sandbox.gc().unwrap();
        assert_eq!(holder.compute("return t[1]").unwrap().into_value(), 1.into());
    }
    assert_eq!(server.cli(&["hlen", "{luacell}:users"]), "3");
    drop((holder, late));
    sandbox.gc().unwrap();
    assert_eq!(tables(&server), 0);
}

/// Tables go from hand to hand while somebody collects again and again.
#[test]
fn collecting_beside_others() {
    const TIMES: usize = 150;
    let server = Server::start(&[]);
    let setup = server.sandbox();
    setup.compute("for i = 1, 30 do _home[i] = {id = i, inner = {{id = i}}} end").unwrap();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let step = "
        local function sound(t) assert(t.inner[1].id == t.id) return t end
        local i = math.random(30)
        if hand then
            sound(hand)
            if _home[i] == nil then _home[i] = hand hand = nil end
        elseif _home[i] then
            hand, _home[i] = sound(_home[i]), nil
            _home.junk = {{{hand}}}
            _home.junk = nil
        end";
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                let config =
                    SandboxConfig::new().store(if worker == 0 { server.open() } else { elsewhere_store(server) });
                let sandbox = Sandbox::with_config(config.conflict_retries(0)).unwrap();
                sandbox.compute(format!("math.randomseed({worker}) hand = nil")).unwrap();
                for n in 0..TIMES {
                    let result = sandbox.compute(step);
                    // The variable is as the failed try left it: what it has then is in nobody else's hand.
                    if let Err(error) = result {
                        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                        sandbox.compute("hand = nil").unwrap();
                    }
                    if n % 40 == worker {
                        sandbox.gc().unwrap();
                    }
                }
                done.fetch_add(1, Ordering::SeqCst);
                // They are put down before anybody leaves.
                while done.load(Ordering::SeqCst) < 3 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let down =
                    "local t = hand hand = nil if t then assert(t.inner[1].id == t.id) _home['down ' .. t.id] = t end";
                sandbox.compute(down).unwrap();
            });
        }
        let sandbox = server.sandbox();
        while done.load(Ordering::SeqCst) < 3 {
            sandbox.gc().unwrap();
            sandbox.compute("for i, t in pairs(_home) do assert(t.inner[1].id == t.id, i) end").unwrap();
        }
    });
    let n = "local n = 0 for i, t in pairs(_home) do assert(t.inner[1].id == t.id, i) n = n + 1 end return n";
    let n = setup.compute(n).unwrap().get::<usize>().unwrap();
    setup.gc().unwrap();
    setup.gc().unwrap();
    assert_eq!(tables(&server), 1 + 3 * n);
}

fn elsewhere_store(server: &Server) -> RedisStore {
    RedisStore::options().timeout(Duration::from_secs(62)).open(&server.url()).unwrap()
}

/// Who collects is killed in the middle: the next one does it, and commits are not slower for ever.
#[test]
fn a_collection_that_was_left() {
    let server = Server::start(&[]);
    let sandbox = server.sandbox();
    overwrite(&sandbox);
    let now = server.cli(&["time"]).lines().next().unwrap().to_owned();
    server.cli(&["hset", "{luacell}:meta", "gc", &format!("somebody {now}")]);
    let before = tables(&server);
    sandbox.compute("_home.y = {1}").unwrap();
    sandbox.gc().unwrap();
    assert!(tables(&server) > before);
    assert_eq!(server.cli(&["scard", "{luacell}:grey"]), "1");
    let old = now.parse::<u64>().unwrap() - 601;
    server.cli(&["hset", "{luacell}:meta", "gc", &format!("somebody {old}")]);
    sandbox.compute("_home.y = {2}").unwrap();
    assert_eq!(server.cli(&["hexists", "{luacell}:meta", "gc"]), "0");
    server.cli(&["hset", "{luacell}:meta", "gc", &format!("somebody {old}")]);
    sandbox.gc().unwrap();
    assert_eq!(tables(&server), 8);
}
