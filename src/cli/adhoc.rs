//! A configuration from nothing but arguments: one target, one group, a LUN for each STORE.

use std::ffi::OsString;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use secrecy::SecretString;

use super::args::Serve;
use super::store_arg;
use crate::admin::config::{
    At, Config, DEFAULT_PORT, Problem, Report, ServerConfig, Source, check_iqn, check_open, default_iqn,
    parse_portal,
};
use crate::admin::{secret, state};
use crate::ids::LuId;
use crate::scsi::DeviceType;
use crate::store::StoreConfig;
use crate::target::{Acl, Auth, Credential, Lun, Target, Tpg, TpgParams};

/// The configuration that the arguments mean, or everything that is wrong with them.
/// `hostname` names the target when nobody else does.
pub(super) fn config(args: &Serve, hostname: &str) -> Result<(Config, Report), Report> {
    let mut problems = Vec::new();
    if args.config.is_some() {
        problems.push(Problem::error(
            At::Argument("--config".into()),
            "there are STOREs beside it",
            "a file has its own",
            "name one or the other",
        ));
    }
    let mut stores = stores(args, &mut problems);
    discs(args, &mut stores, &mut problems);
    let target = target(args, hostname, stores.len(), &mut problems);
    let report = Report::new(Source::default(), problems);
    if report.errors() > 0 {
        return Err(report);
    }
    let server = ServerConfig { ad_hoc: true, state_dir: state::ad_hoc_dir(), ..ServerConfig::default() };
    let stores = stores.into_iter().map(Arc::new).collect();
    Ok((Config { server, stores, targets: vec![target], ..Config::default() }, report))
}

/// The same as the text of a configuration, for those who change it while it is served.
pub(super) fn text(args: &Serve, config: &Config) -> String {
    let mut text = String::from("# as named on the command line\n");
    for store in &config.stores {
        let _ =
            write!(text, "\n[[backstore]]\nkind = \"{}\"\nname = \"{}\"\n", store.kind.word(), store.name);
        if let Some(path) = &store.path {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            let _ = writeln!(text, "path = {}", quoted(&path.to_string_lossy()));
        }
        if let Some(size) = store.size {
            let _ = writeln!(text, "size = {size}");
        }
        if let (DeviceType::Disk, Some(block)) = (store.device, store.block_size) {
            let _ = writeln!(text, "block_size = {block}");
        }
        let cdrom = store.device == DeviceType::Cdrom;
        text.push_str(if cdrom { "device_type = \"cdrom\"\n" } else { "" });
        text.push_str(if store.read_only && !cdrom { "read_only = true\n" } else { "" });
        text.push_str(if store.removable && !cdrom { "removable = true\n" } else { "" });
    }
    for target in &config.targets {
        let _ = write!(text, "\n[[target]]\niqn = {}\n", quoted(&target.iqn));
        target.tpgs.iter().for_each(|tpg| group_text(args, config, tpg, &mut text));
    }
    text
}

