use super::*;
use crate::disk::MemoryDisk;

mod crash;
mod damage;
mod files;
mod golden;
mod query;
mod rebuild;
mod scrub;
mod verify;

const DIR: &str = "/store";
const FORMAT: &str = ".format";
const SEGMENT: u64 = 4096;
/// Few enough that keys collide, files fill up and segments have several.
const SIZES: IndexSizes = IndexSizes { slots: 5, units: 9 };
const START_MS: i64 = 1_700_000_000_000;

/// A record as the log holds it.
#[derive(Clone, Debug)]
struct Keyed {
    position: u64,
    ms: i64,
    topic: &'static str,
    keys: Vec<String>,
}

impl Keyed {
    fn segment(&self) -> u64 {
        self.position - self.position % SEGMENT
    }
}

/// Records over some ten segments. Those of segment 5 have no keys; some records come in one millisecond; one has more
/// keys than a file holds.
fn records() -> Vec<Keyed> {
    (0..300_u64)
        .map(|n| {
            let position = 48 + n * 150;
            let keys = match n {
                _ if position / SEGMENT == 5 => vec![],
                70 => (0..20).map(|key| format!("many-{key}")).collect(),
                _ => vec![format!("unique-{n}"), format!("k{}", n % 7)][..1 + (n % 3 / 2) as usize].to_vec(),
            };
            let topic = if n % 4 == 0 { "other" } else { "t" };
            Keyed { position, ms: START_MS + (n / 5 * 700) as i64, topic, keys }
        })
        .collect()
}

fn medium() -> MemoryDisk {
    let medium = MemoryDisk::new();
    medium.mount().create_dir_all(Path::new(DIR)).unwrap();
    medium
}

fn open(medium: &MemoryDisk, first: u64, replay_from: u64) -> IndexFiles {
    open_sized(medium, SIZES, first, replay_from)
}

fn open_sized(medium: &MemoryDisk, sizes: IndexSizes, first: u64, replay_from: u64) -> IndexFiles {
    let (first, replay_from) = (PhysicalOffset(first), PhysicalOffset(replay_from));
    IndexFiles::open(medium.mount(), Path::new(DIR), sizes, SEGMENT, first, replay_from).unwrap()
}

fn push(index: &mut IndexFiles, record: &Keyed) {
    let keys = record.keys.iter().map(String::as_bytes);
    index.push(PhysicalOffset(record.position), record.ms, record.topic, keys);
}

fn push_all(index: &mut IndexFiles, records: &[Keyed]) {
    records.iter().for_each(|record| push(index, record));
}

/// One record with one key of topic `T`.
fn put(index: &mut IndexFiles, position: u64, ms: i64, key: &str) {
    index.push(PhysicalOffset(position), ms, "T", [key.as_bytes()]);
}

fn flush(index: &mut IndexFiles, whole: bool, sync: bool) {
    let plan = index.plan_flush(whole).expect("something to flush");
    plan.write(sync).unwrap();
    index.flushed(plan);
}

/// Names and contents of all files below `index/`.
fn contents(medium: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let root = Path::new(DIR).join("index");
    let names = medium.mount().list(&root).unwrap();
    names.into_iter().map(|name| (name.clone(), medium.content(&root.join(name)).unwrap())).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join("index").join(name)
}

/// What a query for a key of `T` at any time finds.
fn find(index: &IndexFiles, key: &str) -> Vec<u64> {
    find_of(index, "T", key)
}

fn find_of(index: &IndexFiles, topic: &str, key: &str) -> Vec<u64> {
    let found = index.plan_query(topic, key.as_bytes(), i64::MIN, i64::MAX, 1000).run().unwrap();
    assert!(found.is_whole);
    found.positions.into_iter().map(|position| position.0).collect()
}

/// Every record is found by each of its keys, and a key finds only records that have it: no two of them have one hash.
fn assert_finds(index: &IndexFiles, records: &[Keyed]) {
    let mut expected: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for record in records.iter().rev() {
        for key in &record.keys {
            expected.entry((record.topic, key)).or_default().push(record.position);
        }
    }
    for ((topic, key), positions) in expected {
        assert_eq!(find_of(index, topic, key), positions, "{topic} {key}");
    }
    assert_eq!(find_of(index, "t", "no such key"), [0; 0]);
}
