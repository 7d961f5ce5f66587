//! What every log must make of crashes and damage, on every disk.

use bytes::Bytes;

use super::log::{foreign_position, ids};
use super::rig::{Rig, SMALL, entry, id, read, vote};
use super::{Check, Failure, Medium, Outcome, because, holds, same};
use crate::commit_log::segment_path;
use crate::commit_log::verify::verify;
use crate::frame::{HEADER_LEN, Header};
use crate::log_store::{FlushMode, NewEntry};
use crate::{PhysicalOffset, StoreError};

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check { name: "an append crashed at any step leaves a prefix", run: a_crashed_append_leaves_a_prefix },
        Check { name: "a vote never overtakes an append", run: a_vote_never_overtakes_an_append },
        Check { name: "a truncation crashed at any step is whole", run: a_crashed_truncation_is_whole },
        Check { name: "a purge crashed at any step is whole", run: a_crashed_purge_is_whole },
        Check { name: "an install crashed at any step is whole", run: a_crashed_install_is_whole },
        Check { name: "a restart that loses power finds what it relied upon", run: a_restart_may_lose_power_too },
        Check {
            name: "what was dropped stays dropped though a sync failed",
            run: dropped_entries_survive_a_failed_sync,
        },
        Check { name: "a format crashed at any step can be done again", run: a_crashed_format_can_be_done_again },
        Check { name: "damage below the mark is corrupt", run: damage_below_the_mark_is_corrupt },
        Check { name: "damage above the mark is a torn tail", run: damage_above_the_mark_is_a_torn_tail },
        Check { name: "a stale tail never validates", run: a_stale_tail_never_validates },
        Check { name: "a frame of another history never validates", run: a_frame_of_another_history_never_validates },
        Check { name: "a tail whose sync failed is written anew", run: a_tail_whose_sync_failed_is_written_anew },
        Check { name: "a trailing filler is cut", run: a_trailing_filler_is_cut },
        Check { name: "a lost segment is corrupt", run: a_lost_segment_is_corrupt },
        Check { name: "an unknown version is refused by name", run: an_unknown_version_is_refused_by_name },
        Check { name: "damage in old segments is found when they are read", run: damage_in_old_segments_is_found },
        Check { name: "a damaged hard state falls back to its copy", run: a_damaged_hard_state_falls_back },
    ]
}

/// What a crash leaves: a power loss or just the end of the process.
const LOSSES: [bool; 2] = [true, false];

/// For every number of disk operations after which a crash can strike: prepares a store, lets `act` run into the crash,
/// and hands the reopened store to `check`, together with whether `act` had succeeded.
fn sweep(
    medium: &dyn Medium,
    prepare: &dyn Fn(&Rig) -> Outcome,
    act: &dyn Fn(&Rig) -> Outcome,
    check: &dyn Fn(&Rig, bool) -> Outcome,
) -> Outcome {
    for power_loss in LOSSES {
        for operations in 0.. {
            let medium = medium.fresh();
            let rig = Rig::small(&*medium)?;
            prepare(&rig)?;
            if !medium.freeze_after(operations) {
                return Ok(());
            }
            let done = act(&rig).is_ok();
            let frozen = medium.is_frozen();
            holds(done || frozen, "the step failed without a crash")?;
            if !power_loss || !medium.power_loss() {
                medium.kill();
            }
            drop(rig);
            let context = |e| format!("after {operations} operations (power loss: {power_loss}): {e}");
            because(verify(&medium.mount(), &medium.root(), &mut |_| Ok(())), "verify").map_err(context)?;
            let rig = Rig::small(&*medium).map_err(context)?;
            check(&rig, done).map_err(context)?;
            // Recovery is repeatable, and the store takes writes again.
            let (before, positions) = (rig.all()?.len() as u64, rig.log.positions());
            let rig = rig.kill(&*medium).map_err(context)?;
            same(rig.log.positions().last, positions.last, "last after another restart").map_err(context)?;
            rig.fill(9, 3, 1000).map_err(context)?;
            let rig = rig.kill(&*medium).map_err(context)?;
            same(rig.all()?.len() as u64, before + 3, "entries after another append").map_err(context)?;
            if !frozen {
                break;
            }
        }
    }
    Ok(())
}

