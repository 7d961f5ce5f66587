//! A panic inside a node is told as its end: half alive it would hold votes and leases it can no longer serve.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use futures_util::FutureExt;

use crate::state_machine::OnFatal;

/// Runs `step`. A panic inside is told, and goes on.
pub fn told<T>(on_fatal: &OnFatal, what: &str, step: impl FnOnce() -> T) -> T {
    // What it leaves behind is never used again: the node ends.
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|panic| tell(on_fatal, what, panic))
}

/// Awaits `task`. A panic inside is told, and goes on.
pub async fn told_async<T>(on_fatal: OnFatal, what: &str, task: impl Future<Output = T>) -> T {
    AssertUnwindSafe(task).catch_unwind().await.unwrap_or_else(|panic| tell(&on_fatal, what, panic))
}

fn tell(on_fatal: &OnFatal, what: &str, panic: Box<dyn Any + Send>) -> ! {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    on_fatal(format!("a panic in {what}: {text}"));
    resume_unwind(panic)
}
