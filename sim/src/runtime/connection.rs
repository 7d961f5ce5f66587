//! A connection: two bounded pipes and what their ends know of each other.
//!
//! The model is TCP as a program sees it. A pipe holds at most a window of bytes that were written and not yet
//! read, and room comes back to the writer over the network like everything else. Bytes, the end of file and
//! the room arrive in order, each after a drawn time; a reset overtakes nothing. A peer that goes without a word
//! (power loss) is noticed by nobody until it is back: there is no retransmission timeout here, the product has
//! its own.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::task::Waker;
use std::time::Instant;

use madsim::rand::Rng;
use tokio::io::ReadBuf;

use super::link::{Arrival, LinkId, Links, Ticket};
use super::time::wake_at;
use crate::tally::Fault;

/// One of the two ends: 0 dialed, 1 was dialed.
pub(super) type Side = usize;

/// Directions of a [`Ticket`]: reader and writer of one end may be two tasks.
const READ: u8 = 0;
const WRITE: u8 = 1;

/// What a poll came to.
#[derive(Debug)]
pub(super) enum Step<T> {
    Done(T),
    /// A waker was left where it will be found.
    Wait,
    /// As `Wait`; moreover the caller has to poll again at this moment.
    Until(Instant),
}

/// Whether an end takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// Closed by the program or its operating system: bytes that still arrive are answered by a reset.
    Closed,
    /// Gone without a word: nothing is answered.
    Silent,
}

#[derive(Debug)]
enum Segment {
    Data { bytes: Vec<u8>, read: usize },
    EndOfFile,
}

/// A reset on its way to the reader of a pipe.
#[derive(Clone, Copy, Debug)]
struct Reset {
    /// The bytes that provoked it arrive then, over the other direction.
    provoked: Option<Instant>,
    due: Instant,
}

/// One direction. Side `s` writes pipe `s` and reads pipe `1 - s`.
#[derive(Debug)]
struct Pipe {
    link: LinkId,
    under_way: VecDeque<(Instant, Segment)>,
    /// Bytes that take up window: written, and the room for them not yet back at the writer.
    taken: usize,
    /// Room on its way back to the writer.
    room: VecDeque<(Instant, usize)>,
    /// No segment may arrive before this.
    latest: Instant,
    shut: bool,
    reset: Option<Reset>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Two pipes and their ends.
#[derive(Debug)]
pub(super) struct Connection {
    id: u64,
    pipes: [Pipe; 2],
    ends: [End; 2],
    /// Whether a stream or a listener's queue still holds the end.
    held: [bool; 2],
    /// The next run of bytes ends it: it is lost ([`Fault::Reset`]) or cut off ([`Fault::Truncation`]).
    breaks_by: Option<Fault>,
}

impl Pipe {
    fn new(link: LinkId, now: Instant) -> Self {
        Self {
            link,
            under_way: VecDeque::new(),
            taken: 0,
            room: VecDeque::new(),
            latest: now,
            shut: false,
            reset: None,
            reader: None,
            writer: None,
        }
    }

    fn push(&mut self, segment: Segment, links: &mut Links) -> Instant {
        self.latest = self.latest.max(links.draw_arrival(self.link));
        if self.reset.is_some() {
            // Nothing follows a reset.
            return self.latest;
        }
        self.under_way.push_back((self.latest, segment));
        // A reader that waits for something else before this looks again by itself.
        if self.under_way.len() == 1
            && let Some(reader) = self.reader.take()
        {
            wake_at(&links.time, self.latest, reader);
        }
        self.latest
    }

    fn holds_data(&self) -> bool {
        self.runs().next().is_some()
    }

    /// When the runs of bytes under way, or unread, arrive.
    fn runs(&self) -> impl Iterator<Item = Instant> {
        let runs = self.under_way.iter().filter(|(_, segment)| matches!(segment, Segment::Data { .. }));
        runs.map(|(due, _)| *due)
    }

