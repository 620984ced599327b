//! The configuration as written: every key that there is, with its place in the file.
//!
//! Nothing is checked here but that keys are known and values of the right type; what they mean is decided
//! where they are resolved.

use toml::Spanned;

use super::problem::Problem;
use super::reader::{FileSection, Here, Section, Word};
use crate::admin::secret::SecretText;

/// A value that may be absent, with its place.
pub(super) type Value<T> = Option<Spanned<T>>;

macro_rules! field {
    (leaf $type:ty) => { Value<$type> };
    (table $type:ty) => { Option<$type> };
    (tables $type:ty) => { Option<Vec<$type>> };
    (one_or_more $type:ty) => { Vec<$type> };
}

/// One line per key: its name, how often it may stand there, and its type.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident $(@$here:ident)? $title:literal {
        $($field:ident: $kind:ident<$type:ty>,)*
    })*) => {$(
        $(#[$doc])*
        pub(super) struct $name {
            $(
                /// Where it stands.
                pub(super) $here: Here,
            )?
            $(pub(super) $field: field!($kind $type),)*
        }

        impl FileSection for $name {
            const TITLE: &'static str = $title;
            fn read(section: &mut Section<'_>, problems: &mut Vec<Problem>) -> Self {
                Self {
                    $($field: section.$kind::<$type>(stringify!($field), problems),)*
                    $($here: section.here(),)?
                }
            }
        }
    )*};
}

