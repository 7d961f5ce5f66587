//! 33.

use quorumq_store::record::{Draft, FIXED_LEN};

use crate::rig::{Client, Message, Rig, from, messages, refusal};

async fn view(client: &mut Client, at: u64) -> quorumq::protocol::command::Command {
    let at = at.to_string();
    client.ask(33, &[("offset", &at)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_by_its_physical_offset_with_its_queue_offset_set() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    let mut at = Vec::new();
    // Enough for several segments: the first are read from their files.
    for i in 0..60 {
        at.push(client.produce(i % 2, "", &format!("{i}:{}", "x".repeat(4000))).await);
    }
    let pulled: Vec<Message> = messages(&client.pull(from(0)).await.body);
    for i in [0, 1, 30, 59] {
        let answer = view(&mut client, at[i]).await;
        assert_eq!((answer.code, &answer.remark, answer.ext.len()), (0, &None, 0));
        let viewed = messages(&answer.body);
        assert_eq!((viewed.len(), viewed[0].queue_offset), (1, i as u64 / 2));
        assert_eq!(viewed[0].physical_offset, at[i]);
        assert!(viewed[0].body.starts_with(&format!("{i}:")));
    }
    assert_eq!(messages(&view(&mut client, at[2]).await.body)[0], pulled[1], "the same bytes as a pull's");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_at_which_no_message_begins_is_not_found() {
    let rig = Rig::start(1).await;
    let mut client = rig.client().await;
    // A body that looks like a message of the same queue.
    let host = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 1);
    let mut inner = bytes::BytesMut::new();
    let forged = Draft {
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        born_host: host,
        store_timestamp_ms: 0,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"forged",
        topic: "t",
        properties: b"",
    };
    forged.encode(&mut inner);
    let ext = [
        ("a", "p"),
        ("b", "t"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", ""),
    ];
    let opaque = client.send(310, &ext, &inner, 0).await;
    let sent = client.answer(opaque).await;
    let at = u64::from_str_radix(&sent.ext.get("msgId").unwrap()[16..], 16).unwrap();
    assert_eq!(view(&mut client, at).await.code, 0);
    let body_at = at + FIXED_LEN as u64 - 3;
    for (what, offset) in [
        ("inside the message", at + 1),
        ("at the message in its body", body_at),
        ("at the frame", at - 48),
        ("at the log's start", 0),
        ("behind the log", at + 100_000),
        ("at the end of numbers", i64::MAX as u64),
    ] {
        let answer = view(&mut client, offset).await;
        let remark = format!("can not find message by the offset, {offset}");
        assert_eq!(refusal(&answer), (1, remark.as_str()), "{what}");
    }
    let negative = client.ask(33, &[("offset", "-1")]).await;
    assert_eq!(refusal(&negative), (1, "can not find message by the offset, -1"));
    rig.stop().await;
}