/// The entries that are there, each with the body it was given.
fn found(rig: &Rig) -> Result<Vec<crate::LogId>, Failure> {
    let ids: Vec<_> = rig.all()?.iter().map(|entry| entry.id).collect();
    rig.must_hold(&ids)?;
    Ok(ids)
}

fn a_crashed_append_leaves_a_prefix(medium: &dyn Medium) -> Outcome {
    let all = ids(1, 0..12);
    sweep(
        medium,
        &|rig| rig.fill(1, 3, 900),
        // Over two rolls, in one group.
        &|rig| rig.append((3..12).map(|i| entry(id(1, i), 900)).collect()).map(drop),
        &|rig, done| {
            let found = found(rig)?;
            holds(found.len() >= if done { 12 } else { 3 }, "acknowledged entries must be there")?;
            same(&found[..], &all[..found.len()], "entries")
        },
    )
}

fn a_vote_never_overtakes_an_append(medium: &dyn Medium) -> Outcome {
    sweep(
        medium,
        &|rig| rig.fill(1, 1, 100),
        &|rig| {
            let batch = (1..6).map(|i| entry(id(1, i), 900)).collect();
            because(rig.log.append(batch, rig.finished.done("append")), "append")?;
            rig.save_vote(vote(5))
        },
        &|rig, done| {
            holds(rig.recovered.vote == Some(vote(5)) || !done, "an acknowledged vote must be there")?;
            let appended = found(rig)? == ids(1, 0..6);
            holds(rig.recovered.vote.is_none() || appended, "the vote is durable, the append before it is not")
        },
    )
}

fn a_crashed_truncation_is_whole(medium: &dyn Medium) -> Outcome {
    // Within a segment; over two segments, so that files go and fillers too; down to nothing.
    for (cut, entries) in [(10, 12), (2, 12), (3, 4), (0, 10)] {
        sweep(
            medium,
            &|rig| rig.fill(1, entries, 900),
            &|rig| rig.truncate((cut > 0).then(|| id(1, cut - 1))),
            &|rig, done| {
                let found = found(rig)?;
                let before = !done && found == ids(1, 0..entries);
                holds(before || found == ids(1, 0..cut), &format!("a truncation to {cut} left {found:?}"))
            },
        )?;
    }
    Ok(())
}

fn a_crashed_purge_is_whole(medium: &dyn Medium) -> Outcome {
    sweep(
        medium,
        &|rig| {
            rig.fill(1, 14, 900)?;
            rig.log.save_committed(id(1, 13));
            rig.sync()
        },
        &|rig| rig.purge(id(1, 11)),
        &|rig, done| {
            let first = rig.log.positions().purged.map_or(0, |purged| purged.index.0 + 1);
            holds(first == 12 || (!done && first == 0), "a purge is done or not")?;
            same(found(rig)?, ids(1, first..14), "entries")
        },
    )
}

fn a_crashed_install_is_whole(medium: &dyn Medium) -> Outcome {
    let (at, following) = foreign_position(medium)?;
    sweep(
        medium,
        &|rig| rig.fill(1, 9, 900),
        &|rig| {
            rig.log.install(at, rig.finished.done("install"));
            rig.append(following.clone()).map(drop)
        },
        &|rig, done| {
            let found = found(rig)?;
            if rig.log.positions().purged.is_none() {
                holds(!done, "an acknowledged install must be there")?;
                return same(found, ids(1, 0..9), "entries before the install");
            }
            same(rig.log.positions().first, at.next, "first")?;
            same(rig.log.positions().purged, Some(at.last), "purged")?;
            holds(!done || found.len() == 6, "acknowledged entries must be there")?;
            same(&found[..], &ids(3, 8..14)[..found.len()], "entries behind the snapshot")
        },
    )
}