sections! {
    /// The file.
    FileConfig "the file" {
        server: table<FileServer>,
        discovery: table<FileDiscovery>,
        backstore: tables<FileBackstore>,
        portal: tables<FilePortal>,
        loopback: tables<FileLoopback>,
        target: tables<FileTarget>,
    }

    /// The daemon itself.
    FileServer "[server]" {
        reactors: leaf<Word>,
        buffer_memory: leaf<Word>,
        poll_us: leaf<u32>,
        control_socket: leaf<String>,
        metrics: leaf<String>,
        recorder: leaf<u32>,
        state_dir: leaf<String>,
        drain_timeout: leaf<Word>,
        log: leaf<String>,
        limits: table<FileLimits>,
    }

    /// How much of a thing there may be.
    FileLimits "[server.limits]" {
        connections: leaf<u32>,
        pending_logins: leaf<u32>,
    }

    /// Who may ask which targets there are.
    FileDiscovery "[discovery]" {
        require_chap: leaf<bool>,
        chap: one_or_more<FileChap>,
        mutual_chap: table<FileChap>,
        chap_algorithms: leaf<Vec<Spanned<String>>>,
        show: leaf<String>,
    }

    /// An address of this host at which groups listen: its sockets, and where its visitors go.
    FilePortal @here "[[portal]]" {
        address: leaf<String>,
        dscp: leaf<Word>,
        pcp: leaf<u16>,
        keepalive: leaf<Word>,
        keepalive_interval: leaf<Word>,
        keepalive_probes: leaf<u16>,
        user_timeout: leaf<Word>,
        congestion: leaf<String>,
        zero_copy: leaf<bool>,
        redirect: table<FileRedirect>,
    }

    /// A backstore that is a disk of this host, too.
    FileLoopback @here "[[loopback]]" {
        backstore: leaf<String>,
        device: leaf<u32>,
        read_only: leaf<bool>,
    }

    /// Another address, to which initiators are sent.
    FileRedirect @here "{ to = \"…\", permanent = true }" {
        to: leaf<String>,
        permanent: leaf<bool>,
    }

    /// Storage.
    FileBackstore @here "[[backstore]]" {
        kind: leaf<String>,
        device_type: leaf<String>,
        name: leaf<String>,
        path: leaf<String>,
        size: leaf<Word>,
        block_size: leaf<Word>,
        io: leaf<String>,
        write_back: leaf<bool>,
        read_only: leaf<bool>,
        removable: leaf<bool>,
        thin: leaf<bool>,
        low_space: leaf<Word>,
        serial: leaf<String>,
        naa: leaf<String>,
        uuid: leaf<String>,
        vendor: leaf<String>,
        product: leaf<String>,
        revision: leaf<String>,
        t10: leaf<String>,
        alua: table<FileAlua>,
        qos: table<FileQos>,
    }

    /// How much a logical unit or an initiator may do in a second.
    FileQos "{ read_iops = …, write_iops = … }" {
        read_iops: leaf<u32>,
        write_iops: leaf<u32>,
        read_bandwidth: leaf<Word>,
        write_bandwidth: leaf<Word>,
        burst: leaf<Word>,
    }

    /// By which ports it is reached, and how well.
    FileAlua "[backstore.alua]" {
        implicit_transition_time: leaf<Word>,
        group: tables<FileGroup>,
    }

    /// A target port group.
    FileGroup @here "[[backstore.alua.group]]" {
        name: leaf<String>,
        id: leaf<u16>,
        access: leaf<String>,
        state: leaf<String>,
        supported_states: leaf<Vec<Spanned<String>>>,
        preferred: leaf<bool>,
    }

    /// A target.
    FileTarget @here "[[target]]" {
        iqn: leaf<String>,
        alias: leaf<String>,
        redirect: table<FileRedirect>,
        tpg: tables<FileTpg>,
    }

    /// A target portal group.
    FileTpg @here "[[target.tpg]]" {
        tag: leaf<u16>,
        relative_port: leaf<u16>,
        portals: leaf<Vec<Spanned<String>>>,
        any_initiator: leaf<bool>,
        from: leaf<Vec<Spanned<String>>>,
        require_chap: leaf<bool>,
        chap: one_or_more<FileChap>,
        mutual_chap: table<FileChap>,
        parameters: table<FileParameters>,
        lun: tables<FileLun>,
        acl: tables<FileAcl>,
    }

    /// What is negotiated, and the times.
    FileParameters "[target.tpg.parameters]" {
        header_digest: leaf<bool>,
        data_digest: leaf<bool>,
        require_digests: leaf<bool>,
        max_recv_data_segment_length: leaf<Word>,
        first_burst_length: leaf<Word>,
        max_burst_length: leaf<Word>,
        initial_r2t: leaf<bool>,
        immediate_data: leaf<bool>,
        max_outstanding_r2t: leaf<u16>,
        data_pdu_in_order: leaf<bool>,
        data_sequence_in_order: leaf<bool>,
        time2wait: leaf<Word>,
        time2retain: leaf<Word>,
        command_window: leaf<u32>,
        chap_algorithms: leaf<Vec<Spanned<String>>>,
        nop_interval: leaf<Word>,
        nop_timeout: leaf<Word>,
        login_timeout: leaf<Word>,
    }

    /// A logical unit of a group.
    FileLun @here "[[target.tpg.lun]]" {
        lun: leaf<u16>,
        backstore: leaf<String>,
        read_only: leaf<bool>,
        alua_group: leaf<String>,
    }

    /// An initiator that may log in.
    FileAcl @here "[[target.tpg.acl]]" {
        initiator: leaf<String>,
        from: leaf<Vec<Spanned<String>>>,
        chap: one_or_more<FileChap>,
        mutual_chap: table<FileChap>,
        mapped_lun: tables<FileMappedLun>,
        qos: table<FileQos>,
    }

    /// A logical unit as one initiator sees it.
    FileMappedLun @here "[[target.tpg.acl.mapped_lun]]" {
        lun: leaf<u16>,
        tpg_lun: leaf<u16>,
        read_only: leaf<bool>,
    }

    /// A name and its secret.
    FileChap @here "{ user = \"…\", secret = \"…\" }" {
        user: leaf<String>,
        secret: leaf<SecretText>,
        secret_file: leaf<String>,
        unfinished: leaf<bool>,
    }
}
