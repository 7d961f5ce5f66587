//! The task of one connection: connects, pumps, sweeps deadlines, and fails what is left at the end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use openraft_rt::{Instant, Select2, Select3};
use quorumq_raft::runtime::Runtime;

use super::calls::{self, Ended, Ready};
use super::counted::Counted;
use super::error::NotSent;
use super::request::Request;
use super::{Link, TICK, pump_limits};
use crate::client::time::now;
use crate::protocol::code::response;
use crate::server::{CloseReason, CommandReader, Conn, Inbound, Received, pump};

/// How long the sweeper sleeps while nothing is in flight; it is woken for the first request.
const NOTHING_IN_FLIGHT: Duration = Duration::from_secs(60);

/// Why a connection is closed whose peer let a request expire without sending a single byte since.
const SILENT: CloseReason = CloseReason::Asked("the peer has gone silent");

pub(super) async fn run<R: Runtime>(link: Arc<Link<R>>) {
    let ended = match connect(&link).await {
        Ok(stream) => Ended::Closed(serve(&link, stream).await),
        Err(reason) => Ended::NeverOpened(reason),
    };
    let reason = match &ended {
        Ended::Closed(reason) => reason.clone(),
        Ended::NeverOpened(_) => CloseReason::Asked("it could not be opened"),
    };
    // From here on no request is queued, so none is forgotten below.
    link.conn.close(reason);
    let written = link.written.load(Ordering::Relaxed);
    let mut failed = link.lock().fail_all(link.addr, written, &ended);
    calls::deliver(&mut failed);
}

async fn connect<R: Runtime>(link: &Link<R>) -> Result<R::Stream, NotSent> {
    let begun = now::<R>();
    let give_up = begun + link.limits.connect_timeout;
    let mut connecting = pin!(R::connect(link.addr));
    loop {
        if let Some(reason) = link.conn.close_reason() {
            return Err(NotSent::Closed(reason));
        }
        let until = link.lock().earliest.map_or(give_up, |earliest| earliest.min(give_up));
        match R::select3(connecting.as_mut(), link.sweep.notified(), R::sleep_until(until)).await {
            Select3::First(Ok(stream)) => return Ok(stream),
            Select3::First(Err(error)) => {
                return Err(NotSent::Connect { kind: error.kind(), detail: error.to_string() });
            }
            Select3::Second(()) => {}
            Select3::Third(()) => {
                let timeout = now::<R>().saturating_duration_since(begun);
                let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                return Err(NotSent::ConnectTimeout { timeout_ms });
            }
        }
    }
}

async fn serve<R: Runtime>(link: &Arc<Link<R>>, stream: R::Stream) -> CloseReason {
    let stream = Counted::new(stream, Arc::clone(&link.written));
    let mut answers = Answers { link: Arc::clone(link), reader: CommandReader::default(), ready: Ready::new() };
    let limits = pump_limits(&link.limits);
    let pumping = pump::<R, _, _>(stream, &link.conn, &mut answers, &limits);
    match R::select2(pumping, sweep(link)).await {
        Select2::First(reason) | Select2::Second(reason) => reason,
    }
}

/// Fails requests whose deadline has passed. Ends only if the peer has gone silent: what is in flight besides is then
/// better asked elsewhere, and a new connection tells a dead host from a slow one.
async fn sweep<R: Runtime>(link: &Link<R>) -> CloseReason {
    loop {
        let earliest = link.lock().earliest;
        let until = earliest.map_or_else(|| now::<R>() + NOTHING_IN_FLIGHT, |earliest| earliest + TICK);
        match R::select2(link.sweep.notified(), R::sleep_until(until)).await {
            Select2::First(()) => {}
            Select2::Second(()) => {
                let mut swept = link.lock().sweep(link.addr, now::<R>());
                calls::deliver(&mut swept.expired);
                if swept.silent {
                    return SILENT;
                }
            }
        }
    }
}

/// Takes answers off the connection.
struct Answers<R: Runtime> {
    link: Arc<Link<R>>,
    reader: CommandReader,
    ready: Ready,
}

impl<R: Runtime> Inbound for Answers<R> {
    fn received(&mut self, conn: &Conn, buf: &mut BytesMut) -> Result<Received, CloseReason> {
        let received = self.reader.read(buf);
        let mut pushed = Vec::new();
        {
            let mut calls = self.link.lock();
            calls.heard = now::<R>();
            for command in self.reader.commands.drain(..) {
                if !command.is_response() {
                    pushed.push(command);
                } else if let Some(call) = calls.pending.remove(&command.opaque) {
                    self.ready.push((call.waiter, Ok(command)));
                }
                // Else its request has expired.
            }
        }
        calls::deliver(&mut self.ready);
        for command in pushed {
            let answer = (self.link.on_push)(self.link.addr, &command).or_else(|| {
                let unknown = format!("request type {} not supported", command.code);
                Some(command.reply(response::REQUEST_CODE_NOT_SUPPORTED, Some(unknown)))
            });
            if let Some(answer) = answer.filter(|_| !command.is_oneway()) {
                let queued = conn.send_with(|out| {
                    let before = out.len();
                    answer.write(answer.opaque, false, out);
                    self.link.lock().queued += (out.len() - before) as u64;
                });
                if let Err(reason) = queued {
                    tracing::debug!(peer = %self.link.addr, %reason, "an answer to a server's request was dropped");
                }
            }
        }
        received
    }
}
