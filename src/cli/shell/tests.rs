//! The language, as it is typed and answered.

use std::path::{Path, PathBuf};

use super::backend::Backend;
use super::complete::complete;
use super::*;

/// A configuration in memory.
#[derive(Default)]
struct Memory {
    text: String,
}

impl Backend for Memory {
    fn file(&self) -> &Path {
        Path::new("/etc/ringtgt/ringtgt.toml")
    }

    fn load(&mut self, _kept: &mut Kept) -> Result<String, String> {
        Ok(self.text.clone())
    }

    fn taken(&mut self) {}

    fn edited(&mut self, _text: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    fn save(&mut self, text: &str, elsewhere: Option<&Path>, _backups: usize) -> Result<PathBuf, String> {
        text.clone_into(&mut self.text);
        Ok(elsewhere.unwrap_or_else(|| self.file()).to_owned())
    }
}

fn look(path: &Path) -> Seen {
    match path.to_str() {
        Some("/dev/nvme1n1") => Seen::Block { size: Some(10 << 30), write_back: false },
        Some("/dev/sdb") => Seen::Block { size: Some(1 << 40), write_back: true },
        Some("/dev/sg1") => Seen::Other,
        Some("/srv/disk.img") => Seen::File { size: 1 << 30 },
        _ => Seen::Absent,
    }
}

pub(super) fn shell(width: usize) -> Shell {
    shell_over(Box::new(Memory::default()), width)
}

pub(super) fn shell_over(backend: Box<dyn Backend>, width: usize) -> Shell {
    let host = Host {
        look,
        block_devices: || vec!["/dev/nvme1n1".into(), "/dev/sdb".into()],
        addresses: || vec!["192.0.2.7".into(), "fe80::1%eth0".into()],
        name: || "disks".into(),
    };
    let style = Style { width, colour: false };
    Shell::open(backend, host, Prefs::default(), style).unwrap()
}

/// What a line prints.
fn typed(shell: &mut Shell, line: &str) -> String {
    let done = shell.line(line);
    let said = std::mem::take(&mut shell.said);
    assert!(done.is_ok(), "{line}: {done:?}\n{said}");
    said
}

fn refused(shell: &mut Shell, line: &str) -> String {
    let before = shell.doc.text();
    let told = shell.line(line).expect_err(line);
    assert_eq!(shell.doc.text(), before, "{line}");
    shell.said.clear();
    told
}

const TARGET: &str = "/iscsi/iqn.2023-03.sample.ec2:sample";

fn sample() -> Shell {
    let mut shell = shell(93);
    for line in [
        "/backstores/block create name=sample-bs dev=/dev/nvme1n1",
        "/iscsi create iqn.2023-03.sample.ec2:sample",
        "/iscsi/iqn.2023-03.sample.ec2:sample/tpg1/luns create /backstores/block/sample-bs",
        "/iscsi/iqn.2023-03.sample.ec2:sample/tpg1/acls create iqn.2023-03.sample.ec2:sample-initiator",
    ] {
        typed(&mut shell, line);
    }
    shell
}

/// The story of an administrator, typed as it is by users of targetcli; what it prints is theirs too, but for our own
/// paths and for what is said of secrets.
#[test]
fn the_walkthrough() {
    let mut narrow = shell(75);
    assert_eq!(typed(&mut narrow, "ls"), include_str!("walkthrough/empty.txt"));
    let mut shell = shell(93);
    let acl = format!("{TARGET}/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator");
    for (line, expected) in [
        (
            "/backstores/block create name=sample-bs dev=/dev/nvme1n1",
            "Created block storage object sample-bs using /dev/nvme1n1.\n",
        ),
        (
            "/iscsi create iqn.2023-03.sample.ec2:sample",
            "Created target iqn.2023-03.sample.ec2:sample.\nCreated TPG 1.\nGlobal pref auto_add_default_portal=true\n\
             Created default portal listening on all IPs (0.0.0.0), port 3260.\n",
        ),
        (&format!("{TARGET}/tpg1/luns create /backstores/block/sample-bs"), "Created LUN 0.\n"),
        (
            &format!("{TARGET}/tpg1/acls create iqn.2023-03.sample.ec2:sample-initiator"),
            "Created Node ACL for iqn.2023-03.sample.ec2:sample-initiator\nCreated mapped LUN 0.\n",
        ),
        ("ls", include_str!("walkthrough/whole.txt")),
        (&format!("{acl} set auth userid=sample-user"), "Parameter userid is now 'sample-user'.\n"),
    ] {
        assert_eq!(typed(&mut shell, line), expected, "{line}");
    }
    let said = typed(&mut shell, &format!("{acl} set auth password=supersecret"));
    assert!(
        said.starts_with("Parameter password is now set.\nWarning: the secret has fewer than 12"),
        "{said}"
    );
    assert!(!said.contains("supersecret"));
    assert_eq!(typed(&mut shell, "saveconfig"), "Configuration saved to /etc/ringtgt/ringtgt.toml\n");
    assert_eq!(shell.line("exit"), Ok(Next::Exit));
    shell.finish().unwrap();
    assert_eq!(
        shell.said,
        "Global pref auto_save_on_exit=true\nLast 10 configs saved in /etc/ringtgt/backup/.\n\
         Configuration saved to /etc/ringtgt/ringtgt.toml\n"
    );
}

#[test]
fn the_tree_tells_who_must_prove_himself() {
    let mut shell = sample();
    let acls = format!("{TARGET}/tpg1/acls");
    let lines = |shell: &mut Shell| typed(shell, &format!("ls {TARGET}/tpg1 2"));
    assert!(lines(&mut shell).contains("[no-gen-acls, no-auth]"));
    typed(&mut shell, &format!("{acls}/iqn.2023-03.sample.ec2:sample-initiator set auth userid=u"));
    let tree = lines(&mut shell);
    assert!(
        tree.contains("[no-gen-acls, auth per-acl]") && tree.contains("[1-way auth, Mapped LUNs: 1]"),
        "{tree}"
    );
    typed(&mut shell, &format!("{acls} create iqn.2023-03.sample.ec2:other"));
    assert!(lines(&mut shell).contains("[no-auth, Mapped LUNs: 1]"));
    typed(&mut shell, &format!("{TARGET}/tpg1 set auth userid=g password=0123456789ab"));
    let tree = lines(&mut shell);
    assert!(
        tree.contains("[no-gen-acls, tpg-auth]") && tree.contains("[auth via tpg, Mapped LUNs: 1]"),
        "{tree}"
    );
    let acl = format!("{acls}/iqn.2023-03.sample.ec2:sample-initiator");
    typed(
        &mut shell,
        &format!("{acl} set auth password=correcthorsebattery mutual_userid=t mutual_password=ba9876543210"),
    );
    assert!(lines(&mut shell).contains("[mutual auth, Mapped LUNs: 1]"));
}

#[test]
fn secrets_are_never_shown() {
    let mut shell = sample();
    typed(&mut shell, &format!("cd {TARGET}/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator"));
    let mut said = String::new();
    for line in [
        "set auth userid=u password=QQQQQQQQQQQQ",
        "get auth",
        "get auth password",
        "info",
        "ls /",
        "set auth",
    ] {
        said += &typed(&mut shell, line);
    }
    assert!(said.contains("password=********\n") && said.contains("userid=u\n"), "{said}");
    said += &refused(&mut shell, "set auth mutual_userid=t mutual_password=QQQQQQQQQQQQ");
    assert!(said.contains("same secret") && !said.contains("QQQ"), "{said}");
    assert_eq!(typed(&mut shell, "set auth password="), "Parameter password is now unset.\n");
}

#[test]
fn every_kind_of_backstore() {
    let mut shell = shell(80);
    for (line, expected) in [
        ("/backstores/fileio create a /srv/disk.img", "Created fileio a with size 1073741824.\n"),
        (
            "/backstores/fileio create b /srv/new.img 1G write_back=false sparse=false",
            "Created fileio b with size 1G.\n",
        ),
        ("/backstores/ramdisk create c size=16M", "Created ramdisk c with size 16M.\n"),
        ("/backstores/null create d 1T", "Created null d with size 1T.\n"),
        (
            "/backstores/ramdisk create gb 10MB",
            "Created ramdisk gb with size 10M.\n10MB is taken for 10M: units are powers of 1024, as they are for targetcli.\n",
        ),
        ("/backstores/pscsi create e /dev/sg1", "Created pscsi storage object e using /dev/sg1.\n"),
        (
            "/backstores/block create f /dev/sdb readonly=true wwn=F-1",
            "Created block storage object f using /dev/sdb.\n",
        ),
    ] {
        assert_eq!(typed(&mut shell, line), expected, "{line}");
    }
    let tree = typed(&mut shell, "ls /backstores");
    for row in [
        "[/srv/disk.img (1.0GiB) write-back deactivated]",
        "[/srv/new.img (1.0GiB) write-thru deactivated]",
        "[(16.0MiB) deactivated]",
        "o- null ",
        "[(1.0TiB) deactivated]",
        "[/dev/sg1 deactivated]",
        "[/dev/sdb (1.0TiB) write-back ro deactivated]",
    ] {
        assert!(tree.contains(row), "{row}: {tree}");
    }
    assert_eq!(tree.matches("o- alua").count(), 6, "a device that is passed through has none");
    assert_eq!(typed(&mut shell, "/backstores/block/f get attribute serial"), "serial=F-1\n");
    let said = refused(&mut shell, "/backstores/block delete f forget=true");
    assert!(said.contains("no daemon is asked") && said.ends_with("/identity/f.json"), "{said}");
    let said = typed(&mut shell, "/backstores/block delete f");
    let kept =
        "What initiators know it by and have reserved is kept for the next backstore f; to forget it: rm /";
    assert!(said.starts_with(&format!("Deleted storage object f.\n{kept}")), "{said}");
}

#[test]
fn an_absent_device_stays() {
    let text = "[[backstore]]\nkind = \"block\"\nname = \"gone\"\npath = \"/dev/gone\"\n";
    let host = Host { look, block_devices: Vec::new, addresses: Vec::new, name: String::new };
    let memory = Memory { text: text.into() };
    let style = Style { width: 80, colour: false };
    let mut shell = Shell::open(Box::new(memory), host, Prefs::default(), style).unwrap();
    assert!(typed(&mut shell, "ls").contains("[/dev/gone (absent) write-thru deactivated]"));
    typed(&mut shell, "/backstores/ramdisk create r 1M");
    typed(&mut shell, "saveconfig");
    assert!(shell.backend.load(&mut Kept::default()).unwrap().starts_with(text));
}

#[test]
fn luns_and_maps_follow_the_preferences() {
    let mut shell = sample();
    let tpg = format!("{TARGET}/tpg1");
    typed(&mut shell, "/backstores/ramdisk create r 1M");
    typed(&mut shell, "/backstores/ramdisk create s 1M");
    let said = typed(&mut shell, &format!("{tpg}/luns create ramdisk/r lun5"));
    assert_eq!(
        said,
        "Created LUN 5.\nCreated LUN 5->5 mapping in node ACL iqn.2023-03.sample.ec2:sample-initiator\n"
    );
    assert_eq!(
        typed(&mut shell, "set global auto_add_mapped_luns=no"),
        "Parameter auto_add_mapped_luns is now 'false'.\n"
    );
    assert_eq!(typed(&mut shell, &format!("{tpg}/luns create s")), "Created LUN 1.\n");
    let acl = format!("{tpg}/acls/iqn.2023-03.sample.ec2:sample-initiator");
    let seen = typed(&mut shell, &format!("ls {acl}"));
    assert!(seen.contains("[Mapped LUNs: 2]") && !seen.contains("ramdisk/s"), "{seen}");
    assert_eq!(
        typed(&mut shell, &format!("{acl} create 7 ramdisk/s write_protect=1")),
        "Created Mapped LUN 7.\n"
    );
    assert!(typed(&mut shell, &format!("ls {acl}")).contains("mapped_lun7 "));
    assert!(typed(&mut shell, &format!("ls {acl}")).contains("[lun1 ramdisk/s (ro)]"));
    assert_eq!(typed(&mut shell, &format!("{acl} delete 7")), "Deleted Mapped LUN 7.\n");
    let said = typed(&mut shell, &format!("{tpg}/acls create iqn.2023-03.sample.ec2:second"));
    assert_eq!(said, "Created Node ACL for iqn.2023-03.sample.ec2:second\n");
    typed(&mut shell, "/backstores/null create n 1G");
    let said =
        typed(&mut shell, &format!("{tpg}/acls/iqn.2023-03.sample.ec2:second create 0 /backstores/null/n"));
    assert_eq!(said, "Created LUN 2.\nCreated Mapped LUN 0.\n");
    assert_eq!(typed(&mut shell, &format!("{tpg}/luns delete 0")), "Deleted LUN 0.\n");
    let said = typed(&mut shell, "/backstores/ramdisk delete r");
    let gone = "Deleted LUN 5 of iqn.2023-03.sample.ec2:sample/tpg1.\nDeleted storage object r.\n";
    assert!(said.starts_with(gone), "{said}");
    assert!(typed(&mut shell, &format!("ls {acl}")).contains("[Mapped LUNs: 0]"));
}

#[test]
fn groups_and_portals() {
    let mut shell = sample();
    assert_eq!(
        typed(&mut shell, &format!("{TARGET} create")),
        "Created TPG 2.\n",
        "the default portal is taken"
    );
    let portals = format!("{TARGET}/tpg2/portals");
    let said = typed(&mut shell, &format!("{portals} create 192.0.2.7 3261"));
    assert_eq!(said, "Created network portal 192.0.2.7:3261.\n");
    let said = typed(&mut shell, &format!("{portals} create ip_port=3262"));
    assert_eq!(said, "Binding to INADDR_ANY (0.0.0.0)\nCreated network portal 0.0.0.0:3262.\n");
    let said = typed(&mut shell, &format!("{TARGET}/tpg1/portals create ::1"));
    assert_eq!(said, "Using default IP port 3260\nCreated network portal [::1]:3260.\n");
    assert!(
        refused(&mut shell, &format!("{portals} create 192.0.2.9 3260"))
            .contains("covered by 0.0.0.0:3260 of group 1")
    );
    assert!(refused(&mut shell, &format!("{portals} create nowhere")).contains("not an address"));
    assert_eq!(
        typed(&mut shell, &format!("{portals} delete 192.0.2.7 3261")),
        "Deleted network portal 192.0.2.7:3261\n"
    );
    assert_eq!(
        typed(&mut shell, &format!("{portals} delete 0.0.0.0:3262")),
        "Deleted network portal 0.0.0.0:3262\n"
    );
    assert_eq!(typed(&mut shell, &format!("{TARGET} delete tpg2")), "Deleted TPG 2.\n");
    assert_eq!(
        typed(&mut shell, "/iscsi create"),
        "Created target iqn.2026-11.org.ringtgt:disks.\nCreated TPG 1.\nGlobal pref auto_add_default_portal=true\nCreated default portal listening on all IPs (0.0.0.0), port 3260.\n"
    );
    assert!(typed(&mut shell, "/iscsi create").contains("target iqn.2026-11.org.ringtgt:disks.2."));
    assert_eq!(
        typed(&mut shell, "/iscsi delete iqn.2026-11.org.ringtgt:disks"),
        "Deleted Target iqn.2026-11.org.ringtgt:disks.\n"
    );
}

#[test]
fn settings_by_their_names() {
    let mut shell = sample();
    typed(&mut shell, &format!("cd {TARGET}/tpg1"));
    for (line, expected) in [
        (
            "set parameter ImmediateData=No MaxBurstLength=65536",
            "Parameter ImmediateData is now 'No'.\nParameter MaxBurstLength is now '65536'.\n",
        ),
        ("get parameter immediatedata maxburstlength", "ImmediateData=No\nMaxBurstLength=65536\n"),
        ("get parameter FirstBurstLength", "FirstBurstLength=65536\n"),
        ("set parameter DataDigest=None", "Parameter DataDigest is now 'None'.\n"),
        ("get parameter HeaderDigest DataDigest", "HeaderDigest=CRC32C,None\nDataDigest=None\n"),
        ("set attribute authentication=0", "Parameter authentication is now '0'.\n"),
        ("set parameter ErrorRecoveryLevel=0", "Parameter ErrorRecoveryLevel is now '0'.\n"),
        ("set attribute default_cmdsn_depth=64", "Parameter default_cmdsn_depth is now '64'.\n"),
        ("get attribute generate_node_acls", "generate_node_acls=0\n"),
        ("set", "Groups here: attribute, auth, parameter, global\n"),
        ("get global auto_save_on_exit", "auto_save_on_exit=true\n"),
        ("luns/lun0 set attribute read_only=1", "Parameter read_only is now '1'.\n"),
        ("luns/lun0 get attribute", "alua_tg_pt_gp_name=default_tg_pt_gp\nread_only=1\n"),
        (
            "/iscsi set discovery_auth userid=d password=0123456789ab",
            "Parameter userid is now 'd'.\nParameter password is now set.\n",
        ),
        ("/iscsi get discovery_auth enable", "enable=1\n"),
        (".. set attribute alias='our disks'", "Parameter alias is now 'our disks'.\n"),
        (
            "/backstores/block/sample-bs set attribute emulate_write_cache=1",
            "Parameter emulate_write_cache is now '1'.\n",
        ),
    ] {
        assert_eq!(typed(&mut shell, line), expected, "{line}");
    }
    for (line, told) in [
        (
            "set parameter MaxBurst=1",
            "there is no parameter MaxBurst in this group; did you mean \"MaxBurstLength\"?",
        ),
        ("set parm MaxBurstLength=1", "there is no group parm here; "),
        ("set parameter MaxBurstLength=1", "512"),
        ("set parameter MaxBurstLength", "has no value"),
        ("set auth password=two words", "a word has no value"),
        ("/iscsi set discovery_auth password=two words", "a word has no value"),
        ("set MaxBurstLength=1", "the group of MaxBurstLength is missing"),
        ("set attribute generate_node_acls=1", "any_initiator"),
        ("set attribute generate_node_acls=maybe", "neither true nor false"),
        ("set parameter MaxConnections=4", "use several sessions"),
        ("set global auto_save=1", "did you mean \"auto_save_on_exit\"?"),
        ("get auth userid=1", "is for `set`"),
        ("set auth mutual_userid=a mutual_password=b", "mutual_chap stands here without chap"),
    ] {
        let said = refused(&mut shell, line);
        assert!(said.contains(told), "{line}: {said}");
    }
}

#[test]
fn a_digest_is_demanded_of_headers_and_data_or_of_neither() {
    let mut shell = sample();
    typed(&mut shell, &format!("cd {TARGET}/tpg1"));
    let held = |shell: &Shell| {
        let params = &shell.config.targets[0].tpgs[0].params;
        (params.header_digest, params.data_digest, params.require_digests)
    };
    let get = "get parameter HeaderDigest DataDigest";
    for line in ["DataDigest=CRC32C", "HeaderDigest=CRC32C", "HeaderDigest=CRC32C DataDigest=CRC32C,None"] {
        let said = refused(&mut shell, &format!("set parameter {line}"));
        assert!(said.contains("demanded of headers and data, or of neither"), "{line}: {said}");
    }
    typed(&mut shell, "set parameter HeaderDigest=CRC32C DataDigest=crc32c");
    assert_eq!(held(&shell), (true, true, true));
    assert_eq!(typed(&mut shell, get), "HeaderDigest=CRC32C\nDataDigest=CRC32C\n");
    typed(&mut shell, "set parameter DataDigest=CRC32C");
    for line in ["DataDigest=None", "DataDigest=CRC32C,None", "HeaderDigest="] {
        let said = refused(&mut shell, &format!("set parameter {line}"));
        assert!(said.contains("in one line"), "{line}: {said}");
    }
    assert_eq!(typed(&mut shell, get), "HeaderDigest=CRC32C\nDataDigest=CRC32C\n");
    typed(&mut shell, "set parameter HeaderDigest=None,CRC32C DataDigest=None");
    assert_eq!(held(&shell), (true, false, false));
    assert_eq!(typed(&mut shell, get), "HeaderDigest=CRC32C,None\nDataDigest=None\n");
}

/// LIO says so of every file by itself; whoever means it says so by the name that it has here.
#[test]
fn a_file_is_not_allocated_whole_because_lio_lets_nobody_unmap() {
    let mut shell = shell(80);
    typed(&mut shell, "/backstores/fileio create a /srv/disk.img");
    typed(&mut shell, "/backstores/block create b /dev/sdb");
    for name in ["emulate_tpu", "emulate_tpws"] {
        let said = typed(&mut shell, &format!("/backstores/fileio/a set attribute {name}=0"));
        assert!(said.starts_with(&format!("Parameter {name} makes no difference: ")), "{said}");
        assert!(said.contains("thin = false forbids it, and allocates the file whole"), "{said}");
    }
    assert!(!shell.doc.text().contains("thin"), "{}", shell.doc.text());
    for (line, told, written) in [
        ("fileio/a set attribute emulate_tpu=1", "Parameter emulate_tpu is now '1'.\n", "thin = true"),
        ("fileio/a set attribute thin=0", "Parameter thin is now '0'.\n", "thin = false"),
        ("fileio/a set attribute emulate_tpu=0", "Parameter emulate_tpu is now '0'.\n", "thin = false"),
        ("fileio/a get attribute thin emulate_tpws", "thin=0\nemulate_tpws=0\n", "thin = false"),
        ("fileio/a set attribute thin=", "Parameter thin is now ''.\n", ""),
        ("block/b set attribute emulate_tpu=0", "Parameter emulate_tpu is now '0'.\n", "thin = false"),
    ] {
        assert_eq!(typed(&mut shell, &format!("/backstores/{line}")), told, "{line}");
        assert!(shell.doc.text().contains(written), "{line}: {}", shell.doc.text());
    }
}

/// The line that opens a group to everybody, as it is copied from page to page.
#[test]
fn what_is_the_same_for_all_may_be_said_and_not_changed() {
    let mut shell = sample();
    let line =
        "set attribute authentication=0 demo_mode_write_protect=0 generate_node_acls=1 cache_dynamic_acls=1";
    typed(&mut shell, &format!("cd {TARGET}/tpg1"));
    let said = refused(&mut shell, line);
    assert!(said.contains("0.0.0.0:3260 would let anybody in") && said.contains("127.0.0.1"), "{said}");
    typed(&mut shell, "portals delete 0.0.0.0 3260");
    typed(&mut shell, "portals create 127.0.0.1");
    assert_eq!(
        typed(&mut shell, line),
        "Parameter authentication is now '0'.\nParameter demo_mode_write_protect is now '0'.\n\
         Parameter generate_node_acls is now '1'.\n\
         Parameter cache_dynamic_acls makes no difference: initiators without an ACL leave nothing behind here.\n"
    );
    assert!(shell.doc.text().contains("any_initiator = true") && shell.config.targets[0].tpgs[0].open);
    for (line, told) in [
        (
            "set attribute default_erl=0 t10_pi=no",
            "Parameter default_erl is now '0'.\nParameter t10_pi is now 'no'.\n",
        ),
        ("set parameter IFMarker=no", "Parameter IFMarker is now 'no'.\n"),
        ("get attribute fabric_prot_type", "fabric_prot_type=0\n"),
        ("/backstores/block/sample-bs set attribute emulate_caw=1", "Parameter emulate_caw is now '1'.\n"),
        ("enable", "The TPGT is already enabled.\n"),
    ] {
        assert_eq!(typed(&mut shell, line), told, "{line}");
    }
    for (line, told) in [
        ("set attribute demo_mode_write_protect=1", "may write; `set attribute read_only=1` at a LUN"),
        (
            "set attribute default_erl=2",
            "default_erl: error recovery level 0 is all that is offered here; it is 0 here",
        ),
        ("set attribute default_cmdsn_depth=64 prod_mode_write_protect=1", "each mapped LUN says"),
        ("disable", "delete its portals"),
        ("/iscsi enable", "nothing can be enabled here"),
    ] {
        let said = refused(&mut shell, line);
        assert!(said.contains(told), "{line}: {said}");
    }
    typed(&mut shell, "set auth userid=u password=0123456789ab");
    let said = refused(&mut shell, line);
    assert!(said.contains("it stays 1 until `set auth"), "{said}");
}

/// The lines that guides begin with, before they give anybody a password.
#[test]
fn credentials_are_demanded_before_there_are_any() {
    let mut shell = sample();
    let initiator = "iqn.2023-03.sample.ec2:sample-initiator";
    let asked = |shell: &Shell, initiator: &str| {
        let auth = shell.config.targets[0].tpgs[0].access(initiator).unwrap().auth.clone();
        (auth.required(), auth.chap.iter().any(|c| c.is_whole()))
    };
    typed(&mut shell, &format!("cd {TARGET}/tpg1"));
    let said = typed(&mut shell, "set attribute authentication=1");
    assert!(
        said.starts_with("Parameter authentication is now '1'.\nWarning: credentials are demanded"),
        "{said}"
    );
    assert_eq!(asked(&shell, initiator), (true, false), "nobody gets in in between");
    let tree = typed(&mut shell, "ls");
    assert!(
        tree.contains("[no-gen-acls, tpg-auth]") && tree.contains("[no credentials, Mapped LUNs: 1]"),
        "{tree}"
    );
    assert!(typed(&mut shell, "saveconfig").contains("Warning: credentials are demanded"));
    typed(&mut shell, &format!("acls/{initiator} set auth userid=u password=0123456789ab"));
    assert_eq!(asked(&shell, initiator), (true, true));
    assert!(typed(&mut shell, "ls").contains("[1-way auth, Mapped LUNs: 1]"));
    assert!(!typed(&mut shell, "saveconfig").contains("Warning"));
    typed(&mut shell, "acls create iqn.2023-03.sample.ec2:other");
    assert_eq!(asked(&shell, "iqn.2023-03.sample.ec2:other"), (true, false));
    typed(&mut shell, &format!("acls/{initiator} set auth userid= password="));
    assert_eq!(asked(&shell, initiator), (true, false), "what was demanded stays demanded");
    assert_eq!(typed(&mut shell, "set attribute authentication=0"), "Parameter authentication is now '0'.\n");
    assert_eq!(asked(&shell, initiator), (false, false));
    assert!(!shell.doc.text().contains("require_chap"), "{}", shell.doc.text());
    typed(&mut shell, "set attribute authentication=1 generate_node_acls=1");
    assert!(refused(&mut shell, "set attribute authentication=0").contains("would let anybody in"));
    typed(&mut shell, "set auth userid=u password=0123456789ab");
    assert_eq!(asked(&shell, "iqn.2023-03.sample.ec2:stranger"), (true, true));
}

#[test]
fn what_was_demanded_of_everybody_is_taken_back() {
    let mut shell = sample();
    let asked = |shell: &Shell, name: &str| {
        let initiator = format!("iqn.2023-03.sample.ec2:{name}");
        shell.config.targets[0].tpgs[0].access(&initiator).unwrap().auth.required()
    };
    typed(&mut shell, &format!("cd {TARGET}/tpg1"));
    typed(&mut shell, "acls create iqn.2023-03.sample.ec2:other");
    typed(&mut shell, "set attribute authentication=1");
    typed(&mut shell, "acls/iqn.2023-03.sample.ec2:other set auth userid=u password=0123456789ab");
    assert!(asked(&shell, "sample-initiator") && asked(&shell, "other"));
    let said = typed(&mut shell, "set attribute authentication=0");
    assert!(said.contains("others of this group are let in without any"), "{said}");
    assert!(!asked(&shell, "sample-initiator") && asked(&shell, "other"));
    // What was never said cannot be taken back.
    let said = refused(&mut shell, "set attribute authentication=0");
    assert!(said.contains("`set auth userid= password=` has taken them out there"), "{said}");
    // Nor do credentials of the group go with it.
    typed(&mut shell, "set auth userid=g password=ba9876543210");
    typed(&mut shell, "set attribute authentication=1");
    let said = typed(&mut shell, "set attribute authentication=0");
    assert!(said.contains("The credentials of this group are still asked for"), "{said}");
    assert!(asked(&shell, "sample-initiator"));
    typed(&mut shell, "set auth userid= password=");
    assert!(!asked(&shell, "sample-initiator") && asked(&shell, "other"));
}

#[test]
fn each_door_without_credentials_is_told_of_by_its_name() {
    let mut shell = sample();
    typed(&mut shell, &format!("{TARGET} create 2"));
    typed(&mut shell, &format!("{TARGET}/tpg2/acls create iqn.2023-03.sample.ec2:sample-initiator"));
    let iqn = TARGET.rsplit('/').next().unwrap();
    let whose = [1, 2].map(|tag| format!("none are set: group {tag} of {iqn};"));
    for (tag, whose) in (1..).zip(&whose) {
        let said = typed(&mut shell, &format!("{TARGET}/tpg{tag} set attribute authentication=1"));
        assert!(said.contains(whose) && said.matches("Warning").count() == 1, "{said}");
    }
    let said = typed(&mut shell, "/iscsi set discovery_auth enable=1");
    assert!(said.contains("none are set: discovery;"), "{said}");
    let said = typed(&mut shell, "saveconfig");
    assert!(whose.iter().all(|whose| said.contains(whose)) && said.contains(": discovery;"), "{said}");
}

#[test]
fn whoever_asks_for_targets_proves_himself() {
    let mut shell = sample();
    let asked = |shell: &Shell| {
        let auth = &shell.config.discovery.auth;
        (auth.required(), auth.chap.iter().any(|c| c.is_whole()))
    };
    typed(&mut shell, "cd /iscsi");
    let said = typed(&mut shell, "set discovery_auth enable=1 userid=u password=0123456789ab");
    assert_eq!(
        said,
        "Parameter enable is now '1'.\nParameter userid is now 'u'.\nParameter password is now set.\n"
    );
    assert_eq!(asked(&shell), (true, true));
    for line in ["enable=0", "enable=0 userid=v password=0123456789ab", "enable=no userid="] {
        let said = refused(&mut shell, &format!("set discovery_auth {line}"));
        assert!(said.contains("enable: credentials are demanded wherever they are set"), "{line}: {said}");
        assert!(said.contains("`set discovery_auth enable=0 userid= password=`"), "{line}: {said}");
    }
    typed(&mut shell, "set discovery_auth enable=0 userid= password=");
    assert_eq!(
        (asked(&shell), typed(&mut shell, "get discovery_auth enable").as_str()),
        ((false, false), "enable=0\n")
    );
    let said = typed(&mut shell, "set discovery_auth enable=1");
    assert!(said.contains("Warning: credentials are demanded here, and none are set"), "{said}");
    assert_eq!(
        (asked(&shell), typed(&mut shell, "get discovery_auth enable").as_str()),
        ((true, false), "enable=1\n")
    );
    typed(&mut shell, "set discovery_auth userid=u password=0123456789ab");
    assert_eq!(asked(&shell), (true, true));
}

#[test]
fn a_portal_at_an_address_of_another_machine_is_warned_of() {
    let mut shell = sample();
    for (address, told) in
        [("192.0.2.7", false), ("192.0.2.9", true), ("127.0.0.1:3262", false), ("[2001:db8::1]:3260", true)]
    {
        let said = typed(&mut shell, &format!("{TARGET}/tpg1/portals create {address}"));
        assert_eq!(said.contains("Warning: this machine has no address"), told, "{said}");
    }
}

#[test]
fn the_alias_of_a_target_is_set_at_a_group_too() {
    let mut shell = sample();
    let said =
        typed(&mut shell, &format!("{TARGET}/tpg1 set parameter TargetAlias=disks AuthMethod=CHAP,None"));
    assert!(
        said.contains("TargetAlias is now 'disks'") && said.contains("AuthMethod makes no difference: "),
        "{said}"
    );
    assert_eq!(typed(&mut shell, &format!("{TARGET} get attribute alias")), "alias=disks\n");
}

/// They do nothing here, and no script stops at them.
#[test]
fn what_only_lio_has_is_answered_with_the_reason() {
    let mut shell = sample();
    let acl = format!("{TARGET}/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator");
    let group = "/backstores/block/sample-bs/alua/default_tg_pt_gp";
    for (line, told) in [
        (
            "/backstores/block/sample-bs set attribute emulate_model_alias=1",
            "emulate_model_alias makes no difference: the model",
        ),
        (
            "/backstores/block/sample-bs set attribute max_unmap_lba_count=8192",
            "max_unmap_lba_count makes no difference: the device",
        ),
        (
            "/backstores/block/sample-bs set attribute is_nonrot=1",
            "is_nonrot makes no difference: the device",
        ),
        (
            "/backstores/block/sample-bs set attribute queue_depth=256",
            "queue_depth makes no difference: default_cmdsn_depth",
        ),
        (
            &format!("{acl} set attribute nopin_timeout=5 nopin_response_timeout=5"),
            "nopin_timeout makes no difference: it is one",
        ),
        (
            &format!("{acl} set parameter MaxBurstLength=65536"),
            "MaxBurstLength makes no difference: it is one for all",
        ),
        (
            &format!("{group} set alua alua_support_standby=1 alua_support_offline=1"),
            "alua_support_standby makes no difference: which states",
        ),
        (
            "set global tree_show_root=false loglevel_file=info",
            "loglevel_file makes no difference: the shell keeps no log",
        ),
        (
            "set global export_backstore_name_as_model=true",
            "export_backstore_name_as_model makes no difference: the model",
        ),
    ] {
        let said = typed(&mut shell, line);
        assert!(said.contains(&format!("Parameter {told}")), "{line}: {said}");
    }
    typed(&mut shell, &format!("{TARGET}/tpg1 set parameter MaxBurstLength=65536"));
    assert_eq!(typed(&mut shell, &format!("{acl} get parameter MaxBurstLength")), "MaxBurstLength=65536\n");
    assert_eq!(
        typed(&mut shell, &format!("{acl} get attribute nopin_timeout default_erl")),
        "nopin_timeout=15s\ndefault_erl=0\n"
    );
    assert_eq!(
        typed(&mut shell, &format!("{group} get alua alua_support_standby")),
        "alua_support_standby=0\n"
    );
    assert_eq!(typed(&mut shell, "get global prompt_length"), "prompt_length=\n");
    assert!(!typed(&mut shell, "get global").contains("prompt_length"));
    assert_eq!(typed(&mut shell, "version"), format!("ringtgt {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_is_said_of_the_default_group_changes_nothing_else_of_it() {
    let mut shell = sample();
    typed(&mut shell, "cd /backstores/block/sample-bs/alua/default_tg_pt_gp");
    let (text, before) = (shell.doc.text(), typed(&mut shell, "get alua"));
    typed(&mut shell, "set alua preferred=");
    assert_eq!(shell.doc.text(), text, "nothing is said");
    typed(&mut shell, "set alua preferred=1");
    assert!(before.contains("preferred=0\n"), "{before}");
    assert_eq!(typed(&mut shell, "get alua"), before.replace("preferred=0", "preferred=1"));
}

#[test]
fn target_port_groups_are_made_filled_changed_and_deleted() {
    let mut shell = sample();
    typed(&mut shell, "cd /backstores/block/sample-bs/alua");
    assert_eq!(typed(&mut shell, "create slow 7"), "Created target port group slow.\n");
    assert!(typed(&mut shell, "ls").contains("[ALUA Groups: 2]"));
    let lun = format!("{TARGET}/tpg1/luns/lun0");
    typed(&mut shell, &format!("{lun} set alua alua_tg_pt_gp_name=slow"));
    assert_eq!(typed(&mut shell, &format!("{lun} get alua")), "alua_tg_pt_gp_name=slow\n");
    assert!(typed(&mut shell, "ls /iscsi").contains("[block/sample-bs (/dev/nvme1n1) (slow)]"));
    for (line, told) in [
        (
            "slow set alua alua_access_type=1 preferred=1",
            "Parameter alua_access_type is now '1'.\nParameter preferred is now '1'.\n",
        ),
        (
            "slow get alua alua_access_type preferred alua_support_standby",
            "alua_access_type=implicit\npreferred=1\nalua_support_standby=1\n",
        ),
        (
            "slow set alua alua_access_type='Implicit and Explicit'",
            "Parameter alua_access_type is now 'Implicit and Explicit'.\n",
        ),
        (
            "slow get alua alua_access_type implicit_trans_secs",
            "alua_access_type=both\nimplicit_trans_secs=0\n",
        ),
        ("default_tg_pt_gp set alua preferred=1", "Parameter preferred is now '1'.\n"),
        ("default_tg_pt_gp get alua preferred alua_access_state", "preferred=1\nalua_access_state=0\n"),
        (
            "slow set alua nonop_delay_msecs=10",
            "Parameter nonop_delay_msecs makes no difference: a port that is not optimized is not made slower here.\n",
        ),
    ] {
        assert_eq!(typed(&mut shell, line), told, "{line}");
    }
    for (line, told) in [
        ("create slow 8", "there is a target port group slow already"),
        ("create fast 7", "a target port group 7 already"),
        ("create fast", "tag is missing"),
        ("create a/b 9", "cannot be part of a name"),
        ("delete slow", "has no target port group \"slow\""),
        ("delete default_tg_pt_gp", "is always there"),
        ("slow set alua alua_access_type=4", "neither the number of an access nor its name"),
        (
            "slow set alua alua_support_standby=0",
            "supported_states of its [[backstore.alua.group]]; it is 1 here",
        ),
        ("slow set alua preferred=0 alua_access_state=1", "in a line of its own"),
    ] {
        let said = refused(&mut shell, line);
        assert!(said.contains(told), "{line}: {said}");
    }
    typed(&mut shell, &format!("{lun} set alua alua_tg_pt_gp_name="));
    assert_eq!(typed(&mut shell, "delete slow"), "Deleted target port group slow.\n");
    assert!(refused(&mut shell, "delete slow").contains("there is no target port group slow"));
    assert!(!shell.doc.text().contains("slow"), "{}", shell.doc.text());
}

#[test]
fn as_many_earlier_files_are_kept_as_one_likes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    let mut shell = over(&file, "");
    let backups = || std::fs::read_dir(dir.path().join("backup")).unwrap().count();
    let save = |shell: &mut Shell, n: usize| {
        typed(shell, &format!("/backstores/ramdisk create r{n} 1M"));
        typed(shell, "saveconfig");
    };
    (0..12).for_each(|n| save(&mut shell, n));
    assert_eq!(backups(), 10);
    assert_eq!(
        typed(&mut shell, "set global max_backup_files=3"),
        "Parameter max_backup_files is now '3'.\n"
    );
    save(&mut shell, 12);
    assert_eq!(backups(), 3);
    shell.finish().unwrap();
    assert!(shell.said.contains("Last 3 configs saved in"), "{}", shell.said);
    typed(&mut shell, "set global max_backup_files=0");
    save(&mut shell, 13);
    assert_eq!(backups(), 1, "the last one stays");
    shell.finish().unwrap();
    assert!(shell.said.contains("Last 1 configs saved in"), "{}", shell.said);
}

#[test]
fn what_nobody_serves_is_in_no_access_state() {
    let mut shell = sample();
    let group = "/backstores/block/sample-bs/alua/default_tg_pt_gp";
    assert_eq!(typed(&mut shell, &format!("{group} get alua alua_access_state")), "alua_access_state=0\n");
    let said = refused(&mut shell, &format!("{group} set alua alua_access_state=2"));
    assert!(said.contains("no daemon serves this group") && said.contains("state = \"standby\""), "{said}");
    let said = refused(&mut shell, &format!("{group} set alua alua_access_state=standbye"));
    assert!(said.contains("did you mean \"standby\"?"), "{said}");
}

#[test]
fn places_and_bookmarks() {
    let mut shell = sample();
    let at = |shell: &mut Shell, line: &str| {
        typed(shell, line);
        typed(shell, "pwd").trim_end().to_owned()
    };
    assert_eq!(at(&mut shell, "cd iscsi/IQN.2023-03.sample.ec2:sample/tpg1"), format!("{TARGET}/tpg1"));
    assert_eq!(at(&mut shell, "luns"), format!("{TARGET}/tpg1/luns"));
    assert_eq!(typed(&mut shell, "bookmarks add here"), format!("Bookmark here is {TARGET}/tpg1/luns.\n"));
    assert_eq!(at(&mut shell, "cd .."), format!("{TARGET}/tpg1"));
    assert_eq!(at(&mut shell, "cd -"), format!("{TARGET}/tpg1/luns"));
    assert_eq!(at(&mut shell, "cd"), "/");
    assert_eq!(at(&mut shell, "@here/lun0"), format!("{TARGET}/tpg1/luns/lun0"));
    assert_eq!(typed(&mut shell, "bookmarks"), format!("here: {TARGET}/tpg1/luns\n"));
    // What one stands on is deleted under one's feet.
    typed(&mut shell, "@here delete 0");
    assert_eq!(typed(&mut shell, "pwd"), format!("{TARGET}/tpg1/luns\n"));
    assert_eq!(typed(&mut shell, "/iscsi pwd"), "/iscsi\n");
    assert_eq!(typed(&mut shell, "bookmarks del here"), "Deleted bookmark here.\n");
    assert!(refused(&mut shell, "cd @here").contains("there is no bookmark here"));
    assert!(refused(&mut shell, "bookmarks ad x").contains("did you mean \"add\"?"));
    assert!(
        refused(&mut shell, "/iscsi/iqn.2023-03.sample.ec2:simple ls")
            .contains("did you mean \"iqn.2023-03.sample.ec2:sample\"?")
    );
    assert_eq!(typed(&mut shell, "/ ls 1").lines().count(), 4);
    assert_eq!(typed(&mut shell, "ls /backstores/block 0").lines().count(), 1);
    assert_eq!(typed(&mut shell, "# nothing") + &typed(&mut shell, "   "), "");
}

#[test]
fn mistakes_are_explained() {
    let mut shell = sample();
    for (line, told) in [
        ("/backstores/blok ls", "there is no blok in backstores; did you mean \"block\"?"),
        ("/backstores/block creat a b", "there is no command creat here; did you mean \"create\"?"),
        (
            "/backstores/block create a /dev/nvme1n2",
            "there is no /dev/nvme1n2; did you mean \"/dev/nvme1n1\"?",
        ),
        ("/backstores/block create a /srv/disk.img", "/srv/disk.img is a file"),
        ("/backstores/block create a /dev/sg1", "no block device"),
        ("/backstores/block create sample-bs /dev/sdb", "there is a block backstore sample-bs already"),
        ("/backstores/block create b /dev/nvme1n1", "backstore \"sample-bs\" uses /dev/nvme1n1 already"),
        ("/backstores/block create a/b /dev/sdb", "cannot be part of a name"),
        ("/backstores/fileio create a /srv/none", "say its size"),
        ("/backstores/fileio create a /dev/sg1 1G", "neither a file nor a block device"),
        ("/iscsi sessions", "no daemon serves this configuration"),
        ("/backstores sessions", "there are no sessions here"),
        ("/backstores/ramdisk create a 1.5G", "is not a size"),
        ("status", "there is no status: `info` says"),
        (
            &format!("{TARGET}/tpg1/acls tag iqn.2023-03.sample.ec2:sample-initiator x"),
            "there are no groups of ACLs",
        ),
        (&format!("{TARGET}/tpg1/portals/0.0.0.0:3260 enable_iser true"), "iSER is not offered"),
        (
            &format!("{TARGET}/tpg1/luns create sample-bs 99999"),
            "lun: \"99999\" is too large: the largest is 65535",
        ),
        (&format!("{TARGET}/tpg1/portals create 192.0.2.7 99999"), "is too large"),
        ("/backstores/ramdisk create a 1G nullio=1", "/backstores/null create"),
        ("/backstores/ramdisk delete sample-bs", "there is no backstore ramdisk/sample-bs"),
        (
            "/iscsi create iqn.2023-03.sample.ec2:sample",
            "there is a target iqn.2023-03.sample.ec2:sample already",
        ),
        ("/iscsi create disk1", "\"disk1\" is no iSCSI name"),
        ("/iscsi delete iqn.2023-03.sample.ec2:simple", "did you mean"),
        (&format!("{TARGET} create 1"), "there is a TPG 1 already"),
        (&format!("{TARGET}/tpg1/luns create none"), "there is no backstore none; "),
        (&format!("{TARGET}/tpg1/luns create sample-bs 0"), "there is a LUN 0 already"),
        (&format!("{TARGET}/tpg1/luns delete 7"), "there is no LUN 7"),
        (&format!("{TARGET}/tpg1/acls create iqn.2023-03.sample.ec2:sample-initiator"), "already"),
        (
            &format!("{TARGET}/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator create 0 0"),
            "mapped LUN 0 already",
        ),
        (&format!("{TARGET}/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator create 1 9"), "has no LUN 9"),
        (&format!("{TARGET}/tpg1/portals create 0.0.0.0"), "there is a portal 0.0.0.0:3260 already"),
        ("create x", "nothing can be created here"),
        ("name=x", "without a command"),
        ("ls depth=x", "depth: \"x\" is no number"),
        ("clearconfig", "clearconfig confirm=True"),
        ("restoreconfig /nonexistent", "cannot be read"),
        ("help sl", "there is no command sl here"),
    ] {
        let said = refused(&mut shell, line);
        assert!(said.contains(told), "{line}: {said}");
    }
}

#[test]
fn a_lun_twice_is_warned_of() {
    let mut shell = sample();
    let said = typed(&mut shell, &format!("{TARGET}/tpg1/luns create sample-bs"));
    assert!(said.contains("Warning: LUN 0 of this group is the same backstore"), "{said}");
}

#[test]
fn help_and_info_tell_what_there_is() {
    let mut shell = sample();
    let said = typed(&mut shell, "/backstores/block help");
    assert!(said.contains("create name dev [readonly] [wwn] [io]\n    make a backstore"), "{said}");
    assert!(typed(&mut shell, "help cd").starts_with("cd [path]\n"));
    assert!(typed(&mut shell, &format!("{TARGET}/tpg1 help set")).contains("parameter MaxBurstLength: "));
    let said = typed(&mut shell, "/backstores/block/sample-bs info");
    assert!(said.starts_with("path: /backstores/block/sample-bs\nsummary: /dev/nvme1n1 (10.0GiB)"), "{said}");
}

#[test]
fn clear_refresh_and_restore() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.toml");
    let mut shell = sample();
    std::fs::write(&file, shell.doc.text()).unwrap();
    let restore = format!("restoreconfig {}", file.display());
    assert_eq!(typed(&mut shell, "clearconfig confirm=True"), "All configuration cleared\n");
    assert!(typed(&mut shell, "ls /").contains("[Targets: 0]"));
    let said = typed(&mut shell, &format!("{restore} storage_object=/backstores/block/sample-bs"));
    assert_eq!(said, format!("Configuration restored from {}\n", file.display()));
    assert!(shell.config.targets.is_empty() && shell.config.stores.len() == 1);
    let said = typed(&mut shell, &restore);
    assert!(said.starts_with("Left as they are, because they are there already: sample-bs\n"), "{said}");
    assert_eq!(shell.config.targets.len(), 1);
    typed(&mut shell, "/backstores/ramdisk create r 1M");
    typed(&mut shell, &format!("{restore} clear_existing=true"));
    assert_eq!(shell.config.stores.len(), 1);
    assert!(refused(&mut shell, &format!("{restore} target=iqn.none")).contains("has no target iqn.none"));
    typed(&mut shell, "saveconfig");
    typed(&mut shell, "clearconfig true");
    typed(&mut shell, "refresh");
    assert_eq!(shell.config.targets.len(), 1);
}

#[test]
fn what_is_restored_from_elsewhere_means_what_it_means_there() {
    let (home, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, there) = (home.path().join("a.toml"), away.path().join("b.toml"));
    let store = "[[backstore]]\nkind = \"fileio\"\nname = \"d\"\npath = \"d.img\"\nsize = \"1M\"\n";
    let path = |shell: &Shell| shell.config.stores[0].path.clone().unwrap();
    std::fs::write(&there, store).unwrap();
    for clear in ["", " clear_existing=true"] {
        let mut shell = over(&file, "");
        let said = typed(&mut shell, &format!("restoreconfig {}{clear}", there.display()));
        assert!(
            said.starts_with(&format!("Its relative paths start at {}: d.img\n", away.path().display())),
            "{said}"
        );
        assert_eq!(path(&shell), away.path().join("d.img"));
    }
    // Beside the file and in its backups they mean what they mean in it.
    std::fs::create_dir(home.path().join("backup")).unwrap();
    for name in ["saved.toml", "backup/a-000001.toml"] {
        std::fs::write(home.path().join(name), store).unwrap();
        let mut shell = over(&file, "");
        typed(&mut shell, &format!("restoreconfig {}", home.path().join(name).display()));
        assert_eq!((path(&shell), shell.text.contains("\"d.img\"")), (home.path().join("d.img"), true));
    }
    // What is saved elsewhere means there what it means here.
    let mut shell = over(&file, store);
    let text = shell.text.clone();
    typed(&mut shell, &format!("saveconfig {}", there.display()));
    typed(&mut shell, &format!("saveconfig {}", home.path().join("saved.toml").display()));
    assert_eq!(std::fs::read_to_string(home.path().join("saved.toml")).unwrap(), text);
    let mut shell = over(&file, "");
    typed(&mut shell, &format!("restoreconfig {}", there.display()));
    assert_eq!(path(&shell), home.path().join("d.img"));
}

#[test]
fn what_is_no_configuration_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (file, other) = (dir.path().join("a.toml"), dir.path().join("b"));
    let mut shell = over(&file, "# mine\n");
    let save = format!("saveconfig {}", other.display());
    for theirs in ["{}", "notes\n", "[package]\nname = \"x\"\n"] {
        std::fs::write(&other, theirs).unwrap();
        assert!(refused(&mut shell, &save).contains("it is no configuration of ringtgt"), "{theirs}");
        assert_eq!(std::fs::read_to_string(&other).unwrap(), theirs);
    }
    std::fs::write(&other, b"\xff\xfe").unwrap();
    assert!(refused(&mut shell, &save).contains("it is no configuration of ringtgt"));
    // One that is wrong is one, and so is an empty one.
    for ours in ["", "[server]\nreactors = \"none\"\n"] {
        std::fs::write(&other, ours).unwrap();
        typed(&mut shell, &save);
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "# mine\n");
    }
}