/// The process ends somewhere in a change, and the power is lost somewhere in the restart: nothing that only the page
/// cache held may have been acted upon.
fn a_restart_may_lose_power_too(medium: &dyn Medium) -> Outcome {
    for name in ["truncation", "purge"] {
        for first in 0..12 {
            for second in 0..16 {
                let medium = medium.fresh();
                let rig = Rig::small(&*medium)?;
                rig.fill(1, 12, 900)?;
                rig.log.save_committed(id(1, 8));
                rig.sync()?;
                if !medium.freeze_after(first) {
                    return Ok(());
                }
                let change = if name == "purge" { rig.purge(id(1, 7)) } else { rig.truncate(Some(id(1, 8))) };
                let done = change.is_ok();
                drop(rig);
                medium.kill();
                medium.freeze_after(second);
                drop(Rig::open(&*medium, SMALL, FlushMode::Sync));
                medium.power_loss();
                let context = |e| format!("{name}, {first} operations, restart of {second}: {e}");
                let rig = Rig::small(&*medium).map_err(context)?;
                let found = found(&rig).map_err(context)?;
                let (from, to) = if name == "purge" { (8, 12) } else { (0, 9) };
                let before = !done && found == ids(1, 0..12);
                holds(before || found == ids(1, from..to), &format!("it left {found:?}")).map_err(context)?;
            }
        }
    }
    Ok(())
}

/// A sync fails somewhere in a truncation, the process ends, the next one finishes the work; then the power is lost.
fn dropped_entries_survive_a_failed_sync(medium: &dyn Medium) -> Outcome {
    for skip in 0..8 {
        let medium = medium.fresh();
        let rig = Rig::small(&*medium)?;
        rig.fill(1, 10, 900)?;
        if !medium.fail_sync(skip) {
            return Ok(());
        }
        let done = rig.truncate(Some(id(1, 8))).is_ok();
        drop(rig);
        medium.kill();
        let rig = Rig::small(&*medium)?;
        let found = found(&rig)?;
        holds(found == ids(1, 0..9) || (!done && found == ids(1, 0..10)), "a truncation is done or not")?;
        drop(rig);
        medium.power_loss();
        let context = |e| format!("sync {skip} failed: {e}");
        Rig::small(&*medium).map_err(context)?.must_hold(&found).map_err(context)?;
    }
    Ok(())
}

fn a_crashed_format_can_be_done_again(medium: &dyn Medium) -> Outcome {
    for operations in 0.. {
        let medium = medium.fresh();
        if !medium.freeze_after(operations) {
            return Ok(());
        }
        let opened = Rig::small(&*medium);
        let done = opened.is_ok();
        drop(opened);
        holds(done || medium.is_frozen(), "the format failed without a crash")?;
        if !medium.power_loss() {
            medium.kill();
        }
        let context = |e| format!("after {operations} operations: {e}");
        let rig = Rig::small(&*medium).map_err(context)?;
        rig.fill(1, 5, 1000).map_err(context)?;
        rig.kill(&*medium)?.must_hold(&ids(1, 0..5)).map_err(context)?;
        if done {
            return Ok(());
        }
    }
    Ok(())
}

/// Changes one byte of a file behind the store's back.
fn flip(medium: &dyn Medium, segment: u64, offset: u64) -> Outcome {
    let path = segment_path(&medium.root(), PhysicalOffset(segment));
    let file = because(medium.mount().open(&path), "open")?;
    let mut byte = [0];
    because(file.read_at(offset, &mut byte), "read")?;
    because(file.write_at(offset, &[&[byte[0] ^ 0x10]]), "write")?;
    because(file.sync_data(), "sync")
}

