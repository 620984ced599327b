//! `ringtgt bench` against real daemons: what it measures, what it notices, and how it ends.

#[path = "support/daemon.rs"]
mod daemon;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use daemon::{Daemon, TARGET};

/// `ringtgt bench` of a daemon's LUN, for a moment.
fn bench(daemon: &Daemon, lun: u16, arguments: &[&str]) -> Output {
    command(&format!("iscsi://{}/{TARGET}/{lun}", daemon.portal()), arguments).output().expect("it runs")
}

fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(["bench", url, "--warm", "0.05"]).args(arguments).stdin(Stdio::null());
    if !arguments.contains(&"--secs") {
        command.args(["--secs", "0.2"]);
    }
    command
}

/// The JSON of a run that went well.
fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).expect("JSON")
}

/// What a run that failed says.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_sweep_is_measured_and_drawn() {
    let daemon = Daemon::serve(&["null:64M"]);
    let dir = tempfile::tempdir().unwrap();
    let (file, page) = (dir.path().join("r.json"), dir.path().join("r.html"));
    let pid = daemon.child.id().to_string();
    let output = bench(
        &daemon,
        0,
        &[
            "--bs",
            "4k,64k",
            "--qd",
            "1,8",
            "--sessions",
            "3",
            "--threads",
            "2",
            "--rw",
            "randrw",
            "--pid",
            &pid,
            "--json",
            file.to_str().unwrap(),
            "--plot",
            page.to_str().unwrap(),
        ],
    );
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(table.lines().count(), 2 + 2 * 4, "reads and writes of four steps: {table}");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let runs = json["runs"].as_array().unwrap();
    let steps: Vec<_> = runs.iter().map(|r| (r["bs"].as_u64().unwrap(), r["qd"].as_u64().unwrap())).collect();
    assert_eq!(steps, [(4096, 1), (4096, 8), (65536, 1), (65536, 8)]);
    for run in runs {
        let (reads, writes) = (run["read"]["ios"].as_u64().unwrap(), run["write"]["ios"].as_u64().unwrap());
        assert!(reads > writes && writes > 0, "70 of 100 are reads: {run}");
        assert!(run["server_cpu_us_per_io"].as_f64().unwrap() > 0.0 && run["retries"] == 0, "{run}");
    }
    assert!(std::fs::read_to_string(page).unwrap().contains("</svg>"));
}

/// I/Os of a run, also those that ended after it: how many a busy machine does in time is not judged here.
fn ended(run: &serde_json::Value, way: &str) -> u64 {
    ["ios", "late"].iter().filter_map(|which| run[way][which].as_u64()).sum()
}

#[test]
fn digests_r2t_and_large_transfers_bring_the_right_data() {
    let daemon = Daemon::serve(&["ram:64M"]);
    for extra in [&["--digests", "header,data"][..], &["--no-immediate"], &[]] {
        let checked =
            ["--verify", "--rw", "randrw", "--bs", "4k,1M", "--qd", "4", "--sessions", "2", "--json", "-"];
        let found = json(&bench(&daemon, 0, &[&checked[..], extra].concat()));
        for run in found["runs"].as_array().unwrap() {
            let ended = ended(run, "read") + ended(run, "write");
            assert!(run["blocks_verified"].as_u64().unwrap() > 0 && ended > 0, "{run}");
        }
        // What is not checked goes another way through the initiator.
        let plain = ["--rw", "rw", "--bs", "4k,1M", "--qd", "4", "--json", "-"];
        let found = json(&bench(&daemon, 0, &[&plain[..], extra].concat()));
        assert!(found["runs"].as_array().unwrap().iter().all(|run| ended(run, "write") > 0), "{found}");
    }
    let written = bench(
        &daemon,
        0,
        &["--verify", "--rw", "write", "--bs", "64k", "--span", "1M", "--qd", "2", "--json", "-"],
    );
    json(&written);
    let read = bench(
        &daemon,
        0,
        &["--verify", "--rw", "randread", "--bs", "4k", "--span", "1M", "--qd", "2", "--json", "-"],
    );
    assert!(json(&read)["runs"][0]["blocks_verified"].as_u64().unwrap() > 0, "what an earlier run has left");
}

#[test]
fn a_store_that_lies_is_found_out() {
    let daemon = Daemon::serve(&["null:64M"]);
    let said = complaint(&bench(&daemon, 0, &["--verify", "--rw", "randwrite"]));
    assert!(
        said.contains("wrong data at LBA") && said.contains("expected") && said.contains("got"),
        "{said}"
    );
    assert!(said.contains("zeroes"), "{said}");
    let said = complaint(&bench(&daemon, 0, &["--verify", "--rw", "read"]));
    assert!(said.contains("wrong data at LBA"), "{said}");
}