    /// How many runs of bytes would be there if the link were open.
    fn held(&self, links: &Links) -> u64 {
        let now = links.now();
        let held = |due: &Instant| *due <= now && links.arrival(self.link, *due) == Arrival::OnceHealed;
        self.runs().filter(held).count() as u64
    }

    /// Drops what is under way.
    fn forget(&mut self, links: &Links) {
        links.felt_held(self.link, self.held(links));
        self.under_way.clear();
    }
}

impl Connection {
    pub(super) fn new(id: u64, dialing: LinkId, now: Instant) -> Self {
        Self {
            id,
            pipes: [Pipe::new(dialing, now), Pipe::new((dialing.1, dialing.0), now)],
            ends: [End::Open; 2],
            held: [true; 2],
            breaks_by: None,
        }
    }

    /// The next run of bytes that either end writes ends the connection.
    pub(super) fn break_by(&mut self, fault: Fault) {
        self.breaks_by = Some(fault);
    }

    /// Whether it runs between these two hosts.
    pub(super) fn joins(&self, one: IpAddr, other: IpAddr) -> bool {
        let ends = (self.host(0), self.host(1));
        ends == (one, other) || ends == (other, one)
    }

    /// Whether the end lives.
    pub(super) fn is_open(&self, side: Side) -> bool {
        self.ends[side] == End::Open
    }

    /// Runs of bytes that `link` holds up at this moment.
    pub(super) fn held_on(&self, link: LinkId, links: &Links) -> u64 {
        self.pipes.iter().filter(|pipe| pipe.link == link).map(|pipe| pipe.held(links)).sum()
    }

    /// Runs of bytes that have come to an end since `since` and that it has not read.
    pub(super) fn unread_since(&self, side: Side, since: Instant, links: &Links) -> u64 {
        let inward = &self.pipes[1 - side];
        let unread = inward.runs().filter(|due| *due > since && links.arrival(inward.link, *due) == Arrival::Here);
        unread.count() as u64
    }

    /// Takes note that nobody will ever read what is under way.
    pub(super) fn forget(&mut self, links: &Links) {
        self.pipes.iter_mut().for_each(|pipe| pipe.forget(links));
    }

    /// The host of an end.
    pub(super) fn host(&self, side: Side) -> IpAddr {
        self.pipes[side].link.0
    }

    /// Both ends are dropped: nobody will ask again.
    pub(super) fn is_forgotten(&self) -> bool {
        self.held == [false; 2]
    }

    /// Fills `buf` with what has arrived. `Done(Ok(()))` without bytes is the end of file.
    pub(super) fn read(
        &mut self,
        side: Side,
        buf: &mut ReadBuf<'_>,
        waker: &Waker,
        links: &mut Links,
        wakes: &mut Vec<Waker>,
    ) -> Step<io::Result<()>> {
        if self.ends[side] != End::Open {
            return Step::Wait;
        }
        let reset = self.reset_arrival(side, links);
        let inward = &mut self.pipes[1 - side];
        let arrival = match inward.under_way.front() {
            Some((due, Segment::Data { .. })) => links.arrival(inward.link, *due),
            _ if reset == Some(Arrival::Here) => {
                return Step::Done(Err(io::ErrorKind::ConnectionReset.into()));
            }
            Some((due, Segment::EndOfFile)) => links.arrival(inward.link, *due),
            None => {
                inward.reader = Some(waker.clone());
                return self.wait_for(reset, self.ticket(side, READ), waker, links);
            }
        };
        if arrival != Arrival::Here {
            inward.reader = Some(waker.clone());
            return self.wait_for(Some(arrival), self.ticket(side, READ), waker, links);
        }
        let Some((_, Segment::Data { bytes, read })) = inward.under_way.front_mut() else {
            return Step::Done(Ok(()));
        };
        let n = buf.remaining().min(bytes.len() - *read);
        buf.put_slice(&bytes[*read..*read + n]);
        *read += n;
        if *read == bytes.len() {
            inward.under_way.pop_front();
        }
        let (to_writer, earliest) = ((inward.link.1, inward.link.0), inward.room.back().map(|(due, _)| *due));
        let due = links.draw_notice(to_writer);
        inward.room.push_back((earliest.map_or(due, |earliest| due.max(earliest)), n));
        wakes.extend(inward.writer.take());
        Step::Done(Ok(()))
    }

