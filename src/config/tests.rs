//! What broker.conf and namesrv.conf may say, and the exact words for what they may not.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::error::Place;
use super::print::print;
use super::{BrokerConfig, FlushDiskType, HostPort, Input, Key, NameServerConfig, PeerId, known_keys};

const THREE: &str =
    "dLegerGroup=g\ndLegerPeers=n0-127.0.0.1:40911;n1-127.0.0.1:40912;n2-127.0.0.1:40913\ndLegerSelfId=n0\n";

fn input(text: &str) -> Input {
    Input {
        file: Some(("broker.conf".to_owned(), text.to_owned())),
        flags: Vec::new(),
        namesrv_addr: Some("127.0.0.1:9876".to_owned()),
        home: Some("/home/mq".to_owned()),
        first_ipv4: Some(Ipv4Addr::new(10, 0, 0, 7)),
    }
}

fn resolve(text: &str) -> BrokerConfig {
    BrokerConfig::resolve(&input(text)).unwrap().config
}

fn problems(text: &str) -> String {
    BrokerConfig::resolve(&input(text)).unwrap_err().to_string()
}

fn warnings(text: &str) -> Vec<String> {
    BrokerConfig::resolve(&input(text)).unwrap().warnings.into_iter().map(|w| w.0).collect()
}

#[test]
fn a_dledger_sample_of_apache_starts_a_member() {
    let text = "brokerClusterName = RaftCluster\nbrokerName=RaftNode00\nlistenPort=30911\nnamesrvAddr=127.0.0.1:9876\n\
                storePathRootDir=/tmp/rmqstore/node00\nstorePathCommitLog=/tmp/rmqstore/node00/commitlog\n\
                enableDLegerCommitLog=true\ndLegerGroup=RaftNode00\n\
                dLegerPeers=n0-127.0.0.1:40911;n1-127.0.0.1:40912;n2-127.0.0.1:40913\n## must be unique\ndLegerSelfId=n0\n\
                sendMessageThreadPoolNums=16\n";
    let config = resolve(text);
    assert_eq!(config.broker_cluster_name, "RaftCluster");
    assert_eq!((config.broker_name.as_str(), config.d_leger_group.as_str()), ("RaftNode00", "RaftNode00"));
    assert_eq!((config.listen_port, config.vip_port()), (30911, Some(30909)));
    assert_eq!(config.store_path_root_dir, PathBuf::from("/tmp/rmqstore/node00"));
    assert_eq!(config.d_leger_self_id, PeerId { letter: 'n', number: 0 });
    assert_eq!(config.peer_address(), HostPort::parse("127.0.0.1:40911").as_ref());
    assert_eq!(
        warnings(text),
        [
            "broker.conf:6: storePathCommitLog has no effect: the CommitLog is always in commitlog/ below storePathRootDir",
            "broker.conf:12: sendMessageThreadPoolNums is a RocketMQ setting that QuoruMQ does not implement; it has no effect",
        ]
    );
}

#[test]
fn an_empty_file_is_a_group_of_one_with_rocketmqs_defaults() {
    let config = resolve("");
    assert_eq!(config.broker_cluster_name, "DefaultCluster");
    assert_eq!((config.broker_name.as_str(), config.d_leger_group.as_str()), ("broker-a", "broker-a"));
    assert_eq!(config.broker_ip1, Ipv4Addr::new(10, 0, 0, 7));
    assert_eq!(config.listen_port, 10911);
    assert_eq!(config.namesrv_addr, [HostPort::parse("127.0.0.1:9876").unwrap()]);
    assert_eq!(config.store_path_root_dir, PathBuf::from("/home/mq/store"));
    assert_eq!(config.d_leger_peers.len(), 1);
    assert_eq!(config.d_leger_peers[0].to_string(), "n0-10.0.0.7:10912");
    assert_eq!(config.flush_disk_type, FlushDiskType::SyncFlush);
    assert_eq!(config.mapped_file_size_commit_log, 1 << 30);
    assert_eq!(config.max_message_size, 4 << 20);
    assert_eq!((config.file_reserved_time, config.delete_when.as_slice()), (72, [4].as_slice()));
    assert!(config.auto_create_topic_enable && config.auto_create_subscription_group);
    assert!(!config.bootstrap && !config.join);
    assert_eq!(config.default_topic_queue_nums, 8);
    assert_eq!(config.register_name_server_period, 30_000);
    assert_eq!(warnings(""), ["dLegerPeers names one member: a group of one has no second copy of its messages"]);
}