#[test]
fn the_pace_is_kept() {
    let daemon = Daemon::serve(&["null:64M"]);
    let run = |rate: &str| {
        let output = bench(&daemon, 0, &["--rate", rate, "--secs", "0.5", "--sessions", "2", "--json", "-"]);
        json(&output)["runs"][0]["iops"].as_f64().unwrap()
    };
    let iops = run("2000");
    assert!((1000.0..=2100.0).contains(&iops), "{iops}");
}

#[test]
fn secrets_come_from_a_file_or_the_environment_too_and_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "correct horse battery\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let secret = secret.to_str().unwrap();
    let daemon = Daemon::serve(&["null:64M", "--chap-user", "joe", "--chap-secret-file", secret]);
    let url = |user: &str| format!("iscsi://{user}@{}/{TARGET}/0", daemon.portal());
    let plain = |url: &str| command(url, &["--json", "-"]);
    json(&command(&url("joe"), &["--secret-file", secret, "--json", "-"]).output().unwrap());
    json(&plain(&url("joe")).env("RINGTGT_BENCH_SECRET", "correct horse battery").output().unwrap());
    let output = plain(&url("joe%correct horse battery")).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("horse"));
    json(&output);
    let said = complaint(&plain(&url("joe")).env_remove("RINGTGT_BENCH_SECRET").output().unwrap());
    assert!(said.contains("--secret-file"), "{said}");
    let said = complaint(&plain(&url("joe%wrong horse battery!")).output().unwrap());
    assert!(said.contains("refused") && !said.contains("horse"), "{said}");
}