#[test]
fn who_may_ask_for_targets_is_restored_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.toml");
    let mut shell = sample();
    typed(&mut shell, "/iscsi set discovery_auth userid=d password=0123456789ab");
    let portal = "\n[[portal]]\naddress = \"0.0.0.0\"\nkeepalive = \"30s\"\n";
    std::fs::write(&file, shell.doc.text() + portal).unwrap();
    let restore = format!("restoreconfig {}", file.display());
    typed(&mut shell, "clearconfig true");
    let said = typed(&mut shell, &restore);
    assert_eq!(said, format!("Configuration restored from {}\n", file.display()));
    assert!(shell.config.discovery.auth.required() && shell.config.portals.len() == 1);
    // What is named is put in the place of what is there; nothing else is touched.
    typed(&mut shell, "/backstores/ramdisk create r 1M");
    typed(&mut shell, "/backstores/block/sample-bs set attribute read_only=1");
    typed(&mut shell, &format!("{TARGET}/tpg1/acls delete iqn.2023-03.sample.ec2:sample-initiator"));
    let said = typed(&mut shell, &format!("{restore} clear_existing=1 storage_object=sample-bs"));
    assert_eq!(
        said,
        format!(
            "Left out, because only what was named is restored: portal 0.0.0.0, [discovery]\n\
             Configuration restored from {}\n",
            file.display()
        )
    );
    assert!(shell.config.discovery.auth.required() && !shell.config.stores[0].read_only);
    assert_eq!((shell.config.stores.len(), shell.config.targets[0].tpgs[0].acls.len()), (2, 0));
    typed(&mut shell, &format!("{restore} clear_existing=1 target=iqn.2023-03.sample.ec2:sample"));
    assert_eq!((shell.config.stores.len(), shell.config.targets[0].tpgs[0].acls.len()), (2, 1));
    // What is said of a portal goes with the last group that has it.
    let said = typed(&mut shell, "/iscsi delete iqn.2023-03.sample.ec2:sample");
    assert!(said.ends_with("\nDeleted, because no group has them any more: portal 0.0.0.0\n"), "{said}");
    assert!(shell.config.portals.is_empty());
}

