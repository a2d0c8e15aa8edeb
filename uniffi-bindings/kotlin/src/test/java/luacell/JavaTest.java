package luacell;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The same library from Java. */
class JavaTest {
    @Test
    void aSandbox() throws Exception {
        try (Sandbox lua = new SandboxBuilder().timeout(Duration.ofSeconds(5)).instructionLimit(1_000_000).build()) {
            Sandboxes.register(lua, "price", args -> "tea".equals(LuaValues.getText(args.get(0))) ? 3.5 : null);
            Outcome outcome = lua.compute("print('hi') return 2 * price('tea'), ...", Sandboxes.runOptions(List.of(Map.of("a", 1))));
            assertEquals(7.0, LuaValues.toKotlin(outcome.getValues().get(0)));
            assertEquals(Map.of("a", 1L), LuaValues.toKotlin(outcome.getValues().get(1)));
            assertEquals("hi\n", Sandboxes.getOutput(outcome));
            lua.compute("function add(a, b) _home.calls = 1 return a + b end", null);
            assertEquals(5L, LuaValues.getLong(Sandboxes.getValue(Sandboxes.call(lua, "add", 2, 3))));
            assertEquals(new LuaValue.Integer(1), lua.home().get(LuaValues.of("calls")));
            Sandboxes.put(lua.home(), "list", List.of(1, 2));
            assertEquals(2L, LuaValues.getLong(Sandboxes.getValue(lua.compute("return #_home.list", null))));
        }
    }

    @Test
    void aStoreToTakeNoFunctionsFrom(@TempDir Path folder) throws Exception {
        String file = folder.resolve("state.luacell").toString();
        try (Sandbox lua = new SandboxBuilder().store(file).build()) {
            lua.compute("_home.f, _home.n = function() return 7 end, 1", null);
        }
        try (Sandbox lua = new SandboxBuilder().store(file).storedFunctions(false).build()) {
            assertEquals(1L, LuaValues.getLong(Sandboxes.getValue(lua.compute("return _home.n", null))));
            assertThrows(LuaException.Store.class, () -> lua.compute("return _home.f()", null));
        }
    }

    @Test
    void aRunThatWaits() throws Exception {
        try (Sandbox lua = new SandboxBuilder().claimTerm(Duration.ofSeconds(5)).build()) {
            lua.declare("ask");
            try (Run run = lua.start("return ask('q')", null, null)) {
                assertEquals("q", LuaValues.getText(run.requests().get(0).getArgs().get(0)));
                Runs.answer(run, 1, "yes");
                run.resume();
                assertEquals("yes", LuaValues.getText(Sandboxes.getValue(run.result())));
            }
            try (Run run = lua.start("ask()", null, null)) {
                Runs.fail(run, 1, new IllegalStateException("no"));
                run.resume();
                assertTrue(assertThrows(LuaException.HostFunction.class, run::result).getCause() instanceof IllegalStateException);
            }
        }
    }

    @Test
    void errors() throws Exception {
        try (Sandbox lua = new SandboxBuilder().build()) {
            LuaException.Syntax error = assertThrows(LuaException.Syntax.class, () -> lua.compute("return +", null));
            assertEquals(ErrorKind.SYNTAX, error.getDetails().getKind());
            Sandboxes.register(lua, "fail", args -> {
                throw new IllegalStateException("no");
            });
            LuaException.HostFunction failed = assertThrows(LuaException.HostFunction.class, () -> lua.compute("fail()", null));
            assertTrue(failed.getCause() instanceof IllegalStateException);
        }
    }

    @Test
    void futures() throws Exception {
        try (Sandbox lua = new SandboxBuilder().build()) {
            assertEquals(2L, LuaValues.getLong(Sandboxes.getValue(Sandboxes.computeFuture(lua, "return 2").get())));
            Sandboxes.register(lua, "started", args -> {
                running.countDown();
                return null;
            });
            for (int round = 0; round < 1000; round++) {
                running = new CountDownLatch(1);
                CompletableFuture<Outcome> endless = Sandboxes.computeFuture(lua, "started() while true do end");
                // Also when it has hardly begun, or not yet.
                if (round % 3 == 0) running.await();
                else for (int i = 0; i < round * 20; i++) Thread.onSpinWait();
                endless.cancel(true);
                // The script ends soon, and who comes next waits for that.
                assertEquals(3L, LuaValues.getLong(Sandboxes.getValue(lua.compute("return 3", null))));
                assertTrue(endless.isCancelled());
            }
            assertEquals(4L, LuaValues.getLong(Sandboxes.getValue(Sandboxes.computeFuture(lua, "return 4").get())));
        }
    }

    private static CountDownLatch running;
}