fn damage_below_the_mark_is_corrupt(medium: &dyn Medium) -> Outcome {
    // Headers, chain, body, filler and the room behind it; in the last segment and in the one before.
    for (segment, offset, frame) in
        [(4096, 0, 0), (4096, 12, 0), (4096, 948 + 300, 948), (0, 3 * 948, 2844), (0, 3840, 3792), (0, 3792, 3792)]
    {
        let medium = medium.fresh();
        let rig = Rig::small(&*medium)?;
        rig.fill(1, 7, 900)?;
        rig.sync()?;
        drop(rig);
        medium.kill();
        flip(&*medium, segment, offset)?;
        let path = segment_path(&medium.root(), PhysicalOffset(segment));
        for again in [false, true] {
            match verify(&medium.mount(), &medium.root(), &mut |_| Ok(())) {
                Err(StoreError::Corrupt { path: at, offset, .. }) if at == path && offset == frame => {}
                other => {
                    return Err(format!("verify of byte {segment}+{offset} ({again}): {:?}", other.err()));
                }
            }
            match Rig::open(&*medium, SMALL, FlushMode::Sync) {
                Err(StoreError::Corrupt { path: at, offset, .. }) if at == path && offset == frame => {}
                other => {
                    return Err(format!("open with byte {segment}+{offset} flipped ({again}): {:?}", other.err()));
                }
            }
        }
    }
    Ok(())
}

fn damage_above_the_mark_is_a_torn_tail(medium: &dyn Medium) -> Outcome {
    let rig = because(Rig::open(medium, SMALL, FlushMode::Async), "open")?;
    rig.fill(1, 3, 500)?;
    drop(rig);
    medium.kill();
    // Nothing was synced: the second frame is torn, the third is whole, yet has to go.
    flip(medium, 0, 548 + 100)?;
    let verified = because(verify(&medium.mount(), &medium.root(), &mut |_| Ok(())), "verify")?;
    same((verified.entries, verified.torn_tail.map(|(_, _, offset)| offset)), (1, Some(548)), "verified")?;
    let rig = Rig::small(medium)?;
    same(rig.recovered.torn_tail, Some((PhysicalOffset(548), 2 * 548)), "torn tail")?;
    rig.must_hold(&ids(1, 0..1))?;
    let (_, bytes) = rig.files()?.remove(0);
    holds(bytes[548..].iter().all(|b| *b == 0), "everything behind the cut must be blank")?;
    rig.fill(2, 1, 500)?;
    let rig = rig.kill(medium)?;
    same(rig.recovered.torn_tail, None, "torn tail")?;
    rig.must_hold(&[ids(1, 0..1), ids(2, 1..2)].concat())
}

fn a_stale_tail_never_validates(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 4, 500)?;
    let (_, old) = rig.files()?.remove(0);
    rig.truncate(Some(id(1, 0)))?;
    rig.fill(2, 1, 500)?;
    rig.must_hold(&[ids(1, 0..1), ids(2, 1..2)].concat())?;
    let path = segment_path(&rig.dir, PhysicalOffset(0));
    drop(rig);
    medium.kill();
    // As if the zeroes had been lost: sound frames, at their own position, right behind the end.
    let file = because(medium.mount().open(&path), "open")?;
    because(file.write_at(2 * 548, &[&old[2 * 548..]]), "write")?;
    drop(file);
    let rig = Rig::small(medium)?;
    same(rig.recovered.torn_tail, Some((PhysicalOffset(1096), 1096)), "torn tail")?;
    rig.must_hold(&[ids(1, 0..1), ids(2, 1..2)].concat())?;
    rig.fill(2, 1, 400)?;
    rig.kill(medium)?.must_hold(&[ids(1, 0..1), ids(2, 1..3)].concat())
}

fn a_frame_of_another_history_never_validates(medium: &dyn Medium) -> Outcome {
    // Two logs that differ in the body of entry 0 alone: every other frame has equal id, position and body.
    let other = medium.fresh();
    for (medium, first) in [(medium, b"this"), (&*other, b"that")] {
        let rig = Rig::small(medium)?;
        let first = NewEntry { body: Bytes::from_static(first), ..entry(id(1, 0), 0) };
        rig.append(vec![first])?;
        rig.fill(1, 3, 500)?;
        rig.close()?;
    }
    let path = |medium: &dyn Medium| segment_path(&medium.root(), PhysicalOffset(0));
    let foreign = read(&*other.mount(), &path(&*other))?;
    let file = because(medium.mount().open(&path(medium)), "open")?;
    because(file.write_at(600, &[&foreign[600..1148]]), "write")?;
    match Rig::open(medium, SMALL, FlushMode::Sync) {
        Err(StoreError::Corrupt { what: "frame chain", offset: 600, .. }) => Ok(()),
        other => Err(format!("a frame of another history: {:?}", other.map(drop))),
    }
}