#[test]
fn a_backstore_that_is_called_by_a_number_is_no_lun() {
    let mut shell = sample();
    let acl = format!("{TARGET}/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator");
    typed(&mut shell, "/backstores/ramdisk create 0 1M");
    for (line, seen) in [
        (format!("{acl} create 7 /backstores/ramdisk/0"), "mapped_lun7 "),
        (format!("{acl} create 8 lun0"), "[lun0 block/sample-bs (rw)]"),
        (format!("{acl} create 9 {TARGET}/tpg1/luns/lun1"), "[lun1 ramdisk/0 (rw)]"),
    ] {
        typed(&mut shell, &line);
        assert!(typed(&mut shell, &format!("ls {acl}")).contains(seen), "{line}");
    }
    let luns = &shell.config.targets[0].tpgs[0].acls[0].luns;
    assert_eq!(luns.iter().map(|l| (l.lun, l.lu.0)).collect::<Vec<_>>(), [(0, 0), (7, 1), (8, 0), (9, 1)]);
}

#[test]
fn one_lun_of_an_acl_that_sees_all_can_be_protected() {
    let mut shell = sample();
    typed(&mut shell, "/backstores/ramdisk create r 1M");
    typed(&mut shell, &format!("{TARGET}/tpg1/luns create r"));
    let acl = format!("{TARGET}/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator");
    let said = typed(&mut shell, &format!("{acl}/mapped_lun0 set attribute write_protect=1"));
    assert_eq!(said, "Parameter write_protect is now '1'.\n");
    let luns = &shell.config.targets[0].tpgs[0].acls[0].luns;
    assert_eq!(luns.iter().map(|l| (l.lun, l.read_only)).collect::<Vec<_>>(), [(0, true), (1, false)]);
}