fn group_text(args: &Serve, config: &Config, tpg: &Tpg, text: &mut String) {
    let portals: Vec<String> = tpg.portals.iter().map(|p| quoted(&p.to_string())).collect();
    let _ = write!(text, "[[target.tpg]]\ntag = {}\nportals = [{}]\n", tpg.tag, portals.join(", "));
    text.push_str(if tpg.open { "any_initiator = true\n" } else { "" });
    if let (Some(user), Some(file)) = (&args.chap_user, &args.chap_secret_file) {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let _ = writeln!(
            text,
            "chap = {{ user = {}, secret_file = {} }}",
            quoted(user),
            quoted(&file.to_string_lossy())
        );
    }
    for lun in &tpg.luns {
        let name = config.stores.get(lun.lu.0 as usize).map_or("", |s| s.name.as_str());
        let _ = write!(text, "[[target.tpg.lun]]\nlun = {}\nbackstore = \"{name}\"\n", lun.lun);
    }
    for acl in &tpg.acls {
        let _ = write!(text, "[[target.tpg.acl]]\ninitiator = {}\n", quoted(&acl.initiator));
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

/// Options that are about STOREs, when there is none.
pub(super) fn stray_options(args: &Serve) -> Vec<Problem> {
    let given = [
        ("--listen", !args.listen.is_empty()),
        ("--iqn", args.iqn.is_some()),
        ("--allow", !args.allow.is_empty()),
        ("--chap-user", args.chap_user.is_some()),
        ("--block-size", args.block_size.is_some()),
        ("--read-only", args.read_only),
        ("--removable", args.removable),
    ];
    let stray = given.into_iter().filter(|(_, given)| *given);
    stray
        .map(|(option, _)| {
            let what = "it is about STOREs, and none is named";
            let reason = "what a configuration file serves is said in the file";
            let remedy = "name a STORE, as in disk.img:10G, or say it in the file";
            Problem::error(At::Argument(option.into()), what, reason, remedy)
        })
        .collect()
}

fn stores(args: &Serve, problems: &mut Vec<Problem>) -> Vec<StoreConfig> {
    let mut stores: Vec<StoreConfig> = Vec::new();
    for (lun, argument) in args.stores.iter().enumerate() {
        match store_arg::parse(argument, format!("lun{lun}"), args.block_size) {
            Ok(store) if is_open_already(&stores, &store) => problems.push(named_twice(at(argument))),
            Ok(store) => {
                let (read_only, removable) = (args.read_only, args.removable);
                stores.push(StoreConfig { read_only, removable, ..store });
            }
            Err(error) => {
                problems.push(Problem::error(at(argument), error.what, error.reason, error.remedy));
            }
        }
    }
    stores
}

/// The discs, which come after the disks.
fn discs(args: &Serve, stores: &mut Vec<StoreConfig>, problems: &mut Vec<Problem>) {
    for image in &args.cdrom {
        let at = At::Argument(format!("--cdrom {}", image.to_string_lossy()));
        match store_arg::parse_image(image, format!("lun{}", stores.len())) {
            Ok(disc) if is_open_already(stores, &disc) => problems.push(named_twice(at)),
            Ok(disc) => stores.push(disc),
            Err(error) => problems.push(Problem::error(at, error.what, error.reason, error.remedy)),
        }
    }
}

fn at(argument: &OsString) -> At {
    At::Argument(argument.to_string_lossy().into_owned())
}

fn named_twice(at: At) -> Problem {
    Problem::error(at, "it is named twice", "two LUNs would overwrite each other's data", "name it once")
}

fn is_open_already(stores: &[StoreConfig], store: &StoreConfig) -> bool {
    let real = |s: &StoreConfig| {
        let path = s.path.as_ref()?;
        Some(std::fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
    };
    real(store).is_some_and(|path| stores.iter().any(|s| real(s).as_ref() == Some(&path)))
}

fn target(args: &Serve, hostname: &str, stores: usize, problems: &mut Vec<Problem>) -> Target {
    let luns = luns(stores);
    let iqn = args
        .iqn
        .as_ref()
        .map_or_else(|| Some(default_iqn(hostname)), |iqn| checked_iqn("--iqn", iqn, problems));
    let acls = args.allow.iter().filter_map(|name| checked_iqn("--allow", name, problems));
    let acls = acls.map(|initiator| Acl { initiator, luns: luns.clone(), ..Acl::default() }).collect();
    let tpg = Tpg {
        tag: 1,
        relative_port: 1,
        portals: portals(args, problems),
        params: TpgParams::default(),
        luns,
        acls,
        from: Vec::new(),
        open: args.allow.is_empty(),
        auth: Auth { chap: credential(args, problems).into_iter().collect(), mutual: None },
    };
    Target { iqn: iqn.unwrap_or_default(), alias: None, redirect: None, tpgs: vec![tpg] }
}

fn luns(stores: usize) -> Vec<Lun> {
    (0..stores)
        .filter_map(|n| {
            Some(Lun {
                lun: u16::try_from(n).ok()?,
                lu: LuId(u32::try_from(n).ok()?),
                read_only: false,
                group: 0,
            })
        })
        .collect()
}

fn checked_iqn(option: &str, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let checked = check_iqn(name, At::Argument(format!("{option} {name}")));
    checked.map_err(|problem| problems.push(problem)).ok()
}

fn portals(args: &Serve, problems: &mut Vec<Problem>) -> Vec<SocketAddr> {
    if args.listen.is_empty() {
        return vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))];
    }
    let anybody = args.allow.is_empty() && args.chap_user.is_none();
    let mut portals = Vec::new();
    for text in &args.listen {
        let at = || At::Argument(format!("--listen {text}"));
        let portal = parse_portal(text, at()).and_then(|portal| {
            let remedy = "add --allow INITIATOR_IQN for each initiator (cat /etc/iscsi/initiatorname.iscsi there \
                          tells its name), or --chap-user NAME --chap-secret-file FILE";
            if anybody { check_open(portal, at(), remedy).map(|()| portal) } else { Ok(portal) }
        });
        match portal {
            Ok(portal) if portals.contains(&portal) => {
                problems.push(Problem::error(at(), "it is named twice", "", "name it once"));
            }
            Ok(portal) => portals.push(portal),
            Err(problem) => problems.push(problem),
        }
    }
    portals
}

fn credential(args: &Serve, problems: &mut Vec<Problem>) -> Option<Credential> {
    let (user, file) = (args.chap_user.as_ref()?, args.chap_secret_file.as_ref()?);
    if user.is_empty() || user.len() > 255 || user.contains(char::is_control) {
        let at = At::Argument("--chap-user".into());
        problems.push(Problem::error(at, "this is no CHAP user name", "", "write 1 to 255 bytes of text"));
    }
    let at = At::Argument(format!("--chap-secret-file {}", file.display()));
    match secret::read_file(file) {
        Ok(secret) => {
            warn_if_short(&secret, at, problems);
            Some(Credential { user: user.clone(), secret })
        }
        Err(error) => {
            problems.push(Problem::error(at, error.to_string(), "", error.remedy(file)));
            None
        }
    }
}

