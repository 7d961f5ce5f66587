//! Crashes at every operation.

use super::*;

/// Segments that retention drops, and the record it comes behind.
const DROP: (u64, usize) = (2 * SEGMENT, 120);

/// Where a node would start again.
#[derive(Clone, Copy, Debug, Default)]
struct Checkpoint {
    segment: u64,
    retained_from: u64,
}

/// Applies the records from the checkpoint on, with a flush now and then, and a checkpoint at each roll, until done or
/// the disk is frozen.
fn live(medium: &MemoryDisk, records: &[Keyed], checkpoint: &mut Checkpoint) -> Result<(), StoreError> {
    let Checkpoint { segment, mut retained_from } = *checkpoint;
    let (first, from) = (PhysicalOffset(retained_from), PhysicalOffset(segment));
    let mut index = IndexFiles::open(medium.mount(), Path::new(DIR), SIZES, SEGMENT, first, from)?;
    // All before a checkpoint is complete, but for what retention dropped behind it: that is dropped again.
    let dropped_before = segment == records[DROP.1].segment();
    let excused = |missing: &PhysicalOffset| dropped_before && missing.0 < DROP.0;
    assert!(index.missing().iter().all(excused), "from {segment}: {:?}", index.missing());
    let mut entered = segment;
    for (n, record) in records.iter().enumerate().filter(|(_, record)| record.segment() >= segment) {
        if record.segment() > entered {
            entered = record.segment();
            index.roll(PhysicalOffset(entered));
            write(&mut index, false, true)?;
            *checkpoint = Checkpoint { segment: entered, retained_from };
        }
        push(&mut index, record);
        if n % 11 == 0 {
            write(&mut index, false, false)?;
        }
        if n == DROP.1 {
            retained_from = DROP.0;
            index.drop_below(PhysicalOffset(retained_from));
        }
    }
    assert_eq!(index.missing(), []);
    let kept = |record: &&Keyed| record.segment() >= retained_from;
    assert_finds(&index, &records.iter().filter(kept).cloned().collect::<Vec<_>>());
    write(&mut index, true, true)
}

fn write(index: &mut IndexFiles, whole: bool, sync: bool) -> Result<(), StoreError> {
    if let Some(plan) = index.plan_flush(whole) {
        plan.write(sync)?;
        index.flushed(plan);
    }
    Ok(())
}

fn undisturbed(records: &[Keyed]) -> BTreeMap<String, Vec<u8>> {
    let medium = medium();
    live(&medium, records, &mut Checkpoint::default()).unwrap();
    contents(&medium)
}

/// After a crash at any operation, `lose` being what it does, the replay makes the files of an undisturbed life.
fn crash_everywhere(lose: impl Fn(&MemoryDisk, u64)) {
    let records = records()[..190].to_vec();
    let expected = undisturbed(&records);
    let mut crashes = 0;
    for operations in 0.. {
        let medium = medium();
        medium.mount().sync_dir(Path::new("/")).unwrap();
        let mut checkpoint = Checkpoint::default();
        medium.freeze_after(operations);
        let finished = live(&medium, &records, &mut checkpoint).is_ok();
        lose(&medium, operations);
        // A crash in the replay's first steps, then one that goes through.
        medium.freeze_after(operations % 40);
        let _ = live(&medium, &records, &mut checkpoint);
        lose(&medium, operations + 1);
        live(&medium, &records, &mut checkpoint).unwrap();
        assert_eq!(contents(&medium), expected, "after {operations} operations");
        crashes += 1;
        if finished {
            break;
        }
    }
    assert!(crashes > 200, "{crashes} crash points");
}

#[test]
fn a_replay_after_a_power_loss_makes_the_files_of_an_undisturbed_life() {
    crash_everywhere(|medium, _| medium.crash());
}

#[test]
fn a_replay_after_a_power_loss_that_spares_some_sectors_does_too() {
    crash_everywhere(|medium, seed| {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        medium.crash_keeping(&mut || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % 3 != 0
        });
    });
}

#[test]
fn a_replay_after_a_process_crash_does_too() {
    crash_everywhere(|medium, _| medium.kill());
}
