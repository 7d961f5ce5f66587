//! The rules.

use super::checks::{
    Finding, SIX_HUNDRED_AND_ONE_LINES, all_paths, finding, give_ups, macros, paths, product_words, unbiased_selects,
    unreasoned_lints, words,
};
use super::shape::attribute;
use super::source::Source;

/// A snippet as if it stood in the file of this path.
pub type Snippet = (&'static str, &'static str);

#[derive(Clone, Copy)]
pub struct Rule {
    pub name: &'static str,
    /// What to do instead.
    pub instead: &'static str,
    /// Files that may, and why.
    pub except: &'static [(&'static str, &'static str)],
    pub check: fn(&Source) -> Vec<Finding>,
    /// Each breaks the rule.
    pub bad: &'static [Snippet],
    /// None breaks the rule.
    pub good: &'static [Snippet],
}

/// What breaks `rule`, one line each.
pub fn findings(rule: &Rule, sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| !rule.except.iter().any(|(path, _)| source.path == *path)) {
        for Finding { line, what } in (rule.check)(source) {
            found.push(format!("{}:{line}: {}: {what}; {}", source.path, rule.name, rule.instead));
        }
    }
    found
}

/// Crates and modules whose code ends up in the product.
const PRODUCT: &[&str] = &["src/", "raft/src/", "store/src/"];
const PRODUCT_AND_SIM: &[&str] = &["src/", "raft/src/", "store/src/", "sim/src/"];

/// Longest file, in lines.
const FILE_LINES: usize = 600;
/// Longest function, in lines. The house's aim is a screen.
const FUNCTION_LINES: usize = 100;

