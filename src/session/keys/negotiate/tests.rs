use proptest::prelude::*;

use super::*;
use crate::session::keys::{DIGEST_DEMANDED, DIGEST_NONE, LENGTH_MAX, Sender};

fn row(name: &str) -> &'static Row {
    lookup(name).unwrap().1
}

fn said(name: &str, offered: &str) -> String {
    said_in(name, offered, &Wishes::default(), &mut Negotiated::default())
}

fn said_in(name: &str, offered: &str, wishes: &Wishes, result: &mut Negotiated) -> String {
    respond(row(name), offered, wishes, result).unwrap().unwrap_or_default().into_owned()
}

#[test]
fn every_default_in_the_table_is_the_default_of_the_result() {
    let generous = Wishes {
        first_burst_length: LENGTH_MAX,
        max_burst_length: LENGTH_MAX,
        max_outstanding_r2t: 65535,
        max_connections: 65535,
        time2wait: 0,
        time2retain: 3600,
        error_recovery_level: 2,
        protocol_level: 31,
        ..Wishes::default()
    };
    for row in TABLE.iter() {
        let Some(default) = row.default.filter(|_| !matches!(row.rule, Rule::Obsolete(_))) else { continue };
        let mut result = Negotiated::default();
        respond(row, default, &generous, &mut result).unwrap();
        assert_eq!(result, Negotiated::default(), "{}", row.name);
    }
}

#[test]
fn table_names_are_distinct_and_sections_given() {
    for (index, row) in TABLE.iter().enumerate() {
        assert_eq!(lookup(row.name).unwrap().0, index);
        assert!(row.section.starts_with("12") || row.section.starts_with("13."), "{}", row.name);
    }
}

#[test]
fn numbers_by_min_and_max() {
    assert_eq!(said("MaxBurstLength", "16776192"), "16776192");
    assert_eq!(said("MaxBurstLength", "0xFFFFFF"), "16777215");
    assert_eq!(said("FirstBurstLength", "16777215"), "262144");
    assert_eq!(said("DefaultTime2Wait", "0"), "2");
    assert_eq!(said("DefaultTime2Retain", "20"), "0");
    assert_eq!(said("ErrorRecoveryLevel", "2"), "0");
    assert_eq!(said("MaxConnections", "8"), "1");
}

#[test]
fn values_that_make_no_sense_are_rejected_and_leave_the_default() {
    for value in
        ["", "511", "16777216", "-1", "+600", " 600", "600 ", "0x", "1e3", "99999999999999999999", "Yes"]
    {
        let mut result = Negotiated::default();
        assert_eq!(said_in("MaxBurstLength", value, &Wishes::default(), &mut result), "Reject", "{value:?}");
        assert_eq!(result, Negotiated::default());
    }
    assert_eq!(said("InitialR2T", "yes"), "Reject");
    assert_eq!(said("HeaderDigest", "MD5"), "Reject");
}

#[test]
fn flags_by_and_and_or() {
    assert_eq!((said("InitialR2T", "No"), said("InitialR2T", "Yes")), ("No".into(), "Yes".into()));
    assert_eq!((said("ImmediateData", "No"), said("ImmediateData", "Yes")), ("No".into(), "Yes".into()));
    assert_eq!(said("DataPDUInOrder", "No"), "Yes");
}

#[test]
fn lists_follow_the_initiators_order() {
    assert_eq!(said("HeaderDigest", "None,CRC32C"), "None");
    assert_eq!(said("HeaderDigest", "X,CRC32C,None"), "CRC32C");
    let refuses = Wishes { data_digest: DIGEST_NONE, ..Wishes::default() };
    assert_eq!(said_in("DataDigest", "CRC32C,None", &refuses, &mut Negotiated::default()), "None");
    assert_eq!(said("TaskReporting", "FastAbort,ResponseFence,RFC3720"), "FastAbort");
    assert_eq!(said("TaskReporting", "RFC3720,FastAbort"), "RFC3720");
}

#[test]
fn a_declaration_has_no_answer_but_must_be_legal() {
    let mut result = Negotiated::default();
    assert_eq!(said_in("MaxRecvDataSegmentLength", "65536", &Wishes::default(), &mut result), "");
    assert_eq!(result.max_xmit_data_segment_length, 65536);
    let illegal = respond(row("MaxRecvDataSegmentLength"), "100", &Wishes::default(), &mut result);
    assert_eq!(illegal, Err(KeyError::Illegal("MaxRecvDataSegmentLength")));
}

#[test]
fn discovery_finds_most_keys_irrelevant() {
    let mut result = Negotiated { session_type: SessionType::Discovery, ..Negotiated::default() };
    assert_eq!(said_in("MaxBurstLength", "512", &Wishes::default(), &mut result), "Irrelevant");
    assert_eq!(said_in("HeaderDigest", "CRC32C", &Wishes::default(), &mut result), "CRC32C");
}

#[test]
fn obsolete_keys_are_never_not_understood() {
    assert_eq!((said("IFMarker", "Yes"), said("OFMarkInt", "8192~16384")), ("No".into(), "Reject".into()));
}

#[test]
fn what_the_initiator_passes_over_is_offered_when_its_default_will_not_do() {
    let wishes = Wishes { immediate_data: false, max_burst_length: 65536, ..Wishes::default() };
    let mut negotiation = Negotiation::new(wishes, Negotiated::default());
    let mut out = TextWriter::new();
    negotiation.key("MaxBurstLength", "262144", &mut out).unwrap();
    assert!(negotiation.offer_missing(&mut out));
    assert!(!negotiation.offer_missing(&mut TextWriter::new()), "once");
    assert_eq!(out.into_bytes(), b"MaxBurstLength=65536\0ImmediateData=No\0");
    negotiation.key("ImmediateData", "No", &mut TextWriter::new()).unwrap();
    let result = negotiation.conclude().unwrap();
    assert!(!result.immediate_data && result.first_burst_length == 65536);
}