#[test]
fn one_of_brokername_and_dlegergroup_sets_both() {
    for text in ["brokerName=x", "dLegerGroup=x", "brokerName=x\ndLegerGroup=x"] {
        let config = resolve(text);
        assert_eq!((config.broker_name.as_str(), config.d_leger_group.as_str()), ("x", "x"), "{text}");
    }
}

#[test]
fn small_segments_lower_the_default_of_the_largest_message() {
    let config = resolve("mappedFileSizeCommitLog=65536");
    assert_eq!((config.mapped_file_size_commit_log, config.max_message_size), (65_536, 16_384));
    assert_eq!(resolve("mapedFileSizeCommitLog=4096").mapped_file_size_commit_log, 4096, "the spelling of 4.x");
}

#[test]
fn hours_and_addresses_are_lists() {
    let config = resolve("deleteWhen=04;16\nnamesrvAddr = ns-a:9876 ; ns-b:9877;\n");
    assert_eq!(config.delete_when, [4, 16]);
    let names: Vec<_> = config.namesrv_addr.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["ns-a:9876", "ns-b:9877"]);
}

#[test]
fn a_flag_beats_the_file() {
    let mut input = input("listenPort=30911\nflushDiskType=ASYNC_FLUSH\n");
    input.flags.push(("listenPort", "20911".to_owned()));
    let loaded = BrokerConfig::resolve(&input).unwrap();
    assert_eq!(loaded.config.listen_port, 20911);
    assert_eq!(loaded.config.flush_disk_type, FlushDiskType::AsyncFlush);
    let place = loaded.places.iter().find(|(key, _)| *key == "listenPort").unwrap();
    assert_eq!(place.1, Place::Flag("listen-port"));
}