fn a_tail_whose_sync_failed_is_written_anew(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 2, 500)?;
    because(rig.log.append(vec![entry(id(1, 2), 500)], rig.finished.done("append")), "append")?;
    if !medium.fail_sync(0) {
        return Ok(());
    }
    rig.log.run_pending();
    holds(matches!(&rig.finished.take()[..], [(_, Err(_))]), "the append must fail")?;
    drop(rig);
    medium.kill();
    // The new process reads the entry from the page cache, and the kernel takes its pages for clean.
    let rig = Rig::small(medium)?;
    rig.must_hold(&ids(1, 0..3))?;
    drop(rig);
    if medium.power_loss() {
        Rig::small(medium)?.must_hold(&ids(1, 0..3))?;
    }
    Ok(())
}

fn a_trailing_filler_is_cut(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 4, 900)?;
    let path = segment_path(&rig.dir, PhysicalOffset(4096));
    drop(rig);
    // As if the crash had struck between the filler and the entry behind it.
    let other = medium.fresh();
    let rolled = Rig::small(&*other)?;
    rolled.fill(1, 5, 900)?;
    let filler = read(&*rolled.disk, &segment_path(&rolled.dir, PhysicalOffset(0)))?[3792..3840].to_vec();
    medium.kill();
    let file = because(medium.mount().open(&segment_path(&medium.root(), PhysicalOffset(0))), "open")?;
    because(file.write_at(3792, &[&filler]), "write")?;
    drop(file);
    let rig = Rig::small(medium)?;
    same(rig.recovered.torn_tail, Some((PhysicalOffset(3792), 48)), "torn tail")?;
    rig.must_hold(&ids(1, 0..4))?;
    same(rig.log.positions().end, PhysicalOffset(3792), "end")?;
    // A smaller entry still fits into the first segment, as on every other member.
    let positions = rig.append(vec![entry(id(1, 4), 100)])?;
    same(positions, vec![PhysicalOffset(3792)], "position")?;
    holds(because(rig.disk.exists(&path), "exists")?, "the next segment stays allocated")?;
    rig.kill(medium)?.must_hold(&ids(1, 0..5))
}

fn a_lost_segment_is_corrupt(medium: &dyn Medium) -> Outcome {
    for segment in [0, 4096, 8192] {
        let medium = medium.fresh();
        let rig = Rig::small(&*medium)?;
        rig.fill(1, 10, 900)?;
        rig.close()?;
        let path = segment_path(&medium.root(), PhysicalOffset(segment));
        because(medium.mount().remove(&path), "remove")?;
        for verdict in [
            verify(&medium.mount(), &medium.root(), &mut |_| Ok(())).map(drop),
            Rig::open(&*medium, SMALL, FlushMode::Sync).map(drop),
        ] {
            match verdict {
                Err(StoreError::Corrupt { path: at, what, .. }) if at == path && what.contains("missing") => {}
                other => return Err(format!("without segment {segment}: {other:?}")),
            }
        }
    }
    Ok(())
}