    /// Takes as many of `bytes` as there is room for.
    pub(super) fn write(
        &mut self,
        side: Side,
        bytes: &[u8],
        waker: &Waker,
        links: &mut Links,
        wakes: &mut Vec<Waker>,
    ) -> Step<io::Result<usize>> {
        if self.ends[side] != End::Open {
            return Step::Wait;
        }
        let reset = self.reset_arrival(side, links);
        if self.pipes[side].shut || reset == Some(Arrival::Here) {
            return Step::Done(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Step::Done(Ok(0));
        }
        let returning = self.pipes[1 - side].link;
        let outward = &mut self.pipes[side];
        let mut next_room = None;
        while let Some((due, n)) = outward.room.front() {
            match links.arrival(returning, *due) {
                Arrival::Here => {
                    outward.taken -= n;
                    outward.room.pop_front();
                }
                later => {
                    next_room = Some(later);
                    break;
                }
            }
        }
        let room = links.config.window_bytes.saturating_sub(outward.taken);
        if room == 0 {
            outward.writer = Some(waker.clone());
            return self.wait_for(sooner(next_room, reset), self.ticket(side, WRITE), waker, links);
        }
        let n = links.draw_write_len(bytes.len().min(room));
        outward.taken += n;
        let run = links.carry(outward.link.0, self.id, &bytes[..n]);
        if let Some(fault) = self.breaks_by.take_if(|fault| n > 1 || *fault == Fault::Reset) {
            self.break_off(side, fault, run, links, wakes);
            return Step::Done(Ok(n));
        }
        let data = Segment::Data { bytes: run, read: 0 };
        let due = self.pipes[side].push(data, links);
        if self.ends[1 - side] == End::Closed {
            self.provoke_reset(side, due, links, wakes);
        }
        Step::Done(Ok(n))
    }

    /// No more bytes will follow on this direction.
    pub(super) fn shutdown(&mut self, side: Side, links: &mut Links) {
        if self.ends[side] == End::Open && !self.pipes[side].shut {
            self.pipes[side].shut = true;
            self.pipes[side].push(Segment::EndOfFile, links);
        }
    }

    /// The end's program closed it or died: end of file for the peer, or a reset if bytes were left unread.
    pub(super) fn close(&mut self, side: Side, links: &mut Links, wakes: &mut Vec<Waker>) {
        if self.ends[side] != End::Open {
            return;
        }
        let unread = self.pipes[1 - side].holds_data();
        if !unread {
            self.shutdown(side, links);
        }
        self.ends[side] = End::Closed;
        if unread {
            let outward = &mut self.pipes[side];
            outward.latest = outward.latest.max(links.draw_arrival(outward.link));
            let due = outward.latest;
            self.send_reset(side, Reset { provoked: None, due }, wakes);
        }
        self.pipes[1 - side].forget(links);
    }

    /// The end's host lost power.
    pub(super) fn silence(&mut self, side: Side) {
        if self.ends[side] == End::Open {
            self.ends[side] = End::Silent;
        }
    }

    /// The end's host is back and knows nothing of the connection: bytes sent meanwhile, and later ones, are
    /// answered by a reset.
    pub(super) fn unsilence(&mut self, side: Side, links: &mut Links, wakes: &mut Vec<Waker>) {
        if self.ends[side] != End::Silent {
            return;
        }
        self.ends[side] = End::Closed;
        let inward = &mut self.pipes[1 - side];
        if !inward.under_way.is_empty() {
            let due = links.draw_arrival(inward.link);
            self.provoke_reset(1 - side, due, links, wakes);
        }
    }

    /// Something in between resets the connection, for both ends.
    pub(super) fn cut(&mut self, links: &mut Links, wakes: &mut Vec<Waker>) {
        for side in [0, 1] {
            let due = links.draw_arrival(self.pipes[side].link);
            links.tally.felt(Fault::Reset, self.pipes[side].runs().count() as u64);
            self.pipes[side].forget(links);
            self.send_reset(side, Reset { provoked: None, due }, wakes);
        }
    }

    /// The connection ends with the run of bytes that `side` writes just now.
    fn break_off(&mut self, side: Side, fault: Fault, run: Vec<u8>, links: &mut Links, wakes: &mut Vec<Waker>) {
        links.tally.felt(fault, 1);
        if fault == Fault::Reset {
            self.cut(links, wakes);
            return;
        }
        let outward = &mut self.pipes[side];
        let arrives = links.rng.gen_range(1..run.len());
        outward.push(Segment::Data { bytes: run[..arrives].to_vec(), read: 0 }, links);
        if links.rng.r#gen() {
            // In good order, it seems to the reader; should it write, it learns better.
            outward.push(Segment::EndOfFile, links);
        }
        for pipe in [0, 1] {
            let due = links.draw_arrival_from(self.pipes[pipe].latest, self.pipes[pipe].link);
            self.send_reset(pipe, Reset { provoked: None, due }, wakes);
        }
    }