/// Text of a file, and all that is said about it.
const BAD: &[(&str, &str)] = &[
    ("brokerNmae=x", "broker.conf:1: unknown key \"brokerNmae\"; did you mean \"brokerName\"?"),
    ("\n# x\nlistenport=1", "broker.conf:3: unknown key \"listenport\"; did you mean \"listenPort\"?"),
    ("fileReservdTime=48", "broker.conf:1: unknown key \"fileReservdTime\"; did you mean \"fileReservedTime\"?"),
    (
        "sendMesageThreadPoolNums=1",
        "broker.conf:1: unknown key \"sendMesageThreadPoolNums\"; did you mean \"sendMessageThreadPoolNums\"?",
    ),
    ("colour=blue", "broker.conf:1: unknown key \"colour\""),
    ("listenPort=99999", "broker.conf:1: listenPort = 99999: must be a whole number from 3 to 65534"),
    ("listenPort=", "broker.conf:1: listenPort = : must be a whole number from 3 to 65534"),
    ("listenPort=10911x", "broker.conf:1: listenPort = 10911x: must be a whole number from 3 to 65534"),
    ("listenPort=-1", "broker.conf:1: listenPort = -1: must be a whole number from 3 to 65534"),
    (
        "mappedFileSizeCommitLog=5000",
        "broker.conf:1: mappedFileSizeCommitLog = 5000: must be a whole number from 4096 to 2147479552, a multiple of 4096",
    ),
    (
        "mapedFileSizeCommitLog=1g",
        "broker.conf:1: mappedFileSizeCommitLog = 1g: must be a whole number from 4096 to 2147479552, a multiple of 4096",
    ),
    (
        "mappedFileSizeCommitLog=65536\nmaxMessageSize=20000",
        "broker.conf:2: maxMessageSize = 20000: more than 16384, a quarter of mappedFileSizeCommitLog = 65536",
    ),
    ("flushDiskType=SYNC", "broker.conf:1: flushDiskType = SYNC: must be SYNC_FLUSH or ASYNC_FLUSH"),
    ("autoCreateTopicEnable=yes", "broker.conf:1: autoCreateTopicEnable = yes: must be true or false"),
    (
        "enableDLegerCommitLog=false",
        "broker.conf:1: enableDLegerCommitLog = false: must be true: QuoruMQ replicates the CommitLog by Raft and has no other mode; remove the line",
    ),
    (
        "brokerIP1=0.0.0.0",
        "broker.conf:1: brokerIP1 = 0.0.0.0: must be an IPv4 address that clients can reach, e.g. 192.168.1.10",
    ),
    (
        "brokerIP1=::1",
        "broker.conf:1: brokerIP1 = ::1: must be an IPv4 address that clients can reach, e.g. 192.168.1.10",
    ),
    (
        "bindAddress=localhost",
        "broker.conf:1: bindAddress = localhost: must be an IP address of this machine, or 0.0.0.0 for all",
    ),
    (
        "brokerName=my broker",
        "broker.conf:1: brokerName = my broker: must be 1 to 127 letters, digits, '_', '-', '.', '%' or '|'",
    ),
    (
        "namesrvAddr=127.0.0.1",
        "broker.conf:1: namesrvAddr = 127.0.0.1: must be host:port, several joined by ';', e.g. 127.0.0.1:9876;127.0.0.1:9877",
    ),
    (
        "deleteWhen=24",
        "broker.conf:1: deleteWhen = 24: must be hours of the day from 00 to 23, several joined by ';', e.g. 04",
    ),
    ("fileReservedTime=0", "broker.conf:1: fileReservedTime = 0: must be a whole number from 1 to 87600"),
    ("dLegerSelfId=node0", "broker.conf:1: dLegerSelfId = node0: must be a letter and a number, e.g. n0"),
    (
        "brokerName=a\ndLegerGroup=b",
        "broker.conf:2: dLegerGroup = b: differs from brokerName = a; a group has one name, so give one of the two",
    ),
    (
        "dLegerGroup=g\ndLegerPeers=n0-127.0.0.1\ndLegerSelfId=n0",
        "broker.conf:2: dLegerPeers = n0-127.0.0.1: must be id-host:port, several joined by ';', e.g. n0-10.0.0.1:40911;n1-10.0.0.2:40911",
    ),
    (
        "dLegerGroup=g\ndLegerPeers=n0-h:1;n1-h:2",
        "dLegerSelfId is not set: it tells which of dLegerPeers this node is, e.g. n0",
    ),
    (
        "dLegerPeers=n0-h:1;n1-h:2\ndLegerSelfId=n0",
        "brokerName is not set: every member of a group needs the same name; set it in each broker.conf, e.g. broker-a",
    ),
    (
        "dLegerGroup=g\ndLegerPeers=n0-h:1;n1-h:2\ndLegerSelfId=n2",
        "broker.conf:3: dLegerSelfId = n2: not among dLegerPeers, which has n0, n1; add it there, or name one of them",
    ),
    (
        "dLegerGroup=g\ndLegerPeers=n0-h:1;m0-h:2\ndLegerSelfId=n0",
        "broker.conf:2: dLegerPeers = n0-h:1;m0-h:2: n0 and m0 have the same number; give each member its own",
    ),
    (
        "dLegerGroup=g\ndLegerPeers=n0-h:1;n1-h:1\ndLegerSelfId=n0",
        "broker.conf:2: dLegerPeers = n0-h:1;n1-h:1: n0 and n1 have the same address h:1",
    ),
    (
        "dLegerPeers=n0-h:10911\ndLegerSelfId=n0",
        "broker.conf:1: dLegerPeers = n0-h:10911: its Raft port 10911 is listenPort; it needs a port of its own",
    ),
    (
        "dLegerPeers=n0-h:10909\ndLegerSelfId=n0",
        "broker.conf:1: dLegerPeers = n0-h:10909: its Raft port 10909 is the VIP port, listenPort - 2; choose another, e.g. listenPort + 1",
    ),
    (
        "bootstrap=true\njoin=true",
        "broker.conf:2: join = true: a node either forms a group (bootstrap) or joins one; set one of the two",
    ),
    (
        "electionTimeoutMs=300\nheartBeatTimeIntervalMs=200",
        "broker.conf:2: heartBeatTimeIntervalMs = 200: more than 100, a third of electionTimeoutMs = 300",
    ),
    ("a=\\u12", "broker.conf:1: Malformed \\uxxxx encoding: not enough digits. (line_number = 1)"),
    ("=5", "broker.conf:1: a value without a key; write key = value"),
];