#[test]
fn an_answer_must_fit_the_offer() {
    let wishes = Wishes { immediate_data: false, ..Wishes::default() };
    let mut result = Negotiated::default();
    let mut judge = |name, answer| accept(row(name), answer, &wishes, &mut result);
    assert_eq!(judge("ImmediateData", "Yes"), Err(KeyError::NotOffered("ImmediateData")));
    assert_eq!(judge("ImmediateData", "Reject"), Err(KeyError::NoAgreement("ImmediateData")));
    assert_eq!(judge("FirstBurstLength", "262145"), Err(KeyError::NotOffered("FirstBurstLength")));
    assert_eq!(judge("FirstBurstLength", "512"), Ok(()));
    assert_eq!(judge("HeaderDigest", "NotUnderstood"), Ok(()));
    assert_eq!(judge("HeaderDigest", "MD5"), Err(KeyError::NotOffered("HeaderDigest")));
}

#[test]
fn demanded_digests_end_in_digests_or_in_nothing() {
    let wishes = Wishes { header_digest: DIGEST_DEMANDED, ..Wishes::default() };
    let silent = Negotiation::new(wishes.clone(), Negotiated::default());
    assert_eq!(silent.conclude(), Err(KeyError::NoAgreement("HeaderDigest")));
    let mut refusing = Negotiation::new(wishes, Negotiated::default());
    refusing.key("HeaderDigest", "None", &mut TextWriter::new()).unwrap();
    assert_eq!(refusing.conclude(), Err(KeyError::NoAgreement("HeaderDigest")));
}

fn any_wishes() -> impl Strategy<Value = Wishes> {
    let lengths = (512..=LENGTH_MAX, 512..=LENGTH_MAX, 512..=LENGTH_MAX);
    (lengths, any::<(bool, bool)>(), 1u16.., 0u16..=3600, 0u16..=3600).prop_map(
        |((segment, first, burst), (r2t, immediate), r2ts, wait, retain)| Wishes {
            max_recv_data_segment_length: segment,
            first_burst_length: first.min(burst),
            max_burst_length: burst,
            initial_r2t: r2t,
            immediate_data: immediate,
            max_outstanding_r2t: r2ts,
            time2wait: wait,
            time2retain: retain,
            ..Wishes::default()
        },
    )
}

proptest! {
    /// An initiator made of the same table and a target always agree, and hold the same result.
    #[test]
    fn both_sides_come_to_the_same(ours in any_wishes(), theirs in any_wishes()) {
        let mut target = Negotiation::new(ours.clone(), Negotiated::default());
        let mut initiator = Negotiated::default();
        for (name, offered) in offers(&theirs, SessionType::Normal) {
            let mut out = TextWriter::new();
            target.key(name, &offered, &mut out).unwrap();
            for pair in crate::wire::text::pairs(&out.into_bytes()) {
                accept(row(name), pair.unwrap().value, &theirs, &mut initiator).unwrap();
            }
        }
        target.declare(&mut TextWriter::new());
        prop_assert!(!target.offer_missing(&mut TextWriter::new()));
        let mut result = target.conclude().unwrap();
        initiator.max_recv_data_segment_length = theirs.max_recv_data_segment_length;
        initiator.max_xmit_data_segment_length = ours.max_recv_data_segment_length;
        prop_assert_eq!(result.max_recv_data_segment_length, initiator.max_xmit_data_segment_length);
        prop_assert_eq!(result.max_xmit_data_segment_length, initiator.max_recv_data_segment_length);
        std::mem::swap(&mut result.max_recv_data_segment_length, &mut result.max_xmit_data_segment_length);
        prop_assert_eq!(&result, &initiator);
        prop_assert!(result.first_burst_length <= result.max_burst_length);
        prop_assert!(result.max_burst_length <= ours.max_burst_length.min(theirs.max_burst_length));
    }

    #[test]
    fn no_value_breaks_a_rule(index in 0..TABLE.len(), value in "\\PC{0,40}") {
        let mut result = Negotiated::default();
        let _ = respond(&TABLE[index], &value, &Wishes::default(), &mut result);
        let _ = accept(&TABLE[index], &value, &Wishes::default(), &mut result);
        prop_assert!((512..=LENGTH_MAX).contains(&result.max_xmit_data_segment_length));
        prop_assert!((512..=LENGTH_MAX).contains(&result.max_burst_length));
        prop_assert!(TABLE[index].sender == Sender::Target || result.max_outstanding_r2t >= 1);
    }
}

#[test]
fn a_rejected_offer_does_not_bring_in_a_default_that_is_not_wanted() {
    let wishes = Wishes { immediate_data: false, ..Wishes::default() };
    let mut negotiation = Negotiation::new(wishes, Negotiated::default());
    let mut out = TextWriter::new();
    negotiation.key("ImmediateData", "maybe", &mut out).unwrap();
    assert_eq!(out.into_bytes(), b"ImmediateData=Reject\0");
    assert!(!negotiation.offer_missing(&mut TextWriter::new()));
    assert_eq!(negotiation.conclude(), Err(KeyError::NoAgreement("ImmediateData")));
}

#[test]
fn what_comes_unasked_never_needs_more_than_a_slot() {
    let params = crate::target::TpgParams { first_burst_length: LENGTH_MAX, ..Default::default() };
    assert_eq!(Wishes::from(&params).first_burst_length, crate::session::SEGMENT);
}