/// A shell over a file, which says this already.
fn over(file: &Path, text: &str) -> Shell {
    std::fs::write(file, text).unwrap();
    let host = Host { look, block_devices: Vec::new, addresses: Vec::new, name: String::new };
    let style = Style { width: 80, colour: false };
    Shell::open(Box::new(backend::Kept::new(file.into(), None)), host, Prefs::default(), style).unwrap()
}

#[test]
fn what_somebody_else_did_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    let mut shell = over(&file, "# mine\n");
    typed(&mut shell, "/backstores/ramdisk create r 1M");
    for theirs in ["# theirs\n[server\n", "# theirs\n[server]\nreactors = \"none\"\n"] {
        std::fs::write(&file, theirs).unwrap();
        let told = refused(&mut shell, "refresh");
        assert!(told.contains("a.toml:"), "{told}");
        let itself = format!("saveconfig {}/./a.toml", dir.path().display());
        for line in ["saveconfig", itself.as_str()] {
            assert!(refused(&mut shell, line).contains("changed by somebody else"), "{line}");
        }
        assert!(shell.finish().unwrap_err().contains("changed by somebody else"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs);
    }
    std::fs::write(&file, "# theirs\n").unwrap();
    typed(&mut shell, "refresh");
    typed(&mut shell, "/backstores/ramdisk create s 1M");
    typed(&mut shell, &format!("saveconfig {}", file.display()));
    assert!(!shell.dirty && std::fs::read_to_string(&file).unwrap().starts_with("# theirs\n"));
    typed(&mut shell, "/backstores/ramdisk delete s");
    typed(&mut shell, "saveconfig");
}