fn warn_if_short(secret: &SecretString, at: At, problems: &mut Vec<Problem>) {
    if secret::is_short(secret) {
        let (what, reason) = (secret::SHORT_WHAT, secret::SHORT_REASON);
        problems.push(Problem::warning(at, what, reason, secret::SHORT_REMEDY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "disks\n";

    fn serve(stores: &[&str]) -> Serve {
        Serve { stores: stores.iter().map(Into::into).collect(), ..Serve::default() }
    }

    fn refusal(args: &Serve) -> String {
        config(args, HOST).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_local_and_open() {
        let (config, report) = config(&serve(&["ram:1M", "null:1G"]), HOST).unwrap();
        assert_eq!(report.problems().len(), 0);
        let target = &config.targets[0];
        assert_eq!(target.iqn, "iqn.2026-11.org.ringtgt:disks");
        assert_eq!(target.tpgs[0].portals, ["127.0.0.1:3260".parse().unwrap()]);
        assert!(target.tpgs[0].open && !target.tpgs[0].auth.required());
        assert_eq!(target.tpgs[0].luns.iter().map(|l| (l.lun, l.lu.0)).collect::<Vec<_>>(), [(0, 0), (1, 1)]);
        assert_eq!(config.stores[1].name, "lun1");
        assert!(config.server.ad_hoc);
    }

    #[test]
    fn nobody_is_let_in_from_afar_unasked() {
        let mut args = Serve { listen: vec!["0.0.0.0:3260".into()], ..serve(&["ram:1M"]) };
        assert!(refusal(&args).contains("--allow INITIATOR_IQN"));
        args.allow = vec!["iqn.2026-11.org.example:i".into()];
        let (config, _) = config(&args, HOST).unwrap();
        let tpg = &config.targets[0].tpgs[0];
        assert!(!tpg.open && tpg.access("iqn.2026-11.org.example:i").is_some());
        assert!(tpg.access("iqn.2026-11.org.example:j").is_none());
    }

    #[test]
    fn all_mistakes_at_once() {
        let args = Serve {
            listen: vec!["nowhere".into(), "[::]:3260".into()],
            iqn: Some("my disk".into()),
            allow: vec![],
            config: Some("x".into()),
            ..serve(&["ram:1M", "ram:3", "/nonexistent"])
        };
        let report = config(&args, HOST).unwrap_err();
        assert_eq!(report.errors(), 6, "{report}");
    }

    #[test]
    fn one_store_is_one_lun() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&file, [0; 512]).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let args = serve(&[file.to_str().unwrap(), link.to_str().unwrap()]);
        assert!(refusal(&args).contains("named twice"));
    }

    #[test]
    fn discs_come_after_the_disks() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("a.iso");
        std::fs::write(&image, [0; 2048]).unwrap();
        let cdrom = vec![image.clone().into_os_string()];
        let args = Serve { cdrom: cdrom.clone(), read_only: false, ..serve(&["ram:1M"]) };
        let (config, _) = config(&args, HOST).unwrap();
        let [disk, disc] = &config.stores[..] else { panic!("two") };
        assert_eq!((disk.device, disk.read_only), (DeviceType::Disk, false));
        assert_eq!((disc.device, disc.read_only, &*disc.name), (DeviceType::Cdrom, true, "lun1"));
        assert_eq!(config.targets[0].tpgs[0].luns.len(), 2);
        let twice = Serve { cdrom, ..serve(&[image.to_str().unwrap()]) };
        assert!(refusal(&twice).contains("named twice"));
        let absent = Serve { cdrom: vec!["/nonexistent.iso".into()], ..Serve::default() };
        assert!(refusal(&absent).contains("does not exist; a disc has to be there"));
    }

    #[test]
    fn the_text_means_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("a.iso");
        std::fs::write(&image, [0; 2048]).unwrap();
        let mut args = serve(&["ram:1M", "null:1G", &format!("{}:1M", dir.path().join("b").display())]);
        args.allow = vec!["iqn.2026-11.org.example:i".into()];
        args.cdrom = vec![image.into_os_string()];
        args.removable = true;
        let (config, _) = config(&args, HOST).unwrap();
        let text = text(&args, &config);
        let source = Source::new("t", text.as_str());
        let (again, report) = crate::admin::config::parse(source, dir.path(), None).unwrap();
        assert_eq!(report.problems().len(), 0, "{report}");
        assert_eq!(format!("{:?}", again.stores), format!("{:?}", config.stores));
        let mut targets = config.targets;
        targets[0].tpgs[0].relative_port = 0;
        assert_eq!(again.targets, targets);
    }

    #[test]
    fn options_without_stores_are_told() {
        let args = Serve { read_only: true, allow: vec!["x".into()], ..Serve::default() };
        assert_eq!(stray_options(&args).len(), 2);
        assert!(stray_options(&Serve::default()).is_empty());
    }
}
