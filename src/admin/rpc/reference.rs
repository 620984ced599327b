//! What can be asked of the control socket, in words. The manual page ringtgt-rpc(7) is made of it.

/// A method.
#[derive(Debug)]
pub struct Method {
    /// How it is called.
    pub name: &'static str,
    /// Its parameters; those with a question mark may be left out.
    pub params: &'static str,
    /// What it does, and what its result is.
    pub what: &'static str,
}

const fn method(name: &'static str, params: &'static str, what: &'static str) -> Method {
    Method { name, params, what }
}

/// What the socket is, in paragraphs.
pub const ABOUT: [&str; 4] = [
    "The control socket is how programs on this machine ask ringtgt's daemon, and change what it serves; ringtgt's own \
     commands go through it. It is a Unix stream socket, mode 0600, where only root and the user that the daemon runs as are \
     listened to. It is /run/ringtgt/control.sock, or control.sock in the state directory where that is not the service's, unless \
     server.control_socket or --control-socket say otherwise.",
    "A request is one JSON object (JSON-RPC 2.0) in one line of at most 130 MiB; its answer is one line, too. One without id gets \
     none. A batch, a list of at most 100 requests in one line, is done one after the other, and not as one change: the line of \
     its answer is the list of theirs. Answers come in the order of the requests of a connection. 16 connections are served at a time, \
     and one that says nothing for 30 seconds is closed: whoever asks seldom connects anew.",
    "Parameters with a question mark may be left out. Where several reactors are asked who is logged in, whom to drop, or what \
     their last PDUs were, one that does not answer in time is left out; only figures are told by all reactors or not at all.",
    "The text of a configuration is TOML, as in a file, comments and all; its relative paths start at dir, by default where the \
     file is that is served. name is what messages call it. What is changed so lasts until the next change, reload or start: \
     whoever wants it to stay writes the file.",
];

/// A request, and its answer.
pub const EXAMPLE: [&str; 2] = [
    r#"{"jsonrpc":"2.0","id":1,"method":"sessions.kick","params":{"initiator":"iqn.2026-11.org.example:i1"}}"#,
    r#"{"jsonrpc":"2.0","id":1,"result":{"sessions":1}}"#,
];

/// All that can be asked.
pub const METHODS: [Method; 18] = [
    method(
        "version",
        "",
        "name, version, pid, api: 1, as long as what is here stays as it is; and revision: another text after every change of \
         what is served, and every start.",
    ),
    method(
        "config.get",
        "",
        "toml: what is served, as text; file: the file that is served, or null; dir: where relative paths in it start, or null \
         if that is where the file is; state_dir: where identities and reservations are kept, or null; revision: as version \
         has it.",
    ),
    method("config.plan", "toml, name?, dir?", "What that would change: see PLANS."),
    method(
        "config.apply",
        "toml, name?, dir?, plan?, base?",
        "The same, done; revision: of what is served then. With plan only if it still is that one, with base only if that still is \
         the text that is served.",
    ),
    method(
        "config.edit",
        "revision, begin, end, toml, name?, dir?",
        "The same with toml in the place of the bytes begin to end of what is served, if revision is still that of it.",
    ),
    method("config.reload", "", "The same for the file that is served, as SIGHUP does it."),
    method(
        "sessions.list",
        "",
        "sessions: who is logged in, what was agreed on, how many commands are open, may be (window), and were at most \
         (deepest; queues: by LUN), and how many bytes a packet to the initiator carries (segment). refused: the names of the \
         last 32 initiators that were refused, the latest first.",
    ),
    method(
        "sessions.kick",
        "initiator?, target?, portal?, tsih?: at least one",
        "sessions: how many were dropped at once.",
    ),
    method(
        "sessions.drain",
        "initiator?, target?, portal?, tsih?: at least one; deadline?: seconds, 10 by default, 3600 at most; to?",
        "sessions: how many are asked to log out, and dropped then. With to, and of these a target or a portal and nothing else, \
         those who have come in at to already stay; until the deadline whoever logs in elsewhere is answered Target moved temporarily (RFC 7143 \
         section 11.13.5), with to as TargetAddress. Deadline 0 ends that, and asks nobody; who has been asked before goes all \
         the same. was_sent_on: whether these logins were sent elsewhere until now.",
    ),
    method(
        "sessions.renegotiate",
        "as of sessions.drain, without to",
        "sessions: how many are asked to negotiate anew what may be in a session under way: MaxRecvDataSegmentLength.",
    ),
    method(
        "alua.get",
        "",
        "groups: of each target port group backstore, group, and the state that it is in now, whoever has put it there.",
    ),
    method(
        "alua.set",
        "backstore, group, state: as ringtgt.toml(5) calls them",
        "Nothing, when it holds everywhere. Where a reactor takes too long that is an error, and it may happen yet: alua.get \
         tells.",
    ),
    method(
        "loopback.list",
        "",
        "loopbacks: of each local disk backstore, device: its path, or null as long as it is not there, and then why.",
    ),
    method(
        "backstores.list",
        "names?: only these",
        "backstores: of each name, and why it is not ready (it is held by others, too short, absent), or null when it is; as \
         initiators see it: serial, naa and uuid, its names (null of a device that is passed through), and, when it is ready, \
         block_size, bytes, write_back and read_only.",
    ),
    method(
        "backstores.forget",
        "name, serial?: one that was chosen for it",
        "Nothing, when what is kept of a backstore that was deleted is forgotten: the names that initiators knew it by, and what \
         they had reserved of it. One that is called so later is another disk.",
    ),
    method("counters", "", "reactors and backstores."),
    method(
        "stats.get",
        "buckets?: whether distributions are told whole; backstores?: names; sessions?: numbers, as tsih",
        "stats: 1, now_ns, reactors, backstores, sessions: see STATISTICS.",
    ),
    method(
        "recorder.dump",
        "",
        "pcap: the headers of the last PDUs of all reactors as a file for Wireshark, in base64; pdus: how many.",
    ),
];

