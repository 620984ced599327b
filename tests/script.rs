//! Conversations with a real daemon: each file of tests/scripts holds it to one rule, and is named after it.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/pdus.rs"]
mod pdus;
#[path = "support/script.rs"]
mod script;

macro_rules! rules {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            script::play(stringify!($name));
        })*

        const RULES: &[&str] = &[$(stringify!($name)),*];
    };
}

rules! {
    a_targets_pdu_is_rejected
    abort_of_a_task_beyond_the_window
    abort_of_a_task_further_on
    abort_of_a_task_not_sent
    abort_of_a_task_plugs_the_gap
    abort_of_a_task_that_waits_for_its_turn
    abort_of_a_task_to_come
    abort_of_no_task
    abort_task_in_the_middle_of_its_data
    abort_task_set
    abort_task_set_before_their_turn
    abort_task_that_waits_for_data
    another_isid_is_another_session
    another_pdu_before_login_closes
    another_pdu_during_login_closes
    bidirectional_command_is_refused
    buffer_offset_must_follow
    cmdsn_advances_expcmdsn
    cmdsn_beyond_the_window_is_ignored
    cmdsn_survives_the_wrap
    command_before_its_turn_waits
    command_that_is_unknown
    data_beyond_the_r2t_fails
    data_digest_error_behind_a_gap
    data_digest_error_of_a_command
    data_digest_error_of_a_command_asks_for_no_data
    data_digest_error_of_a_data_out
    data_digest_error_of_a_logout
    data_digest_error_of_a_numbered_ping
    data_digest_error_of_a_ping
    data_digest_error_of_a_task_management_request
    data_digest_error_of_a_text_request
    data_for_another_tag_is_dropped
    data_in_carries_the_status
    data_in_fits_the_initiator
    data_in_sequences_end_at_max_burst
    data_segment_beyond_the_limit_closes
    data_that_ends_early_fails
    datasn_must_follow
    direction_of_a_parameter_list_is_wrong
    direction_of_a_read_is_wrong
    direction_of_a_write_is_wrong
    direction_of_a_write_same_is_wrong
    direction_of_an_answer_is_wrong
    discovery_takes_no_commands
    duplicate_cmdsn_is_ignored
    duplicate_of_a_waiting_command_is_ignored
    first_command_sees_power_on
    half_a_pdu_and_then_nothing
    header_digest_error_closes
    immediate_commands_take_no_number
    immediate_data_must_be_negotiated
    log_sense_counts_commands
    login_after_login_closes
    login_answer_in_pieces
    login_answer_in_pieces_is_not_interrupted
    login_boolean_by_and
    login_boolean_by_or
    login_boolean_that_is_none
    login_by_a_name_that_is_none
    login_by_a_name_too_long
    login_by_a_newer_version
    login_by_an_authentication_nobody_has
    login_cid_changes
    login_comment_is_not_answered
    login_declaration_out_of_range
    login_declares_twice
    login_ends_only_with_the_t_bit
    login_for_error_recovery
    login_for_one_connection
    login_in_a_reserved_stage
    login_irrelevant_in_discovery
    login_isid_changes
    login_key_of_63_characters
    login_key_of_64_characters
    login_key_of_full_feature
    login_key_of_the_target
    login_key_twice
    login_keys_are_case_sensitive
    login_list_takes_the_first_that_will_do
    login_list_without_a_common_value
    login_markers_are_no_more
    login_names_the_portal_group
    login_names_the_portal_group_in_security
    login_needs_a_name
    login_needs_a_target
    login_negotiates_twice
    login_never_goes_back
    login_number_in_hexadecimal
    login_number_out_of_range
    login_number_that_is_none
    login_numbers_are_negotiated
    login_of_a_second_connection
    login_of_a_stranger
    login_of_an_unknown_session_type
    login_operational_key_in_security
    login_protocol_level
    login_security_key_in_operational
    login_security_then_operational
    login_straight_to_operational
    login_task_reporting
    login_text_in_pieces
    login_text_without_equals
    login_times
    login_to_a_session_that_is_not_there
    login_to_an_unknown_target
    login_transit_and_continue
    login_tsih_changes
    login_unknown_key
    logout_for_recovery
    logout_of_another_connection
    logout_of_the_connection
    logout_of_the_session
    logout_while_data_is_awaited
    lun_in_flat_addressing
    lun_reset_of_no_lun
    lun_reset_on_several_reactors
    lun_reset_raises_unit_attention
    lun_reset_without_task_aborted
    lun_that_is_not_there
    nop_echo_fits_the_initiator
    nop_is_echoed
    nop_without_tag_is_not_answered
    one_r2t_is_outstanding
    read_only_refuses_writes
    read_overflow
    read_overflow_into_half_a_block
    read_underflow
    read_without_room
    rejected_command_was_not_received
    report_luns_well_known_lun
    reservation_conflict
    reservation_conflict_on_several_reactors
    send_targets_by_name
    send_targets_of_a_stranger
    send_targets_of_another_in_a_normal_session
    session_reinstatement
    several_r2t_are_outstanding
    snack_is_rejected
    target_cold_reset
    target_warm_reset
    task_reassign_is_not_supported
    text_answer_in_pieces
    text_begins_anew
    text_of_a_key_twice
    text_of_a_login_key_is_refused
    text_of_a_normal_session
    text_of_an_unknown_key
    text_of_discovery
    text_redeclares_the_segment_length
    text_request_in_pieces
    text_that_is_none_is_rejected
    text_without_final_stays_open
    too_much_behind_a_gap_closes
    unknown_opcode_is_rejected
    unknown_task_management_is_not_supported
    unsolicited_data_beyond_first_burst_fails
    unsolicited_data_must_be_negotiated
    unsolicited_data_of_a_failed_command_passes
    write_before_its_turn_keeps_its_data
    write_buffer_echoes
    write_by_r2t
    write_immediate
    write_overflow
    write_underflow
    write_unsolicited
    write_unsolicited_then_r2t
}

#[test]
fn every_file_is_played() {
    assert_eq!(script::names(), RULES);
}