#[test]
fn a_server_that_dies_ends_it_with_the_reason() {
    let mut daemon = Daemon::serve(&["null:64M"]);
    let mut command =
        command(&format!("iscsi://{}/{TARGET}/0", daemon.portal()), &["--secs", "60", "--sessions", "4"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    daemon.child.kill().unwrap();
    let killed = Instant::now();
    let said = complaint(&child.wait_with_output().unwrap());
    assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
    assert!(said.contains("target"), "{said}");
}

#[test]
fn what_cannot_be_is_said() {
    let daemon = Daemon::serve(&["null:64M", "null:64T"]);
    for (lun, arguments, word) in [
        (
            5,
            &[][..],
            "there is no LUN 5 for this initiator at iqn.2026-11.org.example:target: there are 0-1\n",
        ),
        (0, &["--luns", "3"][..], "there is no LUN 2 for"),
        (0, &["--bs", "128M"][..], "16M"),
        (0, &["--bs", "1M", "--span", "512"], "room"),
        (0, &["--verify", "--span", "64k", "--qd", "32"], "places"),
        (0, &["--pid", "4294967294"], "--pid"),
        (0, &["--cpus", "4095"], "processor"),
        (1, &["--verify", "--span", "64T"], "memory"),
        (1, &["--verify", "--bs", "16M", "--qd", "1024", "--sessions", "512", "--span", "64T"], "memory"),
    ] {
        let output = bench(&daemon, lun, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(word), "{arguments:?}: {said}");
    }
    let gone = command(&format!("iscsi://127.0.0.1:1/{TARGET}/0"), &[]).output().unwrap();
    assert!(complaint(&gone).contains("127.0.0.1:1"));
}

/// Sends a signal by its name.
fn signal(daemon: &Daemon, name: &str) {
    let done = Command::new("kill").args([name, &daemon.child.id().to_string()]).status();
    assert!(done.unwrap().success());
}

#[test]
fn what_a_stopped_server_holds_up_counts_also_beyond_the_end() {
    let daemon = Daemon::serve(&["null:64M"]);
    let url = format!("iscsi://{}/{TARGET}/0", daemon.portal());
    let mut command = command(&url, &["--rate", "500", "--secs", "3", "--qd", "4", "--json", "-"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    signal(&daemon, "-STOP");
    // It is stopped when the time is over, and for a while after.
    std::thread::sleep(Duration::from_millis(2500));
    signal(&daemon, "-CONT");
    let run = &json(&child.wait_with_output().unwrap())["runs"][0]["read"];
    let at = |name: &str| run["latency_us"]["percentiles"][name].as_f64().unwrap();
    let (done, late) = (run["ios"].as_u64().unwrap(), run["late"].as_u64().unwrap());
    assert!((1450..=1550).contains(&(done + late)) && late > 300, "all that was due is there: {run}");
    assert!(at("p99") > 1e6 && at("p90") > 5e5, "the last of them waited for more than a second: {run}");
    // What had begun took until it went on.
    assert!(run["latency_us"]["max"].as_f64().unwrap() > 2e6, "{run}");
}

#[test]
fn a_sweep_needs_no_more_memory_than_its_largest_step() {
    let daemon = Daemon::serve(&["null:64M"]);
    let url = format!("iscsi://{}/{TARGET}/0", daemon.portal());
    let depths = ["1"; 16].join(",");
    let mut command = command(&url, &["--bs", "16M", "--qd", &depths, "--rw", "write", "--secs", "0.1"]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        most = most.max(kib.unwrap_or(0_u64));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(child.wait().unwrap().success());
    assert!((16 << 10..128 << 10).contains(&most), "{most} KiB for a pattern of 16 MiB");
}

#[test]
fn what_was_agreed_is_told_and_not_what_was_asked() {
    let daemon = Daemon::of(&format!(
        "[[backstore]]\nkind = \"null\"\nname = \"n\"\nsize = \"64M\"\n[[target]]\niqn = \"{TARGET}\"\n\
         [[target.tpg]]\ntag = 1\nportals = [\"127.0.0.1:0\"]\nany_initiator = true\n\
         [target.tpg.parameters]\nimmediate_data = false\nmax_burst_length = 65536\nfirst_burst_length = 32768\n\
         [[target.tpg.lun]]\nlun = 0\nbackstore = \"n\"\n"
    ));
    let found = json(&bench(&daemon, 0, &["--rw", "randwrite", "--bs", "128k", "--json", "-"]));
    assert_eq!(found["immediate_data"], false);
    assert_eq!((&found["max_burst_bytes"], &found["first_burst_bytes"]), (&65536.into(), &32768.into()));
    assert!(found["header_digest"] == false && found["max_data_out_bytes"].as_u64() > Some(8191), "{found}");
}

/// Bytes read, written, copied, and copied to and from ramdisks, as a daemon's log has them last.
fn bytes_moved(log: &std::path::Path) -> Option<[u64; 4]> {
    let text = std::fs::read_to_string(log).unwrap();
    let line = text.lines().rfind(|line| line.contains("bytes read"))?;
    let words: Vec<&str> = line.split_once("bytes read ")?.1.split_whitespace().collect();
    let number = |at: usize| words.get(at)?.trim_start_matches('(').parse().ok();
    Some([number(0)?, number(2)?, number(4)?, number(5)?])
}

#[test]
fn every_byte_that_is_copied_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringtgt"));
    command.args(["serve", "--log", "info", "--listen", "127.0.0.1:0", "--iqn", TARGET, "--reactors", "1"]);
    command.arg("--state-dir").arg(dir.path().join("state")).args(["null:64M", "ram:64M"]);
    let daemon = Daemon::start({
        command.stderr(std::fs::File::create(&log).unwrap());
        command
    });
    let mut before = [0; 4];
    let mut spent = |lun: u16, arguments: &[&str]| {
        let told = std::fs::read_to_string(&log).unwrap().matches("bytes read").count();
        json(&bench(&daemon, lun, &[arguments, &["--bs", "64k", "--qd", "4", "--json", "-"]].concat()));
        signal(&daemon, "-USR1");
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(&log).unwrap().matches("bytes read").count() == told {
            assert!(Instant::now() < deadline, "it does not tell");
            std::thread::sleep(Duration::from_millis(10));
        }
        let now = bytes_moved(&log).expect("the counters");
        let spent: [u64; 4] = std::array::from_fn(|n| now[n] - before[n]);
        before = now;
        spent
    };
    let [read, written, copied, of_ram] = spent(0, &["--rw", "read"]);
    assert!(read > 0 && (written, copied, of_ram) == (0, 0, 0), "a read copies nothing: {read} {copied}");
    let [_, written, copied, of_ram] = spent(0, &["--rw", "write"]);
    // A PDU begins in staging of 16 KiB.
    assert!(written > 0 && copied <= written / 4 && of_ram == 0, "{copied} of {written}");
    let [_, written, copied, of_ram] = spent(1, &["--rw", "write"]);
    assert!(of_ram == written && copied - of_ram <= written / 4, "{of_ram} and {copied} of {written}");
    let [read, _, copied, of_ram] = spent(1, &["--rw", "read"]);
    assert!(read > 0 && (copied, of_ram) == (0, 0), "memory leaves from where it is: {copied} of {read}");
    // What a digest covers must not change under it.
    let [read, _, copied, of_ram] = spent(1, &["--rw", "read", "--digests", "data"]);
    // What was read beside it is the answer to READ CAPACITY.
    assert!(copied == of_ram && read > 1024 && read - of_ram < 1024, "{copied} of {read}");
}
