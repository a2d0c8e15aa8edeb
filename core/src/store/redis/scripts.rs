//! What the server does for us, each in one step.

use std::sync::LazyLock;

use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};

use super::wire::Connection;

/// A script for the server, and the name under which it may know it.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: $($part:literal)*;)*) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(concat!($(include_str!($part)),*)));)*
    };
}

scripts! {
    PROBE: "probe.lua";
    CREATE: "common.lua" "create.lua";
    ATTACH: "common.lua" "attach.lua";
    READ: "common.lua" "check.lua" "read.lua";
    COMMIT: "common.lua" "check.lua" "write.lua" "commit.lua";
    STAGE: "common.lua" "check.lua" "stage.lua";
    PEEK: "peek.lua";
    APPLY: "common.lua" "write.lua" "apply.lua";
    LIST: "common.lua" "check.lua" "list.lua";
    LEAVE: "common.lua" "leave.lua";
    HOLD: "common.lua" "check.lua" "hold.lua";
    RENEW: "common.lua" "check.lua" "renew.lua";
    GC: "common.lua" "check.lua" "gc.lua";
    GREY: "common.lua" "check.lua" "grey.lua";
    MARKED: "common.lua" "check.lua" "marked.lua";
    ORPHANS: "common.lua" "check.lua" "orphans.lua";
    REMOVE: "common.lua" "check.lua" "remove.lua";
    COLLECTED: "common.lua" "check.lua" "collected.lua";
    RESERVE: "common.lua" "check.lua" "reserve.lua";
    END_TURN: "end_turn.lua";
}

impl Script {
    fn new(code: &'static str) -> Self {
        Script { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs it. `keys` are all that it uses: a cluster that moves a slot looks at them, and refuses when it has not all
    /// of them in one place. The first argument is always which server it is.
    pub(super) fn run(
        &self,
        keys: &[String],
        arguments: &[Vec<u8>],
        connection: &mut Connection,
    ) -> RedisResult<Value> {
        let server = connection.server().to_owned();
        let run = |how: &str, which: &str, connection: &mut Connection| {
            redis::cmd(how).arg(which).arg(keys.len()).arg(keys).arg(&server).arg(arguments).query(connection)
        };
        match run("EVALSHA", &self.hash, connection) {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                run("EVAL", self.code, connection)
            }
            result => result,
        }
    }
}
