/** Runs untrusted Lua 5.4 inside any program on the JVM. */
module luacell {
    requires transitive kotlin.stdlib;
    requires transitive kotlinx.coroutines.core;
    requires com.sun.jna;

    exports luacell;

    // JNA reads and writes the fields of structures.
    opens luacell to com.sun.jna;
}
