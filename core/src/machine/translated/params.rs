//! Parameters and results of exports, as the words that C passes.

/// What an export takes.
pub(crate) trait Params {
    /// As the three words that any export takes at most.
    fn words(self) -> [u32; 3];
}

impl Params for () {
    #[inline]
    fn words(self) -> [u32; 3] {
        [0; 3]
    }
}

impl Params for (i32,) {
    #[inline]
    fn words(self) -> [u32; 3] {
        [self.0.cast_unsigned(), 0, 0]
    }
}

impl Params for (i32, i32) {
    #[inline]
    fn words(self) -> [u32; 3] {
        [self.0.cast_unsigned(), self.1.cast_unsigned(), 0]
    }
}

impl Params for (i32, i32, i32) {
    #[inline]
    fn words(self) -> [u32; 3] {
        [self.0.cast_unsigned(), self.1.cast_unsigned(), self.2.cast_unsigned()]
    }
}

/// What an export gives.
pub(crate) trait Answer {
    fn of(word: u32) -> Self;
}

impl Answer for () {
    #[inline]
    fn of(_: u32) -> Self {}
}

impl Answer for i32 {
    #[inline]
    fn of(word: u32) -> Self {
        word.cast_signed()
    }
}
