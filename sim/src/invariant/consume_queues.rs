//! ConsumeQueues: at rest what every member's files hold is what its log makes, applied again from its start: the offline
//! check of a stopped store, on a copy of the disk. It also reads every frame and every checkpoint.

use std::io;
use std::path::Path;
use std::sync::Arc;

use quorumq::verify::verify_store;
use quorumq_raft::machine::Machine as _;
use quorumq_store::disk::{Disk, MemoryDisk};

use super::{Invariant, Member, SeatView, View};
use crate::scenario::seat::DIR;

/// See the module.
#[derive(Debug, Default)]
pub struct ConsumeQueuesEqual;

impl Invariant for ConsumeQueuesEqual {
    fn name(&self) -> &'static str {
        "consume-queues-equal"
    }

    fn at_rest(&mut self, view: &View) -> Result<(), String> {
        for (_, group, seat, member) in view.running() {
            check(seat, member).map_err(|what| format!("{} at {}: {what}", group.name, seat.ip))?;
        }
        Ok(())
    }
}

fn check(seat: &SeatView, member: &Member) -> Result<(), String> {
    let copy = copied(&*seat.disk.mount()).map_err(|e| format!("its disk cannot be copied: {e}"))?;
    let disk = copy.mount();
    let verified = verify_store(&disk, Path::new(DIR), None).map_err(|e| e.to_string())?;
    let machine = member.machine();
    // The store knows of the last entries' commitment only with the next mark.
    if verified.applied == machine.applied() && verified.digest != machine.digest() {
        return Err(format!("its log makes another state than it has, after {:?}", verified.applied));
    }
    Ok(())
}

/// A copy of everything a process finds on a disk.
fn copied(disk: &dyn Disk) -> io::Result<MemoryDisk> {
    let copy = MemoryDisk::new();
    copy_below(disk, &copy.mount(), Path::new("/"))?;
    Ok(copy)
}

fn copy_below(from: &dyn Disk, to: &Arc<dyn Disk>, dir: &Path) -> io::Result<()> {
    to.create_dir_all(dir)?;
    for name in from.list(dir)? {
        let path = dir.join(name);
        match from.open(&path) {
            Ok(file) => {
                let copy = to.create(&path, file.len()?)?;
                for range in file.data_ranges(0)? {
                    let mut bytes = vec![0; usize::try_from(range.end - range.start).map_err(io::Error::other)?];
                    file.read_at(range.start, &mut bytes)?;
                    copy.write_at(range.start, &[&bytes])?;
                }
            }
            // A directory.
            Err(e) if e.kind() == io::ErrorKind::NotFound => copy_below(from, to, &path)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_disk_holds_what_the_disk_held() {
        let (disk, path) = (MemoryDisk::new(), Path::new("/store/commitlog/0"));
        let mount = disk.mount();
        mount.create_dir_all(path.parent().unwrap()).unwrap();
        let file = mount.create(path, 10_000).unwrap();
        file.write_at(9_000, &[b"here"]).unwrap();
        let copy = copied(&*disk.mount()).unwrap();
        file.write_at(0, &[b"later"]).unwrap();
        let content = copy.content(path).unwrap();
        assert_eq!((content.len(), &content[9_000..9_004], &content[..5]), (10_000, &b"here"[..], &[0; 5][..]));
    }
}