fn an_unknown_version_is_refused_by_name(medium: &dyn Medium) -> Outcome {
    let frame = medium.fresh();
    let rig = Rig::small(&*frame)?;
    rig.fill(1, 2, 100)?;
    rig.close()?;
    let path = segment_path(&frame.root(), PhysicalOffset(0));
    let file = because(frame.mount().open(&path), "open")?;
    let mut header = [0; HEADER_LEN as usize];
    because(file.read_at(148, &mut header), "read")?;
    because(Header::decode(&header, PhysicalOffset(148)).map_err(|flaw| flaw.what()), "header")?;
    header[4] = 2;
    let crc = crc32fast::hash(&header[..44]);
    header[44..].copy_from_slice(&crc.to_be_bytes());
    because(file.write_at(148, &[&header]), "write")?;
    for verdict in [
        verify(&frame.mount(), &frame.root(), &mut |_| Ok(())).map(drop),
        Rig::open(&*frame, SMALL, FlushMode::Sync).map(drop),
    ] {
        match verdict {
            Err(StoreError::UnknownVersion { what: "frame", found: 2, known: 1, .. }) => {}
            other => return Err(format!("a frame of version 2: {other:?}")),
        }
    }
    let named = medium.fresh();
    Rig::small(&*named)?.close()?;
    let path = named.root().join("identity");
    let text = because(String::from_utf8(read(&*named.mount(), &path)?), "identity")?;
    let content = text.replace("format=1", "format=7");
    let content = content.split("crc=").next().unwrap_or_default();
    let text = format!("{content}crc={:08x}\n", crc32fast::hash(content.as_bytes()));
    because(because(named.mount().open(&path), "open")?.write_at(0, &[text.as_bytes()]), "write")?;
    match Rig::open(&*named, SMALL, FlushMode::Sync) {
        Err(StoreError::UnknownVersion { what: "identity", found: 7, .. }) => Ok(()),
        other => Err(format!("an identity of version 7: {:?}", other.map(drop))),
    }
}

fn damage_in_old_segments_is_found(medium: &dyn Medium) -> Outcome {
    let rig = Rig::small(medium)?;
    rig.fill(1, 20, 900)?;
    rig.log.save_committed(id(1, 19));
    rig.close()?;
    flip(medium, 4096, 948 + 100)?;
    let path = segment_path(&medium.root(), PhysicalOffset(4096));
    match verify(&medium.mount(), &medium.root(), &mut |_| Ok(())) {
        Err(StoreError::Corrupt { path: at, offset: 948, .. }) if at == path => {}
        other => return Err(format!("verify: {:?}", other.map(|v| v.entries))),
    }
    // A start reads the last segments only; what is damaged further back is never served.
    let rig = Rig::small(medium)?;
    match rig.all() {
        Err(e) if e.contains("corrupt frame body") && e.contains("at byte 948") => {}
        other => return Err(format!("read: {:?}", other.map(|all| all.len()))),
    }
    let good = rig.log.entries(crate::LogIndex(6)..crate::LogIndex(20), u64::MAX);
    same(because(good, "read behind the damage")?.len(), 14, "entries behind the damage")
}

fn a_damaged_hard_state_falls_back(medium: &dyn Medium) -> Outcome {
    let damage = |medium: &dyn Medium, pages: &[u64]| -> Outcome {
        let file = because(medium.mount().open(&medium.root().join("hardstate")), "open")?;
        for page in pages {
            because(file.write_at(page * 4096 + 20, &[&[0xA5; 8]]), "write")?;
        }
        Ok(())
    };
    for pages in [&[0][..], &[1], &[2], &[3], &[0, 2], &[1, 3], &[0, 3], &[4, 5], &[0, 1, 2, 3]] {
        let medium = medium.fresh();
        let rig = Rig::small(&*medium)?;
        rig.save_vote(vote(7))?;
        rig.fill(1, 2, 100)?;
        drop(rig);
        medium.kill();
        damage(&*medium, pages)?;
        let opened = Rig::open(&*medium, SMALL, FlushMode::Sync);
        if pages.len() == 4 {
            let corrupt = matches!(opened, Err(StoreError::Corrupt { what, .. }) if what.starts_with("hard state"));
            holds(corrupt, "no sound copy must be an error")?;
            continue;
        }
        let rig = because(opened, &format!("open with pages {pages:?} damaged"))?;
        // Any single damaged page, and one of each pair, leaves the acknowledged vote.
        same(rig.recovered.vote, Some(vote(7)), &format!("vote with pages {pages:?} damaged"))?;
        rig.must_hold(&ids(1, 0..2))?;
    }
    Ok(())
}
