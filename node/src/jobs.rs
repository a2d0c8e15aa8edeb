//! Futures that belong to a thread: one that waits for them, or one without which they do not come to an end.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use luacell::threads;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

/// A run whose host functions need this thread, which therefore can't wait for the run's turn on a store.
pub(crate) fn for_this_thread<T>(run: impl Future<Output = T>) -> impl Future<Output = T> {
    let thread = std::thread::current().id();
    async move {
        let mut run = pin!(run);
        std::future::poll_fn(|context| threads::work_for(thread, || run.as_mut().poll(context))).await
    }
}
