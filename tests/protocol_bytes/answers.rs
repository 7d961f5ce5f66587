//! Answers written out by hand, in the ways the servers write them.

use bytes::{Bytes, BytesMut};
use quorumq::protocol::code::response;
use quorumq::protocol::command::{Command, Encoding};
use quorumq::protocol::ext::ExtFields;
use quorumq::protocol::frame::{self, Head};
use quorumq::protocol::header::kv::KvConfigResponse;
use quorumq::protocol::header::offset::{OffsetResponse, StoreTimeResponse};
use quorumq::protocol::header::pull::PullMessageResponse;
use quorumq::protocol::header::registration::{QueryDataVersionResponse, RegisterBrokerResponse};
use quorumq::protocol::header::send::SendMessageResponse;

use crate::hand::{bytes, json_frame, round_trip};

/// A request with opaque 7.
fn request(encoding: Encoding) -> Command {
    Command { opaque: 7, ..Command::request(encoding, 310, ExtFields::default(), Bytes::new()) }
}

#[test]
fn the_answer_to_a_send() {
    let want = SendMessageResponse {
        msg_id: "7F000001000078BF0000000000000030",
        queue_id: 1,
        queue_offset: 42,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
        msg_region: Some("DefaultRegion"),
        trace_on: Some(true),
    };
    let binary = bytes(
        "00000094 01000090 0000 00 0199 00000007 00000001 00000000 0000007b
         0005 'msgId' 00000020 '7F000001000078BF0000000000000030' 0007 'queueId' 00000001 '1'
         000b 'queueOffset' 00000002 '42' 000a 'MSG_REGION' 0000000d 'DefaultRegion' 0008 'TRACE_ON' 00000004 'true'",
    );
    let json = json_frame(
        r#"{"code":0,"extFields":{"msgId":"7F000001000078BF0000000000000030","queueId":"1","queueOffset":"42","MSG_REGION":"DefaultRegion","TRACE_ON":"true"},"flag":1,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":409}"#,
        b"",
    );
    for (encoding, expected) in [(Encoding::Binary, binary), (Encoding::Json, json)] {
        let received = round_trip(&expected);
        assert_eq!(SendMessageResponse::decode(&received), Ok(want));
        assert_eq!(received, request(encoding).reply(response::SUCCESS, None).with_ext(want.encode()));
        let mut out = BytesMut::new();
        frame::encode_parts(&Head::reply(encoding, 7, response::SUCCESS), want.fields(), b"", &mut out);
        assert_eq!(out, expected);
    }
}

#[test]
fn the_answer_to_a_pull_takes_its_body_in_parts() {
    let want = PullMessageResponse {
        suggest_which_broker_id: 0,
        next_begin_offset: 44,
        min_offset: 0,
        max_offset: 50,
        offset_delta: None,
        topic_sys_flag: None,
        group_sys_flag: None,
        forbidden_type: None,
    };
    let binary = bytes(
        "00000077 0100006d 0000 00 0199 00000007 00000001 00000005 'FOUND' 00000053
         0014 'suggestWhichBrokerId' 00000001 '0' 000f 'nextBeginOffset' 00000002 '44' 0009 'minOffset' 00000001 '0'
         0009 'maxOffset' 00000002 '50' 'record'",
    );
    let json = json_frame(
        r#"{"code":0,"extFields":{"suggestWhichBrokerId":"0","nextBeginOffset":"44","minOffset":"0","maxOffset":"50"},"flag":1,"language":"JAVA","opaque":7,"remark":"FOUND","serializeTypeCurrentRPC":"JSON","version":409}"#,
        b"record",
    );
    for (encoding, expected) in [(Encoding::Binary, binary), (Encoding::Json, json)] {
        let received = round_trip(&expected);
        assert_eq!(PullMessageResponse::decode(&received), Ok(want));
        assert_eq!(received.remark.as_deref(), Some("FOUND"));
        let mut out = BytesMut::from(&b"the frame before"[..]);
        let head = Head::reply(encoding, 7, response::SUCCESS).with_remark("FOUND");
        frame::encode_parts_head(&head, want.fields(), 6, &mut out);
        out.extend_from_slice(b"rec");
        out.extend_from_slice(b"ord");
        assert_eq!(&out[16..], &expected[..]);
        let command = request(encoding).reply(response::SUCCESS, Some("FOUND".to_owned())).with_ext(want.encode());
        let mut out = BytesMut::new();
        frame::encode_head(&command, 6, &mut out);
        assert_eq!(&out[..], &expected[..expected.len() - 6]);
    }
}

#[test]
fn an_answer_that_is_only_a_code_and_a_remark() {
    let binary = bytes(
        "0000003b 01000037 0003 00 0199 00000007 00000001 00000022 ' request type 9999 not supported^\"' 00000000",
    );
    let json = json_frame(
        r#"{"code":3,"extFields":{},"flag":1,"language":"JAVA","opaque":7,"remark":" request type 9999 not supported\u0001\"","serializeTypeCurrentRPC":"JSON","version":409}"#,
        b"",
    );
    for (encoding, expected) in [(Encoding::Binary, binary), (Encoding::Json, json)] {
        let remark = " request type 9999 not supported\x01\"";
        let reply = request(encoding).reply(response::REQUEST_CODE_NOT_SUPPORTED, Some(remark.to_owned()));
        assert_eq!(round_trip(&expected), reply);
    }
}

#[test]
fn the_small_answers() {
    let offset = round_trip(&bytes(
        "00000028 01000024 0000 00 0199 00000007 00000001 00000000 0000000f 0006 'offset' 00000003 '-12'",
    ));
    assert_eq!(OffsetResponse::decode(&offset), Ok(OffsetResponse { offset: -12 }));
    assert_eq!(OffsetResponse { offset: -12 }.encode(), offset.ext);

    let time = round_trip(&bytes(
        "00000035 01000031 0000 00 0199 00000007 00000001 00000000 0000001c
         0009 'timestamp' 0000000d '1795147487720'",
    ));
    assert_eq!(StoreTimeResponse::decode(&time), Ok(StoreTimeResponse { timestamp: 1_795_147_487_720 }));

    let changed = round_trip(&bytes(
        "0000002a 01000026 0000 00 0199 00000007 00000001 00000000 00000011 0007 'changed' 00000004 'true'",
    ));
    assert_eq!(QueryDataVersionResponse::decode(&changed), Ok(QueryDataVersionResponse { changed: true }));

    let value = round_trip(&bytes(
        "00000025 01000021 0000 00 0199 00000007 00000001 00000000 0000000c 0005 'value' 00000001 'v'",
    ));
    assert_eq!(KvConfigResponse::decode(&value), Ok(KvConfigResponse { value: Some("v") }));

    let registered = round_trip(&bytes(
        "00000051 0100004d 0000 00 0199 00000007 00000001 00000000 00000038
         000c 'haServerAddr' 00000000 000a 'masterAddr' 0000000f '127.0.0.1:10911'
         0001 'x' 00000000",
    ));
    let want = RegisterBrokerResponse { ha_server_addr: Some(""), master_addr: Some("127.0.0.1:10911") };
    assert_eq!(RegisterBrokerResponse::decode(&registered), Ok(want));
}