pub const RULES: &[Rule] = &[
    Rule {
        name: "store-knows-bytes-only",
        instead: "the store knows no Raft, no runtime, no product",
        except: &[],
        check: |source| {
            let foreign = &["quorumq", "quorumq_raft", "quorumq_sim", "openraft", "openraft_rt", "tokio", "madsim"];
            if source.is_in(&["store/"]) { all_paths(source, foreign) } else { Vec::new() }
        },
        bad: &[
            ("store/src/a.rs", "use tokio::sync::mpsc;"),
            ("store/src/a.rs", "use {std::io, openraft::Raft};"),
            ("store/tests/a.rs", "fn f() { quorumq_raft::node(); }"),
        ],
        good: &[("store/src/a.rs", "use crate::frame; // as tokio::io has it"), ("src/a.rs", "use tokio::sync::mpsc;")],
    },
    Rule {
        name: "raft-knows-no-broker",
        instead: "raft replicates entries; topics and RocketMQ are src's",
        except: &[],
        check: |source| {
            if !source.is_in(&["raft/"]) {
                return Vec::new();
            }
            let mut found = all_paths(source, &["quorumq", "quorumq_sim"]);
            found.extend(words(source, |word| {
                let word = word.to_ascii_lowercase();
                word.contains("topic") || word.contains("rocketmq")
            }));
            found
        },
        bad: &[
            ("raft/src/a.rs", "use quorumq::machine;"),
            ("raft/src/a.rs", "struct TopicTable;"),
            ("raft/src/a.rs", "fn f(rocketmq_code: u16) {}"),
        ],
        good: &[("raft/src/a.rs", "/// Knows no topic.\nuse quorumq_store::frame;")],
    },
    Rule {
        name: "only-sim-simulates",
        instead: "be generic over the Runtime; only sim names the simulator",
        except: &[],
        check: |source| {
            if source.is_in(&["sim/"]) { Vec::new() } else { all_paths(source, &["madsim", "quorumq_sim"]) }
        },
        bad: &[("src/a.rs", "use madsim::task::spawn;"), ("tests/a.rs", "fn f() { quorumq_sim::world::run(1); }")],
        good: &[("sim/src/a.rs", "use madsim::task::spawn;")],
    },
    Rule {
        name: "the-broker-only-proposes",
        instead: "propose a command, read through the machine's views",
        except: &[],
        check: |source| {
            let writing =
                ["LogStore", "NewEntry", "ConsumeQueues", "FlushPlan", "Disk", "DiskFile", "RealDisk", "MemoryDisk"];
            if source.is_in(&["src/broker/"]) {
                product_words(source, |word| writing.contains(&word))
            } else {
                Vec::new()
            }
        },
        bad: &[
            ("src/broker/send.rs", "use quorumq_store::log_store::{Entry, LogStore};"),
            ("src/broker/pull/mod.rs", "fn f(disk: &dyn Disk) {}"),
        ],
        good: &[("src/broker/pull.rs", "use quorumq_store::record::patch;")],
    },
    Rule {
        name: "file-io-goes-through-the-disk-seam",
        instead: "use quorumq_store::disk",
        except: &[
            ("src/config/file.rs", "reads broker.conf before there is a store"),
            ("src/cli/bench/host.rs", "reads /proc for the CPU figures of a bench"),
            ("sim/src/cli/many.rs", "keeps what failed"),
            ("sim/src/cli/page/mod.rs", "writes the page of a run"),
        ],
        check: |source| {
            if source.is_in(&["store/src/disk/"]) || !source.is_in(PRODUCT_AND_SIM) {
                return Vec::new();
            }
            let io = &["std::fs", "tokio::fs", "memmap2", "rustix::fs", "rustix::io", "std::os::unix::fs", "libc"];
            let mut found = paths(source, io);
            found.extend(paths(source, &["File::open", "File::create", "File::options", "OpenOptions::new"]));
            found
        },
        bad: &[
            ("src/a.rs", "fn f() { std::fs::read(p); }"),
            ("store/src/log.rs", "use std::{fs::File, io};"),
            ("raft/src/a.rs", "use memmap2::Mmap;"),
            ("src/a.rs", "fn f() { File::open(p); }"),
            ("src/a.rs", "use std::*;"),
        ],
        good: &[
            ("store/src/disk/real.rs", "use std::fs;"),
            ("src/a.rs", "#[cfg(test)]\nmod tests { use std::fs; }"),
            ("tests/a.rs", "use std::fs;"),
        ],
    },
    Rule {
        name: "one-file-names-the-operating-system",
        instead: "spawn, sleep, connect and tell the time through R: Runtime",
        except: &[
            ("raft/src/runtime/tokio.rs", "is the runtime seam's implementation"),
            ("src/cli/process.rs", "builds the tokio runtime and hears signals at the process's entry"),
            ("sim/src/world/mod.rs", "gives each simulated run a fresh thread"),
            ("sim/src/cli/child.rs", "gives each seed a process of its own"),
            ("sim/src/cli/crew.rs", "runs these side by side and hears Ctrl-C"),
            ("sim/src/system/mod.rs", "tells how long a run took"),
        ],
        check: |source| {
            let mut world = vec!["tokio::net", "tokio::time", "tokio::task", "tokio::spawn", "tokio::runtime"];
            world.extend([
                "tokio::signal",
                "tokio::process",
                "tokio::main",
                "std::thread",
                "rand::rng",
                "rand::random",
            ]);
            world.extend([
                "std::net::TcpStream",
                "std::net::TcpListener",
                "std::net::UdpSocket",
                "std::time::SystemTime",
            ]);
            world.extend(["rand::rngs::ThreadRng", "rand::rngs::SysRng", "rand::thread_rng", "std::process::Command"]);
            world.extend(["Instant::now", "SystemTime::now", "thread::spawn", "getrandom"]);
            if source.is_in(PRODUCT) {
                world.push("std::time::Instant");
            }
            if source.is_in(PRODUCT_AND_SIM) { paths(source, &world) } else { Vec::new() }
        },
        bad: &[
            ("src/a.rs", "fn f() { tokio::spawn(g()); }"),
            ("raft/src/node.rs", "use tokio::{net::TcpStream, sync::mpsc};"),
            ("src/a.rs", "use std::time::{Duration, Instant};"),
            ("src/a.rs", "fn f() -> i64 { SystemTime::now() }"),
            ("store/src/a.rs", "fn f() { std::thread::spawn(g); }"),
            ("sim/src/a.rs", "use tokio::time::sleep;"),
            ("src/a.rs", "fn f() -> u64 { rand::random() }"),
        ],
        good: &[
            ("src/a.rs", "fn f<R: Runtime>() { let now = R::Instant::now(); R::spawn(g()); }"),
            ("src/a.rs", "use tokio::sync::{mpsc, oneshot}; use tokio::io::AsyncRead;"),
            ("src/a.rs", "#[test]\nfn t() { tokio::spawn(g()); }"),
        ],
    },
    Rule {
        name: "one-seed-one-run",
        instead: "use R::Watch, a biased select! or R::select2: anything else wakes in an order no seed decides",
        except: &[],
        check: |source| {
            if !source.is_in(PRODUCT_AND_SIM) {
                return Vec::new();
            }
            let mut found = paths(source, &["tokio::sync::watch", "futures_util::select", "futures::select"]);
            found.extend(unbiased_selects(source));
            found
        },
        bad: &[
            ("src/a.rs", "use tokio::sync::{mpsc, watch};"),
            ("src/a.rs", "fn f() { tokio::select! { a = b => {} } }"),
            ("raft/src/a.rs", "fn f() { futures_util::select! { a = b => {} } }"),
        ],
        good: &[("src/a.rs", "fn f() { tokio::select! { biased; a = b => {} } }")],
    },
    Rule {
        name: "the-machine-is-pure",
        instead: "time and chance enter the machine as data in commands; ordered maps only",
        except: &[],
        check: |source| {
            if !source.is_in(&["src/machine/"]) {
                return Vec::new();
            }
            let outside = ["Runtime", "HashMap", "HashSet", "wall_clock_ms", "thread_rng", "Instant", "SystemTime"];
            let mut found = product_words(source, |word| outside.contains(&word));
            found.extend(paths(source, &["rand", "tokio", "std::time", "std::net", "std::env", "openraft_rt"]));
            found
        },
        bad: &[
            ("src/machine/a.rs", "use std::collections::HashMap;"),
            ("src/machine/a.rs", "fn f<R: Runtime>() {}"),
            ("src/machine/a.rs", "use rand::RngExt;"),
            ("src/machine/mod.rs", "use std::time::Duration;"),
        ],
        good: &[("src/machine/a.rs", "use std::collections::BTreeMap;")],
    },
    Rule {
        name: "errors-are-typed",
        instead: "return an error, or state the broken invariant with assert! or unreachable!",
        except: &[],
        check: |source| {
            if source.is_in(PRODUCT_AND_SIM) { give_ups(source) } else { Vec::new() }
        },
        bad: &[
            ("src/a.rs", "fn f() { g().unwrap(); }"),
            ("store/src/a.rs", "fn f() { g()\n.expect(\"x\"); }"),
            ("raft/src/a.rs", "fn f() { todo!() }"),
            ("src/a.rs", "fn f() { dbg!(x); }"),
            ("src/a.rs", "fn f() { unimplemented!(\"later\") }"),
            ("src/a.rs", "fn f() { g().map(Option::unwrap); }"),
        ],
        good: &[
            ("src/a.rs", "fn f() { g().unwrap_or_default(); } #[cfg(test)] mod t { fn f() { g().unwrap(); } }"),
            ("src/a.rs", "#[expect(dead_code, reason = \"x\")] fn f() { unreachable!(\"why\") }"),
            ("tests/a.rs", "fn f() { g().unwrap(); }"),
        ],
    },
    Rule {
        name: "only-the-command-line-prints",
        instead: "log through tracing; output is src/cli's",
        except: &[("sim/src/trace.rs", "prints the trace on request")],
        check: |source| {
            let prints = ["println", "print", "eprintln", "eprint"];
            if source.is_in(PRODUCT_AND_SIM) && !source.is_in(&["src/cli/", "src/main.rs"]) {
                macros(source, |name| prints.contains(&name))
            } else {
                Vec::new()
            }
        },
        bad: &[("src/broker/a.rs", "fn f() { println!(\"x\"); }"), ("raft/src/a.rs", "fn f() { eprint!(\"x\"); }")],
        good: &[("src/cli/a.rs", "fn f() { println!(\"x\"); }"), ("src/a.rs", "/// println!(\"x\")\nfn f() {}")],
    },
    Rule {
        name: "files-are-small-rooms",
        instead: "split it: one noun per file, at most 600 lines",
        except: &[],
        check: |source| {
            let lines = source.text.lines().count();
            let long = source.path.ends_with(".rs") && lines > FILE_LINES;
            long.then(|| finding(FILE_LINES + 1, format!("{lines} lines"))).into_iter().collect()
        },
        bad: &[("src/a.rs", SIX_HUNDRED_AND_ONE_LINES)],
        good: &[("src/a.rs", "fn f() {}\n")],
    },
    Rule {
        name: "functions-fit-a-screen",
        instead: "split it: at most 100 lines, better 70",
        except: &[],
        check: |source| {
            let long = source.functions.iter().filter(|function| function.lines > FUNCTION_LINES);
            long.map(|f| finding(f.line, format!("fn {} has {} lines", f.name, f.lines))).collect()
        },
        bad: &[("src/a.rs", SIX_HUNDRED_AND_ONE_LINES)],
        good: &[("src/a.rs", "fn f() {\n\n}\n")],
    },
    Rule {
        name: "lints-are-expected-with-a-reason",
        instead: "write #[expect(lint, reason = \"…\")]",
        except: &[],
        check: unreasoned_lints,
        bad: &[
            ("src/a.rs", "#[allow(dead_code)] fn f() {}"),
            ("tests/a.rs", "#![allow(dead_code)]"),
            ("src/a.rs", "#[expect(dead_code)] fn f() {}"),
            ("src/a.rs", "#[cfg_attr(test, allow(dead_code))] fn f() {}"),
        ],
        good: &[("src/a.rs", "#[expect(dead_code, reason = \"x\")] fn f() { allow(1); }")],
    },
    Rule {
        name: "unsafe-lives-in-the-real-disk",
        instead: "put it behind store/src/disk/real, with its SAFETY reason",
        except: &[],
        check: |source| {
            if source.is_in(&["store/src/disk/real.rs", "store/src/disk/real/"]) {
                Vec::new()
            } else {
                words(source, |word| word == "unsafe")
            }
        },
        bad: &[("src/a.rs", "fn f() { unsafe { g() } }"), ("store/src/disk/memory.rs", "unsafe impl Send for A {}")],
        good: &[
            ("store/src/disk/real.rs", "fn f() { unsafe { g() } }"),
            ("src/a.rs", "// unsafe\n#![deny(unsafe_code)]"),
        ],
    },
    Rule {
        name: "nothing-is-put-off",
        instead: "do it, or write an issue",
        except: &[],
        check: |source| {
            let notes = ["TODO", "FIXME", "XXX", "HACK"];
            let put_off = source
                .comments
                .iter()
                .filter(|comment| comment.text.split(|c: char| !c.is_alphanumeric()).any(|word| notes.contains(&word)));
            put_off.map(|comment| finding(comment.line, comment.text.clone())).collect()
        },
        bad: &[("src/a.rs", "// TODO: later"), ("tests/a.rs", "/* FIXME */")],
        good: &[("src/a.rs", "// All of MYTODOS are done.")],
    },
    Rule {
        name: "ignored-tests-say-why",
        instead: "write #[ignore = \"reason\"]",
        except: &[],
        check: |source| {
            let mut found = Vec::new();
            for (at, token) in source.tokens.iter().enumerate() {
                if let Some((_, (from, to))) = attribute(&source.tokens, at)
                    && source.tokens[from].is("ignore")
                    && to == from + 1
                {
                    found.push(finding(token.line, "#[ignore]".into()));
                }
            }
            found
        },
        bad: &[("tests/a.rs", "#[test]\n#[ignore]\nfn f() {}")],
        good: &[("tests/a.rs", "#[test]\n#[ignore = \"needs a volume of its own\"]\nfn f() {}")],
    },
    Rule {
        name: "no-workplace-paths",
        instead: "a path of one machine means nothing on another",
        except: &[],
        check: |source| {
            let mut found = Vec::new();
            for (n, line) in source.text.lines().enumerate() {
                for folder in ["work", "root"] {
                    let starts =
                        |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}/".contains(c));
                    let path = format!("/{folder}/");
                    if line.match_indices(&path).any(|(at, _)| starts(at)) {
                        found.push(finding(n + 1, path));
                    }
                }
            }
            found
        },
        bad: &[
            ("src/a.rs", concat!("// see /wo", "rk/notes")),
            ("scripts/a.sh", concat!("cd /ro", "ot/x")),
            ("README.md", concat!("run `/ro", "ot/bin/x`")),
        ],
        good: &[("src/a.rs", "const A: &str = \"https://a.b/work/x\"; const B: &str = \"data/root/x\";")],
    },
];