/// What a plan is, in paragraphs.
pub const PLANS: [&str; 2] = [
    "A plan has changes, in the order of the configuration: action (add, change or remove), path, as the shell has it, and detail; \
     sessions, those that feel it: initiator, target, tsih, and effect (luns: it sees other LUNs; logged_out: it is asked to log out, \
     and then dropped); and next_start, sentences on what takes effect at the next start only.",
    "It may have warnings: what is to be known of it, and when it has been carried out, what has gone wrong when there was no way \
     back.",
];

/// What `stats.get` tells, in paragraphs.
pub const STATISTICS: [&str; 4] = [
    "stats.get tells what has been counted since the start of what it is about; who asks twice has rates, by now_ns. stats is another \
     number when something of it means something else; things are added without that. All backstores are there, with why as \
     backstores.list has it and size, the bytes that initiators see, or null where that is not known, and a session is while \
     it is logged in. Both have read and write, with ops, bytes and failed of the commands that \
     were answered, and other with ops and failed of those that move no data of the medium.",
    "times has the lengths of time of these commands. A command is queued while it waits for its task set, slots, or a fence; at \
     data while it waits for data of the initiator; at the disk; and sending from its answer until that has left. total is all \
     of it, from its header to the end of its answer: sum_ns of it by the time between two answers is the mean depth of the \
     queue. A phase counts those commands that it has taken a time of which the clock can tell, that is read once a turn.",
    "A distribution has count, sum_ns, and quantiles (p50_ns, p99_ns, p999_ns: null without any), right to a tenth; with buckets \
     also the pairs [number, count] of buckets that are not empty, which begin where bucket_begins_ns says. Buckets are told of \
     the 128 backstores and of the 128 sessions that have done most in the last ten to twenty seconds, and of all: what has \
     been done with all backstores together. With backstores or sessions only those are told of that are named so, at most 128 \
     of each, and buckets of all of them, however little they do.",
    "When a reactor does not answer in time there is no answer but an error: figures without its share would be less than they \
     were before.",
];

/// Codes of errors, what they say, and what their `data` has.
pub const ERRORS: [(&str, &str, &str); 6] = [
    ("-32700 to -32600", "of JSON-RPC", ""),
    (
        "1",
        "the configuration is wrong",
        "report: all that is wrong, with file, line, column, what, reason, remedy, severity of each in problems",
    ),
    (
        "2",
        "it is right, but cannot be had; of a configuration nothing has changed then, but for what is said",
        "of stores, sizes and addresses that cannot be had: report, the same of all of them; of a plan of \
         sizes only, for the rest shows when it is tried, and plan: what it would have been",
    ),
    ("3", "the plan is another one now", "the plan"),
    ("4", "there are too many connections", ""),
    (
        "5",
        "what is served is another text than base now, or has another revision",
        "of config.apply the plan",
    ),
];