    /// Nobody holds the end any more.
    pub(super) fn release(&mut self, side: Side) {
        self.held[side] = false;
        self.pipes[side].writer = None;
        self.pipes[1 - side].reader = None;
    }

    /// `side` sent bytes that arrive at a closed end at `due`: the answer is a reset.
    fn provoke_reset(&mut self, side: Side, due: Instant, links: &mut Links, wakes: &mut Vec<Waker>) {
        if self.pipes[1 - side].reset.is_none() {
            let back = links.draw_arrival_from(due, self.pipes[1 - side].link);
            let reset = Reset { provoked: Some(due), due: back };
            self.send_reset(1 - side, reset, wakes);
        }
    }

    /// Puts a reset on the pipe that `side` writes.
    fn send_reset(&mut self, side: Side, reset: Reset, wakes: &mut Vec<Waker>) {
        self.pipes[side].reset.get_or_insert(reset);
        wakes.extend(self.pipes[side].reader.take());
        wakes.extend(self.pipes[1 - side].writer.take());
    }

    /// Whether a reset has reached `side`; None if none is on its way.
    fn reset_arrival(&self, side: Side, links: &Links) -> Option<Arrival> {
        let reset = self.pipes[1 - side].reset?;
        let provoked = reset.provoked.map_or(Arrival::Here, |due| links.arrival(self.pipes[side].link, due));
        Some(match provoked {
            Arrival::OnceHealed => Arrival::OnceHealed,
            _ => links.arrival(self.pipes[1 - side].link, reset.due),
        })
    }

    /// The place of one end's reader or writer among those who wait for a link.
    fn ticket(&self, side: Side, direction: u8) -> Ticket {
        (self.id, side as u8 * 2 + direction)
    }

    /// Leaves `waker` where `arrival` will find it.
    fn wait_for<T>(&self, arrival: Option<Arrival>, ticket: Ticket, waker: &Waker, links: &mut Links) -> Step<T> {
        match arrival {
            Some(Arrival::At(due)) => Step::Until(due),
            Some(Arrival::OnceHealed) => {
                // Either direction may be the one that is clogged; waking once too often does no harm.
                for pipe in &self.pipes {
                    links.wait(pipe.link, ticket, waker);
                }
                Step::Wait
            }
            Some(Arrival::Here) | None => Step::Wait,
        }
    }
}

/// The arrival that comes first; what waits for a link comes last.
fn sooner(one: Option<Arrival>, two: Option<Arrival>) -> Option<Arrival> {
    match (one, two) {
        (Some(Arrival::At(a)), Some(Arrival::At(b))) => Some(Arrival::At(a.min(b))),
        (at @ Some(Arrival::At(_)), _) | (_, at @ Some(Arrival::At(_))) => at,
        (one, two) => one.or(two),
    }
}