#[test]
fn leaving_writes_nothing_that_was_not_changed() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    let mut shell = over(&file, "# mine\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    shell.finish().unwrap();
    assert!(shell.said.ends_with(&format!("Configuration saved to {}\n", file.display())), "{}", shell.said);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    std::fs::write(&file, "# theirs\n").unwrap();
    shell.finish().unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "# theirs\n");
    let mut shell = over(&file, "");
    std::fs::remove_file(&file).unwrap();
    shell.finish().unwrap();
    assert_eq!(shell.said, "Global pref auto_save_on_exit=true\n");
    assert!(!file.exists());
}

#[test]
fn everything_is_completed() {
    let mut shell = sample();
    let acl = format!("{TARGET}/tpg1/acls/iqn.2023-03.sample.ec2:sample-initiator");
    typed(&mut shell, "set global auto_cd_after_create=true");
    for (line, expected) in [
        ("ls", vec!["ls "]),
        ("/ba", vec!["/backstores/"]),
        ("/backstores/b", vec!["/backstores/block/"]),
        ("/backstores/block/ ", vec![]),
        ("/backstores/block c", vec!["cd ", "clearconfig ", "create "]),
        ("/backstores/block create ", vec!["dev=", "io=", "name=", "readonly=", "wwn="]),
        ("/backstores/block create a ", vec!["/dev/nvme1n1", "/dev/sdb", "dev=", "io=", "readonly=", "wwn="]),
        ("/backstores/block create name=a dev=/dev/s", vec!["dev=/dev/sdb"]),
        ("/backstores/block create a b readonly=t", vec!["readonly=true"]),
        ("/backstores/block create a b io=p", vec!["io=passthrough", "io=polled"]),
        ("/backstores/block delete ", vec!["forget=", "name=", "sample-bs"]),
        ("cd /iscsi/i", vec!["/iscsi/iqn.2023-03.sample.ec2:sample/"]),
        ("cd isc", vec!["iscsi/"]),
        ("/iscsi/iqn.2023-03.sample.ec2:sample/tpg1/luns create /b", vec!["/backstores/block/sample-bs"]),
        (
            "/iscsi/iqn.2023-03.sample.ec2:sample/tpg1/acls create i",
            vec!["iqn.2023-03.sample.ec2:sample-initiator"],
        ),
        ("/iscsi/iqn.2023-03.sample.ec2:sample/tpg1 set pa", vec!["parameter "]),
        ("/iscsi/iqn.2023-03.sample.ec2:sample/tpg1 set auth u", vec!["userid="]),
        ("/iscsi/iqn.2023-03.sample.ec2:sample/tpg1 get parameter MaxB", vec!["MaxBurstLength"]),
        ("set global auto_c", vec!["auto_cd_after_create="]),
        ("set global auto_cd_after_create=", vec!["auto_cd_after_create=false", "auto_cd_after_create=true"]),
        ("set global max_backup_files=", vec!["max_backup_files=10"]),
        (
            "/iscsi/iqn.2023-03.sample.ec2:sample/tpg1 set parameter DataDigest=C",
            vec!["DataDigest=CRC32C", "DataDigest=CRC32C,None"],
        ),
        (
            "/iscsi/iqn.2023-03.sample.ec2:sample/tpg1 set parameter ImmediateData=",
            vec!["ImmediateData=No", "ImmediateData=Yes"],
        ),
        (
            "/iscsi/iqn.2023-03.sample.ec2:sample/tpg1 set attribute authentication=",
            vec!["authentication=0", "authentication=1"],
        ),
        (
            "/iscsi/iqn.2023-03.sample.ec2:sample/tpg1 set attribute default_cmdsn_depth=",
            vec!["default_cmdsn_depth=256"],
        ),
        ("/iscsi/iqn.2023-03.sample.ec2:sample/tpg1 set auth password=", vec![]),
        (
            "/iscsi/iqn.2023-03.sample.ec2:sample/tpg1/luns/lun0 set alua alua_tg_pt_gp_name=",
            vec!["alua_tg_pt_gp_name=default_tg_pt_gp"],
        ),
        ("/backstores/block/sample-bs set attribute io=d", vec!["io=direct"]),
        (
            "/backstores/block/sample-bs/alua/default_tg_pt_gp set alua alua_access_state=s",
            vec!["alua_access_state=standby"],
        ),
        (
            "/backstores/block/sample-bs/alua/default_tg_pt_gp set alua alua_access_type=e",
            vec!["alua_access_type=explicit"],
        ),
        ("/iscsi/iqn.2023-03.sample.ec2:sample/tpg1/portals create 1", vec!["192.0.2.7"]),
        (
            "/iscsi/iqn.2023-03.sample.ec2:sample/tpg1/portals create ip_address=f",
            vec!["ip_address=fe80::1%eth0"],
        ),
        ("/iscsi/iqn.2023-03.sample.ec2:sample/tpg1/portals create 0.0.0.0 ", vec!["3260", "ip_port="]),
        ("/iscsi create ", vec!["iqn.2026-11.org.ringtgt:disks", "wwn="]),
        ("/iscsi/iqn.2023-03.sample.ec2:sample create ", vec!["2", "tag="]),
        ("/iscsi/iqn.2023-03.sample.ec2:sample/tpg1/luns create sample-bs lun=", vec!["lun=1"]),
        (&format!("{acl} create "), vec!["1", "mapped_lun=", "tpg_lun_or_backstore=", "write_protect="]),
        (
            &format!("{acl} create 1 "),
            vec!["/backstores/block/sample-bs", "lun0", "tpg_lun_or_backstore=", "write_protect="],
        ),
        ("/backstores/block/sample-bs/alua create g tag=", vec!["tag=1"]),
        ("/loopback create sample-bs device=", vec!["device=0"]),
        ("/iscsi sessions kick ", vec!["sid="]),
        ("help saveconfi", vec!["saveconfig"]),
        ("bookmarks a", vec!["action=", "add"]),
        ("/iscsi sessions d", vec!["detail", "drain"]),
        ("nonsense ", vec![]),
        ("ls\u{3000}/ba", vec!["/backstores/"]),
        ("ls\u{a0}", vec!["backstores/", "depth=", "iscsi/", "loopback/", "path="]),
    ] {
        let (_, mut found) = complete(&shell, line);
        if line == "/backstores/block/ " {
            found.clear(); // All verbs: which they are is said elsewhere.
        }
        assert_eq!(found, expected, "{line}");
    }
    typed(&mut shell, "/backstores/ramdisk create r 1M");
    assert_eq!(typed(&mut shell, "pwd"), "/backstores/ramdisk/r\n");
}