#[test]
fn every_mistake_is_named_with_line_key_value_and_what_is_allowed() {
    for (text, said) in BAD {
        assert_eq!(problems(text), *said, "{text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let said = problems("brokerNmae=x\nlistenPort=0\nflushDiskType=none\n");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn a_bad_flag_is_named_as_a_flag() {
    let mut input = input("");
    input.flags.push(("listenPort", "x".to_owned()));
    let said = BrokerConfig::resolve(&input).unwrap_err().to_string();
    assert_eq!(said, "--listen-port: listenPort = x: must be a whole number from 3 to 65534");
}

#[test]
fn what_raft_decides_is_a_warning_that_says_so() {
    let text = format!("{THREE}brokerId=0\nbrokerRole=SLAVE\n");
    assert_eq!(
        warnings(&text),
        [
            "broker.conf:4: brokerId has no effect: the leader is broker 0 and Raft decides who leads; dLegerSelfId tells the members apart",
            "broker.conf:5: brokerRole has no effect: Raft decides who leads; every group acknowledges by majority",
        ]
    );
}

#[test]
fn a_key_given_twice_counts_the_last_time_and_warns() {
    let text = format!("{THREE}listenPort=1000\nlistenPort=2000\nlistenPort=2000\n");
    assert_eq!(resolve(&text).listen_port, 2000);
    assert_eq!(warnings(&text), ["broker.conf:5: listenPort = 2000 replaces 1000 from broker.conf:4"]);
}

#[test]
fn a_machine_without_network_or_nameserver_is_told() {
    let mut input = input(THREE);
    (input.first_ipv4, input.namesrv_addr) = (None, None);
    let loaded = BrokerConfig::resolve(&input).unwrap();
    assert_eq!(loaded.config.broker_ip1, Ipv4Addr::LOCALHOST);
    let warnings: Vec<_> = loaded.warnings.iter().map(|w| w.0.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "this machine has no IPv4 address but loopback: brokerIP1 = 127.0.0.1, only local clients can connect",
            "namesrvAddr is not set: clients will not find this broker; set it, e.g. to 127.0.0.1:9876",
        ]
    );
}

#[test]
fn an_even_group_is_a_warning() {
    let text = "dLegerGroup=g\ndLegerPeers=n0-h:1;n1-h:2\ndLegerSelfId=n0\n";
    assert_eq!(warnings(text), ["dLegerPeers names 2 members: an odd number survives as many failures"]);
}

#[test]
fn a_printed_broker_configuration_resolves_to_itself() {
    let text = format!("{THREE}storePathRootDir = C:\\\\mq store\ndeleteWhen=4;16\nlistenPort=40000\n");
    let loaded = BrokerConfig::resolve(&input(&text)).unwrap();
    let printed = print(&loaded.config.entries(), &loaded.places);
    assert!(printed.starts_with("# from the file\n"), "{printed}");
    assert!(printed.contains("\ndeleteWhen=04;16\n"), "{printed}");
    assert!(printed.contains("storePathRootDir=C:\\\\mq store\n"), "{printed}");
    let mut bare = input(&printed);
    (bare.first_ipv4, bare.namesrv_addr, bare.home) = (None, None, None);
    assert_eq!(BrokerConfig::resolve(&bare).unwrap().config, loaded.config);
}

#[test]
fn nameserver_defaults_and_mistakes() {
    let config = NameServerConfig::resolve(&input("")).unwrap().config;
    assert_eq!((config.listen_port, config.scan_not_active_broker_interval), (9876, 10_000));
    assert_eq!(config.broker_channel_expired_time, 120_000);
    assert_eq!(config.kv_config_path, PathBuf::from("/home/mq/namesrv/kvConfig.json"));
    let said = |text: &str| NameServerConfig::resolve(&input(text)).unwrap_err().to_string();
    assert_eq!(said("listenPort=70000"), "broker.conf:1: listenPort = 70000: must be a whole number from 0 to 65535");
    assert_eq!(said("kvConfgPath=x"), "broker.conf:1: unknown key \"kvConfgPath\"; did you mean \"kvConfigPath\"?");
    let loaded = NameServerConfig::resolve(&input("supportActingMaster=true")).unwrap();
    assert_eq!(
        loaded.warnings[0].0,
        "broker.conf:1: supportActingMaster is a RocketMQ setting that QuoruMQ does not implement; it has no effect"
    );
}

#[test]
fn catch_up_is_paced_in_whole_mib_or_not_at_all() {
    assert_eq!(resolve("").timing().catch_up_bytes_per_second, 32 << 20);
    assert_eq!(resolve("catchUpBytesPerSecond=0").timing().catch_up_bytes_per_second, 0);
    let told = problems("catchUpBytesPerSecond=1000");
    assert!(told.contains("a whole number from 0 to 1099511627776, a multiple of 1048576"), "{told}");
}

/// Names that RocketMQ has are spelled as it does; this is the list of our own.
#[test]
fn settings_have_rocketmqs_names_and_the_rest_is_listed() {
    let own = |keys: &[Key], known: &BTreeSet<&str>| -> Vec<&str> {
        keys.iter().map(|key| key.name).filter(|name| !known.contains(name)).collect()
    };
    let broker: BTreeSet<_> = known_keys::broker().collect();
    assert!(broker.len() > 500, "{}", broker.len());
    assert_eq!(
        own(BrokerConfig::KEYS, &broker),
        [
            "vipChannelEnabled",
            "bootstrap",
            "join",
            "diskSpaceReserveBytes",
            "serverMaxConnections",
            "maxPendingBytes",
            "heartBeatTimeIntervalMs",
            "electionTimeoutMs",
            "syncStallMs",
            "catchUpBytesPerSecond",
            "scrubBytesPerSecond",
            "scrubInterval",
            "maxClockSkewMs"
        ]
    );
    let nameserver: BTreeSet<_> = known_keys::name_server().collect();
    assert_eq!(own(NameServerConfig::KEYS, &nameserver), ["brokerChannelExpiredTime", "serverMaxConnections"]);
}

#[test]
fn every_setting_has_help_and_a_flag_of_its_own() {
    for keys in [BrokerConfig::KEYS, NameServerConfig::KEYS] {
        let flags: BTreeSet<_> = keys.iter().map(|key| key.flag).collect();
        assert_eq!(flags.len(), keys.len());
        for key in keys {
            assert!(key.help.trim().ends_with('.'), "{}: {}", key.name, key.help);
            assert!(key.flag.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", key.flag);
        }
    }
}
