package luacell

import org.junit.jupiter.api.Test

class FirstUseTest {
    /** A failure there shows nowhere else: the first result only comes later. */
    @Test
    fun `the rehearsal gets to its end`() = rehearse()
}