#[test]
fn colour_only_where_it_is_wanted() {
    let mut shell = sample();
    shell.style.colour = true;
    assert!(typed(&mut shell, "ls").contains("\x1b[32mOK\x1b[0m"));
    typed(&mut shell, "set global color_mode=false");
    assert!(!typed(&mut shell, "ls").contains('\x1b'));
}

#[test]
fn local_disks() {
    let mut shell = sample();
    let made = typed(&mut shell, "/loopback create storage_object=/backstores/block/sample-bs");
    assert!(made.starts_with("Created local disk sample-bs.\n"), "{made}");
    assert!(made.contains("modprobe ublk_drv"), "this host has none: {made}");
    assert!(shell.doc.text().contains("[[loopback]]\nbackstore = \"sample-bs\"\n"), "{}", shell.doc.text());
    let listed = typed(&mut shell, "ls");
    assert!(listed.contains("o- loopback ") && listed.contains("[Targets: 1]"), "{listed}");
    assert!(listed.contains("    o- sample-bs ") && listed.contains("[/dev/ublkb?, not served]"), "{listed}");
    assert_eq!(
        typed(&mut shell, "/loopback/sample-bs info"),
        "path: /loopback/sample-bs\nsummary: /dev/ublkb?, not served\n"
    );
    assert!(refused(&mut shell, "/loopback create sample-bs").contains("is a local disk already"));
    assert!(refused(&mut shell, "/loopback create other").contains("there is no backstore other"));
    assert!(refused(&mut shell, "/loopback delete other").contains("there is no other in loopback"));
    assert_eq!(typed(&mut shell, "/loopback delete sample-bs"), "Deleted local disk sample-bs.\n");
    assert!(!shell.doc.text().contains("loopback"));
    typed(&mut shell, "/loopback create sample-bs device=/dev/ublkb7 readonly=true");
    assert!(shell.doc.text().contains("device = 7\nread_only = true\n"), "{}", shell.doc.text());
    assert!(typed(&mut shell, "ls /loopback").contains("[/dev/ublkb7 ro, not served]"));
    let gone = typed(&mut shell, "/backstores/block delete sample-bs");
    assert!(gone.contains("Deleted local disk sample-bs.\n"), "{gone}");
    assert!(!shell.doc.text().contains("loopback"));
}

