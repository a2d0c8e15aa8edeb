package luacell.readme;

import luacell.*;

/** The README's program, see ReadmeTest. */
class Readme {
    static void program() throws LuaException {
        try (Sandbox lua = new SandboxBuilder().build()) {
            Sandboxes.register(lua, "price", args -> 3.5);
            Outcome outcome = lua.compute("return 2 * price('tea')", null);
            System.out.println(LuaValues.toKotlin(Sandboxes.getValue(outcome)));
        }
    }
}