#[test]
fn what_a_file_has_is_offered_where_it_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("saved.toml");
    let mut shell = sample();
    std::fs::write(&file, shell.doc.text()).unwrap();
    typed(&mut shell, "clearconfig true");
    let of = |line: &str| complete(&shell, &format!("restoreconfig {line}")).1;
    let file = file.display();
    assert_eq!(of(&format!("{file} target=i")), ["target=iqn.2023-03.sample.ec2:sample"]);
    assert_eq!(
        of(&format!("savefile={file} storage_object=/")),
        ["storage_object=/backstores/block/sample-bs"]
    );
    assert_eq!(of(&format!("{file} true i")), ["iqn.2023-03.sample.ec2:sample"]);
    assert!(of("/nonexistent target=").is_empty());
}

/// Ten times as much takes ten times as long, not a hundred times.
#[test]
fn a_tree_is_drawn_in_the_time_that_it_is_long() {
    let took = |count: usize| {
        let stores: String = (0..count)
            .map(|n| format!("[[backstore]]\nkind = \"null\"\nname = \"store{n}\"\nsize = \"1M\"\n"))
            .collect();
        let luns: String = (0..count)
            .map(|n| format!("[[target.tpg.lun]]\nlun = {n}\nbackstore = \"store{n}\"\n"))
            .collect();
        let group =
            "[[target]]\niqn = \"iqn.2026-11.org.example:a\"\n[[target.tpg]]\nportals = [\"127.0.0.1:0\"]\n";
        let mut shell = shell_over(Box::new(Memory { text: format!("{stores}{group}{luns}") }), 80);
        (0..3)
            .map(|_| {
                let start = std::time::Instant::now();
                assert!(typed(&mut shell, "ls").matches("store").count() >= 2 * count);
                start.elapsed()
            })
            .min()
            .unwrap()
    };
    let (few, many) = (took(400), took(4000));
    assert!(many < few * 40, "{few:?} for 400, {many:?} for 4000");
}

#[test]
fn completion_of_local_disks() {
    let mut shell = sample();
    let of = |shell: &Shell, line: &str| complete(shell, line).1;
    assert_eq!(of(&shell, "/loopback create /b"), ["/backstores/block/sample-bs"]);
    typed(&mut shell, "/loopback create sample-bs");
    assert_eq!(of(&shell, "/loopback delete s"), ["sample-bs"]);
}
